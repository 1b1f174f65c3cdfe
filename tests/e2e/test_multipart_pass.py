# SPDX-License-Identifier: Apache-2.0
"""Multipart uploads that pass through to the under store: WRITE_THROUGH and NO_CACHE."""
import base64
import hashlib
import itertools
import os
import threading

import botocore.exceptions
import pytest

from lib import proc, rawhttp
from lib.faultproxy import Action
from lib.model import mpu_etag
from lib.ufs import Prefix

MIB = 1 << 20
PROPS = {"forebay.ufs.request.deadline": "2s", "alluxio.user.file.metadata.sync.interval": "1s"}
numbers = itertools.count()


class Up:
    def __init__(self, f, key, **kw):
        self.f, self.at = f, {"Bucket": "demo", "Key": key}
        self.id = f.s3.create_multipart_upload(**self.at, **kw)["UploadId"]
        self.tags, self.bodies = {}, {}

    def part(self, n, body, **kw):
        r = self.f.s3.upload_part(**self.at, UploadId=self.id, PartNumber=n, Body=body, **kw)
        assert r["ETag"].strip('"') == proc.md5(body)
        self.tags[n], self.bodies[n] = r["ETag"], body
        return self

    def listed(self):
        return {"Parts": [{"PartNumber": n, "ETag": self.tags[n]} for n in sorted(self.tags)]}

    def complete(self, **kw):
        return self.f.s3.complete_multipart_upload(**self.at, UploadId=self.id, MultipartUpload=self.listed(), **kw)

    def body(self):
        return b"".join(self.bodies[n] for n in sorted(self.bodies))

    def etag(self):
        return mpu_etag([self.bodies[n] for n in sorted(self.bodies)])


class There:
    """What the store knows of our uploads."""

    def __init__(self, store):
        self.store = store
        self.ufs = Prefix(store, f"pass-{next(numbers)}")

    def uploads(self):
        return [u for u in self.store.uploads() if u["Key"].startswith(self.ufs.prefix)]

    def parts(self):
        u = self.uploads()[0]
        r = self.store.client.list_parts(Bucket=self.store.bucket, Key=u["Key"], UploadId=u["UploadId"])
        return {p["PartNumber"]: (p["Size"], p["ETag"].strip('"')) for p in r.get("Parts", [])}


def code(call, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(**kw)
    return e.value.response["Error"]["Code"]


@pytest.fixture
def through(make, versity):
    """through(policy, props) -> (forebay, There): /demo over a part of a foreign S3 server."""

    def build(policy="WRITE_THROUGH", store=None, env=None, **props):
        t = There(store or versity)
        f = make({"/demo": t.ufs.uri()}, {"/demo/**": policy}, {**t.store.properties(), **PROPS, **props}, env=env)
        return f, t

    return build


@pytest.mark.quick
@pytest.mark.parametrize("policy", ["WRITE_THROUGH", "NO_CACHE"])
def test_parts_go_straight_up(through, policy):
    f, there = through(policy)
    u = Up(f, "m/x", ContentType="text/m", Metadata={"a": "b"})
    pinned = f.metrics()
    u.part(2, proc.content("2", 7 * MIB + 1)).part(1, proc.content("1", 5 * MIB)).part(7, b"end")
    assert there.parts() == {n: (len(b), proc.md5(b)) for n, b in u.bodies.items()}, "the store has them before Complete"
    same = [k for k in pinned if "pinned" in k.lower()]
    assert same and all(f.metrics()[k] == pinned[k] for k in same), "and nothing is kept here"
    assert f.raw.get("demo", "m/x").status == 404 and there.ufs.get("m/x") is None
    listed = f.s3.list_parts(**u.at, UploadId=u.id)["Parts"]
    assert {p["PartNumber"]: p["ETag"] for p in listed} == u.tags
    r = u.complete()
    assert r["ETag"] == f'"{u.etag()}"'
    assert there.ufs.get("m/x") == u.body() and there.uploads() == []
    for _ in range(2):
        g = f.s3.get_object(Bucket="demo", Key="m/x")
        assert g["Body"].read() == u.body() and g["ETag"] == f'"{u.etag()}"'
        assert g["ContentType"] == "text/m" and g["Metadata"] == {"a": "b"}
        assert g["ResponseMetadata"]["HTTPHeaders"]["x-forebay-state"] == "PERSISTED"
        a = f.raw.get("demo", "m/x", {"Range": f"bytes={5 * MIB - 3}-{5 * MIB + 5}"})
        assert a.body == u.body()[5 * MIB - 3 : 5 * MIB + 6]
        f.restart()
    if policy == "WRITE_THROUGH":
        assert f.s3.get_object(Bucket="demo", Key="m/x", PartNumber=2)["Body"].read() == u.bodies[2]
    assert f.raw.list("demo") == ["m/x"]
    f.stop()
    f.assert_fsck_clean()


def test_more_parts_than_a_row(through):
    f, there = through()
    u = Up(f, "many")
    body = proc.content("many", 5 * MIB)
    for n in range(1, 9):
        u.part(n, body)
    u.part(9, b"")
    assert u.complete()["ETag"] == f'"{u.etag()}"'
    assert f.raw.get("demo", "many").body == u.body()
    u = Up(f, "many").part(1, b"another")
    u.complete()
    assert f.raw.get("demo", "many").body == b"another" == there.ufs.get("many")
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("size", [3000, 3 * MIB])
def test_a_body_that_is_not_right_is_no_part(through, size):
    """A part with a wrong checksum, or cut short, leaves what was uploaded under its number before."""
    f, there = through()
    u = Up(f, "w").part(1, proc.content("good", size))
    bad = proc.content("bad", size)
    at = f"/demo/w?uploadId={u.id}&partNumber=1"
    assert f.raw.send("PUT", at, {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}, bad).code == "BadDigest"
    assert f.raw.send("PUT", at, {"x-amz-checksum-crc32": "AAAAAA=="}, bad).code == "BadDigest"
    s = f.raw.connect()
    s.sendall(f"PUT {at} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + bad[:-1])
    s.close()
    a = f.raw.send("PUT", at, {"Transfer-Encoding": "chunked"}, b"1\r\nx\r\n0\r\n\r\n")
    assert (a.status, a.code) == (411, "MissingContentLength")
    assert there.parts() == {1: (size, proc.md5(u.bodies[1]))}
    u.part(2, b"tail") if size >= 5 * MIB else None
    u.complete()
    assert there.ufs.get("w") == u.body()


def test_lists_are_validated_before_the_store_is_told(through):
    f, there = through()
    u = Up(f, "v").part(1, b"small").part(2, b"x")
    assert code(u.complete) == "EntityTooSmall"
    good = dict(u.tags)
    u.tags = {3: good[2]}
    assert code(u.complete) == "InvalidPart"
    u.tags = {1: good[2]}
    assert code(u.complete) == "InvalidPart"
    u.tags, u.bodies = {2: good[2]}, {2: b"x"}
    assert code(lambda: u.complete(IfMatch='"nope"')) in ("NoSuchKey", "PreconditionFailed")
    assert there.ufs.get("v") is None and len(there.uploads()) == 1
    u.complete(IfNoneMatch="*")
    assert there.ufs.get("v") == b"x"
    other = Up(f, "v").part(1, b"y")
    assert code(lambda: other.complete(IfNoneMatch="*")) == "PreconditionFailed"
    other.complete(IfMatch=f'"{u.etag()}"')
    assert f.raw.get("demo", "v").body == b"y"


@pytest.mark.parametrize("policy", ["WRITE_THROUGH", "NO_CACHE"])
def test_complete_repeated_and_at_once(through, policy):
    f, there = through(policy)
    u = Up(f, "r").part(1, proc.content("r", 5 * MIB)).part(2, b"2")
    answers = []

    def go():
        try:
            answers.append(u.complete()["ETag"])
        except botocore.exceptions.ClientError as e:
            answers.append(e.response)

    ts = [threading.Thread(target=go) for _ in range(5)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    assert answers == [f'"{u.etag()}"'] * 5
    f.restart("kill")
    assert u.complete()["ETag"] == f'"{u.etag()}"'
    assert there.ufs.get("r") == u.body()


def test_abort_and_expiry(through):
    f, there = through(**{"forebay.multipart.expire": "3s"})
    u = Up(f, "a").part(1, b"x" * 100_000)
    assert len(there.uploads()) == 1
    f.s3.abort_multipart_upload(**u.at, UploadId=u.id)
    assert there.uploads() == []
    assert code(f.s3.abort_multipart_upload, **u.at, UploadId=u.id) == "NoSuchUpload"
    Up(f, "b").part(1, b"y" * 2 * MIB)
    assert len(there.uploads()) == 1
    proc.wait_for("expiry in the store too", lambda: there.uploads() == [])
    assert f.raw.list("demo") == []
    f.stop()
    f.assert_fsck_clean()


def test_expiry_waits_for_a_store_that_is_away(through, versity, proxy_to):
    proxy = proxy_to(versity)
    f, there = through(**{"forebay.multipart.expire": "1s"})
    Up(f, "b").part(1, b"y")
    proxy.down()

    proxy.up()
    proc.wait_for("expiry in the store", lambda: there.uploads() == [])
    f.stop()
    f.assert_fsck_clean()


def test_copied_parts(through, moto):
    f, there = through(store=moto)
    src = proc.content("src", 10 * MIB)
    f.s3.put_object(Bucket="demo", Key="src", Body=src)
    u = Up(f, "copy")
    for n, rng in ((1, (0, 5 * MIB - 1)), (2, (5 * MIB, 10 * MIB - 1))):
        r = f.s3.upload_part_copy(**u.at, UploadId=u.id, PartNumber=n, CopySource={"Bucket": "demo", "Key": "src"},
                                  CopySourceRange="bytes=%d-%d" % rng)
        u.tags[n] = r["CopyPartResult"]["ETag"]
        u.bodies[n] = src[rng[0] : rng[1] + 1]
    assert {n: s for n, (s, _) in there.parts().items()} == {1: 5 * MIB, 2: 5 * MIB}
    u.part(3, b"own")
    u.complete()
    assert f.raw.get("demo", "copy").body == src + b"own" == there.ufs.get("copy")
    f.s3.put_object(Bucket="demo", Key="src", Body=b"changed")
    assert f.raw.get("demo", "copy").body == src + b"own"


def test_a_large_part_streams(through):
    """While half of a part has come, the store has begun to get it; the rest follows, over a property that allows one."""
    f, there = through(**{"alluxio.underfs.s3.upload.threads.max": "1", "alluxio.underfs.s3.multipart.upload.buffer.number": "1"})
    u = Up(f, "one")
    first, second = proc.content("first", 20 * MIB), proc.content("second", 3 * MIB)
    s = f.raw.connect()
    s.sendall(f"PUT /demo/one?uploadId={u.id}&partNumber=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(first)}\r\n\r\n".encode())
    s.sendall(first[: 12 * MIB])  # more than can be kept: the store takes it
    t = threading.Thread(target=lambda: u.part(2, second))
    t.start()
    t.join(0.5)
    assert t.is_alive() and there.parts() == {}, "one part at one time"
    s.sendall(first[12 * MIB :])
    assert s.recv(100).startswith(b"HTTP/1.1 200")
    t.join()
    u.tags[1], u.bodies[1] = f'"{proc.md5(first)}"', first
    u.complete()
    assert there.ufs.get("one") == u.body()


@pytest.mark.parametrize("async_", ["true", "false"])
def test_many_at_once(through, async_):
    f, there = through(**{"alluxio.underfs.object.store.multipart.upload.async": async_,
                          "alluxio.underfs.s3.upload.threads.max": "3",
                          "alluxio.underfs.s3.multipart.upload.buffer.number": "5"})
    u = Up(f, "many")
    ts = [threading.Thread(target=u.part, args=(n, proc.content(f"p{n}", 5 * MIB + n))) for n in range(1, 11)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    u.complete()
    assert f.raw.get("demo", "many").body == u.body() == there.ufs.get("many")


def test_store_fails(through, versity, proxy_to):
    """What the store says reaches the client, and the upload goes on when it is there again."""
    proxy = proxy_to(versity)
    f, there = through()
    u = Up(f, "f").part(1, proc.content("1", 5 * MIB))
    proxy.down()
    for body in (b"small", proc.content("large", 2 * MIB)):
        a = f.raw.send("PUT", f"/demo/f?uploadId={u.id}&partNumber=2", {}, body)
        assert a.status in (500, 503), a
    assert f.raw.send("POST", "/demo/g?uploads").status in (500, 503)
    proxy.up()
    u.part(2, proc.content("large", 2 * MIB))
    u.complete()
    assert there.ufs.get("f") == u.body()


POINTS = ["ufs.part.after", "meta.part.before", "meta.claim.before", "meta.claim.after", "ufs.complete.before", "ufs.complete.after",
          "meta.complete.before", "meta.complete.after"]


@pytest.mark.parametrize("policy", ["WRITE_THROUGH", "NO_CACHE"])
@pytest.mark.parametrize("point", POINTS)
def test_crash(through, point, policy):
    """Dead at each step: the upload can be finished by doing the last call again, and nothing but the object is left."""
    f, there = through(policy)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"old")
    u = Up(f, "k")
    f.restart(fault=f"{point}:kill")
    bodies = {1: proc.content("one", 5 * MIB), 2: b"two"}
    died = False
    for step in (lambda: u.part(1, bodies[1]), lambda: u.part(2, bodies[2]), u.complete):
        try:
            step()
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            assert not died
            died = True
            f.wait_dead(10)
            f.assert_fsck_clean()
            f.start()
            body = f.raw.get("demo", "k").body
            whole = bodies[1] + bodies[2]
            assert body == b"old" or (step == u.complete and body == whole)

            def again():
                try:
                    step()
                    return True
                except botocore.exceptions.ClientError as e:
                    assert e.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 503), e
                    return False

            proc.wait_for("the same call once more", again)
    assert died
    assert f.raw.get("demo", "k").body == u.body() == there.ufs.get("k")
    assert there.uploads() == []
    f.restart()
    assert f.raw.get("demo", "k").body == u.body()
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("point", ["ufs.abort.after", "meta.abort.before"])
def test_crash_during_abort(through, point):
    f, there = through()
    u = Up(f, "k").part(1, b"x")
    f.restart(fault=f"{point}:kill")
    with pytest.raises((botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)):
        f.s3.abort_multipart_upload(**u.at, UploadId=u.id)
    f.wait_dead(10)
    f.start()

    def again():
        a = f.raw.request("DELETE", "demo", "k", {"uploadId": u.id})
        assert a.status in (204, 409, 503), a
        return a.status == 204

    proc.wait_for("the same call once more", again)
    assert there.uploads() == [] and f.raw.list("demo") == []
    f.stop()
    f.assert_fsck_clean()


def test_crash_at_create(through):
    """The store's upload that no row names does no harm: the key can be written and uploaded again."""
    f, there = through()
    f.restart(fault="meta.upload.before:kill")
    with pytest.raises((botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)):
        Up(f, "k")
    f.wait_dead(10)
    f.start()
    u = Up(f, "k").part(1, b"x")
    u.complete()
    assert f.raw.get("demo", "k").body == b"x" == there.ufs.get("k")


class Dribble:
    """A client that begins a part and then hardly goes on."""

    def __init__(self, f, upload, number, size, first):
        self.s = f.raw.connect()
        at = f"/demo/{upload.at['Key']}?uploadId={upload.id}&partNumber={number}"
        self.s.sendall(f"PUT {at} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * first)
        self.over = threading.Event()
        self.t = threading.Thread(target=self._go)
        self.t.start()

    def _go(self):
        try:
            while not self.over.wait(0.2):
                self.s.sendall(b"x")
        except OSError:
            pass

    def answer(self):
        a, _ = rawhttp.read_answer(self.s)
        return a

    def close(self):
        self.over.set()
        self.t.join()
        self.s.close()


@pytest.mark.parametrize("size", [600_000, 6 * MIB])
def test_slow_clients_let_others_through(through, work, size):
    """Who hardly sends has no place before it brought something, and loses the one it has to those who wait."""
    trace = os.path.join(work, "trace")
    f, there = through(env={"FOREBAY_TRACE": trace}, **{"alluxio.underfs.s3.upload.threads.max": "2", "alluxio.underfs.s3.multipart.upload.buffer.number": "2"})
    u = Up(f, "fast")
    slow = [Dribble(f, u, 100 + i, size, 10) for i in range(4)]
    u.part(1, proc.content("1", 5 * MIB))  # these four hold nothing
    for d in slow:
        d.close()
    slow = [Dribble(f, u, 200 + i, size, 300_000) for i in range(2)]
    proc.wait_for("the slow ones to have both places", lambda: open(trace).read().count("fs.pass ") == 3)
    try:
        u.part(2, proc.content("2", 5 * MIB)).part(3, b"3")
    finally:
        for d in slow:
            d.over.set()
    u.complete()
    assert f.raw.get("demo", "fast").body == u.body() == there.ufs.get("fast")
    for d in slow:
        d.close()


@pytest.mark.parametrize("size", [0, 3000, 600_000, MIB, MIB + 1])
def test_a_part_that_was_refused_is_sent_again(through, versity, proxy_to, size):
    """While all of a part is here it can be sent again; one that streams cannot: its client is asked to."""
    proxy = proxy_to(versity)
    f, there = through(**{"forebay.ufs.retry.first.ms": "10"})
    u = Up(f, "again")
    refused = []

    def once(r):
        if r.method == "PUT" and "partNumber=1" in r.target and not refused:
            refused.append(r.target)
            return Action("throttle")

    proxy.rule = once
    body = proc.content("again", size)
    a = f.raw.send("PUT", f"/demo/again?uploadId={u.id}&partNumber=1", {}, body)
    assert refused
    if size <= MIB:
        assert a.status == 200 and there.parts() == {1: (size, proc.md5(body))}
    else:
        assert (a.status, a.code) == (503, "SlowDown")
    u.part(1, body).complete()
    assert there.ufs.get("again") == body


@pytest.mark.parametrize("size", [3000, 6 * MIB])
def test_the_last_of_two_with_one_number_wins(through, size):
    """Two parts with the same number at once: what is listed, and may be completed with, is what the store has."""
    f, there = through()
    f.restart(fault="meta.part.before:sleep 3000")  # the first one's row is late
    u = Up(f, "two")
    bodies = [proc.content("first", size), proc.content("second", size)]
    answers = []

    def send(body):
        answers.append(f.raw.send("PUT", f"/demo/two?uploadId={u.id}&partNumber=1", {}, body))

    first = threading.Thread(target=send, args=(bodies[0],))
    first.start()
    proc.wait_for("the first in the store", lambda: there.parts() == {1: (size, proc.md5(bodies[0]))})
    send(bodies[1])
    first.join()
    assert sorted(a.etag for a in answers) == sorted(proc.md5(b) for b in bodies)
    listed = f.s3.list_parts(**u.at, UploadId=u.id)["Parts"][0]["ETag"]
    assert there.parts() == {1: (size, listed.strip('"'))} and there.parts()[1][1] == proc.md5(bodies[1])
    u.tags, u.bodies = {1: listed}, {1: bodies[1]}
    u.complete()
    assert there.ufs.get("two") == bodies[1] == f.raw.get("demo", "two").body

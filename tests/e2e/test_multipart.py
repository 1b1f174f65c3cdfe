# SPDX-License-Identifier: Apache-2.0
"""Multipart uploads: parts, list validation, repeated Complete, abort, survival, orphans."""
import concurrent.futures
import hashlib
import http.client
import threading
import xml.etree.ElementTree as ET

import botocore.exceptions
import pytest

from lib import chunked, proc
from lib.model import mpu_etag

MIB = 1 << 20


def code(call, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(**kw)
    return e.value.response["Error"]["Code"]


class Up:
    def __init__(self, f, key, bucket="demo", **kw):
        self.f, self.at = f, {"Bucket": bucket, "Key": key}
        self.id = f.s3.create_multipart_upload(**self.at, **kw)["UploadId"]
        self.tags, self.bodies = {}, {}

    def part(self, n, body):
        r = self.f.s3.upload_part(**self.at, UploadId=self.id, PartNumber=n, Body=body)
        assert r["ETag"].strip('"') == proc.md5(body)
        self.tags[n], self.bodies[n] = r["ETag"], body
        return self

    def listed(self, numbers=None):
        return {"Parts": [{"PartNumber": n, "ETag": self.tags[n]} for n in numbers or sorted(self.tags)]}

    def complete(self, numbers=None, **kw):
        return self.f.s3.complete_multipart_upload(**self.at, UploadId=self.id, MultipartUpload=self.listed(numbers), **kw)

    def body(self, numbers=None):
        return b"".join(self.bodies[n] for n in numbers or sorted(self.bodies))


@pytest.mark.quick
def test_upload(wb, ufs):
    u = Up(wb, "m", ContentType="text/m", Metadata={"a": "b"})
    u.part(2, proc.content("2", 5 * MIB + 1)).part(1, proc.content("1", 5 * MIB)).part(7, proc.content("7", 10))
    r = u.complete()
    etag = mpu_etag([u.bodies[n] for n in (1, 2, 7)])
    assert r["ETag"] == f'"{etag}"' and r["Bucket"] == "demo" and r["Key"] == "m" and "Location" in r
    g = wb.s3.get_object(Bucket="demo", Key="m")
    assert g["Body"].read() == u.body() and g["ETag"] == f'"{etag}"'
    assert g["ContentType"] == "text/m" and g["Metadata"] == {"a": "b"}
    wb.wait_ufs(ufs, {"m": u.body()})
    assert wb.raw.head("demo", "m").etag == etag, "persistence changes no ETag"
    wb.restart()
    assert wb.raw.get("demo", "m").etag == etag
    a = wb.raw.get("demo", "m", {"Range": f"bytes={5 * MIB - 3}-{5 * MIB + 5}"})
    assert a.body == u.body()[5 * MIB - 3 : 5 * MIB + 6]


def test_many_parts(wb, ufs):
    """More parts than one row of the content holds, the last one small."""
    u = Up(wb, "many")
    body = proc.content("many", 5 * MIB)
    n = 40
    ts = [threading.Thread(target=u.part, args=(i, body)) for i in range(1, n)]
    for i in range(0, len(ts), 8):
        for t in ts[i : i + 8]:
            t.start()
        for t in ts[i : i + 8]:
            t.join()
    u.part(n, b"end")
    assert u.complete()["ETag"].strip('"').endswith(f"-{n}")
    assert wb.raw.head("demo", "many").headers["content-length"] == str((n - 1) * 5 * MIB + 3)
    a = wb.raw.get("demo", "many", {"Range": "bytes=-5"})
    assert a.body == body[-2:] + b"end"


def test_ten_thousand_parts_in_the_list(wb):
    """A list that names 10,000 parts is judged at once; one that was never uploaded is InvalidPart."""
    u = Up(wb, "list").part(1, b"x")
    parts = "".join(f"<Part><PartNumber>{i}</PartNumber><ETag>&quot;{'0' * 32}&quot;</ETag></Part>" for i in range(1, 10001))
    a = wb.raw.request("POST", "demo", "list", {"uploadId": u.id}, None,
                       f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
    assert (a.status, a.code) == (400, "InvalidPart")
    parts += f"<Part><PartNumber>10001</PartNumber><ETag>{'0' * 32}</ETag></Part>"
    a = wb.raw.request("POST", "demo", "list", {"uploadId": u.id}, None,
                       f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
    assert a.status == 400 and a.code in ("InvalidArgument", "MalformedXML", "InvalidPart")


def copy_parts(raw, at, id, source, numbers):
    """UploadPartCopy of a whole object as each of these parts, over one connection; returns {number: ETag}."""
    c, tags = http.client.HTTPConnection(raw.host, raw.port), {}
    for n in numbers:
        c.request("PUT", f"/{at}?partNumber={n}&uploadId={id}", headers={"x-amz-copy-source": source})
        r = c.getresponse()
        body = r.read()
        assert r.status == 200, body
        tags[n] = ET.fromstring(body).findtext("{*}ETag").strip('"')
    c.close()
    return tags


def test_complete_of_ten_thousand_parts(make, ufs):
    """Metadata alone: 10,000 parts of 5 MiB that share their bytes. Other PUTs go on while they are put together."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"})
    last, piece = 10000, proc.content("piece", 5 * MIB)
    f.s3.put_object(Bucket="demo", Key="piece", Body=piece)
    u = Up(f, "huge")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for tags in pool.map(lambda k: copy_parts(f.raw, "demo/huge", u.id, "/demo/piece", range(1 + k, last + 1, 4)), range(4)):
            u.tags |= tags
        assert len(u.tags) == last and set(u.tags.values()) == {proc.md5(piece)}
        over, puts = threading.Event(), []

        def put_until_over():
            while not puts or not over.is_set():
                puts.append(f.raw.put("demo", f"small/{len(puts)}", b"x" * 10240).status)

        beside = pool.submit(put_until_over)
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{u.tags[n]}</ETag></Part>" for n in range(1, last + 1))
        whole = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        a, again = (f.raw.request("POST", "demo", "huge", {"uploadId": u.id}, None, whole) for _ in range(2))
        over.set()
        beside.result()
    etag = hashlib.md5(bytes.fromhex(proc.md5(piece)) * last).hexdigest() + f"-{last}"
    assert a.status == 200 and a.xml().findtext("ETag").strip('"') == etag
    assert again.status == 200 and again.xml().findtext("ETag").strip('"') == etag
    assert set(puts) == {200}
    h = f.raw.head("demo", "huge")
    assert h.headers["content-length"] == str(last * 5 * MIB) and h.etag == etag
    at = 7776 * 5 * MIB
    assert f.raw.get("demo", "huge", {"Range": f"bytes={at - 3}-{at + 4}"}).body == piece[-3:] + piece[:5]
    assert f.raw.get("demo", "huge", {"Range": "bytes=-5"}).body == piece[-5:]


def test_t21_complete_repeated_gives_the_same_answer(wb):
    u = Up(wb, "rep").part(1, proc.content("r", 100))
    first = u.complete()
    assert u.complete()["ETag"] == first["ETag"]
    wb.restart("kill")
    assert u.complete()["ETag"] == first["ETag"]
    assert wb.raw.get("demo", "rep").body == u.body()
    # A later write of the key is not undone by a late repetition.
    wb.s3.put_object(Bucket="demo", Key="rep", Body=b"newer")
    try:
        u.complete()
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "NoSuchUpload"
    assert wb.raw.get("demo", "rep").body == b"newer"


def test_concurrent_completes(wb):
    u = Up(wb, "cc").part(1, b"c" * 1000)
    got = []

    def go():
        try:
            got.append(u.complete()["ETag"])
        except botocore.exceptions.ClientError as e:
            got.append(e.response["Error"]["Code"])

    ts = [threading.Thread(target=go) for _ in range(8)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    assert set(got) == {f'"{mpu_etag([b"c" * 1000])}"'}, got


def test_list_validation(wb):
    u = Up(wb, "lv").part(1, b"a" * (5 * MIB)).part(2, b"b" * 100).part(3, b"c" * 100)
    c = lambda parts: code(
        wb.s3.complete_multipart_upload, Bucket="demo", Key="lv", UploadId=u.id, MultipartUpload={"Parts": parts}
    )
    p = lambda n, tag=None: {"PartNumber": n, "ETag": tag or u.tags.get(n, '"' + "0" * 32 + '"')}
    assert c([p(2), p(1)]) == "InvalidPartOrder"
    assert c([p(1), p(1)]) == "InvalidPartOrder"
    assert c([p(1), p(4)]) == "InvalidPart"
    assert c([p(1, u.tags[2])]) == "InvalidPart"
    assert c([p(1), p(2), p(3)]) == "EntityTooSmall"
    for body in (b"", b"<x", b"<CompleteMultipartUpload/>", b"<CompleteMultipartUpload></CompleteMultipartUpload>"):
        a = wb.raw.request("POST", "demo", "lv", {"uploadId": u.id}, None, body)
        assert (a.status, a.code) == (400, "MalformedXML"), body
    assert wb.raw.get("demo", "lv").status == 404
    u.complete([1, 3])  # any ascending subset; part 2 is discarded
    assert wb.raw.get("demo", "lv").body == u.body([1, 3])


def test_part_numbers_and_unknown_uploads(wb):
    u = Up(wb, "pn")
    for n in ("0", "10001", "x", "-1", ""):
        a = wb.raw.request("PUT", "demo", "pn", {"uploadId": u.id, "partNumber": n}, None, b"x")
        assert (a.status, a.code) == (400, "InvalidArgument"), n
    for bad in ("0" * 32, "nonsense", u.id[:-1] + ("0" if u.id[-1] != "0" else "1")):
        assert wb.raw.request("PUT", "demo", "pn", {"uploadId": bad, "partNumber": "1"}, None, b"x").code == "NoSuchUpload"
        assert wb.raw.request("DELETE", "demo", "pn", {"uploadId": bad}).code == "NoSuchUpload"
    a = wb.raw.request("PUT", "demo", "other-key", {"uploadId": u.id, "partNumber": "1"}, None, b"x")
    assert a.code == "NoSuchUpload", "an upload belongs to its key"


def test_part_again_replaces_it(wb):
    u = Up(wb, "again").part(1, b"first").part(1, b"second one")
    old = u.tags[1]
    u.complete()
    assert wb.raw.get("demo", "again").body == b"second one" and old == f'"{proc.md5(b"second one")}"'


def test_failed_part_keeps_the_earlier(wb):
    u = Up(wb, "fp").part(1, b"good")
    a = wb.raw.request("PUT", "demo", "fp", {"uploadId": u.id, "partNumber": "1"}, {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, b"bad")
    assert a.code == "BadDigest"
    u.complete()
    assert wb.raw.get("demo", "fp").body == b"good"


def test_part_with_trailer_checksum(wb):
    body = proc.content("pt", 300_000)
    u = Up(wb, "pt")
    t = [("x-amz-checksum-crc32", chunked.checksum("crc32", body))]
    a = wb.raw.request("PUT", "demo", "pt", {"uploadId": u.id, "partNumber": "1"}, chunked.headers(body, chunked.UNSIGNED_TRAILER, t),
                       chunked.encode(body, trailers=t))
    assert a.status == 200 and a.etag == proc.md5(body)
    u.tags[1], u.bodies[1] = f'"{a.etag}"', body
    u.complete()
    assert wb.raw.get("demo", "pt").body == body


def test_abort(wb, ufs):
    u = Up(wb, "ab").part(1, b"x" * 1000)
    wb.s3.abort_multipart_upload(**u.at, UploadId=u.id)
    assert code(wb.s3.abort_multipart_upload, **u.at, UploadId=u.id) == "NoSuchUpload"
    assert code(wb.s3.upload_part, **u.at, UploadId=u.id, PartNumber=2, Body=b"y") == "NoSuchUpload"
    assert code(wb.s3.complete_multipart_upload, **u.at, UploadId=u.id, MultipartUpload=u.listed()) == "NoSuchUpload"
    assert wb.raw.get("demo", "ab").status == 404 and ufs.tree() == {}
    wb.stop()
    wb.assert_fsck_clean()


def test_abort_frees_the_space(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"},
             {"alluxio.worker.page.store.sizes": "64MB", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.8"})
    body = proc.content("af", 10 * MIB)
    for i in range(12):
        u = Up(f, f"af{i}").part(1, body).part(2, body)
        f.s3.abort_multipart_upload(**u.at, UploadId=u.id)
        if i >= 2:  # it is recycled in the background
            proc.wait_for("room", lambda: f.raw.put("demo", "probe", body).status == 200)
            f.s3.delete_object(Bucket="demo", Key="probe")


def test_upload_survives_a_crash(wb, ufs):
    """Left pending by one process and completed after kill -9 by another (magic committers)."""
    u = Up(wb, "surv").part(1, proc.content("s1", 5 * MIB))
    wb.restart("kill")
    u.f = wb
    u.part(2, b"tail")
    u.complete()
    assert wb.raw.get("demo", "surv").body == u.body()
    wb.wait_ufs(ufs, {"surv": u.body()})


def test_complete_over_an_existing_object(wb, ufs):
    wb.s3.put_object(Bucket="demo", Key="ov", Body=b"before")
    u = Up(wb, "ov").part(1, b"after" * 1000)
    assert wb.raw.get("demo", "ov").body == b"before"
    u.complete()
    assert wb.raw.get("demo", "ov").body == b"after" * 1000
    wb.wait_ufs(ufs, {"ov": b"after" * 1000})


def test_expired_uploads_are_removed(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"},
             {"forebay.multipart.expire": "2s", "alluxio.write.cache.async.file.check.period": "500ms"})
    u = Up(f, "exp").part(1, b"x" * 100_000)

    def gone():
        a = f.raw.request("GET", "demo", "exp", {"uploadId": u.id})
        return a.code == "NoSuchUpload" or f.raw.request("DELETE", "demo", "exp", {"uploadId": u.id}).code == "NoSuchUpload"

    # Asking must not keep it alive: one look after it expired.
    import time

    time.sleep(4)
    proc.wait_for("expiry", gone)


def test_orphaned_writes_are_removed(make, ufs):
    """kill -9 in the middle of bodies; after the timeout their space is free again and fsck is clean."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"},
             {"alluxio.write.cache.async.check.orphan.timeout": "1s", "alluxio.write.cache.async.file.check.period": "500ms",
              "alluxio.worker.page.store.sizes": "64MB", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.8"})
    for i in range(4):
        socks = []
        for j in range(2):
            s = f.raw.connect()
            s.sendall(f"PUT /demo/o{j} HTTP/1.1\r\nHost: x\r\nContent-Length: {20 * MIB}\r\n\r\n".encode() + b"z" * (12 * MIB))
            socks.append(s)
        f.restart("kill")
        for s in socks:
            s.close()
    assert f.raw.list("demo") == []
    proc.wait_for("room", lambda: f.raw.put("demo", "fits", proc.content("fits", 40 * MIB)).status == 200)
    f.wait_ufs(ufs, {"fits": proc.content("fits", 40 * MIB)})
    f.stop()
    f.assert_fsck_clean()


def test_copied_parts_leave_nothing_behind(make, ufs):
    """Aborted, replaced by another part, left out at Complete: the source is nobody's debtor, and goes when it is removed."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    src = proc.content("src", 6 << 20)
    f.s3.put_object(Bucket="demo", Key="src", Body=src)
    f.wait_all_persisted()

    def upload(key, *parts):
        """parts: (number, body or None for a copy of src)"""
        u = f.s3.create_multipart_upload(Bucket="demo", Key=key)["UploadId"]
        tags = {}
        for n, body in parts:
            if body is None:
                a = f.s3.upload_part_copy(Bucket="demo", Key=key, UploadId=u, PartNumber=n, CopySource="demo/src")["CopyPartResult"]
            else:
                a = f.s3.upload_part(Bucket="demo", Key=key, UploadId=u, PartNumber=n, Body=body)
            tags[n] = a["ETag"]
        return u, tags

    u, _ = upload("aborted", (1, None), (2, b"x"))
    f.s3.abort_multipart_upload(Bucket="demo", Key="aborted", UploadId=u)
    done = {"replaced": [(1, None), (1, b"one")], "left-out": [(1, b"one"), (2, None)]}
    for key, parts in done.items():
        u, tags = upload(key, *parts)
        f.s3.complete_multipart_upload(
            Bucket="demo", Key=key, UploadId=u, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tags[1]}]}
        )
    f.wait_all_persisted()

    def clean():
        f.stop()
        r = f.fsck()
        f.start()
        return r.code == 0

    proc.wait_for("a clean fsck", clean)
    used = f.metrics()["forebay_dropped_total"]
    f.raw.delete("demo", "src")
    proc.wait_for("the source's content to be dropped", lambda: f.metrics()["forebay_dropped_total"] > used)
    f.wait_ufs(ufs, {"replaced": b"one", "left-out": b"one"})
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("how", ["tags", "copy", "range"])
def test_what_is_borrowed_from_an_object_that_is_not_cached(make, ufs, how):
    """The source's object goes while the only other copy of its bytes is what borrows from it: they are brought here first."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    src = proc.content("src", (6 << 20) + 12345)
    f.s3.put_object(Bucket="demo", Key="src", Body=src)
    f.wait_all_persisted()
    f.cli("job", "free", "--path", "/demo/src")
    want = {"src": src}
    if how == "tags":
        f.s3.put_object_tagging(Bucket="demo", Key="src", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    elif how == "copy":
        f.cli("async-persist", "pause")
        f.s3.copy_object(Bucket="demo", Key="k", CopySource="demo/src")
        f.s3.copy_object(Bucket="demo", Key="src", CopySource="demo/k")
        f.cli("async-persist", "resume")
        want["k"] = src
    else:
        f.cli("async-persist", "pause")
        u = f.s3.create_multipart_upload(Bucket="demo", Key="k")["UploadId"]
        r = f.s3.upload_part_copy(
            Bucket="demo", Key="k", UploadId=u, PartNumber=1, CopySource="demo/src", CopySourceRange="bytes=100-5600000"
        )
        parts = [{"PartNumber": 1, "ETag": r["CopyPartResult"]["ETag"]}]
        f.s3.complete_multipart_upload(Bucket="demo", Key="k", UploadId=u, MultipartUpload={"Parts": parts})
        f.s3.delete_object(Bucket="demo", Key="src")
        want = {"k": src[100:5600001]}
        proc.wait_for("the source to go", lambda: ufs.get("src") is None)
        f.cli("async-persist", "resume")
    f.wait_ufs(ufs, want)
    f.wait_all_persisted(timeout=20)
    assert f.namespace("demo") == want
    f.stop()
    f.assert_fsck_clean()

# SPDX-License-Identifier: Apache-2.0
"""Persistence: NOT_PERSISTED becomes PERSISTED whatever the UFS does meanwhile. The T numbers are those of the checklist
of how other write caches lost data (docs/semantics.md names them too)."""
import os
import random
import shutil
import threading
import time

import pytest

from lib import proc
from lib.faultproxy import act, always, times
from lib.forebay import BIN, StartError
from lib.model import mpu_etag, seed
from lib.storm import Storm

MIB = 1 << 20
WB = {"/demo/**": "WRITE_BACK"}


@pytest.fixture(params=["versity", "moto"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def on(make, proxy_to, request):
    """on(store) -> (forebay, proxy, prefix): /demo WRITE_BACK over a prefix of the store, through the proxy. before: objects
    that are in the store already."""

    def build(store, before=None, **props):
        p = proxy_to(store)
        prefix = request.node.name.replace("[", "-").replace("]", "")[:60]
        for k, v in (before or {}).items():  # there before the mount looks first
            store.put(f"{prefix}/{k}", v)
        f = make({"/demo": store.uri(prefix)}, WB, {**store.properties(), **props})
        return f, p, prefix

    return build


def under(store, prefix):
    return {k[len(prefix) + 1:]: v for k in store.keys() if k.startswith(prefix + "/") and (v := store.get(k)) is not None}


def wait_store(f, store, prefix, want, timeout=90):
    from lib.forebay import diff

    seen = {}

    def same():
        seen["now"] = under(store, prefix)
        return seen["now"] == want

    try:
        proc.wait_for("the store", same, timeout)
    except AssertionError:
        raise AssertionError("the UFS did not become right:\n" + diff(want, seen["now"])) from None


@pytest.mark.quick
def test_not_persisted_becomes_persisted(on, versity):
    f, p, prefix = on(versity)
    p.down()
    f.s3.put_object(Bucket="demo", Key="k", Body=b"data")
    assert f.state("/demo/k") == "NOT_PERSISTED"
    assert "NOT_PERSISTED" in f.cli("fs", "ls", "/demo").out
    assert "/demo/k" in f.cli("async-persist", "list").out
    p.up()
    f.wait_persisted("/demo/k")
    out = f.cli("fs", "ls", "/demo").out
    assert "PERSISTED" in out and "NOT_PERSISTED" not in out
    assert "/demo/k" not in f.cli("async-persist", "list").out
    assert versity.get(f"{prefix}/k") == b"data"


def test_everything_arrives_with_its_metadata(on, store):
    f, p, prefix = on(store)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"data", ContentType="text/x-y", Metadata={"a": "b"}, CacheControl="no-store")
    big = proc.content("big", 23 * MIB)
    f.s3.put_object(Bucket="demo", Key="big", Body=big)
    wait_store(f, store, prefix, {"k": b"data", "big": big})
    h = store.head(f"{prefix}/k")
    assert h["ContentType"] == "text/x-y" and h["Metadata"] == {"a": "b"} and h["CacheControl"] == "no-store"
    assert h["ETag"].strip('"') == proc.md5(b"data")


def test_client_parts_are_kept_as_sent(on, store):
    """A multipart object has the same ETag in the UFS as here."""
    f, p, prefix = on(store)
    parts = [proc.content("p1", 6 * MIB), proc.content("p2", 5 * MIB), proc.content("p3", 99)]
    u = f.s3.create_multipart_upload(Bucket="demo", Key="m")["UploadId"]
    tags = [f.s3.upload_part(Bucket="demo", Key="m", UploadId=u, PartNumber=i + 1, Body=b)["ETag"] for i, b in enumerate(parts)]
    f.s3.complete_multipart_upload(
        Bucket="demo", Key="m", UploadId=u,
        MultipartUpload={"Parts": [{"PartNumber": i + 1, "ETag": t} for i, t in enumerate(tags)]},
    )
    wait_store(f, store, prefix, {"m": b"".join(parts)})
    assert store.head(f"{prefix}/m")["ETag"].strip('"') == mpu_etag(parts) == f.raw.head("demo", "m").etag


FAULTS = ["refuse", "reset", "throttle", "drop_answer", "repeat", "delay", "cut_answer", "garbage", "server_error"]


def fault_action(name):
    if name == "server_error":
        return act("status", status=500)
    return act(name, seconds=0.5)


@pytest.mark.parametrize("fault", FAULTS)
def test_retry_until_it_is_there(on, store, fault):
    """T7: every second write to the UFS goes wrong; then everything is there, once and right."""
    f, p, prefix = on(store)
    n = [0]

    def rule(r):
        if r.writes:
            n[0] += 1
            if n[0] % 2:
                return fault_action(fault)

    p.rule = rule
    want = {}
    for i in range(6):
        want[f"k{i}"] = proc.content(f"{fault}{i}", 1000 + i)
        f.s3.put_object(Bucket="demo", Key=f"k{i}", Body=want[f"k{i}"])
    want["big"] = proc.content(fault, 11 * MIB)
    f.s3.put_object(Bucket="demo", Key="big", Body=want["big"])
    f.s3.delete_object(Bucket="demo", Key="k0")
    del want["k0"]
    proc.wait_for("a fault", lambda: n[0] > 2)
    time.sleep(1)
    p.rule = None
    wait_store(f, store, prefix, want)
    f.wait_all_persisted()
    assert f.namespace("demo") == want


def test_attempts_are_counted_and_backed_off(on, versity):
    f, p, prefix = on(versity, **{"alluxio.worker.write.cache.async.persist.retry.initial.interval": "100ms"})
    f.raw.list("demo")
    p.rule = always(act("throttle"), lambda r: r.writes)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x")
    proc.wait_for("some attempts", lambda: p.count(lambda e: e[2] == "throttle") >= 3)
    stat = lambda: f.cli("async-persist", "stat", "--path", "/demo/k").out
    proc.wait_for("the reason", lambda: "slow" in stat().lower())
    assert "NOT_PERSISTED" in stat()
    p.rule = None
    f.wait_persisted("/demo/k")


@pytest.mark.parametrize("status,code", [(403, "AccessDenied"), (400, "InvalidRequest"), (507, "InsufficientStorage"), (404, "NoSuchBucket")])
def test_permanent_failure_keeps_the_data_and_says_so(on, versity, status, code):
    """T8: the data stays, the reason is shown, and it is persisted as soon as the cause is gone."""
    f, p, prefix = on(versity)
    p.rule = always(act("status", status=status, code=code), lambda r: r.writes)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"precious")
    proc.wait_for("attempts", lambda: p.count(lambda e: e[2] == "status") >= 3)
    assert f.raw.get("demo", "k").body == b"precious" and f.state("/demo/k") == "NOT_PERSISTED"
    f.restart("kill")
    assert f.raw.get("demo", "k").body == b"precious" and f.state("/demo/k") == "NOT_PERSISTED"
    p.rule = None
    f.wait_persisted("/demo/k")
    assert versity.get(f"{prefix}/k") == b"precious"


def test_t10_ufs_away_for_the_whole_test_and_back(on, versity):
    """No error while there is room, over restarts and kills; nothing lost."""
    f, p, prefix = on(versity)
    p.down()
    storm = Storm(f, clients=4, ops=40, seed=seed(), kinds=("put", "overwrite", "delete", "copy", "rename")).start().join()
    assert storm.acknowledged() == 160
    f.restart("kill")
    storm.check()
    f.restart("stop")
    state = storm.check()
    p.up()
    wait_store(f, versity, prefix, state)
    assert storm.check() == state


def test_t10_slow_ufs(on, versity):
    f, p, prefix = on(versity)
    p.rule = always(act("delay", seconds=1))
    want = {f"k{i}": proc.content(i, 5000) for i in range(10)}
    for k, v in want.items():
        f.s3.put_object(Bucket="demo", Key=k, Body=v)
    assert f.namespace("demo") == want
    p.rule = None
    wait_store(f, versity, prefix, want)


def test_t10_hanging_ufs(on, versity):
    """Requests that never get an answer end at their deadline and are repeated."""
    f, p, prefix = on(versity)
    p.rule = times(4, act("hang"), lambda r: r.writes)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 1000)
    f.s3.put_object(Bucket="demo", Key="l", Body=b"y" * 1000)
    wait_store(f, versity, prefix, {"k": b"x" * 1000, "l": b"y" * 1000})
    p.release()


def test_t3_delete_during_persist_does_not_come_back(on, store):
    """The upload arrives at the UFS after the delete was acknowledged."""
    f, p, prefix = on(store)
    for i in range(4):
        p.rule = times(1, act("delay", seconds=1), lambda r: r.method == "PUT" and r.path.endswith(f"/k{i}"))
        f.s3.put_object(Bucket="demo", Key=f"k{i}", Body=b"doomed")
        proc.wait_for("the upload", lambda: p.count(lambda e: e[2] == "delay") > i)
        f.s3.delete_object(Bucket="demo", Key=f"k{i}")
        assert f.raw.get("demo", f"k{i}").status == 404
    wait_store(f, store, prefix, {})
    time.sleep(2)
    assert under(store, prefix) == {} and f.raw.list("demo") == []


def test_t3_a_late_upload_does_not_come_back(on, store):
    """Nastier: the request was given up by the client and takes effect later, within its deadline."""
    f, p, prefix = on(store)
    p.rule = times(1, act("late", seconds=2), lambda r: r.method == "PUT" and r.path.endswith("/k"))
    f.s3.put_object(Bucket="demo", Key="k", Body=b"doomed")
    proc.wait_for("the upload", lambda: p.count(lambda e: e[2] == "late"))
    f.s3.delete_object(Bucket="demo", Key="k")
    time.sleep(4)
    wait_store(f, store, prefix, {})
    assert f.raw.get("demo", "k").status == 404 and f.raw.list("demo") == []
    f.restart()
    assert f.raw.list("demo") == []


@pytest.mark.parametrize("how", ["delay", "late", "repeat"])
def test_t3_old_version_does_not_land_over_the_new(on, store, how):
    f, p, prefix = on(store)
    p.rule = times(1, act(how, seconds=2), lambda r: r.method == "PUT" and r.path.endswith("/k"))
    f.s3.put_object(Bucket="demo", Key="k", Body=b"old" * 100)
    proc.wait_for("the upload", lambda: p.count(lambda e: e[2] == how))
    f.s3.put_object(Bucket="demo", Key="k", Body=b"new" * 90)
    assert f.raw.get("demo", "k").body == b"new" * 90
    time.sleep(3)
    wait_store(f, store, prefix, {"k": b"new" * 90})
    f.wait_all_persisted()
    assert f.raw.get("demo", "k").body == b"new" * 90


def one_after_the_other(*actions):
    """A rule: the first PUT gets the first action, the next PUT the second; later ones pass."""
    left, lock = list(actions), threading.Lock()

    def rule(r):
        with lock:
            return left.pop(0) if left and r.method == "PUT" else None

    rule.left = left
    return rule


@pytest.mark.parametrize("then", ["reset", "status"])
def test_what_a_request_left_is_remembered_when_the_next_one_fails_too(on, store, then):
    """The answer to the first overwrite is lost, the second one is lost or refused: the object of the first is ours still,
    and no reason for a conflict copy."""
    f, p, prefix = on(store)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"first")
    f.wait_persisted("/demo/k")
    p.rule = one_after_the_other(act("drop_answer"), act(then, status=403, code="AccessDenied"))
    f.s3.put_object(Bucket="demo", Key="k", Body=b"second")
    proc.wait_for("the upload", lambda: store.get(f"{prefix}/k") == b"second")
    f.s3.put_object(Bucket="demo", Key="k", Body=b"the third")
    proc.wait_for("both faults", lambda: not p.rule.left)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"the fourth one")
    wait_store(f, store, prefix, {"k": b"the fourth one"}, timeout=30)
    f.wait_all_persisted()


def test_t5_read_during_persist(on, versity):
    f, p, prefix = on(versity)
    p.rule = always(act("delay", seconds=1), lambda r: r.writes)
    body = proc.content("t5", 3 * MIB)
    f.s3.put_object(Bucket="demo", Key="k", Body=body)
    for _ in range(20):
        a = f.raw.get("demo", "k")
        assert a.status == 200 and a.body == body
        r = f.raw.get("demo", "k", {"Range": "bytes=1048570-1048600"})
        assert r.body == body[1048570:1048601]
        time.sleep(0.05)
    p.rule = None
    f.wait_persisted("/demo/k")
    assert f.raw.get("demo", "k").body == body


def test_t9_failed_overwrite_keeps_the_old_object(wb, ufs):
    wb.s3.put_object(Bucket="demo", Key="k", Body=b"old")
    wb.wait_ufs(ufs, {"k": b"old"})
    s = wb.raw.connect()
    s.sendall(b"PUT /demo/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    s.close()
    a = wb.raw.put("demo", "k", b"new", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert a.code == "BadDigest"
    assert wb.raw.get("demo", "k").body == b"old"
    assert ufs.tree() == {"k": b"old"}


def test_t11_unreachable_is_not_deleted(on, versity):
    """What is cached is served; what is not gives an error, never a 404 or an empty listing; nothing is dropped."""
    f, p, prefix = on(versity, {"outside": b"never looked at"}, **{"alluxio.user.file.metadata.sync.interval": "0s"})
    f.s3.put_object(Bucket="demo", Key="k", Body=b"mine")
    f.wait_persisted("/demo/k")
    p.down()
    a = f.raw.get("demo", "outside")
    assert a.status in (500, 503), a
    a = f.raw.get("demo", "k")
    assert (a.status == 200 and a.body == b"mine") or a.status in (500, 503)
    a = f.raw.request("GET", "demo", None, {"list-type": "2"})
    assert a.status in (500, 503) or b"<Key>k</Key>" in a.body
    p.up()
    proc.wait_for("the listing", lambda: f.raw.list("demo") == ["k", "outside"])
    assert f.raw.get("demo", "k").body == b"mine" and f.raw.get("demo", "outside").body == b"never looked at"


def test_t12_restart_with_a_backlog(on, versity):
    """Start is not held up by it; everything is listed, readable, deletable."""
    f, p, prefix = on(versity)
    p.down()
    want = {f"d{i % 7}/k{i:03}": proc.content(i, 3000 + i) for i in range(200)}
    for k, v in want.items():
        assert f.raw.put("demo", k, v).status == 200
    f.restart("kill")
    assert f.raw.list("demo") == sorted(want)
    assert f.namespace("demo") == want
    gone = sorted(want)[:50]
    for k in gone:
        assert f.raw.delete("demo", k).status == 204
        del want[k]
    assert f.raw.list("demo") == sorted(want)
    p.up()
    wait_store(f, versity, prefix, want)


def test_t2_kill_during_persist_resumes(on, store):
    f, p, prefix = on(store)
    want = {f"k{i}": proc.content(i, 20_000) for i in range(20)}
    want["big"] = proc.content("big", 20 * MIB)
    p.rule = always(act("delay", seconds=0.2), lambda r: r.writes)
    for k, v in want.items():
        f.s3.put_object(Bucket="demo", Key=k, Body=v)
    for _ in range(3):
        time.sleep(0.5)
        f.restart("kill")
    p.rule = None
    wait_store(f, store, prefix, want)
    f.wait_all_persisted()
    assert f.namespace("demo") == want
    # Uploads that died with a process are cleaned away, or at least never published.
    assert set(under(store, prefix)) == set(want)


def test_an_object_sent_in_parts_is_known_after_a_crash(on, store):
    """The store gives it another ETag than it has here, where a part is a piece of another object: the process that finds the
    object there does not take it for somebody else's."""
    f, p, prefix = on(store)
    src, rest = proc.content("src", 5 * MIB + 1000), b"the rest"
    part = src[1000:]
    f.s3.put_object(Bucket="demo", Key="k", Body=b"first")
    f.s3.put_object(Bucket="demo", Key="src", Body=src)
    f.wait_all_persisted()
    f.stop()
    f.start(fault="meta.mark.before:kill@1")
    u = f.s3.create_multipart_upload(Bucket="demo", Key="k")["UploadId"]
    a = f.s3.upload_part_copy(
        Bucket="demo", Key="k", UploadId=u, PartNumber=1, CopySource="demo/src", CopySourceRange=f"bytes=1000-{len(src) - 1}",
    )["CopyPartResult"]["ETag"]
    b = f.s3.upload_part(Bucket="demo", Key="k", UploadId=u, PartNumber=2, Body=rest)["ETag"]
    here = f.s3.complete_multipart_upload(
        Bucket="demo", Key="k", UploadId=u,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": a}, {"PartNumber": 2, "ETag": b}]},
    )["ETag"]
    f.wait_dead(60)
    assert store.head(f"{prefix}/k")["ETag"] != here, "the store gives the same ETag: the test shows nothing"
    f.start()
    f.wait_persisted("/demo/k")
    wait_store(f, store, prefix, {"k": part + rest, "src": src}, timeout=30)


def test_t18_second_process_is_refused(wb):
    import subprocess

    p = subprocess.run(
        [BIN, "standalone", "--data", wb.data, "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60 * proc.SLOW,
    )
    assert p.returncode != 0 and "ready" not in p.stdout
    assert wb.data in p.stderr or "another process" in p.stderr
    wb.s3.put_object(Bucket="demo", Key="k", Body=b"still serving")
    assert wb.fsck().code != 0, "fsck wants a stopped instance"
    assert wb.raw.get("demo", "k").body == b"still serving"


def test_t20_error_body_inside_a_stream_never_becomes_data(on, versity):
    """The UFS answers a read with half a body, or with an error document where the object should be."""
    body = proc.content("t20", 3 * MIB)
    f, p, prefix = on(versity, {"k": body})
    for fault in ("cut_answer", "garbage", "reset", "throttle"):
        p.rule = times(3, act(fault), lambda r: r.method == "GET" and r.path.endswith("/k"))
        try:
            a = f.raw.get("demo", "k")
            assert a.status != 200 or a.body == body, fault
        except (ConnectionError, OSError, Exception) as e:
            assert not isinstance(e, AssertionError), fault
        p.rule = None
        assert f.raw.get("demo", "k").body == body


def test_t22_lost_cache_volume(wb, ufs):
    """The data directory is gone: what the UFS has is served from there."""
    import shutil

    want = {f"d/{i}": proc.content(i, 30_000) for i in range(5)}
    for k, v in want.items():
        wb.s3.put_object(Bucket="demo", Key=k, Body=v)
    wb.wait_ufs(ufs, want)
    wb.stop()
    shutil.rmtree(wb.data)
    wb.start()
    assert wb.namespace("demo") == want
    wb.s3.put_object(Bucket="demo", Key="d/0", Body=b"again")
    wb.s3.delete_object(Bucket="demo", Key="d/1")
    want["d/0"] = b"again"
    del want["d/1"]
    wb.wait_ufs(ufs, want)


def page_files(data):
    out = []
    for d, _, files in os.walk(data):
        for n in files:
            p = os.path.join(d, n)
            if "/segments/" in p:
                out.append(p)
    return out


def flip_bits(f, marker):
    """Flip one bit in every place of the segment files where marker lies. Returns how many."""
    n = 0
    for p in page_files(f.data):
        with open(p, "r+b") as o:
            b = o.read()
            at = b.find(marker)
            while at >= 0:
                o.seek(at + len(marker) // 2)
                o.write(bytes([b[at + len(marker) // 2] ^ 1]))
                n += 1
                at = b.find(marker, at + 1)
    return n


def test_t19_silent_corruption_of_unpersisted_data_is_detected(on, versity):
    """Neither a reader nor the UFS ever gets the flipped bytes."""
    f, p, prefix = on(versity)
    p.down()
    body = proc.content("t19", 200_000)
    f.s3.put_object(Bucket="demo", Key="k", Body=body)
    f.s3.put_object(Bucket="demo", Key="fine", Body=b"fine")
    f.stop()
    assert flip_bits(f, body[100_000:100_032]) == 1
    f.start()
    try:
        a = f.raw.get("demo", "k")
        assert a.status >= 500 or a.body == body
    except (ConnectionError, OSError, Exception) as e:
        assert not isinstance(e, AssertionError)
    p.up()
    proc.wait_for("the other object", lambda: versity.get(f"{prefix}/fine") == b"fine")
    time.sleep(1)
    assert versity.get(f"{prefix}/k") is None
    assert f.state("/demo/k") == "NOT_PERSISTED"
    f.stop()


def test_t19_corruption_of_a_persisted_object_heals_from_the_ufs(wb, ufs):
    body = proc.content("t19b", 200_000)
    wb.s3.put_object(Bucket="demo", Key="k", Body=body)
    wb.wait_persisted("/demo/k")
    wb.stop()
    assert flip_bits(wb, body[100_000:100_032]) == 1
    wb.start()
    proc.wait_for("the read", lambda: wb.raw.get("demo", "k").body == body)


def test_t19_a_flipped_bit_in_the_metadata_log_stops_the_start(wb, ufs):
    """What was acknowledged is not given up silently: the start refuses, says what to do, and changes nothing."""
    for i in range(20):
        wb.s3.put_object(Bucket="demo", Key=f"key-number-{i:02}", Body=b"%d" % i)
    wb.kill9()
    meta = os.path.join(wb.data, "meta")
    (log,) = [os.path.join(meta, n) for n in os.listdir(meta) if n.endswith(".log")]
    good = open(log, "rb").read()
    at = good.find(b"key-number-15")
    assert at > 0
    with open(log, "r+b") as o:
        o.seek(at)
        o.write(bytes([good[at] ^ 1]))
    for _ in range(2):
        with pytest.raises(StartError) as e:
            wb.start()
        assert "forebay.kv.accept.loss" in str(e.value) and "is damaged" in str(e.value)
    assert wb.fsck().code == 2
    shutil.copytree(wb.data, wb.data + "-copy", ignore=shutil.ignore_patterns("*.sock"))
    with open(log, "r+b") as o:
        o.write(good)
    wb.start()
    assert sorted(wb.raw.list("demo")) == [f"key-number-{i:02}" for i in range(20)]
    wb.kill9()
    shutil.rmtree(wb.data)
    os.rename(wb.data + "-copy", wb.data)
    wb.props["forebay.kv.accept.loss"] = "true"
    wb.start()
    left = sorted(wb.raw.list("demo"))
    assert left[:15] == [f"key-number-{i:02}" for i in range(15)]
    wb.wait_all_persisted()
    del wb.props["forebay.kv.accept.loss"]
    wb.restart()
    wb.stop()
    wb.assert_fsck_clean()


def test_t1_eviction_never_takes_dirty_data(on, versity):
    """Far more than fits, uploads failing: refusals, but no dirty byte goes."""
    f, p, prefix = on(
        versity, {"clean": proc.content("clean", 20 * MIB)},
        **{"alluxio.worker.page.store.sizes": "64MB", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.5"},
    )
    assert len(f.raw.get("demo", "clean").body) == 20 * MIB
    p.rule = always(act("throttle"), lambda r: r.writes)
    kept, refused = {}, 0
    for i in range(40):
        b = proc.content(f"t1-{i}", 2 * MIB)
        a = f.raw.put("demo", f"k{i}", b)
        if a.status == 200:
            kept[f"k{i}"] = b
        else:
            assert (a.status, a.code) == (507, "InsufficientCapacity")
            refused += 1
        f.raw.get("demo", "clean")  # reading fills the cache all the time
    assert refused and kept
    for k, b in kept.items():
        assert f.raw.get("demo", k).body == b
    f.restart("kill")
    for k, b in kept.items():
        assert f.raw.get("demo", k).body == b
    p.rule = None
    kept["clean"] = proc.content("clean", 20 * MIB)
    wait_store(f, versity, prefix, kept)


@pytest.mark.timeout(300)
def test_storm_with_every_fault(on, store):
    """Random writes, random faults, two kills: the namespace and the UFS equal the acknowledged state."""
    f, p, prefix = on(store)
    rnd = random.Random(seed())
    lock = threading.Lock()

    def rule(r):
        with lock:
            if rnd.random() < 0.25 and (r.writes or rnd.random() < 0.2):
                name = rnd.choice(["refuse", "reset", "throttle", "drop_answer", "repeat", "delay", "late", "server_error"])
                return act("status", status=500) if name == "server_error" else act(name, seconds=rnd.random() * 1.5)

    p.rule = rule
    storm = Storm(f, clients=4, seed=seed(), kinds=("put", "overwrite", "delete", "copy", "rename")).start()
    time.sleep(4)
    f.kill9()
    storm.join()
    f.start()
    storm.check()
    time.sleep(2)
    f.restart("kill")
    p.rule = None
    state = storm.check()
    time.sleep(4)  # late requests have taken effect
    wait_store(f, store, prefix, state, timeout=120)
    assert f.namespace("demo") == state
    f.stop()
    f.assert_fsck_clean()

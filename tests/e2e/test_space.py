# SPDX-License-Identifier: Apache-2.0
"""Space and sick disks: a full pinned region, a full disk, a disk that returns EIO. Clean errors, no byte lost, recovery
without a restart."""
import threading
import time

import pytest

from lib import proc
from lib.disk import SmallDisk
from lib.faultproxy import act, always

MIB = 1 << 20
WB = {"/demo/**": "WRITE_BACK"}


def tight(mb=64, ratio=0.5):
    return {"alluxio.worker.page.store.sizes": f"{mb}MB", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": str(ratio)}


def fill_until_refused(f, size=2 * MIB, limit=200, name="fill"):
    kept = {}
    for i in range(limit):
        body = proc.content(f"{name}{i}", size)
        a = f.raw.put("demo", f"{name}{i}", body)
        if a.status != 200:
            assert (a.status, a.code) == (507, "InsufficientCapacity"), a
            assert a.xml().findtext("Message")
            return kept, a
        kept[f"{name}{i}"] = body
    raise AssertionError("never full")


def test_pinned_region_full_and_recovery(make, versity, proxy_to):
    for k in versity.keys():
        versity.delete(k)
    p = proxy_to(versity)
    f = make({"/demo": versity.uri()}, WB, {**versity.properties(), **tight()})
    f.raw.list("demo")
    p.rule = always(act("throttle"), lambda r: r.writes)
    kept, a = fill_until_refused(f)
    total = sum(map(len, kept.values()))
    assert 16 * MIB <= total <= 32 * MIB, f"pinned_ratio 0.5 of 64 MiB, took {total}"
    assert b"pinned.file.capacity.limit.ratio" in a.body, "the message names the property"
    assert f.namespace("demo") == kept
    assert f.raw.delete("demo", "fill0").status == 204, "deleting is always possible"
    del kept["fill0"]
    proc.wait_for("room after a delete", lambda: f.raw.put("demo", "small", b"x" * 1000).status == 200)
    kept["small"] = b"x" * 1000
    p.rule = None
    proc.wait_for("room after persistence", lambda: f.raw.put("demo", "more", proc.content("more", 8 * MIB)).status == 200)
    kept["more"] = proc.content("more", 8 * MIB)
    f.wait_ufs(versity, kept)
    assert f.namespace("demo") == kept


def test_a_body_too_large_for_the_pinned_region_is_refused_early(make, ufs):
    f = make({"/demo": ufs.uri()}, WB, tight())
    s = f.raw.connect()
    s.sendall(f"PUT /demo/huge HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {500 * MIB}\r\n\r\n".encode())
    from lib.rawhttp import read_answer

    a, interim = read_answer(s)
    assert (a.status, a.code) == (507, "InsufficientCapacity") and not interim
    assert f.raw.put("demo", "ok", b"x").status == 200


def test_more_data_than_cache_flows_through(make, ufs):
    """Persistence keeps up: four times the cache goes through it, and all can be read back."""
    f = make({"/demo": ufs.uri()}, WB, tight(64, 0.6))
    want = {}
    for i in range(64):
        body = proc.content(f"flow{i}", 4 * MIB)
        proc.wait_for("room", lambda: f.raw.put("demo", f"k{i}", body).status == 200)
        want[f"k{i}"] = proc.md5(body)
    for k, m in want.items():
        assert proc.md5(f.raw.get("demo", k).body) == m
    f.wait_all_persisted()
    f.stop()
    f.assert_fsck_clean()


def test_degrade_writes_through_when_full(make, versity, proxy_to):
    for k in versity.keys():
        versity.delete(k)
    p = proxy_to(versity)
    f = make({"/demo": versity.uri()}, WB, {**versity.properties(), **tight(), "forebay.write.full.policy": "degrade"})
    f.raw.list("demo")
    p.rule = always(act("throttle"), lambda r: r.writes and "fill" in r.path)
    want = {}
    for i in range(30):
        body = proc.content(f"fill{i}", 2 * MIB)
        name = f"fill{i}" if i < 12 else f"through{i}"
        a = f.raw.put("demo", name, body)
        if a.status == 200:
            want[name] = body
    assert any(k.startswith("through") for k in want)
    p.rule = None
    f.wait_ufs(versity, want)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_t16_disk_full(make, ufs, work, kind):
    """The disk itself is full, by somebody else: refusals, nothing torn or empty; room comes back, all goes on."""
    disk = SmallDisk(work, 256, kind)
    f = None
    try:
        f = make({"/demo": ufs.uri()}, WB, tight(128, 0.9) | {"forebay.page.keep.free": "16MB"}, data=disk.path + "/data")
        want = {"before": proc.content("before", 3 * MIB)}
        f.s3.put_object(Bucket="demo", Key="before", Body=want["before"])
        free = disk.fill(leave=0)
        refused = 0
        for i in range(40):
            body = proc.content(f"full{i}", 3 * MIB)
            a = f.raw.put("demo", f"full{i}", body)
            if a.status == 200:
                want[f"full{i}"] = body
            else:
                assert a.status in (500, 503, 507), a
                refused += 1
        assert refused, "the disk was never full"
        for k, v in want.items():
            assert f.raw.get("demo", k).body == v
        assert set(f.raw.list("demo")) == set(want), "nothing half there"
        free()
        proc.wait_for("recovery without a restart", lambda: f.raw.put("demo", "after", b"back" * 1000).status == 200, 90)
        want["after"] = b"back" * 1000
        f.wait_ufs(ufs, want)
        assert f.namespace("demo") == want
        f.restart("kill")
        assert f.namespace("demo") == want
        f.stop()
        f.assert_fsck_clean()
    finally:
        if f:
            f.close()
        disk.close()


@pytest.mark.root
def test_t16_disk_full_and_killed(make, ufs, work):
    """Killed while the disk is full; it starts again there."""
    disk = SmallDisk(work, 192, "ext4")
    f = None
    try:
        f = make({"/demo": ufs.uri()}, WB, tight(96, 0.9) | {"forebay.page.keep.free": "8MB"}, data=disk.path + "/data")
        f.cli("async-persist", "pause")
        want = {}
        free = disk.fill(leave=0)
        for i in range(60):
            body = proc.content(f"k{i}", 700_000)
            if f.raw.put("demo", f"k{i}", body).status == 200:
                want[f"k{i}"] = body
        f.kill9()
        free()
        f.start()
        f.cli("async-persist", "resume", check=False)
        assert f.namespace("demo") == want
        f.wait_ufs(ufs, want)
    finally:
        if f:
            f.close()
        disk.close()


@pytest.mark.parametrize("point,times", [("page.write:error IO", 3), ("page.sync:error IO", 3)])
def test_t17_eio_of_the_cache_disk(make, ufs, point, times):
    """Some writes or syncs fail: those requests get an error, nothing half is left, others are fine, no restart needed."""
    f = make({"/demo": ufs.uri()}, WB, start=False)
    f.start(fault=f"{point}@5*{times}")
    want, failed = {}, 0
    for i in range(40):
        body = proc.content(f"eio{i}", 10_000 + i)
        a = f.raw.put("demo", f"k{i}", body)
        if a.status == 200:
            want[f"k{i}"] = body
        else:
            assert a.status in (500, 503, 507), a
            failed += 1
    assert failed, "the fault was never seen"
    proc.wait_for("recovery", lambda: f.raw.put("demo", "after", b"fine").status == 200)
    want["after"] = b"fine"
    assert f.namespace("demo") == want
    f.wait_ufs(ufs, want)
    f.restart("kill")
    assert f.namespace("demo") == want
    f.stop()
    f.assert_fsck_clean()


def test_t17_read_error_of_a_persisted_object_falls_back_to_the_ufs(make, ufs):
    f = make({"/demo": ufs.uri()}, WB)
    body = proc.content("r", 3 * MIB)
    f.s3.put_object(Bucket="demo", Key="k", Body=body)
    f.wait_persisted("/demo/k")
    f.stop()
    f.start(fault="page.read:error IO*2")
    proc.wait_for("the bytes", lambda: f.raw.get("demo", "k").body == body)


def test_two_directories_one_fails(make, ufs, work):
    """Everything is on two disks; one stops taking writes; the other serves."""
    dirs = f"{work}/p1,{work}/p2"
    f = make({"/demo": ufs.uri()}, WB, {"alluxio.worker.page.store.dirs": dirs, "alluxio.worker.page.store.sizes": "64MB,64MB"}, start=False)
    f.start(fault="page.write:error IO@20, page.probe:error IO*3")
    want = {}
    for i in range(60):
        body = proc.content(f"td{i}", 20_000)
        if f.raw.put("demo", f"k{i}", body).status == 200:
            want[f"k{i}"] = body
    assert len(want) >= 50
    assert f.namespace("demo") == want
    f.wait_ufs(ufs, want)


def test_space_of_deleted_and_overwritten_objects_comes_back(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"}, tight(64, 0.8))
    body = proc.content("sp", 8 * MIB)
    for i in range(40):
        proc.wait_for("room", lambda: f.raw.put("demo", f"k{i % 2}", body).status == 200)
    small = proc.content("small", 30_000)
    for r in range(6):
        for i in range(300):
            proc.wait_for("room", lambda: f.raw.put("demo", f"s{i}", small).status == 200)
        for i in range(300):
            if i % 7:
                assert f.raw.delete("demo", f"s{i}").status == 204
    assert f.raw.get("demo", "s0").body == small


def whose(piece):
    """Which of the churning objects a piece is of."""
    for i in range(30):
        if piece and piece in proc.content(f"c{i}", 5 * MIB):
            return f"churn {i}"
    return piece[:40]


def test_clients_keep_their_bytes_while_pages_are_recycled(make, ufs):
    """Slow readers hold what they read while deletes, overwrites and eviction go on around them."""
    f = make({"/demo": ufs.uri()}, WB, tight(64, 0.8))
    body = proc.content("slow", 6 * MIB)
    f.s3.put_object(Bucket="demo", Key="slow", Body=body)
    f.wait_persisted("/demo/slow")
    got, errors = {}, []
    begun = threading.Barrier(5)

    def read(n):
        import time

        s = f.raw.connect()
        s.sendall(b"GET /demo/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        b = s.recv(256 * 1024)
        begun.wait(30)
        try:
            while True:
                p = s.recv(256 * 1024)
                if not p:
                    break
                b += p
                time.sleep(0.05)
        except OSError as e:
            errors.append(e)
        got[n] = b.split(b"\r\n\r\n", 1)[-1]

    ts = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for t in ts:
        t.start()
    begun.wait(30)
    f.raw.delete("demo", "slow")
    for i in range(30):
        f.raw.put("demo", f"churn{i % 5}", proc.content(f"c{i}", 5 * MIB))
    for t in ts:
        t.join()
    for b in got.values():
        wrong = next((i for i in range(0, len(b), 4096) if b[i : i + 4096] != body[i : i + len(b[i : i + 4096])]), None)
        assert wrong is None, f"bytes of somebody else at {wrong} of {len(b)}: {whose(b[wrong : wrong + 4096])}"
        assert b == body or errors or len(b) < len(body)
    assert any(b == body for b in got.values())


def slow_reader(f, key):
    """A GET whose answer has begun and is not read on."""
    s = f.raw.connect()
    s.sendall(f"GET /demo/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return s, s.recv(64 * 1024)


def rest_of(s, b):
    try:
        while p := s.recv(1 << 20):
            b += p
    except OSError:
        pass
    return b.split(b"\r\n\r\n", 1)[1]


BIG = 96 * MIB  # more than the page store of tight(64)


@pytest.fixture
def big(make, versity):
    """(make it with more properties, store): /demo/big is in the store only and does not fit in here."""
    for k in versity.keys():
        versity.delete(k)
    body = proc.content("big", MIB) * (BIG // MIB)
    versity.put("big", body)
    more = {**versity.properties(), **tight(), "alluxio.user.file.metadata.sync.interval": "0"}
    return lambda rules, p: make({"/demo": versity.uri()}, rules, more | p), versity, body


def test_a_deleted_object_stays_for_its_readers_where_it_does_not_fit_here(big):
    make_it, store, body = big
    f = make_it(WB, {})
    s, b = slow_reader(f, "big")
    f.raw.delete("demo", "big")
    assert f.raw.get("demo", "big").status == 404
    assert rest_of(s, b) == body
    f.wait_ufs(store, {})
    assert f.metrics()["forebay_readers_cut_total"] == 0


def test_but_not_longer_than_reader_hold(big):
    make_it, store, body = big
    f = make_it(WB, {"forebay.reader.hold": "2s"})
    s, b = slow_reader(f, "big")
    f.raw.delete("demo", "big")
    f.wait_ufs(store, {})
    got = rest_of(s, b)
    assert len(got) < BIG and body.startswith(got)
    assert f.metrics()["forebay_readers_cut_total"] >= 1


def test_a_write_through_does_not_wait_for_readers(big):
    make_it, store, body = big
    f = make_it({}, {})
    s, b = slow_reader(f, "big")
    assert f.raw.put("demo", "big", b"new").status == 200
    assert store.get("big") == b"new" and f.raw.get("demo", "big").body == b"new"
    got = rest_of(s, b)
    assert len(got) < BIG and body.startswith(got)
    assert f.metrics()["forebay_readers_cut_total"] == 1


def test_a_dangling_write_is_ended_and_its_space_comes_back(make, ufs):
    """alluxio.worker.mark.writing.files.duration: an open write without new data; the clock starts anew with each byte."""
    f = make({"/demo": ufs.uri()}, WB, tight() | {"alluxio.worker.mark.writing.files.duration": "4s"})
    body = proc.content("live", 4 * MIB)
    head = "PUT /demo/{} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
    dangling, live = f.raw.connect(), f.raw.connect()
    dangling.sendall(head.format("dangling", 20 * MIB).encode() + b"x" * (8 * MIB))
    live.sendall(head.format("live", len(body)).encode())

    def pinned():
        return sum(v for k, v in f.metrics().items() if k.startswith("forebay_page_bytes") and '"pinned"' in k)

    proc.wait_for("the reservation", lambda: pinned() >= 20 * MIB)
    for i in range(8):
        live.sendall(body[i * MIB // 2 : (i + 1) * MIB // 2])
        time.sleep(0.6)
    a = live.recv(4096)
    assert a.startswith(b"HTTP/1.1 200"), a
    proc.wait_for("room", lambda: pinned() < 20 * MIB)
    assert f.raw.list("demo") == ["live"]
    dangling.settimeout(30)
    assert b"RequestTimeout" in dangling.recv(4096)

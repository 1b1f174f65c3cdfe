# SPDX-License-Identifier: Apache-2.0
"""Power loss: Forebay's data on a disk that forgets what was not flushed.

Each sentence of the invariant "data before metadata, metadata before effects" has its case; the rest is the promise of the
policies: what was acknowledged is there and whole, nothing half, the UFS gets right, fsck is clean. The tests at the end
leave a sync out on purpose and must notice.
"""
import os
import random
import threading
import time

import pytest

from lib import proc
from lib.disk import ForgetfulDisk
from lib.forebay import StartError
from lib.model import Died, Refused, seed
from lib.storm import KIB, Storm
from lib.ufs import DirUfs

pytestmark = [pytest.mark.root, pytest.mark.timeout(1500)]

SMALL = {
    "alluxio.worker.page.store.sizes": "128MB",
    "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.6",
}
WRITE_BACK = {"/demo/**": "WRITE_BACK"}


@pytest.fixture
def disk(work):
    os.makedirs(os.path.join(work, "d1"))
    d = ForgetfulDisk(os.path.join(work, "d1"), mib=640)
    yield d
    d.close()


@pytest.fixture
def f(disk, work, ufs, make):
    """Nothing may use the disk any more when it is detached: torn down first."""
    return make({"/demo": ufs.uri()}, WRITE_BACK, SMALL, data=os.path.join(disk.path, "data"), start=False)


def power_cut(f, disks, s, percent):
    for d in disks:
        d.cut(s, percent)
    f.kill9()
    for d in disks:
        d.remount()


def after(f, ufs, storm):
    """Boot: everything acknowledged is there; the UFS follows; fsck is clean."""
    f.assert_fsck_clean()
    f.start()
    state = storm.check()
    f.wait_ufs(ufs, state)
    storm.check()
    assert f.stop() == 0
    f.assert_fsck_clean()


def storm_and_cut(f, disks, storm, s, percent, least=40):
    """Let the clients write, cut at a random moment after `least` acknowledged operations."""
    storm.start()
    proc.wait_for("acknowledged writes", lambda: storm.acknowledged() >= least, 60)
    time.sleep(random.Random(s).random() * 0.4)
    power_cut(f, disks, s, percent)
    storm.join()


# ---- what is acknowledged survives ----


@pytest.mark.parametrize("percent", [0, 50, 90])
@pytest.mark.parametrize("round", [1, 2])
def test_acknowledged_puts_survive(f, disk, ufs, round, percent):
    f.start()
    storm = Storm(f, seed=seed() * 100 + round)
    storm_and_cut(f, [disk], storm, seed() + round, percent)
    after(f, ufs, storm)


def test_acknowledged_uploads_survive(f, disk, ufs):
    f.start()
    storm = Storm(f, clients=3, seed=seed(), kinds=("mpu", "put", "overwrite"))
    storm_and_cut(f, [disk], storm, seed(), 30, least=12)
    after(f, ufs, storm)


def test_acknowledged_renames_survive(f, disk, ufs):
    f.start()
    storm = Storm(f, clients=4, seed=seed(), kinds=("rename", "put", "rename", "copy", "delete"))
    storm_and_cut(f, [disk], storm, seed(), 40, least=60)
    after(f, ufs, storm)


def test_cut_after_cut(f, disk, ufs):
    """What recovery does is itself safe from the next cut."""
    f.start()
    storm = Storm(f, seed=seed())
    storm_and_cut(f, [disk], storm, seed(), 50)
    for i in range(3):
        f.start()
        storm.check()
        if i == 1:
            f.s3.put_object(Bucket="demo", Key="c0/extra", Body=b"x" * 9000)
            storm.clients[0].w.state["demo", "c0/extra"] = b"x" * 9000
        power_cut(f, [disk], seed() + i, 40)
    after(f, ufs, storm)


def test_transient_and_write_through_survive_too(disk, work, make):
    ufs = DirUfs(os.path.join(work, "ufs"))
    f = make(
        {"/tr": ufs.uri("tr"), "/wt": ufs.uri("wt")}, {"/tr/**": "TRANSIENT", "/wt/**": "WRITE_THROUGH"}, SMALL,
        data=os.path.join(disk.path, "data"),
    )
    storms = [Storm(f, bucket=b, clients=3, seed=seed()).start() for b in ("tr", "wt")]
    proc.wait_for("acknowledged writes", lambda: min(s.acknowledged() for s in storms) >= 20, 60)
    power_cut(f, [disk], seed(), 60)
    for s in storms:
        s.join()
    f.assert_fsck_clean()
    f.start()
    storms[0].check()
    state = storms[1].check()
    f.wait_ufs(DirUfs(os.path.join(work, "ufs", "wt")), state)
    assert DirUfs(os.path.join(work, "ufs", "tr")).tree() == {}, "TRANSIENT data reached the UFS"


# ---- the invariant, sentence by sentence ----


@pytest.mark.parametrize("s", range(4))
def test_a_commit_is_durable_only_after_the_pages_it_names(f, disk, ufs, s):
    """Metadata may be on the disk without its sync; then its data is too. PUTs that were never answered: a random part of
    what was not flushed survives, so a commit may be there that nobody was told of. Whole or not at all."""
    f.start(fault="page.seal.before_sync:sleep 30*0, kv.commit.after:sleep 30*0")
    storm = Storm(f, clients=10, seed=seed() * 10 + s, kinds=("put", "overwrite"))
    storm_and_cut(f, [disk], storm, seed() * 10 + s, 80)
    after(f, ufs, storm)


def test_pages_are_not_recycled_before_the_commit_that_frees_them_is_durable(disk, work, make, ufs):
    """Overwrites and deletes in a small store, so that space is reused at once; those never answered must leave the old
    bytes whole."""
    f = make(
        {"/demo": ufs.uri()}, WRITE_BACK, dict(SMALL, **{"alluxio.worker.page.store.sizes": "64MB"}),
        data=os.path.join(disk.path, "data"), start=False,
    )
    f.start(fault="kv.commit.after:sleep 20*0")
    storm = Storm(f, clients=8, seed=seed(), kinds=("overwrite", "delete", "put", "overwrite"))
    storm_and_cut(f, [disk], storm, seed(), 0, least=300)
    after(f, ufs, storm)


@pytest.mark.parametrize("what", ["delete", "rename", "overwrite"])
def test_the_ufs_is_not_changed_before_the_commit_is_durable(f, disk, ufs, what):
    """A change that is committed but not synced when the power goes is forgotten; nothing of it may have reached the UFS."""
    old, new = proc.content("old", 70 * KIB), proc.content("new", 60 * KIB)
    f.start()
    f.s3.put_object(Bucket="demo", Key="a", Body=old)
    f.wait_ufs(ufs, {"a": old})
    f.stop()
    f.start(fault="kv.commit.after:sleep 1500*0")  # commits are visible long before they are synced

    def change():
        try:
            if what == "delete":
                f.s3.delete_object(Bucket="demo", Key="a")
            elif what == "rename":
                f.cli("fs", "mv", "/demo/a", "/demo/b", check=False)
            else:
                f.s3.put_object(Bucket="demo", Key="a", Body=new)
        except Exception:
            pass  # the power goes before the answer

    t = threading.Thread(target=change)
    t.start()
    time.sleep(1)
    assert ufs.tree() == {"a": old}, "the UFS was changed for a commit that is not durable"
    power_cut(f, [disk], 1, 0)
    t.join()
    f.start()
    state = f.namespace("demo")
    assert state in ({"a": old}, {"delete": {}, "rename": {"b": old}, "overwrite": {"a": new}}[what])
    f.wait_ufs(ufs, state)
    assert f.namespace("demo") == state


def test_an_answer_is_not_given_before_the_commit_it_shows_is_durable(f, disk, ufs):
    """A reader over TCP who saw version n of an object still finds n or a later one after the power cut."""
    f.start(fault="kv.commit.after:sleep 10*0")
    seen, stop, acked = [-1] * 4, threading.Event(), [-1]

    def body(n):
        return n.to_bytes(8, "big") * 3000

    def write():
        n = 0
        try:
            while not stop.is_set():
                f.s3.put_object(Bucket="demo", Key="v", Body=body(n))
                acked[0] = n
                n += 1
        except Exception:
            pass

    def read(i):
        try:
            raw = f.raw
            while not stop.is_set():
                a = raw.get("demo", "v")
                if a.status == 200:
                    n = int.from_bytes(a.body[:8], "big")
                    assert a.body == body(n)
                    assert n >= seen[i]
                    seen[i] = n
        except OSError:
            pass

    ts = [threading.Thread(target=write)] + [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for t in ts:
        t.start()
    proc.wait_for("some versions", lambda: min(seen) > 20 and acked[0] > 20, 60)
    power_cut(f, [disk], 3, 0)
    stop.set()
    for t in ts:
        t.join()
    f.start()
    b = f.raw.get("demo", "v").body
    n = int.from_bytes(b[:8], "big")
    assert b == body(n)
    assert n >= max(seen + acked), f"version {n} after the cut, {max(seen)} was read and {acked[0]} acknowledged before"


def test_persisted_is_said_only_of_what_the_ufs_keeps(disk, work, make):
    """Both disks lose power: Forebay's and the directory UFS's. What was marked persisted is not lost."""
    os.makedirs(os.path.join(work, "d2"))
    other = ForgetfulDisk(os.path.join(work, "d2"), mib=256)
    try:
        where = os.path.join(other.path, "ufs")
        f = make({"/demo": DirUfs(where).uri()}, WRITE_BACK, SMALL, data=os.path.join(disk.path, "data"))
        storm = Storm(f, clients=4, seed=seed(), kinds=("put", "overwrite"))
        storm_and_cut(f, [disk, other], storm, seed(), 0, least=150)
        os.makedirs(where, exist_ok=True)
        f.start()
        f.cli("job", "free", check=False)  # now clean pages are gone: reads come from the UFS
        state = storm.check()
        f.wait_ufs(DirUfs(where), state)
        f.close()
    finally:
        f.close()
        other.close()


# ---- at every fault point ----


def stopped(pid):
    with open(f"/proc/{pid}/stat") as s:
        return s.read().rsplit(")", 1)[1].split()[0] in "Tt"


def cut_when_stopped(f, disk, s, percent, done):
    """In a thread: the power goes at the very moment the process stops itself at a fault point."""
    pid = f.p.pid
    while not done.is_set():
        try:
            if stopped(pid):
                disk.cut(s, percent)
                os.kill(pid, 9)
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.002)


def points():
    from points import POINTS

    return POINTS


@pytest.mark.slow
@pytest.mark.parametrize("point", points())
def test_power_cut_at_fault_point(point, disk, work, versity):
    from points import fault
    from workload import Rig

    rnd = random.Random(f"{seed()} {point}")
    hit, percent = rnd.choice([1, 2, 4, 9, 16]), rnd.choice([0, 30, 60, 95])
    r = Rig(work, versity, data=os.path.join(disk.path, "data"))
    try:
        done = threading.Event()
        watcher = None
        try:
            # Points on the way of a start stop it before it is ready: then power goes during that first start.
            r.f.start(fault=fault(point, f"stop@{hit}"), timeout=5)
            watcher = threading.Thread(target=cut_when_stopped, args=(r.f, disk, hit, percent, done))
            watcher.start()
            r.run()
        except (Died, Refused, StartError):
            pass
        done.set()
        if watcher:
            watcher.join()
        if not disk.figures()["cut"]:
            disk.cut(hit, percent)
        r.f.kill9()
        disk.remount()
        r.recover()
    finally:
        r.close()


# ---- a sync left out is noticed ----


def loses_something(f, disk, ufs, fault, rounds=4):
    for i in range(rounds):
        f.start(fault=fault)
        storm = Storm(f, clients=4, seed=i, ops=30, kinds=("put",)).start().join()
        assert storm.acknowledged() == 120
        power_cut(f, [disk], i, 0)
        try:
            if f.fsck().code != 0:
                return True
            f.start()
            storm.check()
        except (AssertionError, StartError):
            return True
        for c in storm.clients:
            for k in c.w.bucket("demo"):
                f.s3.delete_object(Bucket="demo", Key=k)
        f.stop()
    return False


@pytest.mark.parametrize("point", ["test.skip.page_sync", "test.skip.kv_sync"])
def test_a_sync_left_out_is_noticed(f, disk, ufs, point):
    assert loses_something(f, disk, ufs, f"{point}:error IO*0"), f"{point}: the rig did not notice that nothing was synced"


def test_the_same_without_leaving_it_out(f, disk, ufs):
    assert not loses_something(f, disk, ufs, None, rounds=1)

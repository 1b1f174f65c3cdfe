# SPDX-License-Identifier: Apache-2.0
"""Renames reach the UFS: at once in the namespace, then by copies in the background. Another client of the UFS, sampled all
the time, sees old, both or new; a key never holds what belongs elsewhere."""
import threading
import time

import pytest

from lib import proc
from lib.faultproxy import act
from lib.ufs import DirUfs, Prefix

WB = {"/demo/**": "WRITE_BACK"}
KIB = 1024


class Sampler(threading.Thread):
    """Looks at the UFS all the time; `bad` collects what no other client may ever see: a key whose bytes are none of those
    allowed for it, an object that is nowhere, or one that was deleted or replaced and is back."""

    def __init__(self, ufs, allowed, alive):
        """allowed: {key: set of contents it may have}; alive: contents of which one copy at least must be somewhere."""
        super().__init__(daemon=True)
        self.ufs, self.allowed, self.alive = ufs, allowed, alive
        self.bad, self.samples = [], 0
        self._halt = threading.Event()

    def run(self):
        while not self._halt.is_set():
            # Not a snapshot: a rename may overtake the walk, so what is missing must be missing twice in a row.
            first, second = self.ufs.tree(), self.ufs.tree()
            for k, v in second.items():
                if v not in self.allowed.get(k, ()):
                    self.bad.append(f"{k!r} holds {v[:20]!r}")
            for v in self.alive:
                if v not in first.values() and v not in second.values() and v not in self.ufs.tree().values():
                    self.bad.append(f"{v[:20]!r} is nowhere")
            self.samples += 1
            self._halt.wait(0.002)

    def stop(self):
        self._halt.set()
        self.join()
        assert self.samples
        assert not self.bad, self.bad[:5]


def sampled(ufs, allowed, alive):
    s = Sampler(ufs, allowed, alive)
    s.start()
    return s


def over(request, make, work, **props):
    """(forebay, ufs) over the UFS that the parameter names."""
    if request.param == "dir":
        u = DirUfs(work + "/ufs")
        return make({"/demo": u.uri()}, WB, props), u
    store = request.getfixturevalue(request.param)
    for k in store.keys():
        store.delete(k)
    return make({"/demo": store.uri()}, WB, {**store.properties(), **props}), store


@pytest.fixture(params=["dir", "versity", "moto"])
def rig(request, make, work):
    return over(request, make, work)


@pytest.fixture(params=["dir", "versity", "moto"])
def asking(request, make, work):
    """It asks the UFS each time."""
    return over(request, make, work, **{"alluxio.user.file.metadata.sync.interval": "0s"})


def fill(f, ufs, files):
    for k, v in files.items():
        f.s3.put_object(Bucket="demo", Key=k, Body=v)
    f.wait_ufs(ufs, files)


def mv(f, a, b):
    f.cli("fs", "mv", f"/demo/{a}", f"/demo/{b}")


@pytest.mark.quick
def test_file(rig):
    f, ufs = rig
    v = proc.content("v", 40 * KIB)
    fill(f, ufs, {"a": v, "other": b"o"})
    s = sampled(ufs, {"a": {v}, "b": {v}, "other": {b"o"}}, [v])
    mv(f, "a", "b")
    assert f.namespace("demo") == {"b": v, "other": b"o"}
    f.wait_ufs(ufs, {"b": v, "other": b"o"})
    s.stop()
    f.restart()
    assert f.namespace("demo") == {"b": v, "other": b"o"}


def test_chain_and_back(rig):
    f, ufs = rig
    v = proc.content("v", 5 * KIB)
    fill(f, ufs, {"a": v})
    s = sampled(ufs, {k: {v} for k in ["a", "b", "c", "d", "x1"]}, [v])
    for x, y in zip("abcdbac", "bcdbaca"):
        if f.raw.head("demo", x).status == 200:
            mv(f, x, y)
    (k,) = f.namespace("demo")
    f.wait_ufs(ufs, {k: v})
    mv(f, k, "x1")
    mv(f, "x1", k)  # A -> B -> A
    f.wait_all_persisted()
    f.wait_ufs(ufs, {k: v})
    s.stop()
    assert f.namespace("demo") == {k: v}


def test_swap(rig):
    f, ufs = rig
    a, b = b"A" * 3000, b"B" * 3001
    fill(f, ufs, {"a": a, "b": b})
    s = sampled(ufs, {"a": {a, b}, "b": {a, b}, "t": {a}}, [a, b])
    mv(f, "a", "t")
    mv(f, "b", "a")
    mv(f, "t", "b")
    assert f.namespace("demo") == {"a": b, "b": a}
    f.wait_ufs(ufs, {"a": b, "b": a})
    s.stop()
    assert f.namespace("demo") == {"a": b, "b": a}


def test_cycle_of_five(rig):
    f, ufs = rig
    vs = {f"k{i}": b"%d" % i * (1000 + i) for i in range(5)}
    fill(f, ufs, vs)
    every = set(vs.values())
    s = sampled(ufs, {**{k: every for k in vs}, "t": every}, list(every))
    mv(f, "k4", "t")
    for i in range(3, -1, -1):
        mv(f, f"k{i}", f"k{i + 1}")
    mv(f, "t", "k0")
    want = {f"k{(i + 1) % 5}": vs[f"k{i}"] for i in range(5)}
    assert f.namespace("demo") == want
    f.wait_ufs(ufs, want)
    s.stop()


def test_mv_does_not_replace(rig):
    f, ufs = rig
    files = {"a": b"A" * 900, "b": b"B" * 901}
    fill(f, ufs, files)
    r = f.cli("fs", "mv", "/demo/a", "/demo/b", check=False)
    assert r.code != 0 and "exists" in r.err
    assert f.namespace("demo") == files and ufs.tree() == files


def test_delete_then_rename_into_the_place(rig):
    f, ufs = rig
    a, b = b"A" * 9000, b"B" * 9001
    fill(f, ufs, {"a": a, "b": b})
    s = sampled(ufs, {"a": {a}, "b": {a, b}}, [a])
    f.s3.delete_object(Bucket="demo", Key="b")
    mv(f, "a", "b")
    assert f.namespace("demo") == {"b": a}
    f.wait_ufs(ufs, {"b": a})
    s.stop()


def test_directory(rig):
    f, ufs = rig
    files = {f"d/{i}": b"%d" % i * 900 for i in range(12)}
    files["d/sub/deep/x"] = b"deep" * 200
    fill(f, ufs, {**files, "d-not": b"stays"})
    moved = {"e" + k[1:]: v for k, v in files.items()}
    s = sampled(ufs, {**{k: {v} for k, v in [*files.items(), *moved.items()]}, "d-not": {b"stays"}}, list(files.values()))
    mv(f, "d", "e")
    assert f.namespace("demo") == {**moved, "d-not": b"stays"}
    assert f.raw.list("demo", "", "/") == (["d-not"], ["e/"])
    f.wait_ufs(ufs, {**moved, "d-not": b"stays"})
    s.stop()


def test_directories_swapped(rig):
    f, ufs = rig
    one = {f"{i}": b"one%d" % i * 300 for i in range(4)}
    two = {f"{i}": b"two%d" % i * 301 for i in range(2, 6)}
    fill(f, ufs, {**{"p/" + k: v for k, v in one.items()}, **{"q/" + k: v for k, v in two.items()}})
    mv(f, "p", "t")
    mv(f, "q", "p")
    mv(f, "t", "q")
    want = {**{"q/" + k: v for k, v in one.items()}, **{"p/" + k: v for k, v in two.items()}}
    assert f.namespace("demo") == want
    f.wait_ufs(ufs, want)
    f.restart("kill")
    assert f.namespace("demo") == want


def test_directory_into_its_former_child_place_and_new_files_at_the_old(rig):
    """Rename, then write under the old names before anything settled."""
    f, ufs = rig
    fill(f, ufs, {"d/1": b"old1", "d/2": b"old2", "x": b"oldx"})
    mv(f, "d", "e")
    mv(f, "x", "y")
    f.s3.put_object(Bucket="demo", Key="d/1", Body=b"new1")
    f.s3.put_object(Bucket="demo", Key="x", Body=b"newx")
    want = {"e/1": b"old1", "e/2": b"old2", "y": b"oldx", "d/1": b"new1", "x": b"newx"}
    assert f.namespace("demo") == want
    f.wait_ufs(ufs, want)
    assert f.namespace("demo") == want


def test_rename_then_delete(rig):
    f, ufs = rig
    fill(f, ufs, {"a": b"a" * 100, "d/1": b"1" * 100, "d/2": b"2" * 100, "z": b"z"})
    mv(f, "a", "b")
    f.s3.delete_object(Bucket="demo", Key="b")
    mv(f, "d", "e")
    f.cli("fs", "rm", "-R", "/demo/e")
    assert f.namespace("demo") == {"z": b"z"}
    f.wait_ufs(ufs, {"z": b"z"})
    f.restart()
    assert f.namespace("demo") == {"z": b"z"}
    f.s3.put_object(Bucket="demo", Key="d/1", Body=b"again")
    f.wait_ufs(ufs, {"z": b"z", "d/1": b"again"})


def test_copy_then_delete_the_source(rig):
    f, ufs = rig
    v = proc.content("v", 300 * KIB)
    fill(f, ufs, {"a": v})
    f.s3.copy_object(Bucket="demo", Key="b", CopySource="demo/a")
    f.s3.delete_object(Bucket="demo", Key="a")
    f.s3.copy_object(Bucket="demo", Key="c", CopySource="demo/b")
    f.s3.put_object(Bucket="demo", Key="b", Body=b"other")
    f.wait_ufs(ufs, {"b": b"other", "c": v})
    assert f.namespace("demo") == {"b": b"other", "c": v}


def test_unpersisted_files_follow_their_rename(rig):
    """T4: temp + rename before anything was uploaded, again and again."""
    f, ufs = rig
    last = None
    for i in range(15):
        last = proc.content(i, 20_000)
        f.s3.put_object(Bucket="demo", Key="ckpt.tmp", Body=last)
        f.s3.delete_object(Bucket="demo", Key="ckpt")
        mv(f, "ckpt.tmp", "ckpt")
    assert f.namespace("demo") == {"ckpt": last}
    f.wait_ufs(ufs, {"ckpt": last})


def test_etag_and_metadata_survive_rename_and_settle(rig):
    f, ufs = rig
    f.s3.put_object(Bucket="demo", Key="a", Body=b"meta", ContentType="x/y", Metadata={"k": "v"})
    f.wait_ufs(ufs, {"a": b"meta"})
    mv(f, "a", "b")
    f.wait_ufs(ufs, {"b": b"meta"})
    f.wait_all_persisted()
    for _ in range(2):
        h = f.s3.head_object(Bucket="demo", Key="b")
        assert h["ETag"] == f'"{proc.md5(b"meta")}"' and h["ContentType"] == "x/y" and h["Metadata"] == {"k": "v"}
        f.restart()


@pytest.mark.parametrize("fault", ["reset", "drop_answer", "repeat", "throttle", "late"])
def test_settle_under_faults(make, versity, proxy_to, fault):
    """Every second request that changes the UFS goes wrong while swaps and directory renames settle."""
    for k in versity.keys():
        versity.delete(k)
    p = proxy_to(versity)
    f = make({"/demo": versity.uri()}, WB, versity.properties())
    files = {"a": b"A" * 500, "b": b"B" * 501, "d/1": b"1" * 99, "d/2": b"2" * 98}
    fill(f, versity, files)
    n = [0]

    def rule(r):
        if r.writes:
            n[0] += 1
            if n[0] % 2:
                return act(fault, seconds=0.7)

    p.rule = rule
    mv(f, "a", "t")
    mv(f, "b", "a")
    mv(f, "t", "b")
    mv(f, "d", "e")
    f.s3.put_object(Bucket="demo", Key="d/1", Body=b"new")
    want = {"a": files["b"], "b": files["a"], "e/1": files["d/1"], "e/2": files["d/2"], "d/1": b"new"}
    assert f.namespace("demo") == want
    proc.wait_for("a fault", lambda: n[0] > 2)
    f.restart("kill")
    assert f.namespace("demo") == want
    time.sleep(2)
    p.rule = None
    f.wait_ufs(versity, want, timeout=120)
    assert f.namespace("demo") == want


def test_reader_of_a_renamed_object_after_eviction(rig):
    """Unsettled and evicted: bytes come from where the object still lies."""
    f, ufs = rig
    v = proc.content("v", 200 * KIB)
    fill(f, ufs, {"a": v})
    mv(f, "a", "b")
    f.cli("job", "free", "--path", "/demo", check=False)
    assert f.raw.get("demo", "b").body == v
    f.wait_ufs(ufs, {"b": v})
    f.cli("job", "free", "--path", "/demo", check=False)
    assert f.raw.get("demo", "b").body == v


def test_mv_refusals(rig):
    f, ufs = rig
    fill(f, ufs, {"a": b"a", "d/x": b"x"})
    assert f.cli("fs", "mv", "/demo/none", "/demo/b", check=False).code != 0
    r = f.cli("fs", "mv", "/demo/d", "/demo/d/sub", check=False)
    assert r.code != 0, "a directory cannot move below itself"
    assert f.namespace("demo") == {"a": b"a", "d/x": b"x"}


def pause(f, on):
    f.cli("async-persist", "pause" if on else "resume")


def shows(f, want):
    proc.wait_for("the namespace", lambda: f.namespace("demo") == want)


def moved_and_overwritten(f, ufs, theirs):
    """v was renamed from a to b here; before the object moved, somebody put theirs at a (None: removed it)."""
    v = proc.content("v", 40 * KIB)
    fill(f, ufs, {"a": v})
    pause(f, True)
    mv(f, "a", "b")
    if theirs is None:
        ufs.delete("a")
    else:
        ufs.put("a", theirs)
    return v


def test_the_object_of_a_moved_file_was_changed_and_its_bytes_are_here(asking):
    """Neither is lost: ours goes to its new name from here, theirs stays and appears under the old one."""
    f, ufs = asking
    v = moved_and_overwritten(f, ufs, b"theirs")
    pause(f, False)
    f.wait_ufs(ufs, {"a": b"theirs", "b": v})
    f.wait_all_persisted()
    shows(f, {"a": b"theirs", "b": v})
    assert f.metrics()["forebay_persist_conflicts_total"] == 1 and f.metrics()["forebay_persist_lost_total"] == 0
    assert 'persist.conflict path="/demo/b" key=' in proc.tail(f.log)
    f.stop()
    f.assert_fsck_clean()


def test_the_object_of_a_moved_file_was_removed_and_its_bytes_are_here(rig):
    f, ufs = rig
    v = moved_and_overwritten(f, ufs, None)
    pause(f, False)
    f.wait_ufs(ufs, {"b": v})
    f.wait_all_persisted()
    assert f.namespace("demo") == {"b": v}
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("theirs", [b"theirs", None], ids=["changed", "removed"])
def test_the_object_of_a_moved_file_is_gone_and_its_bytes_are_not_here(asking, theirs):
    """What was overwritten there was the only copy: said loudly, and not tried for ever."""
    f, ufs = asking
    v = proc.content("v", 40 * KIB)
    fill(f, ufs, {"a": v})
    f.wait_all_persisted()
    f.cli("job", "free", "--path", "/demo/a")
    assert moved_and_overwritten(f, ufs, theirs) == v
    f.cli("job", "free", "--path", "/demo/b")
    pause(f, False)
    want = {} if theirs is None else {"a": theirs}
    proc.wait_for("the verdict", lambda: f.metrics()["forebay_persist_lost_total"] == 1)
    f.wait_ufs(ufs, want)
    f.wait_all_persisted()
    shows(f, want)
    assert 'persist.lost path="/demo/b" key=' in proc.tail(f.log)
    f.stop()
    f.assert_fsck_clean()


def test_the_object_of_a_moved_file_was_rewritten_with_the_same_bytes(make, versity):
    """A new version of the same object is no conflict: it moves."""
    for k in versity.keys():
        versity.delete(k)
    f = make({"/demo": versity.uri()}, WB, versity.properties())
    v = proc.content("v", 40 * KIB)
    fill(f, versity, {"a": v})
    pause(f, True)
    mv(f, "a", "b")
    versity.put("a", v)
    f.cli("job", "free", "--path", "/demo/b")
    pause(f, False)
    f.wait_ufs(versity, {"b": v})
    f.wait_all_persisted()
    assert f.namespace("demo") == {"b": v}
    assert f.metrics()["forebay_persist_lost_total"] == 0
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("over", ["dir", "store"])
def test_one_directory_after_the_other_leaves_the_same_name(make, ufs, versity, over):
    """Each is made anew and renamed away before the one before it has moved in the UFS; the last is sent where they all were."""
    f = (make({"/demo": ufs.uri()}, WB) if over == "dir"
         else make({"/demo": versity.uri("samename")}, WB, versity.properties()))
    want = {}
    for n in range(4):
        for part in range(3):
            f.s3.put_object(Bucket="demo", Key=f"tmp/{part}", Body=b"%d %d" % (n, part))
            want[f"step-{n}/{part}"] = b"%d %d" % (n, part)
        if n == 0:
            f.wait_all_persisted()
            f.cli("async-persist", "pause")
        f.cli("fs", "mv", "/demo/tmp", f"/demo/step-{n}")
    for part in range(3):
        f.s3.put_object(Bucket="demo", Key=f"tmp/{part}", Body=b"last")
        want[f"tmp/{part}"] = b"last"
    f.cli("async-persist", "resume")
    f.wait_all_persisted()
    get = lambda k: f.s3.get_object(Bucket="demo", Key=k)["Body"].read()
    assert {k: get(k) for k in want} == want
    under = ufs if over == "dir" else Prefix(versity, "samename")
    f.wait_ufs(under, want)
    f.stop()
    f.assert_fsck_clean()

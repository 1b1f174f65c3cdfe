# SPDX-License-Identifier: Apache-2.0
"""What somebody puts straight into the UFS appears, changes there are noticed, and what was deleted here does not come
back. Listings merge both exactly at every page boundary."""
import os
import random
import time

import pytest

from lib import proc
from lib.faultproxy import act, times
from lib.model import seed
from lib.ufs import DirUfs

WB = {"/demo/**": "WRITE_BACK"}
EAGER = {"alluxio.user.file.metadata.sync.interval": "0s"}


class Rig:
    def __init__(self, make, ufs, properties):
        self.make, self.ufs, self.properties = make, ufs, properties

    def start(self, **props):
        """What is in the UFS by now is there before the mount looks first."""
        return self.make({"/demo": self.ufs.uri()}, WB, {**self.properties, **props})

    def __call__(self, **props):
        return self.start(**props), self.ufs


@pytest.fixture(params=["dir", "versity", "moto"])
def rig(request, make, work):
    if request.param == "dir":
        return Rig(make, DirUfs(work + "/ufs"), {})
    store = request.getfixturevalue(request.param)
    for k in store.keys():
        store.delete(k)
    return Rig(make, store, store.properties())


@pytest.mark.quick
def test_objects_of_the_ufs_appear(rig):
    ufs = rig.ufs
    files = {f"d{i % 3}/k{i}": proc.content(i, 1000 * i) for i in range(9)}
    files["top"] = b"top"
    for k, v in files.items():
        ufs.put(k, v)
    f = rig.start()
    assert f.raw.get("demo", "d1/k1").body == files["d1/k1"], "on lookup"
    assert f.raw.list("demo") == sorted(files), "in listings"
    assert f.raw.list("demo", "", "/") == (["top"], ["d0/", "d1/", "d2/"])
    assert f.namespace("demo") == files
    assert "top" in f.cli("fs", "ls", "/demo").out and "d0" in f.cli("fs", "ls", "/demo").out


def test_new_and_changed_objects_are_noticed(rig):
    f, ufs = rig(**EAGER)
    ufs.put("k", b"one")
    assert f.raw.get("demo", "k").body == b"one"
    ufs.put("k", b"two!")
    assert f.raw.get("demo", "k").body == b"two!"
    assert f.raw.head("demo", "k").headers["content-length"] == "4"
    ufs.put("later", b"x")
    assert f.raw.list("demo") == ["k", "later"]
    assert f.raw.get("demo", "later").body == b"x"
    ufs.delete("k")
    assert f.raw.get("demo", "k").status == 404
    assert f.raw.list("demo") == ["later"]


def test_within_the_interval_the_namespace_answers(rig):
    rig.ufs.put("k", b"one")
    f, ufs = rig(**{"alluxio.user.file.metadata.sync.interval": "1h"})
    assert f.raw.list("demo") == ["k"]
    f.s3.put_object(Bucket="demo", Key="mine", Body=b"m")
    assert f.raw.list("demo") == ["k", "mine"]


def test_interval_runs_out(rig):
    rig.ufs.put("k", b"one")
    f, ufs = rig(**{"alluxio.user.file.metadata.sync.interval": "1s"})
    assert f.raw.list("demo") == ["k"]
    ufs.put("new", b"n")
    proc.wait_for("the new object", lambda: f.raw.list("demo") == ["k", "new"])
    ufs.put("k", b"changed")
    proc.wait_for("the change", lambda: f.raw.get("demo", "k").body == b"changed")


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_merged_listing_at_every_page_boundary(rig, page):
    """Some objects only in the UFS, some only here, some in both, some deleted here and still there."""
    f, ufs = rig(**EAGER)
    rnd = random.Random(seed())
    names = [f"{d}{n:02}" for d in ("", "a/", "a/b/", "c/") for n in range(8)]
    want = set()
    for n in names:
        where = rnd.choice(["ufs", "here", "both", "deleted"])
        if where != "here":
            ufs.put(n, b"u")
        if where in ("here", "both"):
            f.s3.put_object(Bucket="demo", Key=n, Body=b"h")
        if where == "deleted":
            f.s3.delete_object(Bucket="demo", Key=n)
        else:
            want.add(n)
    assert f.raw.list("demo", page=page) == sorted(want)
    for prefix in ("", "a", "a/", "c/"):
        ks = sorted(n for n in want if n.startswith(prefix) and "/" not in n[len(prefix):])
        ps = sorted({prefix + n[len(prefix):].split("/")[0] + "/" for n in want if n.startswith(prefix) and "/" in n[len(prefix):]})
        assert f.raw.list("demo", prefix, "/", page) == (ks, ps)


def test_deleted_does_not_come_back(rig):
    """T3: deleted here, listed again and again while the UFS still has it and after a restart."""
    f, ufs = rig(**EAGER)
    for i in range(8):
        ufs.put(f"k{i}", b"x")
    ufs.put("d/1", b"x")
    assert len(f.raw.list("demo")) == 9
    for i in range(0, 8, 2):
        f.s3.delete_object(Bucket="demo", Key=f"k{i}")
        assert f"k{i}" not in f.raw.list("demo")
        assert f.raw.get("demo", f"k{i}").status == 404
    f.cli("fs", "rm", "-R", "/demo/d")
    want = [f"k{i}" for i in range(1, 8, 2)]
    assert f.raw.list("demo") == want
    f.restart("kill")
    assert f.raw.list("demo") == want
    f.wait_ufs(ufs, {k: b"x" for k in want})
    assert f.raw.list("demo") == want


def test_delete_of_an_object_never_looked_at(rig):
    rig.ufs.put("unseen", b"x")
    rig.ufs.put("d/unseen", b"x")
    f, ufs = rig()
    f.s3.delete_object(Bucket="demo", Key="unseen")
    f.cli("fs", "rm", "-R", "/demo/d")
    assert f.raw.list("demo") == []
    f.wait_ufs(ufs, {})


def test_objects_that_appear_after_a_tree_was_deleted_stay(rig):
    """Reaping deletes what was there; what somebody puts there afterwards is theirs."""
    f, ufs = rig(**EAGER)
    for i in range(5):
        ufs.put(f"d/{i}", b"old")
    assert len(f.raw.list("demo")) == 5
    f.cli("fs", "rm", "-R", "/demo/d")
    f.wait_ufs(ufs, {})
    time.sleep(1.1)
    ufs.put("d/1", b"new")
    assert f.raw.get("demo", "d/1").body == b"new"
    assert f.raw.list("demo") == ["d/1"]
    time.sleep(1)
    assert ufs.tree() == {"d/1": b"new"}


def test_conflict_keeps_the_unpersisted_data(make, versity, proxy_to):
    """Somebody changes the object in the bucket while ours is not persisted yet: ours is kept, the conflict is counted."""
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("conflict")}, WB, {**versity.properties(), **EAGER})
    f.s3.put_object(Bucket="demo", Key="k", Body=b"base")
    f.wait_persisted("/demo/k")
    p.down()
    f.s3.put_object(Bucket="demo", Key="k", Body=b"ours")
    time.sleep(1.5)
    versity.put("conflict/k", b"theirs!")
    p.up()
    assert f.raw.get("demo", "k").body == b"ours"
    proc.wait_for("the conflict", lambda: any("conflict" in k and v > 0 for k, v in f.metrics().items()))
    assert f.raw.get("demo", "k").body == b"ours"


def test_new_names_while_the_ufs_is_away_and_nothing_is_known(make, versity, proxy_to):
    """What is not known of a directory needs the UFS to be looked up, but not to be written."""
    p = proxy_to(versity)
    versity.put("away/old/x", b"x")
    f = make({"/demo": versity.uri("away")}, WB, {**versity.properties(), **EAGER})
    p.down()
    for key in ("new", "d/new", "old/y"):
        assert f.raw.put("demo", key, b"ours").status == 200
        assert f.raw.get("demo", key).body == b"ours"
    p.up()
    f.wait_persisted("/demo/old/y")
    for key in ("new", "d/new", "old/y"):
        f.wait_persisted("/demo/" + key)
        assert versity.get("away/" + key) == b"ours"
    assert sorted(f.raw.list("demo")) == ["d/new", "new", "old/x", "old/y"]


def test_change_during_a_read_is_not_mixed(make, versity, proxy_to):
    """A large object of the UFS is replaced between the reads of its pages: one version or an error, never a mix."""
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("mix")}, WB, {**versity.properties(), **EAGER})
    one, two = b"1" * (6 << 20), b"2" * (6 << 20)
    versity.put("mix/k", one)
    gets = [0]

    def rule(r):
        if r.method == "GET" and r.path.endswith("/k"):
            gets[0] += 1
            if gets[0] == 2:
                versity.put("mix/k", two)

    p.rule = rule
    try:
        a = f.raw.get("demo", "k")
        assert a.status != 200 or a.body in (one, two)
    except (ConnectionError, OSError, Exception) as e:
        assert not isinstance(e, AssertionError)
    p.rule = None
    proc.wait_for("the new version", lambda: f.raw.get("demo", "k").body == two)


def test_many_objects_in_one_directory(make, work):
    """Listing starts before the directory is loaded; lists come from the KV afterwards."""
    ufs = DirUfs(os.path.join(work, "ufs"))
    names = sorted(f"d/{i:05}" for i in range(3500))
    os.makedirs(os.path.join(ufs.path, "d"))
    for n in names:
        open(os.path.join(ufs.path, n), "wb").close()
    f = make({"/demo": ufs.uri()}, WB)
    assert f.raw.list("demo") == names
    assert f.raw.list("demo", "d/034") == [n for n in names if n.startswith("d/034")]
    f.s3.put_object(Bucket="demo", Key="d/01234x", Body=b"")
    f.s3.delete_object(Bucket="demo", Key="d/00001")
    want = sorted(set(names) - {"d/00001"} | {"d/01234x"})
    assert f.raw.list("demo") == want
    assert f.raw.list("demo", page=333) == want


def test_load_survives_ufs_errors(make, versity, proxy_to):
    p = proxy_to(versity)
    for i in range(30):
        versity.put(f"le/k{i:02}", b"x")
    f = make({"/demo": versity.uri("le")}, WB, {**versity.properties(), **EAGER})
    p.rule = times(3, act("reset"), lambda r: r.method == "GET")
    proc.wait_for("the listing", lambda: f.raw.request("GET", "demo", None, {"list-type": "2"}).status == 200)
    assert f.raw.list("demo") == [f"k{i:02}" for i in range(30)]


def test_a_folder_object_with_a_content(make, moto):
    """S3 allows it, and others make them: it is shown, read, removed; what cannot move stays where it is, whole."""
    for k in moto.keys():
        moto.delete(k)
    moto.put("d/", b"content of a folder")
    moto.put("d/x", b"x")
    moto.put("p/q/", b"another")
    f = make({"/demo": moto.uri()}, WB, {**moto.properties(), **EAGER})
    assert f.raw.list("demo") == ["d/", "d/x", "p/q/"]
    a = f.raw.get("demo", "d/")
    assert (a.status, a.body) == (200, b"content of a folder")
    assert f.raw.head("demo", "d/").headers["content-length"] == "19"
    assert f.raw.get("demo", "d/", headers={"Range": "bytes=11-16"}).body == b"a fold"
    assert a.headers["etag"] == f'"{proc.md5(a.body)}"'
    assert f.raw.put("demo", "d/", b"mine").status == 400
    f.cli("fs", "mv", "/demo/d/", "/demo/e/")
    f.cli("fs", "mv", "/demo/p/", "/demo/r/")
    want = {"e/x": b"x", "d/": b"content of a folder", "p/q/": b"another"}
    proc.wait_for("the move", lambda: {k: v for k, v in moto.tree().items() if k not in ("e/", "r/", "r/q/")} == want)
    f.wait_all_persisted()
    proc.wait_for("what stayed", lambda: f.raw.get("demo", "d/").body == b"content of a folder")
    proc.wait_for("what stayed", lambda: f.raw.get("demo", "p/q/").body == b"another")
    assert f.raw.get("demo", "e/x").body == b"x"
    assert f.raw.delete("demo", "d/").status == 204
    proc.wait_for("the removal", lambda: moto.get("d/") is None)
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("policy", ["WRITE_BACK", "WRITE_THROUGH", "TRANSIENT", "NO_CACHE"])
def test_a_folder_object_with_a_content_is_overwritten(make, moto, policy):
    """An empty PUT replaces the content that others gave a folder; mkdir -p does not."""
    for k in moto.keys():
        moto.delete(k)
    moto.put("d/", b"content of a folder")
    moto.put("m/", b"left alone")
    f = make({"/demo": moto.uri()}, {"/demo/**": policy}, {**moto.properties(), **EAGER})
    assert f.raw.get("demo", "d/").body == b"content of a folder" and f.raw.get("demo", "m/").body == b"left alone"
    assert f.raw.put("demo", "d/").status == 200
    if policy != "NO_CACHE":
        f.cli("fs", "mkdir", "/demo/m", check=False)
    for _ in range(2):
        a = f.raw.get("demo", "d/")
        assert (a.status, a.body) == (200, b"")
        assert f.raw.list("demo") == ["d/", "m/"] and f.raw.get("demo", "m/").body == b"left alone"
        f.restart()
    if policy != "TRANSIENT":
        proc.wait_for("the marker in the store", lambda: moto.get("d/") == b"")
    assert moto.get("m/") == b"left alone"
    f.stop()
    f.assert_fsck_clean()

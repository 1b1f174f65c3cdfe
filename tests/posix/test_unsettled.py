# SPDX-License-Identifier: Apache-2.0
"""What was moved or removed here and still lies in the UFS, under its old name, must not be seen again."""
import os
import time

import pytest
from sys_calls import EXCHANGE, put, renameat2

from lib.proc import wait_for


@pytest.fixture
def asking(make_mounted, ufs):
    """Asks the UFS each time."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, start=False,
                     props={"alluxio.user.file.metadata.sync.interval": "0", "forebay.persist.quiet": "0s"})
    f.under = ufs
    return f


def prefixes(f, prefix=""):
    r = f.s3.list_objects_v2(Bucket="demo", Prefix=prefix, Delimiter="/")
    return sorted(p["Prefix"] for p in r.get("CommonPrefixes", []))


def test_a_removed_directory_whose_files_moved_is_not_there(asking):
    """The files still lie in the old directory of the UFS, which cannot be removed there before they have left it."""
    f = asking
    f.start()
    d = f"{f.dir}/demo"
    os.makedirs(f"{d}/a/b/c")
    for n in ("x", "c/y"):
        put(f"{d}/a/b/{n}", n.encode())
    f.wait_all_persisted()
    f.cli("async-persist", "pause")
    os.rename(f"{d}/a/b/x", f"{d}/x")
    os.rename(f"{d}/a/b/c/y", f"{d}/y")
    os.rmdir(f"{d}/a/b/c")
    os.rmdir(f"{d}/a/b")
    wait_for("their markers to go", lambda: f.metrics()["forebay_reaped_total"] >= 2)
    assert os.listdir(f"{d}/a") == [] and os.stat(f"{d}/a").st_nlink == 2
    assert not os.path.exists(f"{d}/a/b") and not os.path.exists(f"{d}/a/b/c")
    assert prefixes(f) == ["a/"] and prefixes(f, "a/") == []
    f.cli("async-persist", "resume")
    f.wait_ufs(f.under, {"x": b"x", "y": b"c/y"})


@pytest.mark.parametrize("then", ["nothing", "unlink", "rename", "replace", "exchange"])
def test_a_moved_directory_leaves_nothing_of_an_overwritten_file(make_mounted, ufs, then):
    """The old object waits to be overwritten by the new one; which will not come any more."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props={"forebay.persist.quiet": "0s"})
    d = f"{f.dir}/demo"
    os.mkdir(f"{d}/a")
    put(f"{d}/a/x", b"old")
    put(f"{d}/other", b"other")
    f.wait_all_persisted()
    f.cli("async-persist", "pause")
    put(f"{d}/a/x.tmp", b"new")
    os.rename(f"{d}/a/x.tmp", f"{d}/a/x")
    os.rename(f"{d}/a", f"{d}/b")
    want = {"other": b"other", "b/x": b"new"}
    if then == "unlink":
        os.unlink(f"{d}/b/x")
        want = {"other": b"other"}
    elif then == "rename":
        os.rename(f"{d}/b/x", f"{d}/y")
        want = {"other": b"other", "y": b"new"}
    elif then == "replace":
        os.rename(f"{d}/other", f"{d}/b/x")
        want = {"b/x": b"other"}
    elif then == "exchange":
        renameat2(f"{d}/other", f"{d}/b/x", EXCHANGE)
        want = {"b/x": b"other", "other": b"new"}
    f.cli("async-persist", "resume")
    f.wait_ufs(ufs, want)


@pytest.mark.parametrize("how", ["exchange", "three renames"])
def test_a_file_and_a_directory_change_places(make_mounted, ufs, how):
    """In a directory UFS neither can go where the other still lies."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props={"forebay.persist.quiet": "0s"})
    d = f"{f.dir}/demo"
    os.makedirs(f"{d}/p/d/sub")
    put(f"{d}/p/d/x", b"in d")
    put(f"{d}/p/d/sub/y", b"deep")
    put(f"{d}/f", b"a file")
    f.wait_all_persisted()
    f.cli("async-persist", "pause")
    if how == "exchange":
        renameat2(f"{d}/f", f"{d}/p/d", EXCHANGE)
    else:
        os.rename(f"{d}/p/d", f"{d}/t")
        os.rename(f"{d}/f", f"{d}/p/d")
        os.rename(f"{d}/t", f"{d}/f")
    f.cli("async-persist", "resume")
    f.wait_ufs(ufs, {"p/d": b"a file", "f/x": b"in d", "f/sub/y": b"deep"})
    f.wait_all_persisted()


def test_what_steps_aside_in_a_swap_outlives_a_restart(make_mounted, ufs):
    """The UFS alone has the bytes, and one of the two lies under a name of ours when the instance dies."""
    ufs.put("a", b"one")
    ufs.put("b", b"two")
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, start=False, props={"forebay.ufs.request.deadline": "1s"})
    f.start(fault="meta.switch.after:kill")
    renameat2(f"{f.dir}/demo/a", f"{f.dir}/demo/b", EXCHANGE)
    f.wait_dead()
    time.sleep(1.5)  # longer than anything that the dead one sent may take
    f.start()
    f.wait_ufs(ufs, {"a": b"two", "b": b"one"})
    f.wait_all_persisted()


@pytest.mark.parametrize("then", ["stays", "is removed"])
def test_the_first_of_two_names_goes_while_the_file_is_open(make_mounted, ufs, then):
    """The other name's object becomes the file's. It is what this instance put there, whatever the program began with."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props={"forebay.persist.quiet": "0s"})
    d = f"{f.dir}/demo"
    put(f"{d}/first", b"old")
    os.link(f"{d}/first", f"{d}/second")
    f.wait_ufs(ufs, {"first": b"old", "second": b"old"})
    f.wait_all_persisted()
    with open(f"{d}/first", "r+b") as h:
        h.read(1)
        f.cli("async-persist", "pause")
        os.unlink(f"{d}/first")
        h.write(b"newer")
        h.flush()
        os.fsync(h.fileno())
    if then == "is removed":
        os.unlink(f"{d}/second")
    f.cli("async-persist", "resume")
    f.wait_all_persisted()
    f.wait_ufs(ufs, {"second": b"onewer"} if then == "stays" else {})

# SPDX-License-Identifier: Apache-2.0
"""Directories that are renamed while others are on their way: out of, into and below each other.

In the UFS each directory that moves lies elsewhere for a while. Whoever looks sees the namespace, and in the end the UFS
holds the same, directories included.
"""
import os

import pytest
from sys_calls import put

from lib.proc import wait_for
from lib.ufs import Prefix

NOW = {"forebay.persist.quiet": "0s", "alluxio.user.file.metadata.sync.interval": "0"}


@pytest.fixture
def paused(make_mounted, ufs):
    """make(files): an instance whose UFS holds them, and a directory for each name that ends in a slash; it sends nothing
    until resume()."""

    def make(*files):
        f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props=NOW)
        f.under, f.top = ufs, f"{f.dir}/demo"
        for n in files:
            os.makedirs(f"{f.top}/{os.path.dirname(n)}", exist_ok=True)
            if not n.endswith("/"):
                put(f"{f.top}/{n}", n.encode())
        f.wait_all_persisted()
        f.cli("async-persist", "pause")
        return f

    return make


def mv(f, a, b):
    os.rename(f"{f.top}/{a}", f"{f.top}/{b}")


def below(top):
    """{path: bytes, None for a directory} of what a walk meets."""
    out = {}
    for d, dirs, files in os.walk(top):
        for n in dirs:
            out[os.path.relpath(os.path.join(d, n), top)] = None
        for n in files:
            with open(os.path.join(d, n), "rb") as h:
                out[os.path.relpath(os.path.join(d, n), top)] = h.read()
    return out


def under(f):
    return {k: b for k, b in below(f.under.path).items() if not k.startswith(".forebay")}


def settles_to(f, want):
    """Both doors' view now; the UFS, and the view again, when all has settled."""
    assert below(f.top) == want
    f.cli("async-persist", "resume")
    wait_for("the UFS to hold the same", lambda: under(f) == want, 30)
    f.wait_all_persisted()
    assert below(f.top) == want
    assert f.stop() == 0
    f.assert_fsck_clean()


def test_removed_where_it_lies_elsewhere(paused):
    """Its directory in the UFS is at its old place: that one is removed, not the new one."""
    f = paused("p/q/", "r/")
    mv(f, "p/q", "r/s")
    mv(f, "r", "t")
    os.rmdir(f"{f.top}/t/s")
    settles_to(f, {"p": None, "t": None})


def test_replaced_where_it_lies_elsewhere(paused):
    f = paused("p/q/", "r/", "n/x")
    mv(f, "p/q", "r/s")
    mv(f, "n", "r/s")
    settles_to(f, {"p": None, "r": None, "r/s": None, "r/s/x": b"n/x"})


def test_moved_into_one_that_has_not_settled(paused):
    """It settles first, and must be found where it went until the one above has come, too."""
    f = paused("a/x", "c/y")
    mv(f, "c", "a/c")
    mv(f, "a", "z")
    settles_to(f, {"z": None, "z/x": b"a/x", "z/c": None, "z/c/y": b"c/y"})


def test_one_that_waits_long_is_still_renamed_as_a_whole(make_mounted, ufs):
    """And not copied file by file, which is for a directory that nothing else helps."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props=NOW, start=False)
    f.under, f.top = ufs, f"{f.dir}/demo"
    f.start(fault="meta.switch.before:sleep 2000")
    for n in ("a/x", "c/y"):
        os.mkdir(f"{f.top}/{n[0]}")
        put(f"{f.top}/{n}", n.encode())
    f.wait_all_persisted()
    was = os.stat(os.path.join(ufs.path, "c/y")).st_ino
    f.cli("async-persist", "pause")
    mv(f, "c", "a/c")
    mv(f, "a", "z")
    settles_to(f, {"z": None, "z/x": b"a/x", "z/c": None, "z/c/y": b"c/y"})
    assert os.stat(os.path.join(ufs.path, "z/c/y")).st_ino == was


def test_moved_out_of_one_that_moved_out_of_another(paused):
    """The outer one's prefix is not in its path any more: the inner one's counts."""
    f = paused("a/b/c/x", "a/b/y", "a/z")
    mv(f, "a/b", "i")
    mv(f, "a", "o")
    mv(f, "i/c", "c")
    settles_to(f, {"c": None, "c/x": b"a/b/c/x", "i": None, "i/y": b"a/b/y", "o": None, "o/z": b"a/z"})


def test_what_was_never_listed_is_found_below_both(make_mounted, ufs):
    """As above, over a bucket that this instance has not seen."""
    for k in ("a/b/c/x", "a/b/y", "a/z"):
        ufs.put(k, k.encode())
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props=NOW)
    f.under, f.top = ufs, f"{f.dir}/demo"
    f.cli("async-persist", "pause")
    mv(f, "a/b", "i")
    mv(f, "a", "o")
    settles_to(f, {"i": None, "i/c": None, "i/c/x": b"a/b/c/x", "i/y": b"a/b/y", "o": None, "o/z": b"a/z"})


@pytest.mark.parametrize("then", ["moved", "removed", "moved and back"])
def test_attributes_changed_before_it_moves(paused, then):
    """Its marker is to be written again; the old one lies where nothing will overwrite it."""
    f = paused("d/", "e/x")
    os.chmod(f"{f.top}/d", 0o700)
    os.chmod(f"{f.top}/e", 0o700)
    want = {"e": None, "e/x": b"e/x"}
    if then == "removed":
        os.rmdir(f"{f.top}/d")
    else:
        mv(f, "d", "d2")
        mv(f, "e", "e2")
        want = {"d2": None, "e2": None, "e2/x": b"e/x"}
    if then == "moved and back":
        mv(f, "d2", "d")
        mv(f, "e2", "e")
        want = {"d": None, "e": None, "e/x": b"e/x"}
    settles_to(f, want)


def test_a_file_goes_below_its_own_old_name(paused):
    """Where that is a directory by now. In the UFS its object stands in the way of the directory."""
    f = paused("a", "d/x")
    mv(f, "a", "t")
    os.mkdir(f"{f.top}/a")
    mv(f, "t", "a/b")
    put(f"{f.top}/a/c", b"new")
    settles_to(f, {"a": None, "a/b": b"a", "a/c": b"new", "d": None, "d/x": b"d/x"})


def test_two_files_go_below_each_other_s_old_names(paused):
    f = paused("a", "b")
    mv(f, "a", "t")
    mv(f, "b", "u")
    os.mkdir(f"{f.top}/a")
    os.mkdir(f"{f.top}/b")
    mv(f, "t", "b/a")
    mv(f, "u", "a/b")
    settles_to(f, {"a": None, "a/b": b"b", "b": None, "b/a": b"a"})


LEAVE = {
    "a file moves out": (lambda t: os.rename(f"{t}/b/x", f"{t}/x"), {"x": b"a/x", "b/y": b"a/y", "b/s/z": b"a/s/z"}),
    "a directory moves out": (lambda t: os.rename(f"{t}/b/s", f"{t}/s"), {"s/z": b"a/s/z", "b/x": b"a/x", "b/y": b"a/y"}),
    "a file is removed": (lambda t: os.unlink(f"{t}/b/x"), {"b/y": b"a/y", "b/s/z": b"a/s/z"}),
    "a file is overwritten": (lambda t: put(f"{t}/b/x", b"new"), {"b/x": b"new", "b/y": b"a/y", "b/s/z": b"a/s/z"}),
    "a file changes its name": (lambda t: os.rename(f"{t}/b/x", f"{t}/b/w"), {"b/w": b"a/x", "b/y": b"a/y", "b/s/z": b"a/s/z"}),
    "one replaces another": (lambda t: os.rename(f"{t}/b/x", f"{t}/b/y"), {"b/y": b"a/x", "b/s/z": b"a/s/z"}),
    "it moves on": (lambda t: os.rename(f"{t}/b", f"{t}/c"), {"c/x": b"a/x", "c/y": b"a/y", "c/s/z": b"a/s/z"}),
    "it moves back": (lambda t: os.rename(f"{t}/b", f"{t}/a"), {"a/x": b"a/x", "a/y": b"a/y", "a/s/z": b"a/s/z"}),
    "another is made there": (lambda t: (os.mkdir(f"{t}/a"), put(f"{t}/a/x", b"new")),
                              {"a/x": b"new", "b/x": b"a/x", "b/y": b"a/y", "b/s/z": b"a/s/z"}),
    "another is made there and loses a file": (lambda t: (os.mkdir(f"{t}/a"), put(f"{t}/a/x", b"new"), put(f"{t}/a/v", b"v"),
                                                          os.unlink(f"{t}/a/x")),
                                               {"a/v": b"v", "b/x": b"a/x", "b/y": b"a/y", "b/s/z": b"a/s/z"}),
}


def empty_it(t):
    for n in ("x", "y"):
        os.rename(f"{t}/b/{n}", f"{t}/{n}")
    os.rename(f"{t}/b/s", f"{t}/s")
    os.rmdir(f"{t}/b")


LEAVE["all leaves and it is removed"] = (empty_it, {"x": b"a/x", "y": b"a/y", "s/z": b"a/s/z"})


def with_dirs(files):
    out = dict(files)
    for k in files:
        while k := os.path.dirname(k):
            out[k] = None
    return out


# What waits for the UFS would wait for the kill.
WHILE = [(w, c) for w in LEAVE for c in (False, True) if not (c and LEAVE[w][0] is empty_it)]


@pytest.mark.parametrize("what,crash", WHILE, ids=[w + ", killed" * c for w, c in WHILE])
def test_while_the_ufs_renames_it(make_mounted, ufs, what, crash):
    """The UFS has renamed a/ to b/, the namespace does not know yet: what leaves is in the UFS below b/ already."""
    do, want = LEAVE[what]
    # what must be asked of the UFS waits for the rename, in vain where it takes a minute
    props = {"forebay.persist.quiet": "0s"} if crash else NOW
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props=props, start=False)
    f.under, f.top = ufs, f"{f.dir}/demo"
    f.start(fault=f"meta.switch.before:sleep {60000 if crash else 1500}")
    os.makedirs(f"{f.top}/a/s")
    for n in ("a/x", "a/y", "a/s/z"):
        put(f"{f.top}/{n}", n.encode())
    f.wait_all_persisted()
    mv(f, "a", "b")
    wait_for("the rename in the UFS", lambda: os.path.exists(os.path.join(ufs.path, "b")))
    do(f.top)
    want = with_dirs(want)
    assert below(f.top) == want
    if crash:
        f.kill9()
        f.assert_fsck_clean()
        f.start()
        assert below(f.top) == want
    f.cli("async-persist", "resume")
    settles_to(f, want)


def test_many_leave_while_the_ufs_renames_it(make_mounted, ufs):
    """More than one transaction takes with it."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props=NOW, start=False)
    f.under, f.top = ufs, f"{f.dir}/demo"
    f.start(fault="meta.switch.before:sleep 3000")
    os.makedirs(f"{f.top}/a/s")
    names = [f"{i:03}" for i in range(300)]
    for n in names:
        put(f"{f.top}/a/s/{n}", n.encode())
    f.wait_all_persisted()
    mv(f, "a", "b")
    wait_for("the rename in the UFS", lambda: os.path.exists(os.path.join(ufs.path, "b")))
    for n in names[:150]:
        mv(f, f"b/s/{n}", n)
    for n in names[150:299]:
        os.unlink(f"{f.top}/b/s/{n}")
    settles_to(f, with_dirs({**{n: n.encode() for n in names[:150]}, "b/s/299": b"299"}))


# Steps, and what the store holds after them: markers of directories are objects there.
MARKERS = {
    "moved into one that moves on": ([("c", "a/c"), ("a", "z")], {"z/", "z/x", "z/b/", "z/b/e/", "z/c/", "z/c/y"}),
    "moved out of two": ([("a/b", "i"), ("a", "o"), ("i/e", "e")], {"c/", "c/y", "i/", "o/", "o/x", "e/"}),
    "there and back": ([("c", "t"), ("t", "c")], {"a/", "a/x", "a/b/", "a/b/e/", "c/", "c/y"}),
}


@pytest.mark.parametrize("where", ["versity", "moto"])
@pytest.mark.parametrize("what", MARKERS)
def test_markers_in_a_store(make_mounted, request, work, what, where):
    steps, want = MARKERS[what]
    store = request.getfixturevalue(where)
    ufs = Prefix(store, os.path.basename(work))
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, props={**store.properties(), **NOW})
    f.top = f"{f.dir}/demo"
    os.makedirs(f"{f.top}/a/b/e")
    os.mkdir(f"{f.top}/c")
    put(f"{f.top}/a/x", b"x")
    put(f"{f.top}/c/y", b"y")
    f.wait_all_persisted()
    f.cli("async-persist", "pause")
    for a, b in steps:
        mv(f, a, b)
    f.cli("async-persist", "resume")
    wait_for("the store to hold the same", lambda: set(ufs.tree()) == want, 30)
    f.wait_all_persisted()
    assert f.stop() == 0
    f.assert_fsck_clean()

# SPDX-License-Identifier: Apache-2.0
"""Keys that S3 allows and POSIX does not: a mount does not show them, and they break nothing that it shows."""
import errno as E
import os
import shutil
import uuid

import pytest
from sys_calls import errno_of, get, put

from lib import proc
from lib.ufs import Prefix

LONG = "n" * 256
# what a mount shows of each, from the directory that holds it on: None: nothing
ODD = [
    "/empty-first", "empty//middle", "empty-last//", "empty//", "./dot", "dot/.", "dot/./x", "../up", "up/..", "up/../../x", "up/../", LONG,
    "long/" + LONG, LONG + "/x", "//", "///x", ".", "..", "deep/a//b/../c",
]
SHOWN = {"empty", "empty-last", "dot", "up", "long", "deep", "plain", "plain-dir", "zz"}


def body(key):
    return b"" if key.endswith("/") else key.encode()


@pytest.fixture(params=["from the UFS", "by S3"])
def odd(request, make_mounted, moto):
    """A directory of the mount that holds odd keys beside plain ones, more than one batch of a listing."""
    under = Prefix(moto, f"odd-{uuid.uuid4().hex[:8]}")
    f = make_mounted({"/demo": under.uri()}, {"/demo/**": "WRITE_BACK"}, props=moto.properties(), start=False)
    plain = ["plain", "plain-dir/x", "zz", "up/plain", "long/plain", "long/zz"]
    f.under = under
    if request.param == "from the UFS":
        for k in ODD + plain:
            under.put(k, body(k))
        f.start()
    else:
        f.start()
        for k in ODD + plain:
            f.s3.put_object(Bucket="demo", Key=k, Body=body(k))
    return f


def keys(f):
    return sorted(o["Key"] for p in f.s3.get_paginator("list_objects_v2").paginate(Bucket="demo") for o in p.get("Contents", []))


def test_listings(odd):
    d = f"{odd.dir}/demo"
    for _ in range(2):  # as it comes from the UFS, and as it is known then
        assert sorted(os.listdir(d)) == sorted(SHOWN)
        assert {e.name for e in os.scandir(d) if e.is_dir()} == {"empty", "empty-last", "dot", "up", "long", "deep", "plain-dir"}
        assert os.listdir(f"{d}/empty") == [] and os.listdir(f"{d}/empty-last") == [] and os.listdir(f"{d}/dot") == []
        assert os.listdir(f"{d}/up") == ["plain"] and sorted(os.listdir(f"{d}/long")) == ["plain", "zz"]
        assert os.listdir(f"{d}/deep") == ["a"] and os.listdir(f"{d}/deep/a") == []
    walked = {os.path.relpath(os.path.join(a, n), d) for a, _, names in os.walk(d) for n in names}
    assert walked == {"plain", "plain-dir/x", "zz", "up/plain", "long/plain", "long/zz"}
    assert set(ODD) <= set(keys(odd))


def test_a_directory_of_such_keys_only(odd):
    d = f"{odd.dir}/demo"
    for n in ("empty", "dot"):
        assert os.stat(f"{d}/{n}").st_nlink >= 2 and os.listdir(f"{d}/{n}") == []
        assert errno_of(os.rmdir, f"{d}/{n}") == E.ENOTEMPTY
        with pytest.raises(OSError) as e:
            shutil.rmtree(f"{d}/{n}")
        assert e.value.errno == E.ENOTEMPTY
        put(f"{d}/{n}/new", b"new")
        assert os.listdir(f"{d}/{n}") == ["new"]
        os.unlink(f"{d}/{n}/new")
        assert errno_of(os.rmdir, f"{d}/{n}") == E.ENOTEMPTY
    assert errno_of(os.rmdir, f"{d}/deep/a") == E.ENOTEMPTY
    have = set(keys(odd))
    assert set(ODD) <= have
    for k in [k for k in have if k.startswith("empty//")]:
        odd.s3.delete_object(Bucket="demo", Key=k)
    assert "empty" not in os.listdir(d)  # it was there for the sake of what is in it
    os.mkdir(f"{d}/made")
    odd.s3.put_object(Bucket="demo", Key="made//x", Body=b"x")
    assert errno_of(os.rmdir, f"{d}/made") == E.ENOTEMPTY and os.listdir(f"{d}/made") == []
    odd.s3.delete_object(Bucket="demo", Key="made//x")
    os.rmdir(f"{d}/made")


def test_names_that_cannot_be(odd):
    d = f"{odd.dir}/demo"
    for call in (os.stat, os.unlink, os.rmdir, os.mkdir, lambda p: put(p, b"x"), lambda p: os.rename(f"{d}/plain", p)):
        assert errno_of(call, f"{d}/{LONG}") == E.ENAMETOOLONG
    assert os.stat(f"{d}/.").st_ino == os.stat(d).st_ino == os.stat(f"{d}/up/..").st_ino == os.stat(f"{d}//").st_ino
    assert errno_of(os.stat, f"{d}/dot/x") == E.ENOENT and errno_of(os.stat, f"{d}/empty/middle") == E.ENOENT


def test_a_directory_moves_with_them(odd):
    d = f"{odd.dir}/demo"
    assert "up/.." in keys(odd)  # known here; of what nobody has listed see docs/mount.md, known faults
    os.rename(f"{d}/up", f"{d}/moved")
    assert os.listdir(f"{d}/moved") == ["plain"] and "up" not in os.listdir(d)
    have = keys(odd)
    assert {"moved/../", "moved/..", "moved/../../x"} <= set(have) and not [k for k in have if k.startswith("up/")]
    assert odd.s3.get_object(Bucket="demo", Key="moved/../../x")["Body"].read() == b"up/../../x"
    odd.wait_all_persisted()
    proc.wait_for("the UFS to follow", lambda: not [k for k in odd.under.keys() if k.startswith("up/")])
    assert {"moved/../", "moved/..", "moved/../../x", "moved/plain"} <= set(odd.under.keys())


def test_keys_with_nul(make_mounted, moto):
    """Nobody shows them: S3 clients cannot ask for them either."""
    under = Prefix(moto, f"odd-{uuid.uuid4().hex[:8]}")
    for k in ("a", "nul\0x", "d/nul\0", "d/\0", "z"):
        under.put(k, b"x")
    f = make_mounted({"/demo": under.uri()}, {"/demo/**": "WRITE_BACK"}, props=moto.properties())
    for _ in range(2):
        assert os.listdir(f"{f.dir}/demo") == ["a", "d", "z"] and os.listdir(f"{f.dir}/demo/d") == []
    assert keys(f) == ["a", "z"]
    errno_of(os.rmdir, f"{f.dir}/demo/d")  # may succeed: see docs/mount.md; it takes nothing of them
    f.wait_all_persisted()
    assert {"nul\0x", "d/nul\0", "d/\0"} <= set(under.keys())


def test_names_that_are_no_utf8(make_mounted, ufs):
    """In a directory as UFS."""
    ufs.put("d/x", b"x")
    bad = os.path.join(os.fsencode(ufs.path), b"d", b"bad\xff")
    os.mkdir(bad)
    with open(os.path.join(bad, b"y"), "wb") as o:
        o.write(b"y")
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    assert os.listdir(f"{f.dir}/demo/d") == ["x"]
    assert errno_of(os.stat, os.path.join(os.fsencode(f.dir), b"demo/d/bad\xff")) in (E.ENOENT, E.EINVAL)
    assert errno_of(os.mkdir, os.path.join(os.fsencode(f.dir), b"demo/new\xff")) == E.EINVAL
    os.unlink(f"{f.dir}/demo/d/x")
    f.wait_all_persisted()
    with open(os.path.join(bad, b"y"), "rb") as o:
        assert o.read() == b"y"


def test_many_that_are_hidden(make_mounted, moto):
    """More of them than a listing takes at once, before, between and behind what is shown."""
    under = Prefix(moto, f"odd-{uuid.uuid4().hex[:8]}")
    f = make_mounted({"/demo": under.uri()}, {"/demo/**": "WRITE_BACK"}, props=moto.properties())
    f.s3.put_object(Bucket="demo", Key="d/a", Body=b"")
    f.s3.put_object(Bucket="demo", Key="d/zz", Body=b"")
    for i in range(700):
        f.s3.put_object(Bucket="demo", Key=f"d/m{i:04d}" + "n" * 251, Body=b"")
        f.s3.put_object(Bucket="demo", Key=f"d/zzz{i:04d}" + "n" * 249, Body=b"")
    assert os.listdir(f"{f.dir}/demo/d") == ["a", "zz"]
    assert errno_of(os.rmdir, f"{f.dir}/demo/d") == E.ENOTEMPTY
    assert len(keys(f)) == 1402

# SPDX-License-Identifier: Apache-2.0
"""The mount itself: its life, what reaches the bucket, policies, kills."""
import errno as E
import hashlib
import os
import random
import subprocess

import pytest
from sys_calls import errno_of, get, put

from lib import forebay as fb
from lib.proc import wait_for


@pytest.fixture
def wbm(make_mounted, ufs):
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    f.under = ufs
    return f


def test_root_shows_buckets(wbm):
    assert os.listdir(wbm.dir) == ["demo"]
    assert errno_of(os.mkdir, f"{wbm.dir}/bucket") in (E.EACCES, E.EPERM, E.EROFS)
    assert errno_of(put, f"{wbm.dir}/file") in (E.EACCES, E.EPERM, E.EROFS)


def test_files_reach_the_ufs(wbm):
    d = f"{wbm.dir}/demo"
    os.mkdir(f"{d}/dir")
    put(f"{d}/dir/f", b"content")
    os.symlink("f", f"{d}/dir/l")
    os.rename(f"{d}/dir", f"{d}/renamed")
    assert wbm.cli("persist", "--wait", "/demo", "--timeout", "60", check=False).code == 0
    assert wbm.under.get("renamed/f") == b"content"
    wait_for("the old key is gone", lambda: wbm.under.get("dir/f") is None)


def test_stop_and_start(wbm):
    d = f"{wbm.dir}/demo"
    put(f"{d}/a", b"1" * 100_000)
    os.chmod(f"{d}/a", 0o640)
    os.mkfifo(f"{d}/p")
    os.symlink("a", f"{d}/l")
    os.setxattr(f"{d}/a", "user.x", b"y")
    before = {n: os.lstat(f"{d}/{n}") for n in os.listdir(d)}
    wbm.stop()
    assert not os.path.ismount(wbm.dir)
    wbm.start()
    after = {n: os.lstat(f"{d}/{n}") for n in os.listdir(d)}
    same = ("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_uid", "st_gid", "st_nlink")
    assert {n: [getattr(s, k) for k in same] for n, s in before.items()} == {n: [getattr(s, k) for k in same] for n, s in after.items()}
    assert get(f"{d}/a") == b"1" * 100_000 and os.readlink(f"{d}/l") == "a" and os.getxattr(f"{d}/a", "user.x") == b"y"


def test_reload_from_the_ufs(wbm, make_mounted, work):
    """Another instance, with no metadata of this one, sees the same files in the bucket."""
    d = f"{wbm.dir}/demo"
    put(f"{d}/f", b"bytes")
    os.chmod(f"{d}/f", 0o751)
    os.utime(f"{d}/f", ns=(10**18, 1_234_567_890_125_000_000))
    os.setxattr(f"{d}/f", "user.note", b"kept \xff in the bucket")
    os.symlink("some/target", f"{d}/l")
    os.mkdir(f"{d}/dir")
    os.mkfifo(f"{d}/fifo")
    before = {n: os.lstat(f"{d}/{n}") for n in ("f", "l", "dir", "fifo")}
    assert wbm.cli("persist", "--wait", "/demo", "--timeout", "60", check=False).code == 0
    wbm.stop()
    g = make_mounted({"/demo": wbm.under.uri()}, {"/demo/**": "WRITE_BACK"}, work=os.path.join(work, "second"))
    d = f"{g.dir}/demo"
    assert sorted(os.listdir(d)) == ["dir", "f", "fifo", "l"]
    assert get(f"{d}/f") == b"bytes" and os.readlink(f"{d}/l") == "some/target"
    for n, st in before.items():
        now = os.lstat(f"{d}/{n}")
        assert now.st_mode == st.st_mode, n
    assert os.stat(f"{d}/f").st_mtime_ns == before["f"].st_mtime_ns
    assert os.getxattr(f"{d}/f", "user.note") == b"kept \xff in the bucket"


def test_killed_and_started(wbm):
    """What was closed is there after kill -9, what was synced too though it was still open; the dead mount is no obstacle."""
    d = f"{wbm.dir}/demo"
    want = {}
    for i in range(50):
        want[f"c{i}"] = hashlib.sha256(b"%d" % i).digest() * (1 + i * 37)
        put(f"{d}/c{i}", want[f"c{i}"])
    os.rename(f"{d}/c0", f"{d}/moved")
    want["moved"] = want.pop("c0")
    fd = os.open(f"{d}/open", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"synced")
    os.fsync(fd)
    os.write(fd, b" and not synced")
    want["open"] = None
    wbm.kill9()
    assert errno_of(os.stat, d) == E.ENOTCONN
    assert errno_of(os.fsync, fd) in (E.ENOTCONN, E.ECONNABORTED, E.EIO)
    try:
        os.close(fd)
    except OSError:
        pass
    wbm.start()
    assert sorted(os.listdir(d)) == sorted(want)
    for n, b in want.items():
        if b is not None:
            assert get(f"{d}/{n}") == b, n
    assert get(f"{d}/open").startswith(b"synced")
    wbm.stop()
    wbm.assert_fsck_clean()


def test_random_writes_killed(wbm):
    """A database's pattern, in the midst of it a kill: what was synced is there, block by block, however the extents were merged."""
    size, block, writes = 64 << 20, 4096, 5_000 if os.environ.get("FOREBAY_QUICK") else 100_000
    rnd = random.Random(11)
    path = f"{wbm.dir}/demo/db"
    text = lambda b, n: (b"%08d:%08d " % (b, n) * (block // 18 + 1))[:block]
    last = [0] * (size // block)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    for b in range(len(last)):
        os.pwrite(fd, text(b, 0), b * block)
    os.fdatasync(fd)
    for i in range(1, writes + 1):
        b = rnd.randrange(len(last))
        last[b] = i
        os.pwrite(fd, text(b, i), b * block)
        if i % 10 == 0:
            os.fdatasync(fd)
    wbm.kill9()
    try:
        os.close(fd)
    except OSError:
        pass
    wbm.start()
    got = get(path)
    assert len(got) == size
    for b, n in enumerate(last):
        assert got[b * block:(b + 1) * block] == text(b, n), b
    wbm.stop()
    wbm.assert_fsck_clean()


def test_unlinked_open_file_is_forgotten_after_a_kill(wbm):
    d = f"{wbm.dir}/demo"
    fd = os.open(f"{d}/f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 100_000)
    os.fsync(fd)
    os.unlink(f"{d}/f")
    wbm.kill9()
    try:
        os.close(fd)
    except OSError:
        pass
    wbm.start()
    assert os.listdir(d) == []
    wbm.stop()
    wbm.assert_fsck_clean()


def test_mounted_twice_is_refused(wbm, work, ufs):
    with pytest.raises(fb.StartError, match="mounted already"):
        wbm.__class__(work, {}, {}, data=os.path.join(work, "other"))


def test_part_of_the_namespace_and_two_mounts(make_mounted, ufs, work):
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    os.mkdir(f"{f.dir}/demo/sub")
    put(f"{f.dir}/demo/sub/x", b"1")
    f.stop()
    other = os.path.join(work, "part")
    os.mkdir(other)
    argv = f.argv
    f.argv = lambda: argv() + ["--mount", f"{other}=/demo/sub"]
    f.start()
    try:
        assert os.listdir(other) == ["x"] and get(f"{other}/x") == b"1"
        put(f"{other}/y", b"2")
        assert get(f"{f.dir}/demo/sub/y") == b"2"
        put(f"{f.dir}/demo/sub/y", b"longer now")
        assert get(f"{other}/y") == b"longer now"
        os.unlink(f"{f.dir}/demo/sub/x")
        assert os.listdir(other) == ["y"]
    finally:
        f.stop()


def test_read_only_policy(make_mounted, ufs):
    ufs.put("f", b"there")
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "READ_ONLY"})
    d = f"{f.dir}/demo"
    assert get(f"{d}/f") == b"there" and os.listdir(d) == ["f"]
    calls = {
        "create": lambda: put(f"{d}/g"),
        "write": lambda: os.close(os.open(f"{d}/f", os.O_WRONLY)),
        "truncate": lambda: os.truncate(f"{d}/f", 0),
        "unlink": lambda: os.unlink(f"{d}/f"),
        "rename": lambda: os.rename(f"{d}/f", f"{d}/g"),
        "mkdir": lambda: os.mkdir(f"{d}/d"),
        "symlink": lambda: os.symlink("x", f"{d}/l"),
        "link": lambda: os.link(f"{d}/f", f"{d}/l"),
        "chmod": lambda: os.chmod(f"{d}/f", 0o600),
        "utime": lambda: os.utime(f"{d}/f"),
    }
    assert {n: errno_of(c) for n, c in calls.items()} == {n: E.EROFS for n in calls}
    assert get(f"{d}/f") == b"there"


def test_write_through(make_mounted, ufs):
    """close and fsync return when the UFS has it."""
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_THROUGH"})
    d = f"{f.dir}/demo"
    put(f"{d}/f", b"through" * 10000)
    assert ufs.get("f") == b"through" * 10000
    fd = os.open(f"{d}/f", os.O_RDWR)
    os.pwrite(fd, b"CHANGED", 0)
    os.fsync(fd)
    assert ufs.get("f") == b"CHANGED" + b"through" * 9999
    os.close(fd)
    os.unlink(f"{d}/f")
    assert ufs.get("f") is None


def test_transient(make_mounted, ufs):
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"})
    d = f"{f.dir}/demo"
    put(f"{d}/f", b"here only")
    assert get(f"{d}/f") == b"here only"
    f.stop()
    f.start()
    assert get(f"{d}/f") == b"here only" and ufs.get("f") is None


def test_full_is_enospc_and_recovers(make_mounted, ufs):
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"},
                     props={"alluxio.worker.page.store.sizes": "128MB",
                            "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.25"})
    d = f"{f.dir}/demo"
    f.cli("async-persist", "pause")
    put(f"{d}/before", b"b" * 1_000_000)
    failed = None
    for i in range(100):
        failed = errno_of(put, f"{d}/f{i}", b"x" * 2_000_000)
        if failed:
            break
    assert failed == E.ENOSPC
    assert get(f"{d}/before") == b"b" * 1_000_000
    for j in range(i):
        assert get(f"{d}/f{j}") == b"x" * 2_000_000
    f.cli("async-persist", "resume")
    wait_for("space", lambda: errno_of(put, f"{d}/after", b"y" * 2_000_000) == 0)
    assert get(f"{d}/after") == b"y" * 2_000_000


def test_outside_unmount(wbm):
    put(f"{wbm.dir}/demo/f", b"x")
    subprocess.run(["umount", wbm.dir], check=True)
    assert wbm.s3.get_object(Bucket="demo", Key="f")["Body"].read() == b"x"
    wbm.stop()
    wbm.start()
    assert get(f"{wbm.dir}/demo/f") == b"x"


def test_long_paths_reach_the_bucket(wbm):
    """Longer than S3's keys and almost PATH_MAX; nothing below opens them by one path."""
    parts = ["%d" % i + "d" * 240 for i in range(16)]
    d = f"{wbm.dir}/demo"
    for p in parts:
        d += "/" + p
        if len(d) > 4000:
            break
        os.mkdir(d)
        put(d + "/f", p.encode())
    wbm.wait_all_persisted()
    fd = os.open(wbm.under.path, os.O_RDONLY)
    seen = 0
    while True:
        here = [n for n in os.listdir(fd) if n[0] in "0123456789"]
        if not here:
            break
        fd, old = os.open(here[0], os.O_RDONLY, dir_fd=fd), fd
        os.close(old)
        got = os.open("f", os.O_RDONLY, dir_fd=fd)
        assert os.read(got, 1000) == here[0].encode()
        os.close(got)
        seen += 1
    os.close(fd)
    assert seen >= 14
    keys = [o["Key"] for p in wbm.s3.get_paginator("list_objects_v2").paginate(Bucket="demo", PaginationConfig={"PageSize": 1})
            for o in p.get("Contents", ()) if o["Key"].endswith("/f")]
    assert len(keys) == seen and max(map(len, keys)) > 3000
    wbm.stop()
    wbm.assert_fsck_clean()
    wbm.start()
    assert get(f"{wbm.dir}/demo/" + keys[-1]) == keys[-1].split("/")[-2].encode()
    os.rename(f"{wbm.dir}/demo/{parts[0]}", f"{wbm.dir}/demo/9moved")
    wbm.wait_all_persisted()
    assert get(f"{wbm.dir}/demo/9moved/{parts[1]}/f") == parts[1].encode()
    wbm.stop()
    wbm.assert_fsck_clean()

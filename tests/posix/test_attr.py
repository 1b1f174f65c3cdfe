# SPDX-License-Identifier: Apache-2.0
"""Attributes: modes, owners, times, sizes, blocks, extended attributes, figures of the file system."""
import errno as E
import os
import stat
import time

import pytest
from sys_calls import as_user, errno_of, get, put


def test_chmod(mnt):
    put(f"{mnt}/f")
    os.mkdir(f"{mnt}/d")
    for m in (0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o6711, 0o644):
        for n in ("f", "d"):
            before = os.stat(f"{mnt}/{n}").st_ctime_ns
            os.chmod(f"{mnt}/{n}", m)
            st = os.stat(f"{mnt}/{n}")
            assert stat.S_IMODE(st.st_mode) == m and st.st_ctime_ns >= before


@pytest.mark.root
def test_chown(mnt):
    put(f"{mnt}/f")
    os.chown(f"{mnt}/f", 1000, 2000)
    assert (os.stat(f"{mnt}/f").st_uid, os.stat(f"{mnt}/f").st_gid) == (1000, 2000)
    os.chown(f"{mnt}/f", -1, 3000)
    assert (os.stat(f"{mnt}/f").st_uid, os.stat(f"{mnt}/f").st_gid) == (1000, 3000)
    os.symlink("f", f"{mnt}/l")
    os.lchown(f"{mnt}/l", 7, 8)
    assert (os.lstat(f"{mnt}/l").st_uid, os.stat(f"{mnt}/l").st_uid) == (7, 1000)
    assert as_user(1000, 9, lambda: os.chown(f"{mnt}/f", 1001, -1)) == E.EPERM
    assert as_user(1000, 9, lambda: os.chown(f"{mnt}/f", -1, 9)) == 0
    os.chmod(f"{mnt}/f", 0o6755)
    os.chown(f"{mnt}/f", 1001, 1001)
    assert stat.S_IMODE(os.stat(f"{mnt}/f").st_mode) == 0o755


@pytest.mark.root
def test_set_id_bits_go_when_others_write(mnt):
    put(f"{mnt}/f", b"abc")
    os.chmod(f"{mnt}/f", 0o6777)

    def write():
        fd = os.open(f"{mnt}/f", os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    assert as_user(1234, 1234, write) == 0
    assert stat.S_IMODE(os.stat(f"{mnt}/f").st_mode) == 0o777
    os.chmod(f"{mnt}/f", 0o6777)
    assert as_user(1234, 1234, lambda: os.truncate(f"{mnt}/f", 1)) == 0
    assert stat.S_IMODE(os.stat(f"{mnt}/f").st_mode) == 0o777


def test_utimens(mnt):
    put(f"{mnt}/f")
    os.mkdir(f"{mnt}/d")
    os.symlink("f", f"{mnt}/l")
    for n in ("f", "d", "l"):
        os.utime(f"{mnt}/{n}", ns=(1_000_000_000_123_456_789, 1_600_000_000_987_654_321), follow_symlinks=False)
        st = os.lstat(f"{mnt}/{n}")
        assert (st.st_atime_ns, st.st_mtime_ns) == (1_000_000_000_123_456_789, 1_600_000_000_987_654_321)
    for t in (0, 2**31 + 5, 2**33):
        os.utime(f"{mnt}/f", ns=(t * 10**9, t * 10**9))
        assert os.stat(f"{mnt}/f").st_mtime_ns == t * 10**9
    now = time.time_ns()
    os.utime(f"{mnt}/f")
    assert abs(os.stat(f"{mnt}/f").st_mtime_ns - now) < 60 * 10**9


def test_times_move(mnt):
    put(f"{mnt}/f", b"x")
    a = os.stat(f"{mnt}/f")
    time.sleep(0.02)
    with open(f"{mnt}/f", "ab") as f:
        f.write(b"y")
    b = os.stat(f"{mnt}/f")
    assert b.st_mtime_ns > a.st_mtime_ns and b.st_ctime_ns > a.st_ctime_ns
    time.sleep(0.02)
    os.chmod(f"{mnt}/f", 0o600)
    c = os.stat(f"{mnt}/f")
    assert c.st_mtime_ns == b.st_mtime_ns and c.st_ctime_ns > b.st_ctime_ns
    d0 = os.stat(mnt)
    time.sleep(0.02)
    os.rename(f"{mnt}/f", f"{mnt}/g")
    d1 = os.stat(mnt)
    assert d1.st_mtime_ns > d0.st_mtime_ns and d1.st_ctime_ns > d0.st_ctime_ns
    assert os.stat(f"{mnt}/g").st_mtime_ns == b.st_mtime_ns
    time.sleep(0.02)
    os.unlink(f"{mnt}/g")
    assert os.stat(mnt).st_mtime_ns > d1.st_mtime_ns


def test_truncate(mnt):
    put(f"{mnt}/f", b"0123456789")
    before = os.stat(f"{mnt}/f")
    time.sleep(0.02)
    os.truncate(f"{mnt}/f", 4)
    after = os.stat(f"{mnt}/f")
    assert get(f"{mnt}/f") == b"0123" and after.st_mtime_ns > before.st_mtime_ns
    os.truncate(f"{mnt}/f", 8)
    assert get(f"{mnt}/f") == b"0123\0\0\0\0"
    os.truncate(f"{mnt}/f", 0)
    assert get(f"{mnt}/f") == b""
    assert errno_of(os.truncate, f"{mnt}/f", -1) == E.EINVAL
    assert errno_of(os.truncate, mnt, 0) == E.EISDIR
    fd = os.open(f"{mnt}/f", os.O_RDONLY)
    assert errno_of(os.ftruncate, fd, 0) == E.EINVAL
    os.close(fd)


def test_sparse(mnt):
    fd = os.open(f"{mnt}/f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"end", 1 << 40)
    st = os.fstat(fd)
    assert st.st_size == (1 << 40) + 3 and st.st_blocks < 10000
    assert os.pread(fd, 8, (1 << 40) - 5) == b"\0" * 5 + b"end"
    os.fsync(fd)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= 1 << 40
    assert os.lseek(fd, 0, os.SEEK_DATA) > (1 << 40) - (1 << 21)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    assert os.lseek(fd, 1 << 40, os.SEEK_HOLE) == (1 << 40) + 3
    assert errno_of(os.lseek, fd, (1 << 40) + 3, os.SEEK_DATA) == E.ENXIO
    os.ftruncate(fd, 0)
    os.close(fd)


def test_xattr(mnt):
    p = f"{mnt}/f"
    put(p)
    assert os.listxattr(p) == []
    os.setxattr(p, "user.a", b"1")
    os.setxattr(p, "user.bin", bytes(range(256)))
    os.setxattr(p, "user.empty", b"")
    os.setxattr(p, "user.big", b"z" * 2000)
    assert sorted(os.listxattr(p)) == ["user.a", "user.big", "user.bin", "user.empty"]
    assert os.getxattr(p, "user.bin") == bytes(range(256)) and os.getxattr(p, "user.empty") == b""
    assert errno_of(os.setxattr, p, "user.a", b"2", os.XATTR_CREATE) == E.EEXIST
    assert errno_of(os.setxattr, p, "user.none", b"2", os.XATTR_REPLACE) == E.ENODATA
    os.setxattr(p, "user.a", b"22", os.XATTR_REPLACE)
    assert os.getxattr(p, "user.a") == b"22"
    os.removexattr(p, "user.a")
    assert errno_of(os.getxattr, p, "user.a") == E.ENODATA
    assert errno_of(os.removexattr, p, "user.a") == E.ENODATA
    os.rename(p, f"{mnt}/g")
    assert os.getxattr(f"{mnt}/g", "user.big") == b"z" * 2000
    os.mkdir(f"{mnt}/d")
    os.setxattr(f"{mnt}/d", "user.d", b"dir")
    assert os.getxattr(f"{mnt}/d", "user.d") == b"dir"


def test_acl_is_refused(mounted, mnt):
    put(f"{mnt}/f")
    acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff"
    assert errno_of(os.setxattr, f"{mnt}/f", "system.posix_acl_access", acl) == E.EOPNOTSUPP


def test_statfs(mnt):
    s = os.statvfs(mnt)
    assert s.f_blocks > 0 and 0 < s.f_bavail <= s.f_bfree <= s.f_blocks and s.f_namemax == 255


@pytest.mark.root
def test_permission_of_times(mnt):
    put(f"{mnt}/f")
    assert as_user(1234, 1234, lambda: os.utime(f"{mnt}/f", ns=(1, 1))) == E.EPERM
    assert as_user(1234, 1234, lambda: os.utime(f"{mnt}/f")) == E.EACCES
    os.chmod(f"{mnt}/f", 0o666)
    assert as_user(1234, 1234, lambda: os.utime(f"{mnt}/f")) == 0

# SPDX-License-Identifier: Apache-2.0
"""Names: every call that makes, moves or removes one, and what it must refuse."""
import errno as E
import os
import shutil
import socket
import stat
import threading

import pytest
from sys_calls import EXCHANGE, NOREPLACE, as_user, errno_of, get, link_open, put, renameat2


def test_create_and_exclusive(mnt):
    p = f"{mnt}/f"
    fd = os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
    os.close(fd)
    st = os.stat(p)
    assert stat.S_ISREG(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o640 and st.st_size == 0 and st.st_nlink == 1
    assert errno_of(os.open, p, os.O_CREAT | os.O_EXCL | os.O_WRONLY) == E.EEXIST
    assert errno_of(os.open, f"{mnt}/none", os.O_RDONLY) == E.ENOENT
    assert errno_of(os.open, f"{p}/x", os.O_RDONLY) == E.ENOTDIR
    assert errno_of(os.open, mnt, os.O_WRONLY) == E.EISDIR
    os.symlink("nowhere", f"{mnt}/dangling")
    assert errno_of(os.open, f"{mnt}/dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY) == E.EEXIST
    os.close(os.open(f"{mnt}/dangling", os.O_CREAT | os.O_WRONLY))
    assert os.path.exists(f"{mnt}/nowhere")
    assert errno_of(os.open, f"{mnt}/dangling", os.O_RDONLY | os.O_NOFOLLOW) == E.ELOOP


def test_umask(mnt):
    os.umask(0o027)
    put(f"{mnt}/f", mode=0o666)
    os.mkdir(f"{mnt}/d", 0o777)
    os.mkfifo(f"{mnt}/p", 0o666)
    assert [stat.S_IMODE(os.lstat(f"{mnt}/{n}").st_mode) for n in "fdp"] == [0o640, 0o750, 0o640]


def test_mkdir_rmdir(mnt):
    d = f"{mnt}/d"
    before = os.stat(mnt)
    os.mkdir(d, 0o755)
    assert os.stat(mnt).st_nlink == before.st_nlink + 1
    assert os.stat(mnt).st_mtime_ns >= before.st_mtime_ns
    assert os.stat(d).st_nlink == 2
    assert errno_of(os.mkdir, d) == E.EEXIST
    put(f"{d}/f")
    assert errno_of(os.rmdir, d) in (E.ENOTEMPTY, E.EEXIST)
    assert errno_of(os.unlink, d) in (E.EISDIR, E.EPERM)
    assert errno_of(os.rmdir, f"{d}/f") == E.ENOTDIR
    assert errno_of(os.rmdir, f"{d}/.") == E.EINVAL
    os.unlink(f"{d}/f")
    os.rmdir(d)
    assert errno_of(os.rmdir, d) == E.ENOENT
    assert os.stat(mnt).st_nlink == before.st_nlink


@pytest.mark.parametrize("make", ["file", "dir", "symlink", "fifo", "socket", "link"])
def test_long_names(mnt, make):
    put(f"{mnt}/src")
    for n, want in ((255, 0), (256, E.ENAMETOOLONG)):
        p = f"{mnt}/{'n' * n}"
        calls = {
            "file": lambda: put(p),
            "dir": lambda: os.mkdir(p),
            "symlink": lambda: os.symlink("x", p),
            "fifo": lambda: os.mkfifo(p),
            "socket": lambda: os.mknod(p, stat.S_IFSOCK | 0o644),
            "link": lambda: os.link(f"{mnt}/src", p),
        }
        assert errno_of(calls[make]) == want, n
    assert "n" * 255 in os.listdir(mnt)


def test_names_of_any_byte(mnt):
    names = [bytes([b]) for b in range(1, 128) if b not in (0x2F, 0x2E)] + ["ä€𝄞".encode(), b"a b", b"-rf", b"%2F", b"..."]
    d = os.fsencode(mnt)
    for n in names:
        os.close(os.open(d + b"/" + n, os.O_CREAT | os.O_WRONLY))
    assert sorted(os.listdir(d)) == sorted(names)
    for n in names:
        os.unlink(d + b"/" + n)
    assert os.listdir(d) == []


def test_deep_path(mnt):
    fd, depth = os.open(mnt, os.O_RDONLY), 0
    at = mnt
    while len(at) < 1700:  # an S3 key has 1,024 bytes; the namespace itself holds more
        name = "d" * 100
        if errno_of(os.mkdir, name, dir_fd=fd) == E.ENAMETOOLONG:
            break
        new = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd, at, depth = new, f"{at}/{name}", depth + 1
    assert depth >= 8
    os.close(fd)
    assert os.path.isdir(at)


def test_symlink(mnt):
    for n in (1, 255, 1000, 4095):
        os.symlink("t" * n, f"{mnt}/l{n}")
        assert os.readlink(f"{mnt}/l{n}") == "t" * n
        st = os.lstat(f"{mnt}/l{n}")
        assert stat.S_ISLNK(st.st_mode) and st.st_size == n
    put(f"{mnt}/f", b"data")
    os.symlink("f", f"{mnt}/l")
    assert get(f"{mnt}/l") == b"data"
    assert errno_of(os.symlink, "x", f"{mnt}/l") == E.EEXIST
    assert errno_of(os.readlink, f"{mnt}/f") == E.EINVAL
    os.symlink("b", f"{mnt}/a")
    os.symlink("a", f"{mnt}/b")
    assert errno_of(os.stat, f"{mnt}/a") == E.ELOOP
    os.unlink(f"{mnt}/l")
    assert get(f"{mnt}/f") == b"data"


def test_special_files(mnt):
    os.mkfifo(f"{mnt}/fifo", 0o600)
    assert stat.S_ISFIFO(os.stat(f"{mnt}/fifo").st_mode)
    got = []
    t = threading.Thread(target=lambda: got.append(get(f"{mnt}/fifo")))
    t.start()
    with open(f"{mnt}/fifo", "wb") as f:
        f.write(b"through the fifo")
    t.join(30)
    assert got == [b"through the fifo"]
    s = socket.socket(socket.AF_UNIX)
    os.chdir(mnt)  # sun_path is short
    s.bind("sock")
    assert stat.S_ISSOCK(os.stat("sock").st_mode)
    s.listen()
    c = socket.socket(socket.AF_UNIX)
    c.connect("sock")
    c.close()
    s.close()
    os.chdir("/")
    if os.geteuid() == 0:
        os.mknod(f"{mnt}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        st = os.stat(f"{mnt}/null")
        assert stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 3)
        os.mknod(f"{mnt}/blk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
        assert stat.S_ISBLK(os.stat(f"{mnt}/blk").st_mode)
    os.mknod(f"{mnt}/plain", stat.S_IFREG | 0o604)
    assert stat.S_IMODE(os.stat(f"{mnt}/plain").st_mode) == 0o604


def test_hard_links(mnt):
    put(f"{mnt}/a", b"one")
    os.link(f"{mnt}/a", f"{mnt}/b")
    os.mkdir(f"{mnt}/d")
    os.link(f"{mnt}/a", f"{mnt}/d/c")
    assert {os.stat(f"{mnt}/{n}").st_ino for n in ("a", "b", "d/c")} == {os.stat(f"{mnt}/a").st_ino}
    assert os.stat(f"{mnt}/b").st_nlink == 3
    with open(f"{mnt}/b", "ab") as f:
        f.write(b" two")
    assert get(f"{mnt}/d/c") == b"one two"
    os.chmod(f"{mnt}/d/c", 0o600)
    assert stat.S_IMODE(os.stat(f"{mnt}/a").st_mode) == 0o600
    os.unlink(f"{mnt}/a")
    assert os.stat(f"{mnt}/b").st_nlink == 2 and get(f"{mnt}/b") == b"one two"
    os.rename(f"{mnt}/b", f"{mnt}/e")
    assert os.stat(f"{mnt}/e").st_ino == os.stat(f"{mnt}/d/c").st_ino
    os.rename(f"{mnt}/e", f"{mnt}/d/c")  # two names of one file: nothing happens
    assert os.path.exists(f"{mnt}/e") and os.path.exists(f"{mnt}/d/c")
    os.unlink(f"{mnt}/e")
    os.unlink(f"{mnt}/d/c")
    assert errno_of(os.link, f"{mnt}/d", f"{mnt}/x") == E.EPERM
    put(f"{mnt}/f")
    assert errno_of(os.link, f"{mnt}/f", f"{mnt}/d") == E.EEXIST
    os.symlink("f", f"{mnt}/s")
    os.link(f"{mnt}/s", f"{mnt}/s2", follow_symlinks=False)
    assert os.readlink(f"{mnt}/s2") == "f"


def test_rename_file(mnt):
    put(f"{mnt}/a", b"A")
    put(f"{mnt}/b", b"B")
    ino = os.stat(f"{mnt}/a").st_ino
    os.rename(f"{mnt}/a", f"{mnt}/b")
    assert get(f"{mnt}/b") == b"A" and os.stat(f"{mnt}/b").st_ino == ino and os.listdir(mnt) == ["b"]
    os.mkdir(f"{mnt}/d")
    assert errno_of(os.rename, f"{mnt}/b", f"{mnt}/d") == E.EISDIR
    assert errno_of(os.rename, f"{mnt}/d", f"{mnt}/b") == E.ENOTDIR
    assert errno_of(os.rename, f"{mnt}/none", f"{mnt}/b") == E.ENOENT
    assert errno_of(os.rename, f"{mnt}/b", f"{mnt}/no/b") == E.ENOENT
    os.rename(f"{mnt}/b", f"{mnt}/b")
    os.rename(f"{mnt}/b", f"{mnt}/d/b")
    assert get(f"{mnt}/d/b") == b"A"


def test_rename_dir(mnt):
    os.makedirs(f"{mnt}/a/b")
    put(f"{mnt}/a/b/f", b"x")
    assert errno_of(os.rename, f"{mnt}/a", f"{mnt}/a/b/c") == E.EINVAL
    os.mkdir(f"{mnt}/full")
    put(f"{mnt}/full/f")
    assert errno_of(os.rename, f"{mnt}/a", f"{mnt}/full") in (E.ENOTEMPTY, E.EEXIST)
    os.mkdir(f"{mnt}/empty")
    nlink = os.stat(mnt).st_nlink
    os.rename(f"{mnt}/a", f"{mnt}/empty")
    assert get(f"{mnt}/empty/b/f") == b"x" and not os.path.exists(f"{mnt}/a")
    assert os.stat(mnt).st_nlink == nlink - 1
    os.rename(f"{mnt}/empty/b", f"{mnt}/full/b")
    assert get(f"{mnt}/full/b/f") == b"x"
    fd = os.open(f"{mnt}/full/b", os.O_RDONLY)
    os.rename(f"{mnt}/full", f"{mnt}/moved")
    assert os.listdir(fd) == ["f"]  # an open directory goes along
    os.close(fd)


def test_rename_flags(mnt):
    put(f"{mnt}/a", b"A")
    put(f"{mnt}/b", b"B")
    os.mkdir(f"{mnt}/d")
    put(f"{mnt}/d/in", b"I")
    assert errno_of(renameat2, f"{mnt}/a", f"{mnt}/b", NOREPLACE) == E.EEXIST
    renameat2(f"{mnt}/a", f"{mnt}/c", NOREPLACE)
    renameat2(f"{mnt}/c", f"{mnt}/b", EXCHANGE)
    assert get(f"{mnt}/c") == b"B" and get(f"{mnt}/b") == b"A"
    renameat2(f"{mnt}/c", f"{mnt}/d", EXCHANGE)
    assert get(f"{mnt}/d") == b"B" and get(f"{mnt}/c/in") == b"I"
    assert errno_of(renameat2, f"{mnt}/c", f"{mnt}/none", EXCHANGE) == E.ENOENT
    assert errno_of(renameat2, f"{mnt}/c", f"{mnt}/d", EXCHANGE | NOREPLACE) == E.EINVAL


def test_rename_over_a_reader(mnt):
    """Whoever opens the name finds one whole file, old or new, however often it is replaced."""
    put(f"{mnt}/f", b"0" * 10000)
    stop, bad = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                b = get(f"{mnt}/f")
            except OSError as e:
                bad.append(e)
                continue
            if len(b) != 10000 or len(set(b)) != 1:
                bad.append((len(b), set(b)))

    ts = [threading.Thread(target=read) for _ in range(3)]
    for t in ts:
        t.start()
    for i in range(200):
        put(f"{mnt}/new", bytes([48 + i % 10]) * 10000)
        os.rename(f"{mnt}/new", f"{mnt}/f")
    stop.set()
    for t in ts:
        t.join()
    assert not bad, bad[:5]


def test_unlink_open(mnt):
    fd = os.open(f"{mnt}/f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"still ")
    os.unlink(f"{mnt}/f")
    assert os.listdir(mnt) == []
    os.write(fd, b"here")
    assert os.pread(fd, 100, 0) == b"still here"
    st = os.fstat(fd)
    assert st.st_nlink == 0 and st.st_size == 10
    os.ftruncate(fd, 3)
    os.fsync(fd)
    assert os.pread(fd, 100, 0) == b"sti"
    put(f"{mnt}/f", b"another")
    assert os.pread(fd, 100, 0) == b"sti"
    os.close(fd)
    assert get(f"{mnt}/f") == b"another"


def test_rename_over_open(mnt):
    put(f"{mnt}/a", b"old content")
    fd = os.open(f"{mnt}/a", os.O_RDWR)
    put(f"{mnt}/b", b"new")
    os.rename(f"{mnt}/b", f"{mnt}/a")
    assert os.read(fd, 100) == b"old content" and os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b"OLD", 0)
    assert os.pread(fd, 100, 0) == b"OLD content" and get(f"{mnt}/a") == b"new"
    os.close(fd)


def test_rmdir_open(mnt):
    os.mkdir(f"{mnt}/d")
    fd = os.open(f"{mnt}/d", os.O_RDONLY)
    os.rmdir(f"{mnt}/d")
    assert os.listdir(fd) == []
    assert errno_of(os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd) == E.ENOENT
    os.close(fd)


def test_tmpfile(mnt):
    fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"unnamed")
    assert os.fstat(fd).st_nlink == 0 and os.listdir(mnt) == []
    link_open(fd, f"{mnt}/named")
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
    assert get(f"{mnt}/named") == b"unnamed"
    fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"gone")
    os.close(fd)
    assert os.listdir(mnt) == ["named"]


@pytest.mark.root
def test_permissions(mnt):
    put(f"{mnt}/mine", b"x", mode=0o600)
    assert as_user(1234, 1234, lambda: get(f"{mnt}/mine")) == E.EACCES
    os.mkdir(f"{mnt}/d", 0o755)
    assert as_user(1234, 1234, lambda: put(f"{mnt}/d/f")) == E.EACCES
    os.chmod(f"{mnt}/d", 0o1777)
    assert as_user(1234, 1234, lambda: put(f"{mnt}/d/f")) == 0
    assert os.stat(f"{mnt}/d/f").st_uid == 1234
    assert as_user(2345, 2345, lambda: os.unlink(f"{mnt}/d/f")) in (E.EPERM, E.EACCES)  # sticky
    assert as_user(2345, 2345, lambda: os.rename(f"{mnt}/d/f", f"{mnt}/d/g")) in (E.EPERM, E.EACCES)
    assert as_user(2345, 2345, lambda: os.chmod(f"{mnt}/d/f", 0o777)) == E.EPERM
    assert as_user(1234, 1234, lambda: os.unlink(f"{mnt}/d/f")) == 0


@pytest.mark.root
def test_setgid_directory(mnt):
    os.mkdir(f"{mnt}/d")
    os.chown(f"{mnt}/d", 0, 4321)
    os.chmod(f"{mnt}/d", 0o2777)
    assert as_user(1234, 1234, lambda: (put(f"{mnt}/d/f"), os.mkdir(f"{mnt}/d/s"))) == 0
    assert os.stat(f"{mnt}/d/f").st_gid == 4321
    st = os.stat(f"{mnt}/d/s")
    assert st.st_gid == 4321 and st.st_mode & stat.S_ISGID


def test_paths_as_long_as_the_kernel_takes(mnt):
    """PATH_MAX is 4,096 with the NUL; every call works at the end of such a path."""
    d, want = mnt, 4095 - 40
    while len(d) + 1 < want:
        d += "/" + "d" * min(250, want - len(d) - 1)
        os.mkdir(d)
    name = d + "/" + "n" * (4095 - len(d) - 1)
    assert len(name) == 4095
    put(name, b"deep")
    assert get(name) == b"deep" and os.listdir(d) == ["n" * (4095 - len(d) - 1)]
    os.chmod(name, 0o600)
    os.truncate(name, 2)
    assert os.stat(name).st_size == 2
    os.rename(name, d + "/x")
    os.link(d + "/x", name)
    os.symlink("target", d + "/s")
    os.mkfifo(d + "/p")
    os.mkdir(d + "/e")
    assert errno_of(put, name + "n") == E.ENAMETOOLONG
    shutil.rmtree(mnt + "/" + "d" * 250)
    assert os.listdir(mnt) == []

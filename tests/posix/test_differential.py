# SPDX-License-Identifier: Apache-2.0
"""The same calls in the mount and in a native file system, by seed: every result, every errno and in the end the whole tree
must be the same. One test works on names, one on the bytes of one file (with mmap, holes, two descriptors)."""
import mmap
import os
import random
import stat
import subprocess

import pytest
from sys_calls import EXCHANGE, KEEP_SIZE, NOREPLACE, PUNCH_HOLE, ZERO_RANGE, fallocate, renameat2

STEPS = 600


def outcome(fn, *a):
    try:
        return fn(*a)
    except OSError as e:
        return -e.errno


def info(path):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    size = st.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else 0
    return kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, size


def tree(top):
    found = {}
    for at, dirs, files in os.walk(top):
        for n in dirs + files:
            p = os.path.join(at, n)
            what = [info(p)]
            if stat.S_ISREG(what[0][0]):
                with open(p, "rb") as f:
                    what.append(f.read())
            elif stat.S_ISLNK(what[0][0]):
                what.append(os.readlink(p))
            found[os.path.relpath(p, top)] = what
    return found


def write(path, flags, data, off):
    fd = os.open(path, flags | os.O_NONBLOCK, 0o644)  # a FIFO has nobody at its other end
    try:
        return os.pwrite(fd, data, off)
    finally:
        os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, 100000, 0)
    finally:
        os.close(fd)


def name_step(rnd):
    """A call as (function, paths' suffixes, more arguments)."""
    def p():
        return "/".join(rnd.choice("abc") for _ in range(rnd.choice((1, 1, 2, 2, 3))))

    def new():
        return rnd.choice(((os.O_CREAT | os.O_RDWR, os.O_CREAT | os.O_EXCL | os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_WRONLY)))

    return rnd.choice((
        lambda: (lambda x, m: os.mkdir(x, m), [p()], [rnd.choice((0o755, 0o700, 0o2770))]),
        lambda: (os.rmdir, [p()], []),
        lambda: (os.unlink, [p()], []),
        lambda: (write, [p()], [new(), rnd.randbytes(rnd.choice((0, 1, 5000))), rnd.choice((0, 0, 3, 9000))]),
        lambda: (write, [p()], [os.O_CREAT | os.O_RDWR, rnd.randbytes(20), 0]),
        lambda: (os.rename, [p(), p()], []),
        lambda: (os.rename, [p(), p()], []),
        lambda: (renameat2, [p(), p()], [rnd.choice((NOREPLACE, EXCHANGE))]),
        lambda: (os.link, [p(), p()], []),
        lambda: (lambda x, t: os.symlink(t, x), [p()], [p()]),
        lambda: (os.chmod, [p()], [rnd.choice((0o644, 0o600, 0o4755, 0o1777))]),
        lambda: (lambda x, n: os.truncate(x, n), [p()], [rnd.choice((0, 1, 4096, 20000))]),
        lambda: (lambda x, u, g: os.lchown(x, u, g), [p()], [rnd.choice((-1, 0, 77)), rnd.choice((-1, 0, 88))]),
        lambda: (lambda x: os.mkfifo(x, 0o640), [p()], []),
        lambda: (lambda x: sorted(os.listdir(x)), [p()], []),
        lambda: (info, [p()], []),
        lambda: (info, [p()], []),
        lambda: (os.readlink, [p()], []),
    ))()


@pytest.mark.parametrize("seed", range(6))
def test_names(mnt, twin, seed):
    rnd, log = random.Random(seed), []
    for i in range(STEPS):
        fn, paths, more = name_step(rnd)
        got = [outcome(fn, *[f"{top}/{x}" for x in paths], *more) for top in (mnt, twin)]
        log.append((i, getattr(fn, "__name__", "?"), paths, [m if not isinstance(m, bytes) else len(m) for m in more], got))
        assert got[0] == got[1], "\n".join(map(str, log[-12:]))
    assert tree(mnt) == tree(twin)


MAX = 400_000


def data_step(rnd, sizes=(1, 100, 4096, 30000)):
    n, off = rnd.choice(sizes), rnd.randrange(MAX)
    if rnd.random() < 0.5:
        off = off // 4096 * 4096
    which = rnd.randrange(2)
    return rnd.choice((
        lambda: lambda fds, m: os.pwrite(fds[which], rnd_bytes(off, n), off),
        lambda: lambda fds, m: os.pwrite(fds[which], rnd_bytes(off, n), off),
        lambda: lambda fds, m: os.pread(fds[which], n * 3, off),
        lambda: lambda fds, m: os.pread(fds[1 - which], n * 3, off),
        lambda: lambda fds, m: os.ftruncate(fds[which], off),
        lambda: lambda fds, m: os.fstat(fds[which]).st_size,
        lambda: lambda fds, m: fallocate(fds[which], 0, off, n),
        lambda: lambda fds, m: fallocate(fds[which], PUNCH_HOLE | KEEP_SIZE, off, n),
        lambda: lambda fds, m: fallocate(fds[which], ZERO_RANGE, off, n),
        lambda: lambda fds, m: os.copy_file_range(fds[0], fds[1], n, off, (off + MAX // 2) % MAX),
        lambda: lambda fds, m: os.fsync(fds[which]),
        lambda: lambda fds, m: mapped(fds[which], m, off, n),
    ))()


def rnd_bytes(off, n):
    return random.Random(off * 31 + n).randbytes(n)


def mapped(fd, m, off, n):
    """Writes through a shared mapping, as far as the file goes."""
    size = os.fstat(fd).st_size
    n = min(n, size - off)
    if n <= 0:
        return 0
    with mmap.mmap(fd, size) as view:
        was = view[off:off + n]
        view[off:off + n] = bytes(b ^ 0x55 for b in was)
        view.flush()
        return was




@pytest.mark.parametrize("seed", range(8))
def test_bytes(mnt, twin, seed):
    rnd = random.Random(1000 + seed)
    tops, fds = (mnt, twin), []
    for top in tops:
        fds.append([os.open(f"{top}/f", os.O_RDWR | os.O_CREAT, 0o644), os.open(f"{top}/f", os.O_RDWR)])
    log = []
    for i in range(STEPS):
        step = data_step(rnd)
        got = [outcome(step, pair, None) for pair in fds]
        log.append((i, [g if not isinstance(g, bytes) else (len(g), hash(g)) for g in got]))
        assert got[0] == got[1], "\n".join(map(str, log[-12:]))
        if i % 150 == 149:  # closed and opened again: what is published is what was seen
            for pair, top in zip(fds, tops):
                for j in range(2):
                    os.close(pair[j])
                    pair[j] = os.open(f"{top}/f", os.O_RDWR)
    for pair in fds:
        for fd in pair:
            os.close(fd)
    assert subprocess.run(["cmp", f"{mnt}/f", f"{twin}/f"], check=False).returncode == 0

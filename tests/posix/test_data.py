# SPDX-License-Identifier: Apache-2.0
"""Bytes of files: where they go, what is read back, through every call that moves them."""
import errno as E
import fcntl
import mmap
import multiprocessing
import os
import random
import threading

import pytest
from sys_calls import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, COLLAPSE, errno_of, fallocate, get, put


def opened(path, flags=os.O_RDWR | os.O_CREAT):
    return os.open(path, flags, 0o644)


def test_random_writes_and_two_descriptors(mnt):
    rnd, size = random.Random(7), 3_000_000
    model = bytearray(size)
    a, b = opened(f"{mnt}/f"), opened(f"{mnt}/f")
    os.ftruncate(a, size)
    for i in range(400):
        n = rnd.choice((1, 100, 4096, 70000))
        off = rnd.randrange(size - n)
        data = rnd.randbytes(n)
        os.pwrite(rnd.choice((a, b)), data, off)
        model[off:off + n] = data
        if i % 40 == 0:
            off = rnd.randrange(size - 100000)
            assert os.pread(b, 100000, off) == model[off:off + 100000]
        if i % 100 == 0:
            os.fsync(a)
    os.close(a)
    assert os.pread(b, size, 0) == model
    os.close(b)
    assert get(f"{mnt}/f") == model


def test_append(mnt):
    a, b = opened(f"{mnt}/f", os.O_WRONLY | os.O_CREAT | os.O_APPEND), opened(f"{mnt}/f", os.O_WRONLY | os.O_APPEND)
    for i in range(100):
        os.write(a if i % 2 else b, b"%05d\n" % i)
    os.close(a)
    os.close(b)
    assert get(f"{mnt}/f") == b"".join(b"%05d\n" % i for i in range(100))


def _append_many(path, who):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(200):
        os.write(fd, b"%d:%06d\n" % (who, i))
    os.close(fd)


def test_append_by_many_processes(mnt):
    put(f"{mnt}/f")
    ps = [multiprocessing.Process(target=_append_many, args=(f"{mnt}/f", w)) for w in range(4)]
    for p in ps:
        p.start()
    for p in ps:
        p.join()
    assert sorted(get(f"{mnt}/f").splitlines()) == sorted(b"%d:%06d" % (w, i) for w in range(4) for i in range(200))


def test_writes_do_not_mix(mnt):
    """Two threads write the same range whole: readers find one or the other."""
    fd = opened(f"{mnt}/f")
    n = 100_000
    os.pwrite(fd, b"a" * n, 0)

    def write(c):
        for _ in range(60):
            os.pwrite(fd, c * n, 0)

    ts = [threading.Thread(target=write, args=(c,)) for c in (b"a", b"b")]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    assert len(set(os.pread(fd, n, 0))) == 1
    os.close(fd)


def test_overwrite_and_truncate_on_open(mnt):
    put(f"{mnt}/f", b"x" * 100000)
    reader = os.open(f"{mnt}/f", os.O_RDONLY)
    put(f"{mnt}/f", b"short")
    assert get(f"{mnt}/f") == b"short"
    assert os.fstat(reader).st_size == 5 and os.pread(reader, 100, 0) == b"short"  # the inode stays
    os.close(reader)


def test_holes(mnt):
    fd = opened(f"{mnt}/f")
    os.pwrite(fd, b"A" * 4096, 0)
    os.pwrite(fd, b"B" * 4096, 10 << 20)
    os.fsync(fd)
    st = os.fstat(fd)
    assert st.st_size == (10 << 20) + 4096 and 0 < st.st_blocks * 512 <= 1 << 20
    assert os.pread(fd, 8192, 2048) == b"A" * 2048 + b"\0" * 6144
    hole = os.lseek(fd, 0, os.SEEK_HOLE)
    assert 4096 <= hole <= 2 << 20
    data = os.lseek(fd, hole, os.SEEK_DATA)
    assert 8 << 20 < data <= 10 << 20
    os.close(fd)
    fd = opened(f"{mnt}/f", os.O_RDONLY)
    assert os.pread(fd, 100, 5 << 20) == b"\0" * 100
    os.close(fd)


def test_fallocate(mnt):
    fd = opened(f"{mnt}/f")
    os.posix_fallocate(fd, 0, 100000)
    assert os.fstat(fd).st_size == 100000 and os.pread(fd, 100000, 0) == b"\0" * 100000
    os.pwrite(fd, b"x" * 100000, 0)
    fallocate(fd, KEEP_SIZE, 90000, 50000)
    assert os.fstat(fd).st_size == 100000
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 10000, 20000)
    assert os.pread(fd, 100000, 0) == b"x" * 10000 + b"\0" * 20000 + b"x" * 70000
    fallocate(fd, ZERO_RANGE, 50000, 60000)
    assert os.fstat(fd).st_size == 110000
    want = b"x" * 10000 + b"\0" * 20000 + b"x" * 20000 + b"\0" * 60000
    assert os.pread(fd, 200000, 0) == want
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100000, 1 << 20)
    assert os.fstat(fd).st_size == 110000
    os.close(fd)
    assert get(f"{mnt}/f") == want
    fd = opened(f"{mnt}/f", os.O_RDONLY)
    assert errno_of(fallocate, fd, 0, 0, 10) == E.EBADF
    os.close(fd)


def test_fallocate_of_unknown_mode(mounted, mnt):
    fd = opened(f"{mnt}/f")
    assert errno_of(fallocate, fd, COLLAPSE, 0, 4096) == E.EOPNOTSUPP
    os.close(fd)


def test_copy_file_range_of_what_was_evicted(mounted, mnt):
    """Only the bucket has the source; then the source goes. Unaligned, and over a hole."""
    data = random.Random(4).randbytes(3_000_000)
    put(f"{mnt}/a", data)
    demo = "/demo/" + os.path.basename(mnt)
    mounted.cli("persist", "--wait", demo, "--timeout", "60")
    mounted.cli("job", "free", "--path", demo)
    a, b = opened(f"{mnt}/a", os.O_RDONLY), opened(f"{mnt}/b")
    os.ftruncate(b, 5_000_000)
    assert os.copy_file_range(a, b, 2_000_001, 77, 1_000_003) == 2_000_001
    os.close(a)
    os.close(b)
    os.unlink(f"{mnt}/a")
    want = bytearray(5_000_000)
    want[1_000_003:3_000_004] = data[77:2_000_078]
    assert get(f"{mnt}/b") == want
    mounted.cli("persist", "--wait", demo, "--timeout", "60")
    mounted.cli("job", "free", "--path", demo)
    assert get(f"{mnt}/b") == want


def test_ficlone_is_refused(mounted, mnt):
    put(f"{mnt}/a", b"x" * 100_000)
    a, b = opened(f"{mnt}/a", os.O_RDONLY), opened(f"{mnt}/b")
    assert errno_of(fcntl.ioctl, b, 0x40049409, a) == E.EOPNOTSUPP
    os.close(a)
    os.close(b)
    assert get(f"{mnt}/b") == b""


def test_copy_file_range(mnt):
    data = random.Random(3).randbytes(5_000_000)
    put(f"{mnt}/a", data)
    a, b = opened(f"{mnt}/a"), opened(f"{mnt}/b")
    done = 0
    while done < len(data):
        n = os.copy_file_range(a, b, len(data) - done, done, done)
        assert n
        done += n
    assert os.copy_file_range(a, b, 100, len(data), 0) == 0
    assert os.copy_file_range(a, b, 1000, 5, 2_000_000) == 1000
    want = bytearray(data)
    want[2_000_000:2_001_000] = data[5:1005]
    os.close(a)
    os.close(b)
    assert get(f"{mnt}/b") == want and get(f"{mnt}/a") == data
    os.unlink(f"{mnt}/a")
    assert get(f"{mnt}/b") == want


def test_mmap_shared(mnt):
    size = 300_000
    fd = opened(f"{mnt}/f")
    os.ftruncate(fd, size)
    with mmap.mmap(fd, size) as m:
        m[0:5] = b"first"
        m[200_000:200_004] = b"last"
        m.flush()
        assert os.pread(fd, 5, 0) == b"first"
        os.pwrite(fd, b"XX", 2)
        assert m[0:5] == b"fiXXt"
    os.close(fd)
    b = get(f"{mnt}/f")
    assert b[:5] == b"fiXXt" and b[200_000:200_004] == b"last" and len(b) == size


def test_mmap_written_after_close(mnt):
    fd = opened(f"{mnt}/f")
    os.ftruncate(fd, 8192)
    m = mmap.mmap(fd, 8192)
    os.close(fd)
    m[4096:4100] = b"late"
    m.flush()
    m.close()
    assert get(f"{mnt}/f")[4096:4100] == b"late"


def test_direct_io(mnt):
    buf = mmap.mmap(-1, 65536)
    buf[:] = bytes(range(256)) * 256
    fd = opened(f"{mnt}/f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    assert os.pwrite(fd, buf, 0) == 65536
    back = mmap.mmap(-1, 65536)
    assert os.preadv(fd, [back], 0) == 65536 and back[:] == buf[:]
    os.close(fd)
    assert get(f"{mnt}/f") == buf[:]


def test_vectors_and_sendfile(mnt):
    fd = opened(f"{mnt}/f")
    assert os.pwritev(fd, [b"abc", b"", b"defg"], 10) == 7
    a, b = bytearray(3), bytearray(10)
    assert os.preadv(fd, [a, b], 10) == 7 and bytes(a) == b"abc" and bytes(b[:4]) == b"defg"
    out = opened(f"{mnt}/g")
    assert os.sendfile(out, fd, 10, 4) == 4
    os.close(out)
    os.close(fd)
    assert get(f"{mnt}/g") == b"abcd"


def test_reads_at_the_end(mnt):
    put(f"{mnt}/f", b"12345")
    fd = opened(f"{mnt}/f", os.O_RDONLY)
    assert os.pread(fd, 10, 3) == b"45" and os.pread(fd, 10, 5) == b"" and os.pread(fd, 10, 1 << 40) == b""
    assert errno_of(os.write, fd, b"x") == E.EBADF
    os.close(fd)
    fd = opened(f"{mnt}/f", os.O_WRONLY)
    assert errno_of(os.read, fd, 1) == E.EBADF
    os.close(fd)


def test_duplicated_descriptors(mnt):
    fd = opened(f"{mnt}/f")
    twin = os.dup(fd)
    os.write(fd, b"one")
    os.close(fd)
    os.write(twin, b"two")
    os.close(twin)
    assert get(f"{mnt}/f") == b"onetwo"


def test_large_file(mnt):
    chunk = random.Random(1).randbytes(1 << 20)
    with open(f"{mnt}/f", "wb") as f:
        for i in range(64):
            f.write(bytes([i]) + chunk[1:])
    assert os.stat(f"{mnt}/f").st_size == 64 << 20
    with open(f"{mnt}/f", "rb") as f:
        for i in range(64):
            b = f.read(1 << 20)
            assert b[0] == i and b[1:] == chunk[1:]


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks(mnt, kind):
    put(f"{mnt}/f", b"x" * 100)
    call = getattr(fcntl, kind)
    fd = opened(f"{mnt}/f")
    call(fd, fcntl.LOCK_EX)

    def tries(q):
        other = opened(f"{mnt}/f")
        q.put(errno_of(call, other, fcntl.LOCK_EX | fcntl.LOCK_NB))
        os.close(other)

    q = multiprocessing.Queue()
    for want in ((E.EAGAIN, E.EACCES), (0,)):
        p = multiprocessing.Process(target=tries, args=(q,))
        p.start()
        assert q.get(timeout=60) in want
        p.join()
        call(fd, fcntl.LOCK_UN)
    os.close(fd)

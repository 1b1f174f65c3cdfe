# SPDX-License-Identifier: Apache-2.0
"""Locks (fcntl, F_OFD_*, flock) between two mounts of one instance, of this host and of others."""
import errno as E
import os
import select
import signal
import sqlite3
import subprocess
import sys

import pytest
from conftest import PROPS, fuse_missing
from sys_calls import errno_of, get, put
from test_keeper import Kept
from test_remote import TOKEN, Away, Cable

from lib import proc

PROGRAM = """
import errno, fcntl, os, signal, struct, sys

R, W, U = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
files = {}

def on_signal(sig, frame):
    raise InterruptedError(errno.EINTR, "signal")

signal.signal(signal.SIGUSR1, on_signal)

def open_(path, name="f"):
    files[name] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

def close(name="f"):
    os.close(files.pop(name))

def arg(kind, start, n):
    return struct.pack("hhqqi4x", kind, 0, start, n, 0)

def lock(kind, start=0, n=0, name="f", cmd=fcntl.F_SETLK):
    fcntl.fcntl(files[name], cmd, arg(kind, start, n))

def wait(kind, start=0, n=0, name="f"):
    lock(kind, start, n, name, fcntl.F_SETLKW)

def ofd(kind, start=0, n=0, name="f"):
    lock(kind, start, n, name, 37)

def test(kind, start=0, n=0, name="f"):
    kind, _, start, n, pid = struct.unpack("hhqqi4x", fcntl.fcntl(files[name], fcntl.F_GETLK, arg(kind, start, n)))
    return None if kind == U else (kind, start, n, pid)

def flock(how, name="f"):
    fcntl.flock(files[name], how)

def write(b, at=0, name="f"):
    return os.pwrite(files[name], b, at)

def read(n=100, at=0, name="f"):
    return os.pread(files[name], n, at)

def size(name="f"):
    return os.fstat(files[name]).st_size

while True:
    line = sys.stdin.readline()
    if not line:
        break
    try:
        out = eval(line)
    except OSError as e:
        out = -e.errno
    print(repr(out), flush=True)
"""
R, W, U = 0, 1, 2
SH, EX, UN, NB = 1, 2, 8, 4


class Locker:
    """A program of its own. p.lock(W, 0, 10): None, or -errno. p.send.wait(W) does not wait for the answer."""

    def __init__(self, path=None):
        self.p = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.sending = False
        if path:
            assert self.open_(path) is None

    def __getattr__(self, name):
        def call(*a, **kw):
            words = [repr(x) for x in a] + [f"{k}={v!r}" for k, v in kw.items()]
            self.p.stdin.write(f"{name}({', '.join(words)})\n")
            self.p.stdin.flush()
            if self.sending:
                self.sending = False
                return None
            return self.answer()
        return call

    @property
    def send(self):
        self.sending = True
        return self

    def answer(self):
        line = self.p.stdout.readline()
        assert line, "the program ended"
        return eval(line)

    def waits(self):
        """In fcntl(2) or flock(2), and not running."""
        calls = {"x86_64": ("72", "73"), "aarch64": ("25", "32")}[os.uname().machine]
        proc.wait_for("the program to wait", lambda: open(f"/proc/{self.p.pid}/syscall").read().split()[0] in calls)

    def end(self, sig=None):
        if self.p.poll() is None and sig:
            self.p.send_signal(sig)
        elif self.p.poll() is None:
            self.p.stdin.close()
        self.p.wait(60)


@pytest.fixture
def lockers():
    made = []

    def one(path=None):
        made.append(Locker(path))
        return made[-1]

    yield one
    for p in made:
        p.end(signal.SIGKILL)


@pytest.fixture
def server(make, ufs):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    port = proc.free_port()
    return make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"},
                {**PROPS, "forebay.fuse.listen": f"127.0.0.1:{port}", "forebay.fuse.token": TOKEN, "forebay.fuse.lock.timeout": "3s"})


@pytest.fixture
def cable(server):
    c = Cable(server.props["forebay.fuse.listen"])
    yield c
    c.close()


@pytest.fixture
def mount(server, cable, work):
    made = []

    def one(where, name, **kw):
        made.append(Kept(work, server.data, name=name, **kw) if where == "here" else Away(work, cable.address, name=name, **kw))
        return made[-1]

    yield one
    for m in made:
        m.close()


@pytest.fixture(params=["here", "away", "both"])
def two(request, mount):
    a = mount("away" if request.param == "away" else "here", "a")
    b = mount("here" if request.param == "here" else "away", "b")
    put(f"{a.dir}/f", b"0123456789" * 100)
    return a, b


def pair(two, lockers):
    return lockers(f"{two[0].dir}/f"), lockers(f"{two[1].dir}/f")


def test_fcntl(two, lockers):
    a, b = pair(two, lockers)
    assert a.lock(W, 10, 10) is None
    assert b.lock(R, 0, 10) is None and b.lock(R, 20) is None
    assert b.lock(R, 19, 1) == -E.EAGAIN and b.lock(W, 0, 11) == -E.EAGAIN
    kind, start, n, pid = b.test(R, 0, 100)
    same_host = isinstance(two[0], Kept) and not isinstance(two[1], Away)
    assert (kind, start, n) == (W, 10, 10) and pid == (a.p.pid if same_host else 0)
    assert b.test(R, 0, 10) is None
    assert a.test(W, 0, 100)[:2] == (R, 0)
    assert a.lock(R, 10, 5) is None  # a part becomes a read lock
    assert b.lock(R, 10, 5) is None and b.lock(R, 15, 1) == -E.EAGAIN
    assert a.lock(U, 0, 0) is None and b.lock(W) is None
    assert a.lock(R, 5000, 1) == -E.EAGAIN
    assert b.open_(f"{two[1].dir}/f", "again") is None and b.close("again") is None  # any close gives up all
    assert a.lock(W) is None


def test_hard_links_share(two, lockers):
    os.link(f"{two[0].dir}/f", f"{two[0].dir}/g")
    a, b = lockers(f"{two[0].dir}/f"), lockers(f"{two[1].dir}/g")
    assert a.lock(W) is None and b.lock(W) == -E.EAGAIN
    assert a.lock(U) is None and b.lock(W) is None


def test_flock(two, lockers):
    a, b = pair(two, lockers)
    assert a.flock(SH) is None and b.flock(SH) is None
    assert a.lock(W) is None and a.lock(U) is None  # of another kind: no conflict
    assert a.flock(EX | NB) == -E.EAGAIN  # and gives up what it had, as flock(2) says
    assert b.flock(EX | NB) is None
    b.send.flock(SH)
    assert b.answer() is None and a.flock(SH | NB) is None
    assert a.open_(f"{two[0].dir}/f", "x") is None and a.flock(EX | NB, "x") == -E.EAGAIN  # of open files, not of processes
    assert b.close() is None and a.flock(UN) is None
    assert proc.wait_for("the last close", lambda: a.flock(EX | NB, "x") is None) is not False


def test_ofd(two, lockers):
    a, b = pair(two, lockers)
    assert a.ofd(W, 0, 10) is None and b.lock(W, 5, 1) == -E.EAGAIN and b.ofd(R, 5, 1) == -E.EAGAIN
    assert a.open_(f"{two[0].dir}/f", "x") is None and a.ofd(W, 0, 1, "x") == -E.EAGAIN
    assert a.close("x") is None and b.lock(W, 5, 1) == -E.EAGAIN  # not given up by the close of another
    assert a.close() is None
    proc.wait_for("the last close", lambda: b.lock(W, 5, 1) is None)


@pytest.mark.parametrize("how", ["wait", "flock"])
def test_waiting(two, lockers, how):
    a, b = pair(two, lockers)
    get_it = (lambda p: p.wait(W)) if how == "wait" else (lambda p: p.flock(EX))
    assert get_it(a) is None
    get_it(b.send)
    b.waits()
    assert (a.lock(U) if how == "wait" else a.flock(UN)) is None
    assert b.answer() is None
    get_it(a.send)
    a.waits()
    a.p.send_signal(signal.SIGUSR1)
    assert a.answer() == -E.EINTR
    get_it(a.send)
    a.waits()
    b.end(signal.SIGKILL)  # whoever has it is killed
    assert a.answer() is None
    c = lockers(f"{two[1].dir}/f")
    get_it(c.send)
    c.waits()
    c.end(signal.SIGKILL)  # whoever waits is killed
    d = lockers(f"{two[1].dir}/f")
    assert (a.lock(U) if how == "wait" else a.flock(UN)) is None
    assert get_it(d) is None


def test_deadlock(two, lockers):
    a, b = pair(two, lockers)
    assert a.lock(W, 0, 1) is None and b.lock(W, 1, 1) is None
    a.send.wait(W, 1, 1)
    b.send.wait(W, 0, 1)
    told = a if select.select([a.p.stdout, b.p.stdout], [], [], 60 * proc.SLOW)[0] == [a.p.stdout] else b  # the later one
    assert told.answer() == -E.EDEADLK
    assert told.close() is None and (b if told is a else a).answer() is None


def test_many_wait(server, two, lockers):
    """More than the mount has threads: nobody who waits keeps one."""
    a, b = pair(two, lockers)
    assert a.lock(W) is None
    source = ("import fcntl, os, sys\nf = os.open(sys.argv[1], os.O_RDWR)\npids = []\n"
              "for i in range(100):\n    p = os.fork()\n    if not p:\n        fcntl.lockf(f, fcntl.LOCK_EX)\n"
              "        n = int(os.pread(f, 9, 0)) + 1\n        os.pwrite(f, b'%08d' % n, 0)\n        os._exit(0)\n    pids.append(p)\n"
              "print('started', flush=True)\nsys.exit(any(os.waitpid(p, 0)[1] for p in pids))\n")
    assert a.write(b"00000000\n") == 9
    many = [subprocess.Popen([sys.executable, "-c", source, f"{m.dir}/f"], stdout=subprocess.PIPE, text=True) for m in two]
    assert all(p.stdout.readline() == "started\n" for p in many)
    proc.wait_for("all to wait", lambda: server.metrics()["forebay_fuse_lock_waiters"] == 200)
    assert server.metrics()["forebay_fuse_locks"] == 1
    assert get(f"{two[0].dir}/f")[:8] == b"00000000" and b.write(b"x", 500) == 1  # the mounts answer
    assert a.lock(U) is None
    assert [p.wait(120) for p in many] == [0, 0]
    assert a.read(8) == b"00000200"


def test_what_was_written_under_a_lock_is_seen_under_the_next(two, lockers):
    """Though it was not published and the other kernel had the bytes in its cache."""
    a, b = pair(two, lockers)
    for i in range(20):
        for p, q in ((a, b), (b, a)):
            assert p.lock(W) is None
            assert p.read(4) == (b"%04d" % (2 * i + (p is b) - 1) if i or p is b else b"0123")
            n = p.size()
            assert p.write(b"%04d" % (2 * i + (p is b))) == 4 and p.write(b"more", n) == 4
            assert p.lock(U) is None
            assert q.read(4) == b"%04d" % (2 * i + (p is b)) and q.size() == n + 4


def test_sqlite(two):
    """Two programs count in one database, each through its mount."""
    source = ("import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=100, isolation_level=None)\n"
              "for i in range(50):\n    db.execute('BEGIN IMMEDIATE')\n    n = db.execute('SELECT n FROM t').fetchone()[0]\n"
              "    db.execute('UPDATE t SET n = ?', (n + 1,))\n    db.execute('INSERT INTO log VALUES (?, ?)', (n, 'x' * 500))\n"
              "    db.execute('COMMIT')\n")
    db = sqlite3.connect(f"{two[0].dir}/db")
    db.executescript("CREATE TABLE t (n); INSERT INTO t VALUES (0); CREATE TABLE log (n PRIMARY KEY, x)")
    db.close()
    both = [subprocess.Popen([sys.executable, "-c", source, f"{m.dir}/db"]) for m in two for _ in range(2)]
    assert [p.wait(300) for p in both] == [0] * 4
    for m in two:
        db = sqlite3.connect(f"{m.dir}/db")
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT n, (SELECT count(*) FROM log) FROM t").fetchone() == (200, 200)
        db.close()


def test_an_unmounted_mount_has_no_locks(two, lockers):
    a, b = pair(two, lockers)
    assert a.lock(W) is None and a.flock(EX) is None
    b.send.wait(W)
    b.waits()
    subprocess.run(["umount", "-l", two[0].dir], check=True)
    two[0].p.kill() if isinstance(two[0], Away) else two[0].p.terminate()  # a killed one elsewhere: after the timeout
    two[0].p.wait(60)
    assert b.answer() is None and b.flock(EX) is None


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_the_instance_is_replaced(server, two, lockers, how):
    """Locks that are held, and those that are waited for, go on."""
    a, b = pair(two, lockers)
    c = lockers(f"{two[1].dir}/f")
    d = lockers(f"{two[0].dir}/f")
    # a descriptor that was open for writing answers EIO after a crash, but its locks are its owner's until it is closed
    assert a.lock(W, 0, 10) is None and a.lock(R, 100, 10) is None and b.lock(W, 50, 10) is None and b.flock(SH) is None
    c.send.wait(W, 5, 1)
    c.waits()
    d.send.flock(EX)
    d.waits()
    getattr(server, how)()
    server.start()
    for p, m in ((a, two[1]), (b, two[0])):
        other = lockers(f"{m.dir}/f")
        assert other.lock(W, 0, 1) == -E.EAGAIN and other.lock(W, 55, 1) == -E.EAGAIN and other.flock(EX | NB) == -E.EAGAIN
        assert other.lock(R, 105, 1) is None and other.lock(W, 105, 1) == -E.EAGAIN
        other.end()
    assert a.lock(U) is None and c.answer() is None
    assert b.flock(UN) is None and d.answer() is None
    x = lockers(f"{two[0].dir}/f")
    assert x.lock(W, 50, 1) == -E.EAGAIN
    assert b.close() is None or how == "kill9"
    assert x.lock(W, 50, 1) is None


@pytest.mark.parametrize("comes", [True, False])
def test_a_mount_that_comes_back_late(server, two, lockers, comes):
    """Nobody gets anything before all are back, or cannot be any more."""
    a, b = pair(two, lockers)
    assert a.lock(W) is None
    two[0].p.send_signal(signal.SIGSTOP)
    server.stop()
    if not comes:
        two[0].p.kill()
        two[0].p.wait(60)
    server.start()
    b.send.lock(W)
    b.waits()
    assert not select.select([b.p.stdout], [], [], 1)[0]
    if comes:
        two[0].p.send_signal(signal.SIGCONT)
    assert b.answer() == (-E.EAGAIN if comes else None)


def test_the_connection_is_lost(server, cable, mount, lockers):
    m, n = mount("away", "m"), mount("here", "n")
    put(f"{n.dir}/f", b"0")
    a, b = lockers(f"{m.dir}/f"), lockers(f"{n.dir}/f")
    assert a.lock(W, 0, 1) is None
    a.send.wait(W, 1, 1) if b.lock(W, 1, 1) is None else None
    a.waits()
    for _ in range(5):
        cable.cut()
        assert b.lock(W, 0, 1) == -E.EAGAIN
    assert b.lock(U, 1, 1) is None and a.answer() is None
    assert b.lock(W, 1, 1) == -E.EAGAIN


def test_the_connection_is_lost_for_long(server, cable, mount, lockers):
    """Others get its locks after a time. If one does, the file is of no use there any more; if nobody does, all is well."""
    m, n = mount("away", "m"), mount("here", "n")
    put(f"{n.dir}/f", b"0")
    put(f"{n.dir}/g", b"0")
    a, b, c = lockers(f"{m.dir}/f"), lockers(f"{n.dir}/f"), lockers(f"{m.dir}/g")
    assert a.lock(W) is None and c.lock(W) is None and a.read() == b"0"
    cable.unplugged = True
    cable.cut()
    assert b.wait(W) is None and b.write(b"1") == 1 and b.lock(U) is None and b.lock(R) is None
    cable.unplugged = False
    proc.wait_for("the mount", lambda: errno_of(os.stat, f"{m.dir}/new") == E.ENOENT)
    assert a.lock(R, 5, 1) == -E.EIO and a.write(b"2") == -E.EIO
    assert a.lock(U) is None and a.close() == -E.EIO
    d = lockers(f"{n.dir}/g")
    assert d.lock(W) == -E.EAGAIN and c.write(b"2") == 1
    assert a.open_(f"{m.dir}/f") is None and a.lock(R) is None and a.read() == b"1"


def test_local(mount, lockers):
    """locks=local: within a mount as ever, not between two."""
    m, n = mount("here", "m", more=("-o", "locks=local,allow_other")), mount("away", "n", more=("-o", "locks=local"))
    put(f"{m.dir}/f", b"0")
    a, b, c = lockers(f"{m.dir}/f"), lockers(f"{m.dir}/f"), lockers(f"{n.dir}/f")
    assert a.lock(W) is None and b.lock(W) == -E.EAGAIN and c.lock(W) is None
    assert a.flock(EX) is None and b.flock(EX | NB) == -E.EAGAIN and c.flock(EX) is None


def test_wrong_option(server, mount):
    with pytest.raises(Exception, match='"shared" or "local"'):
        mount("here", "m", more=("-o", "locks=often"))


def test_too_many(mount, lockers):
    m = mount("here", "m")
    put(f"{m.dir}/f", b"0")
    source = ("import errno, fcntl, os, sys\nf = os.open(sys.argv[1], os.O_RDWR)\n"
              "try:\n    for i in range(70000):\n        fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * (70000 - i))\n"
              "except OSError as e:\n    print(i, errno.errorcode[e.errno])\nfcntl.lockf(f, fcntl.LOCK_UN)\nfcntl.lockf(f, fcntl.LOCK_EX)\n")
    p = subprocess.run([sys.executable, "-c", source, f"{m.dir}/f"], capture_output=True, text=True, timeout=500, check=False)
    assert (p.returncode, p.stdout) == (0, "65536 ENOLCK\n"), p.stderr

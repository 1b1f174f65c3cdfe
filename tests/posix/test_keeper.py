# SPDX-License-Identifier: Apache-2.0
"""`forebay fuse`: a mount that outlives the instance that serves it."""
import errno as E
import os
import subprocess
import sys

import pytest
from conftest import PROPS, fuse_missing
from sys_calls import get, put

from lib import forebay as fb
from lib import proc


class Kept:
    """A `forebay fuse` process."""

    def __init__(self, work, data=None, path="/demo", more=(), name="kept", env=None):
        os.chmod(work, 0o755)
        self.dir = os.path.join(work, name)
        os.makedirs(self.dir, exist_ok=True)
        self.log = os.path.join(work, name + ".log")
        where = ["--data", data] if data else []
        self.p = proc.spawn([fb.BIN, "fuse", self.dir, "--path", path, *where, *more], self.log, env=env)
        proc.wait_for("the mount", self.answers)

    def answers(self):
        if self.p.poll() is not None:
            raise fb.StartError(proc.tail(self.log))
        return "ready" in open(self.log).read()

    def close(self):
        code = proc.end(self.p, timeout=30)
        subprocess.run(["umount", "-l", self.dir], stderr=subprocess.DEVNULL, check=False)
        return code


PROGRAM = """
import os, sys
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


class Program:
    """Somebody else who has files open. (Not the test itself: a child it starts closes what it inherits, which waits for the
    instance that the child is to become.)"""

    def __init__(self):
        self.p = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, expression):
        self.p.stdin.write(expression + "\n")
        self.p.stdin.flush()

    def answer(self):
        return eval(self.p.stdout.readline())

    def __call__(self, expression):
        self.send(expression)
        return self.answer()

    def close(self):
        self.p.stdin.close()
        self.p.wait(60)


@pytest.fixture
def program():
    p = Program()
    yield p
    p.close()


@pytest.fixture
def kept(make, ufs, work):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, PROPS)
    k = Kept(work, f.data)
    yield f, k
    k.close()


def test_serves_and_unmounts(kept):
    f, k = kept
    put(f"{k.dir}/a", b"through the keeper")
    assert f.s3.get_object(Bucket="demo", Key="a")["Body"].read() == b"through the keeper"
    f.s3.put_object(Bucket="demo", Key="b", Body=b"seen at once")
    assert get(f"{k.dir}/b") == b"seen at once"
    assert k.close() == 0 and not os.path.ismount(k.dir)
    assert f.s3.get_object(Bucket="demo", Key="a")["Body"].read() == b"through the keeper"


def test_restart_under_open_files(kept, program):
    """Stopped and started: descriptors, positions and a directory stream go on; a call made meanwhile waits."""
    f, k = kept
    put(f"{k.dir}/r", b"0123456789" * 1000)
    r = program(f"os.open('{k.dir}/r', os.O_RDONLY)")
    w = program(f"os.open('{k.dir}/w', os.O_RDWR | os.O_CREAT)")
    assert program(f"os.write({w}, b'before, ')") == 8
    d = program(f"os.open('{k.dir}', os.O_RDONLY)")
    f.stop()
    program.send(f"os.stat('{k.dir}/r').st_size + len(os.listdir('{k.dir}'))")
    f.start()
    assert program.answer() == 10002
    assert program(f"os.pread({r}, 10, 5000)") == b"0123456789"
    assert program(f"os.write({w}, b'after')") == 5 and program(f"os.fsync({w})") is None
    assert program(f"os.pread({w}, 100, 0)") == b"before, after"
    assert program(f"sorted(os.listdir({d}))") == ["r", "w"]
    assert [program(f"os.close({fd})") for fd in (r, w, d)] == [None] * 3
    assert get(f"{k.dir}/w") == b"before, after"
    put(f"{k.dir}/new", b"x")
    assert f.s3.get_object(Bucket="demo", Key="w")["Body"].read() == b"before, after"


def test_crash_under_open_files(kept, program):
    """Killed: readers go on, writers are told, what was closed or synced is there."""
    f, k = kept
    put(f"{k.dir}/r", b"closed")
    r = program(f"os.open('{k.dir}/r', os.O_RDONLY)")
    w = program(f"os.open('{k.dir}/w', os.O_RDWR | os.O_CREAT)")
    assert program(f"os.write({w}, b'synced')") == 6 and program(f"os.fsync({w})") is None
    assert program(f"os.write({w}, b' lost')") == 5
    f.kill9()
    f.start()
    assert program(f"os.pread({r}, 100, 0)") == b"closed"
    assert program(f"os.write({w}, b'x')") == -E.EIO
    assert program(f"os.fsync({w})") == -E.EIO
    f.stop()
    f.start()  # an orderly restart after the crash makes nothing good
    assert program(f"os.write({w}, b'x')") == -E.EIO
    assert program(f"os.pread({r}, 100, 0)") == b"closed"
    program(f"os.close({w})")
    assert get(f"{k.dir}/w").startswith(b"synced")
    put(f"{k.dir}/w", b"again")
    assert get(f"{k.dir}/w") == b"again"


def test_what_cannot_be_published_at_the_end(make, ufs, work, program):
    """An orderly stop that loses what was written is no handover: its writers are told."""
    why = fuse_missing()
    if why:
        pytest.skip(why)
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, {**PROPS, "forebay.fuse.publish.interval": "1h"}, start=False)
    f.start(fault="meta.change.before:error IO@2*1000000")
    k = Kept(work, f.data)
    try:
        put(f"{k.dir}/r", b"closed")
        r = program(f"os.open('{k.dir}/r', os.O_RDONLY)")
        w = program(f"os.open('{k.dir}/w', os.O_RDWR | os.O_CREAT)")
        assert program(f"os.write({w}, b'lost')") == 4
        f.stop()
        f.start()
        assert program(f"os.pread({r}, 100, 0)") == b"closed"
        assert program(f"os.write({w}, b'x')") == -E.EIO
        assert program(f"os.fsync({w})") == -E.EIO
    finally:
        k.close()


WRITER = """
import os, sys
d, i = sys.argv[1], 0
while True:
    b = b"%d" % i * 100
    name = f"{d}/f{i % 20}"
    with open(name + ".tmp", "wb") as f:
        f.write(b)
    os.rename(name + ".tmp", name)
    with open(name, "rb") as f:
        if f.read() != b:
            sys.exit(f"{i}: other bytes")
    i += 1
    print(i, flush=True)
"""


def test_many_restarts_under_a_writer(kept):
    f, k = kept
    p = subprocess.Popen([sys.executable, "-c", WRITER, k.dir], stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(4):
            for _ in range(20):
                assert p.stdout.readline(), "the writer failed"
            f.stop()
            f.start()
        for _ in range(20):
            assert p.stdout.readline(), "the writer failed"
    finally:
        p.kill()
        p.wait()


def test_nobody_serves(work):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    d = os.path.join(work, "m")
    os.mkdir(d)
    p = subprocess.run([fb.BIN, "fuse", d, "--data", os.path.join(work, "none")], capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 1 and "is forebay running" in p.stderr and not os.path.ismount(d)


def test_grace_ends(make, ufs, work):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, PROPS)
    k = Kept(work, f.data, more=("--grace", "1"))
    f.stop()
    proc.wait_for("the keeper's end", lambda: k.p.poll() is not None)
    assert k.p.returncode == 1
    k.close()


def test_commands(make, ufs, work):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, PROPS)
    d = os.path.join(work, "m")
    os.mkdir(d)
    run = lambda *a: subprocess.run([fb.BIN, *a], capture_output=True, text=True, timeout=60, check=False)  # noqa: E731
    r = run("fuse", "mount", d, "--path", "/demo", "--data", f.data)
    assert r.returncode == 0, r.stderr
    put(f"{d}/x", b"1")
    assert f"forebay:/demo {d} fuse.forebay" in open("/proc/self/mounts").read()
    r = run("fuse", "mount", d, "--data", f.data)
    assert r.returncode == 1 and "mounted already" in r.stderr
    fd = os.open(f"{d}/x", os.O_RDONLY)
    r = run("fuse", "umount", d, "--admin", f.admin_addr)
    assert r.returncode == 1 and "programs use it" in r.stderr
    os.close(fd)
    r = run("fuse", "umount", d, "--wait", "--timeout", "60", "--admin", f.admin_addr)
    assert r.returncode == 0 and not os.path.ismount(d), r.stderr
    assert ufs.get("x") == b"1"
    r = run("fuse", "umount", d, "--admin", f.admin_addr)
    assert r.returncode == 1 and "no mount of Forebay" in r.stderr
    os.symlink(os.path.abspath(fb.BIN), os.path.join(work, "mount.fuse.forebay"))
    r = subprocess.run([os.path.join(work, "mount.fuse.forebay"), "forebay:/demo", d, "-o", f"rw,noauto,data={f.data}"],
                       capture_output=True, text=True, timeout=60, check=False)
    assert r.returncode == 0 and get(f"{d}/x") == b"1", r.stderr
    assert run("fuse", "umount", d, "--admin", f.admin_addr).returncode == 0


def test_remount_read_only_and_back(kept, work):
    """What `mount -o remount,ro` and `remount,rw` run."""
    _, k = kept
    helper = os.path.join(work, "mount.fuse.forebay")
    os.symlink(os.path.abspath(fb.BIN), helper)
    put(f"{k.dir}/x", b"1")
    subprocess.run([helper, "forebay:/demo", k.dir, "-o", "remount,ro"], check=True, timeout=60)
    with pytest.raises(OSError) as e:
        put(f"{k.dir}/x", b"2")
    assert e.value.errno == E.EROFS and get(f"{k.dir}/x") == b"1"
    subprocess.run([helper, "forebay:/demo", k.dir, "-o", "remount,rw"], check=True, timeout=60)
    put(f"{k.dir}/x", b"2")
    assert get(f"{k.dir}/x") == b"2"

# SPDX-License-Identifier: Apache-2.0
"""Power loss under programs that work in the mount: what fsync and its kin returned for is there, what they did not is there whole,
as it was before, or not at all."""
import mmap
import os
import random
import subprocess
import threading
import time

import pytest

from lib import proc
from lib.disk import ForgetfulDisk
from lib.forebay import Forebay
from lib.model import seed
from lib.ufs import DirUfs

pytestmark = [pytest.mark.root, pytest.mark.timeout(1500)]

SMALL = {
    "alluxio.worker.page.store.sizes": "256MB",
    "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.8",
}
PAGE = 4096
BLOCKS = 32


class Mounted(Forebay):
    def __init__(self, work, *a, **kw):
        self.dir = os.path.join(work, "mnt")
        os.makedirs(self.dir, exist_ok=True)
        super().__init__(work, *a, **kw)

    def argv(self):
        return super().argv() + ["--mount", self.dir]

    def kill9(self):
        super().kill9()
        subprocess.run(["umount", "-l", self.dir], check=False)

    def close(self):
        super().close()
        subprocess.run(["umount", "-l", self.dir], stderr=subprocess.DEVNULL, check=False)


class Files:
    """What the files of one program may be after the lights went out: contents that are allowed, by name. The last one that was
    made durable, and all that may have come after it. None: no such file."""

    def __init__(self):
        self.may = {}

    def begin(self, name, *contents):
        self.may.setdefault(name, [None]).extend(contents)

    def done(self, name, content):
        self.may[name] = [content]

    def check(self, root):
        wrong = []
        for name, allowed in self.may.items():
            try:
                with open(os.path.join(root, name), "rb") as f:
                    is_ = f.read()
            except FileNotFoundError:
                is_ = None
            if is_ not in allowed:
                shown = [a if a is None else (len(a), a[:8]) for a in allowed]
                wrong.append(f"{name}: {is_ if is_ is None else (len(is_), is_[:8])} is none of {shown}")
        return wrong


class Blocks:
    """One file of blocks that are changed in place: what each may hold."""

    def __init__(self, name):
        self.name = name
        self.may = [[0] for _ in range(BLOCKS)]

    @staticmethod
    def block(v):
        return v.to_bytes(8, "big") * (PAGE // 8)

    def check(self, root):
        with open(os.path.join(root, self.name), "rb") as f:
            is_ = f.read()
        if len(is_) != BLOCKS * PAGE:
            return [f"{self.name}: {len(is_)} bytes"]
        return [f"{self.name}: block {i} is none of {m}" for i, m in enumerate(self.may)
                if is_[i * PAGE : (i + 1) * PAGE] not in map(self.block, m)]


class Log:
    """A log that is only appended to: at least, and at most, so many lines."""

    def __init__(self, name):
        self.name, self.least, self.most = name, 0, 0

    @staticmethod
    def line(i):
        return b"%07d " % i + b"x" * 91 + b"\n"

    def check(self, root):
        try:
            with open(os.path.join(root, self.name), "rb") as f:
                is_ = f.read()
        except FileNotFoundError:
            is_ = b""
        whole = b"".join(self.line(i) for i in range(self.most))
        if len(is_) < 100 * self.least or not whole.startswith(is_):
            return [f"{self.name}: {len(is_)} bytes, {self.least} to {self.most} lines of 100 were written"]
        return []


class Program(threading.Thread):
    def __init__(self, root, s):
        super().__init__(daemon=True)
        self.root, self.rnd = root, random.Random(s)
        self.files, self.blocks, self.log = Files(), Blocks("blocks"), Log("log")
        self.durable = self.n = 0
        self.error = None
        os.mkdir(root)

    def path(self, name):
        return os.path.join(self.root, name)

    def prepare(self):
        """Durable before the storm: the file of blocks, and the directory itself."""
        fd = os.open(self.path("blocks"), os.O_CREAT | os.O_RDWR)
        os.write(fd, bytes(BLOCKS * PAGE))
        os.fsync(fd)
        os.close(fd)
        self.sync_dir()

    def run(self):
        kinds = [self.new, self.new_unsynced, self.replace, self.append, self.in_place, self.mapped, self.remove, self.truncate,
                 self.tree]
        try:
            while True:
                self.rnd.choice(kinds)()
        except OSError as e:
            self.error = e  # the lights are out

    # ---- what it does ----

    def sync_dir(self, d=None):
        fd = os.open(d or self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def body(self):
        return self.rnd.randbytes(self.rnd.choice([1, 100, PAGE, 10_000, 120_000]))

    def name(self):
        self.n += 1
        return f"f{self.n}"

    def write(self, name, body, sync, flags=0):
        fd = os.open(self.path(name), os.O_CREAT | os.O_WRONLY | flags, 0o644)
        try:
            os.write(fd, body)
            if sync:
                sync(fd)
        finally:
            os.close(fd)

    def new(self):
        name, body = self.name(), self.body()
        self.files.begin(name, b"", body)
        how = self.rnd.randrange(3)
        self.write(name, body, [os.fsync, os.fdatasync, None][how], os.O_SYNC if how == 2 else 0)
        self.files.done(name, body)
        self.durable += 1

    def new_unsynced(self):
        name, body = self.name(), self.body()
        self.files.begin(name, b"", body)
        self.write(name, body, None)

    def replace(self):
        """As programs that must not lose anything do it."""
        body, tmp, name = self.body(), self.name(), f"r{self.rnd.randrange(4)}"
        self.files.begin(tmp, b"", body)
        self.write(tmp, body, os.fsync)
        self.files.done(tmp, body)
        self.files.begin(name, body)
        self.files.begin(tmp, None)
        os.rename(self.path(tmp), self.path(name))
        if self.rnd.random() < 0.7:
            self.sync_dir()
            self.files.done(name, body)
            self.files.done(tmp, None)
        self.durable += 1

    def append(self):
        fd = os.open(self.path("log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            for _ in range(self.rnd.randrange(1, 5)):
                self.log.most += 1
                os.write(fd, Log.line(self.log.most - 1))
            if self.rnd.random() < 0.7:
                os.fdatasync(fd)
                self.log.least = self.log.most
                self.durable += 1
        finally:
            os.close(fd)

    def in_place(self):
        fd = os.open(self.path("blocks"), os.O_WRONLY | (os.O_DSYNC if self.rnd.random() < 0.5 else 0))
        try:
            i = self.rnd.randrange(BLOCKS)
            v = self.rnd.randrange(1, 1 << 40)
            self.blocks.may[i].append(v)
            os.pwrite(fd, Blocks.block(v), i * PAGE)
            os.fsync(fd)
            self.blocks.may[i] = [v]
            self.durable += 1
        finally:
            os.close(fd)

    def mapped(self):
        fd = os.open(self.path("blocks"), os.O_RDWR)
        try:
            i, v = self.rnd.randrange(BLOCKS), self.rnd.randrange(1, 1 << 40)
            with mmap.mmap(fd, BLOCKS * PAGE) as m:
                self.blocks.may[i].append(v)
                m[i * PAGE : (i + 1) * PAGE] = Blocks.block(v)
                m.flush()  # msync(MS_SYNC)
            self.blocks.may[i] = [v]
            self.durable += 1
        finally:
            os.close(fd)

    def known(self):
        """A name that is surely there: its one content."""
        names = [n for n, m in self.files.may.items() if len(m) == 1 and m[0] is not None and n[0] == "f"]
        return self.rnd.choice(names) if names else None

    def remove(self):
        name = self.known()
        if name:
            self.files.begin(name, None)
            os.unlink(self.path(name))
            self.sync_dir()
            self.files.done(name, None)

    def truncate(self):
        name = self.known()
        if not name:
            return
        was = self.files.may[name][0]
        to = was[: self.rnd.randrange(len(was) + 1)]
        self.files.begin(name, to)
        fd = os.open(self.path(name), os.O_WRONLY)
        try:
            os.ftruncate(fd, len(to))
            os.fsync(fd)
        finally:
            os.close(fd)
        self.files.done(name, to)
        self.durable += 1

    def tree(self):
        """Directories that were only made are found again by what was synced in them."""
        d, name = self.name(), self.name()
        body, inside = self.body(), os.path.join(d, "a", name)
        os.makedirs(self.path(os.path.join(d, "a")))
        self.files.begin(inside, b"", body)
        self.write(inside, body, os.fsync)
        self.files.done(inside, body)
        self.durable += 1

    def check(self):
        return self.files.check(self.root) + self.blocks.check(self.root) + self.log.check(self.root)


@pytest.fixture
def disk(work):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    os.makedirs(os.path.join(work, "d1"))
    d = ForgetfulDisk(os.path.join(work, "d1"), mib=640)
    yield d
    d.close()


@pytest.fixture
def f(disk, work):
    """Nothing may use the disk any more when it is detached: torn down first."""
    ufs = DirUfs(os.path.join(work, "ufs"))
    m = Mounted(work, {"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, SMALL, data=os.path.join(disk.path, "data"), start=False)
    m.under = ufs
    yield m
    m.close()


def storm(f, disk, s, percent, least=60):
    """Programs work until the power is cut; they are returned with what they know."""
    programs = [Program(f"{f.dir}/demo/p{i}", f"{s} {i}") for i in range(3)]
    for p in programs:
        p.prepare()
        p.start()
    proc.wait_for("synced work", lambda: sum(p.durable for p in programs) >= least or not any(p.is_alive() for p in programs), 120)
    assert all(p.is_alive() for p in programs), [p.error for p in programs]
    time.sleep(random.Random(s).random() * 0.4)
    disk.cut(s, percent)
    f.kill9()
    for p in programs:
        p.join(60)
        assert not p.is_alive(), "a program hangs in a mount that is gone"
    disk.remount()
    return programs


@pytest.mark.parametrize("percent", [0, 50, 90])
@pytest.mark.parametrize("round", [1, 2])
def test_what_was_synced_survives(f, disk, round, percent):
    f.start()
    programs = storm(f, disk, seed() * 10 + round, percent)
    f.assert_fsck_clean()
    f.start()
    assert [w for p in programs for w in p.check()] == []
    f.wait_all_persisted()
    state = {os.path.relpath(os.path.join(d, n), f"{f.dir}/demo"): open(os.path.join(d, n), "rb").read()
             for d, _, names in os.walk(f"{f.dir}/demo") for n in names}
    f.wait_ufs(f.under, state)
    assert f.stop() == 0
    f.assert_fsck_clean()


@pytest.mark.parametrize("point", ["test.skip.page_sync", "test.skip.kv_sync"])
def test_a_sync_left_out_is_noticed(f, disk, point):
    for round in range(4):
        f.start(fault=f"{point}:error IO*0")
        programs = storm(f, disk, seed() * 100 + round, 30)
        try:
            f.assert_fsck_clean()
            f.start()
            if [w for p in programs for w in p.check()]:
                return
            subprocess.run(["rm", "-rf", *(p.root for p in programs)], check=True)
            f.stop()
        except Exception:  # noqa: BLE001 it does not even start: noticed
            return
    raise AssertionError(f"{point}: nothing was synced and nobody noticed")

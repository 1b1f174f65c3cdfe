# SPDX-License-Identifier: Apache-2.0
"""The rows of the mount's table. A step is a function of a Rig that does something in a directory and returns one figure
that report.py knows how to show, and `cpu_us`, the CPU time by unit of the processes that serve the directory.

What a step needs (the file to read, the names to list) is made by the step itself when no earlier one left it.
"""
import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import tarfile
import time

import steps
from lib import proc

BENCH = os.path.join(proc.BUILD, "bench", "mount_bench")
K, M = 1 << 10, 1 << 20
LEAST_CPU = 0.05  # seconds; the kernel counts in hundredths


class Rig:
    """A directory and how hard to try. inputs: where the tree and the repository that are copied lie."""

    def __init__(self, mount, inputs, seconds, quick, wrap):
        self.mount, self.inputs, self.seconds, self.quick, self.wrap = mount, inputs, seconds, quick, wrap
        self.run, self.profile, self.made = 0, None, set()

    def scale(self, full, quick):
        return quick if self.quick else full

    @property
    def top(self):
        d = os.path.join(self.mount.dir, f"run-{self.run}")
        os.makedirs(d, exist_ok=True)
        return d

    def place(self, name):
        return os.path.join(self.top, name)

    def fresh(self, name):
        d = self.place(name)
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d)
        return d

    def once(self, name, make):
        """name, made by make(path) when this run has not got it."""
        if (self.run, name) not in self.made:
            make(self.place(name))
            self.made.add((self.run, name))
        return self.place(name)

    def forget(self, name):
        self.made.discard((self.run, name))

    def clear(self):
        shutil.rmtree(self.top)

    def op(self, *args):
        """Units and seconds of one operation of mount_bench."""
        argv = [*self.wrap, BENCH, *map(str, args)]
        p = subprocess.run(argv, capture_output=True, text=True)
        if p.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {p.stderr}")
        j = json.loads(p.stdout)
        return j["units"], j["seconds"]

    def timed(self, fn):
        begin = time.monotonic()
        units = fn()
        return units, time.monotonic() - begin

    def measure(self, fn, *args):
        """(units, seconds, CPU microseconds a unit) of fn(*args), which returns the first two."""
        around = contextlib.nullcontext()
        if self.profile and self.mount.pids():
            around = steps.profile(self.mount.pids(), self.profile)
        with around:
            cpu = steps.cpu_seconds(self.mount)
            units, seconds = fn(*args)
            used = steps.cpu_seconds(self.mount) - cpu
        return units, seconds, used * 1e6 / units if used >= LEAST_CPU else 0

    def per_second(self, figure, *args):
        units, seconds, cpu = self.measure(self.op, *args)
        return {figure: units / seconds, "cpu_us": cpu}

    def shell(self, *argv, cwd=None):
        """Seconds of a program."""
        def run():
            subprocess.run([*self.wrap, *argv], cwd=cwd, check=True, capture_output=True)
            return 1

        _, seconds, cpu = self.measure(self.timed, run)
        return {"s": seconds, "cpu_us": cpu}


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def make_inputs(where):
    """3,000 small files as a tar file and as a repository."""
    rnd, tree = random.Random(1), os.path.join(where, "tree")
    for i in range(3000):
        name = os.path.join(tree, f"dir{i % 150}", f"file{i}.h")
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as f:
            f.write(rnd.randbytes(min(64 * K, int(rnd.expovariate(1 / (3 * K))))).hex().encode())
    with tarfile.open(os.path.join(where, "tree.tar"), "w") as t:
        t.add(tree, "tree")
    repo = os.path.join(where, "repo.git")
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "--git-dir", repo, "--work-tree", tree]
    subprocess.run(["git", "init", "-q", "--bare", repo], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "tree"], check=True)


# ---- many files ----


def create(r, name, n, size, sync):
    return r.per_second("ops_s", "create", r.fresh(name), n, size, sync)


def create_small(r):
    return create(r, "small", r.scale(2000, 500), 10 * K, 0)


def create_synced(r):
    return create(r, "synced", r.scale(2000, 300), 10 * K, 1)


def empty(r, path):
    os.makedirs(path)
    r.op("create", path, r.scale(10000, 2000), 0, 0)


def create_empty(r):
    f = create(r, "empty", r.scale(10000, 2000), 0, 0)
    r.once("empty", lambda path: None)
    return f


def list_cold(r):
    d = r.once("empty", lambda path: empty(r, path))
    drop_caches()
    return r.per_second("ops_s", "list", d)


def unlink(r):
    d = r.once("empty", lambda path: empty(r, path))
    f = r.per_second("ops_s", "unlink", d)
    os.rmdir(d)
    r.forget("empty")
    return f


def tar(r):
    return r.shell("tar", "xf", os.path.join(r.inputs, "tree.tar"), "-C", r.fresh("tar"))


def clone_into(r, path):
    return r.shell("git", "clone", "-q", "--no-hardlinks", os.path.join(r.inputs, "repo.git"), path)


def clone(r):
    shutil.rmtree(r.place("clone"), ignore_errors=True)
    f = clone_into(r, r.place("clone"))
    r.once("clone", lambda path: None)
    return f


def status(r):
    return r.shell("git", "status", "--porcelain", cwd=r.once("clone", lambda path: clone_into(r, path)))


def rename(r):
    """The median of several renames of a directory with files in it."""
    def fill(path):
        os.makedirs(path)
        r.op("create", path, 500, 100, 0)

    d = r.once("renamed", fill)
    names = [d, d + "-2"]

    def there_and_back():
        times = []
        for i in range(20):
            times.append(r.op("rename", names[i % 2], names[1 - i % 2])[1])
        return len(times), statistics.median(times)

    _, median, cpu = r.measure(there_and_back)
    return {"us": median * 1e6, "cpu_us": cpu}


# ---- large files ----


def write_file(r, name, sync):
    if os.path.exists(r.place(name)):
        os.unlink(r.place(name))
    return r.per_second("mib_s", "write", r.place(name), r.scale(1024, 128), sync)


def write(r):
    return write_file(r, "big", 0)


def write_synced(r):
    f = write_file(r, "big", 1)
    r.once("big", lambda path: None)
    return f


def big(r):
    return r.once("big", lambda path: r.op("write", path, r.scale(1024, 128), 1))


def read_cold(r):
    path = big(r)
    drop_caches()
    return r.per_second("mib_s", "read", path)


def read_warm(r):
    r.op("read", big(r))
    return r.per_second("mib_s", "read", big(r))


def random_read(r, jobs):
    path = big(r)
    drop_caches()
    return r.per_second("ops_s", "randread", path, jobs, r.scale(5, 2))


def random_read_1(r):
    return random_read(r, 1)


def random_read_4(r):
    return random_read(r, 4)


def random_write(r, sync):
    path = r.once("random", lambda p: r.op("write", p, r.scale(256, 64), 1))
    return r.per_second("ops_s", "randwrite", path, r.scale(5, 2), sync)


def random_write_plain(r):
    return random_write(r, 0)


def random_write_synced(r):
    return random_write(r, 1)


# ---- programs ----


def sqlite(r):
    """100 inserts, a transaction each, with the database's own settings."""
    with contextlib.closing(sqlite3.connect(os.path.join(r.fresh("sqlite"), "db"), isolation_level=None)) as db:
        db.execute("create table t(a integer, b text)")

        def inserts():
            for i in range(100):
                db.execute("insert into t values(?, ?)", (i, f"row {i}"))
            return 1

        _, seconds, cpu = r.measure(r.timed, inserts)
        rows = db.execute("select count(*) from t").fetchone()[0]
    if rows != 100:
        raise RuntimeError(f"{rows} rows in the database instead of 100")
    return {"s": seconds, "cpu_us": cpu}


def visible(r):
    """From the return of close() to the object in the bucket, nothing else going on."""
    out = []
    for i in range(r.scale(15, 5)):
        path = r.place(f"visible-{i}")
        time.sleep(0.3)
        with io.FileIO(path, "w") as f:
            f.write(b"x" * 10 * K)
        begin = time.monotonic()
        while not r.mount.there(path):
            if time.monotonic() - begin > 30:
                raise RuntimeError(f"{path} is not in the bucket after 30 s")
        out.append((time.monotonic() - begin) * 1000)
    return {"visible_p50": statistics.median(out)}


# Nothing is unlinked before the last create: ext4 is slow to reuse inodes that were freed a moment ago.
STEPS = {"fuse-create": create_small, "fuse-create-sync": create_synced, "fuse-empty": create_empty, "fuse-list": list_cold,
         "fuse-tar": tar, "fuse-clone": clone, "fuse-status": status, "fuse-rename": rename, "fuse-unlink": unlink,
         "fuse-write": write, "fuse-write-sync": write_synced, "fuse-read": read_cold, "fuse-reread": read_warm,
         "fuse-rand-read-1": random_read_1, "fuse-rand-read-4": random_read_4, "fuse-rand-write": random_write_plain,
         "fuse-rand-sync": random_write_synced, "fuse-sqlite": sqlite}

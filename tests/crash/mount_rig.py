# SPDX-License-Identifier: Apache-2.0
"""Programs that work through two mounts and S3 of one instance, which dies under them; then everything is compared.

/demo is WRITE_BACK over a directory, /so over a foreign S3 server. One mount shows the namespace, another /demo alone. Each
program has a directory of its own: its history is a sequence (mount_model.py).
"""
import os
import pickle
import subprocess
import sys

from lib import proc
from lib.forebay import Forebay, diff
from lib.ufs import DirUfs, Prefix
from mount_model import Model, look, match
from mount_worker import AFTER, replay

PROPS = {
    "alluxio.worker.page.store.sizes": "256MB",
    "alluxio.worker.page.store.page.size": "1MB",
    "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.6",
    "alluxio.write.cache.async.file.check.period": "1s",
    "forebay.persist.quiet": "200ms",
    "forebay.persist.max.dirty.age": "1s",
    "forebay.fuse.publish.interval": "300ms",
    "forebay.ufs.request.deadline": "1s",
    "forebay.reader.hold": "1s",
}
SIGBUS = -7
# An old object that a file is to overwrite is looked at again after fifteen seconds, then after twice as long, should the file have
# gone elsewhere meanwhile.
CONVERGE = 120
LINK = b"#!forebay-symlink\n"
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mount_worker.py")


class Mounted(Forebay):
    """A standalone with mounts {directory: path}."""

    def __init__(self, work, *a, mounts, **kw):
        self.mounts = mounts
        for d in mounts:
            os.makedirs(d, exist_ok=True)
        super().__init__(work, *a, **kw)

    def argv(self):
        return super().argv() + [x for d, p in self.mounts.items() for x in ("--mount", f"{d}={p}")]

    def close(self):
        super().close()
        for d in self.mounts:
            subprocess.run(["umount", "-l", d], stderr=subprocess.DEVNULL, check=False)


class Files:
    """A UFS without the markers of directories."""

    def __init__(self, ufs):
        self.ufs = ufs

    def tree(self):
        return {k: b for k, b in self.ufs.tree().items() if not k.endswith("/")}


class Worker:
    """A program in the directory `name` of a bucket."""

    def __init__(self, rig, bucket, top, name):
        self.rig, self.bucket, self.name = rig, bucket, name
        self.top = os.path.join(top, name)
        self.model, self.p = Model(), None
        self.state, self.journal, self.log = (os.path.join(rig.work, f"{name}.{x}") for x in ("model", "journal", "log"))

    def start(self, seed, ops):
        with open(self.state, "wb") as f:
            pickle.dump(self.model, f)
        argv = [sys.executable, WORKER, self.state, self.journal, self.top, self.rig.f.s3_addr, f"{self.bucket}/{self.name}", str(seed), str(ops)]
        self.p = proc.spawn(argv, self.log)

    def done(self):
        return self.p.poll() is not None

    def end(self):
        """It must have ended by itself, and for a good reason. The states it may have left."""
        self.what = None
        if not self.p:
            return [self.model]
        try:
            code = self.p.wait(120 * proc.SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} hangs: {self.last()}") from None
        finally:
            proc.end(self.p, 9)
        assert code in (0, AFTER, SIGBUS), f"{self.name} failed ({code}) at {self.last()}\n{proc.tail(self.log)}"
        self.p = None
        self.what = op = replay(self.model, self.journal)
        return [self.model] + (self.model.partly(op) if op else [])

    def last(self):
        return proc.tail(self.journal, 2)

    def check(self, candidates):
        seen = look(self.top)
        self.model = match(candidates, seen, f"{self.name}: {self.what}")
        return seen


class MountRig:
    def __init__(self, work, store, data=None):
        self.work = work
        os.chmod(work, 0o755)
        self.ufs = {"demo": DirUfs(os.path.join(work, "ufs")), "so": Prefix(store, os.path.basename(work) + "-so")}
        self.all, self.part = (os.path.join(work, d) for d in ("all", "part"))
        self.f = Mounted(work, {"/" + b: u.uri() for b, u in self.ufs.items()}, {"/demo/**": "WRITE_BACK", "/so/**": "WRITE_BACK"},
                         {**store.properties(), **PROPS}, mounts={self.all: "/", self.part: "/demo"}, data=data, start=False)
        demo, so = os.path.join(self.all, "demo"), os.path.join(self.all, "so")
        self.workers = [Worker(self, "demo", demo, "w0"), Worker(self, "demo", self.part, "w1"), Worker(self, "so", so, "w2")]

    def start(self, **kw):
        self.f.start(**kw)

    def directories(self):
        """Of the programs, the first time."""
        for w in self.workers:
            if not os.path.isdir(w.top):
                os.mkdir(w.top, 0o755)
                os.chmod(w.top, 0o755)

    def work_on(self, seed, ops):
        self.directories()
        for i, w in enumerate(self.workers):
            w.start(f"{seed}-{i}", ops)

    def wait_dead(self, timeout=60):
        """Until the instance died (True) or all programs have ended."""
        proc.wait_for("the end", lambda: not self.f.alive() or all(w.done() for w in self.workers), timeout, step=0.01)
        return not self.f.alive()

    def kill(self):
        self.f.kill9()

    def after(self, **kw):
        """Starts it again and compares what every program is shown with what it was told."""
        candidates = [w.end() for w in self.workers]
        self.f.assert_fsck_clean()
        self.f.start(**kw)
        self.directories()
        self.compare(candidates)

    def compare(self, candidates=None):
        """What every program sees is one of the states it may have left, through every door."""
        for w, c in zip(self.workers, candidates or [w.end() for w in self.workers]):
            self.both_doors(w, w.check(c))

    def both_doors(self, w, seen):
        """S3 and the other mount say the same."""
        files = {f"{w.name}/{p}": s.data for p, s in seen.items() if s.kind == "f"}
        s3 = {k: b for k, b in self.f.namespace(w.bucket, w.name + "/").items() if not k.endswith("/")}
        special = {f"{w.name}/{p}" for p, s in seen.items() if s.kind in "lp"}
        s3 = {k: b for k, b in s3.items() if k not in special}
        assert s3 == files, f"{w.name} through S3:\n{diff(files, s3)}"
        if w.bucket == "demo":
            other = look(os.path.join(self.part if w.top.startswith(self.all) else os.path.join(self.all, "demo"), w.name))
            assert not w.model.differences(other), f"{w.name} through the other mount: {w.model.differences(other)}"

    def converge(self):
        """The UFS gets what the namespace says; fsck, of all bytes too."""
        for b, u in self.ufs.items():
            want = {}
            for w in self.workers:
                if w.bucket == b:
                    for p, s in look(w.top).items():
                        if s.kind != "d":
                            want[f"{w.name}/{p}"] = LINK + s.target.encode() if s.kind == "l" else s.data or b""
            self.f.wait_ufs(Files(u), want, timeout=CONVERGE)
        assert self.f.stop() == 0
        p = subprocess.run([self.f.argv()[0], "fsck", "--data", self.f.data, "--verify"], capture_output=True, text=True, timeout=300, check=False)
        assert p.returncode == 0, f"{p.stdout}{p.stderr}"

    def close(self):
        for w in self.workers:
            if w.p:
                proc.end(w.p, 9)
        self.f.close()
        for u in [] if proc.KEEP else self.ufs.values():
            u.close()

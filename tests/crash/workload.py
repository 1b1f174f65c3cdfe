# SPDX-License-Identifier: Apache-2.0
"""The operations during which the crash suite kills: everything that writes, and what follows in the background.

Buckets over directories: /wb WRITE_BACK, /wt WRITE_THROUGH, /tr TRANSIENT; and over a foreign S3 server: /so WRITE_BACK and
/st WRITE_THROUGH. The page store is small, so that filling evicts and recycles. A phase ends when the UFS holds what it
should: the next one works on persisted objects.
"""
import http.client
import os
import time

from lib import proc
from lib.forebay import Forebay, diff
from lib.model import Died, World
from lib.ufs import DirUfs, Prefix

DEADLINE_S = 1
PROPS = {
    "alluxio.worker.page.store.sizes": "96MB",
    "alluxio.worker.page.store.page.size": "1MB",
    "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.5",
    "alluxio.write.cache.async.file.check.period": "1s",
    "alluxio.user.file.metadata.sync.interval": "1s",
    "forebay.ufs.request.deadline": f"{DEADLINE_S}s",
    "forebay.reader.hold": "1s",
}
RULES = {
    "/wb/**": "WRITE_BACK", "/wt/**": "WRITE_THROUGH", "/tr/**": "TRANSIENT", "/so/**": "WRITE_BACK", "/st/**": "WRITE_THROUGH",
    "/wb/o/**": ("WRITE_BACK", {"orderedPublication": True}),
}
BUCKETS = ["wb", "wt", "tr", "so", "st"]
KIB, MIB = 1024, 1024 * 1024


class Rig:
    def __init__(self, work, store, data=None):
        """store: a foreign S3 server; this rig uses two prefixes of it."""
        name = os.path.basename(work.rstrip("/"))
        self.ufs = {b: DirUfs(os.path.join(work, "ufs-" + b)) for b in ("wb", "wt", "tr")}
        self.ufs |= {b: Prefix(store, f"{name}-{b}") for b in ("so", "st")}
        mounts = {"/" + b: u.uri() for b, u in self.ufs.items()}
        self.f = Forebay(work, mounts, RULES, {**store.properties(), **PROPS}, data=data, start=False)
        self.w = World()

    # ---- phases ----

    def fresh(self):
        """Everything lands for the first time."""
        f, w, c = self.f, self.w, proc.content
        for i in range(10):
            w.put(f, "wb", f"small-{i}", c(f"s{i}", 3 * KIB + i))
        w.put(f, "wb", "mid", c("mid", 200 * KIB))
        w.put(f, "wb", "large", c("large", 5 * MIB + 17))
        w.put(f, "wb", "empty", b"")
        w.put(f, "wt", "a", c("wt-a", 50 * KIB))
        w.put(f, "wt", "b", c("wt-b", 2 * MIB))
        w.put(f, "tr", "x", c("tr-x", 10 * KIB))
        w.put(f, "tr", "y", c("tr-y", 1536 * KIB))
        w.put(f, "wb", "small-0", c("s0-again", 4 * KIB))
        for i in range(4):
            w.put(f, "wb", f"d/{i}", c(f"d{i}", 20 * KIB))
        u = w.upload(f, "wb", "mpu")
        w.part(f, u, 1, c("mpu-1", 5 * MIB))
        w.part(f, u, 2, c("mpu-2", 100 * KIB))
        w.complete(f, u)
        u = w.upload(f, "wt", "mpu")
        w.part(f, u, 1, c("wt-mpu", 60 * KIB))
        w.complete(f, u)
        self.open_upload = w.upload(f, "wb", "left-open")
        w.part(f, self.open_upload, 1, c("open-1", 5 * MIB))
        u = w.upload(f, "wb", "aborted")
        w.part(f, u, 1, c("aborted", 30 * KIB))
        w.abort(f, u)
        self.ordered()
        self.fresh_s3()
        # Renames and deletes that overtake persistence.
        w.rename(f, "wb", "small-1", "renamed-1")
        w.rename(f, "wb", "d/", "e/")
        w.put(f, "wb", "d/1", c("d1-again", 21 * KIB))
        w.delete(f, "wb", "small-2")
        w.delete_many(f, "wb", ["small-3", "small-4"])
        w.copy(f, "wb", "mid", "mid-copy")

    def ordered(self):
        """In a directory that is published in order: data and mark, again and again, and a rename into place."""
        f, w, c = self.f, self.w, proc.content
        for i in range(3):
            w.put(f, "wb", "o/data", c(f"od{i}", 30 * KIB))
            w.put(f, "wb", "o/mark", c(f"om{i}", 10))
        f.cli("async-persist", "skip", "--path", "/wb/o/none", check=False)  # nothing is there to skip
        w.put(f, "wb", "o/tmp", c("ot", 40 * KIB))
        w.rename(f, "wb", "o/tmp", "o/final")
        w.delete(f, "wb", "o/mark")
        w.put(f, "wb", "o/mark", c("om-last", 11))

    def fresh_s3(self):
        f, w, c = self.f, self.w, proc.content
        for b in ("so", "st"):
            for i in range(3):
                w.put(f, b, f"k{i}", c(f"{b}{i}", 6 * KIB + i))
            w.put(f, b, "d/1", c(b + "d1", 8 * KIB))
            u = w.upload(f, b, "mpu")
            w.part(f, u, 1, c(b + "mpu1", 6 * MIB))
            w.part(f, u, 2, c(b + "mpu2", 5 * MIB))
            w.part(f, u, 3, c(b + "mpu3", 9 * KIB))
            w.complete(f, u)
            u = w.upload(f, b, "aborted")
            w.part(f, u, 1, c(b + "aborted", 2 * MIB))
            w.abort(f, u)
            w.put(f, b, "parts", c(b + "parts", 17 * MIB))  # more than one part in the UFS
        w.copy(f, "st", "k0", "k0-copy")

    def persisted_s3(self):
        f, w, c = self.f, self.w, proc.content
        for b in ("so", "st"):
            w.rename(f, b, "k1", "k1-moved")
            w.rename(f, b, "d/", "e/")
            w.copy(f, b, "k2", "k2-copy")
            w.delete(f, b, "k2")
            w.put(f, b, "k0", c(b + "k0-2", 7 * KIB))
            w.rename(f, b, "mpu", "tmp")
            w.rename(f, b, "k0", "mpu")
            w.rename(f, b, "tmp", "k0")

    def persisted(self):
        """On objects that the UFS has."""
        f, w, c = self.f, self.w, proc.content
        w.put(f, "wb", "large", c("large-2", 4 * MIB + 3))
        w.put(f, "wt", "b", c("wt-b-2", 1 * MIB))
        w.copy(f, "wb", "mid", "mid-copy-2")
        w.delete(f, "wb", "mid")
        # a swap, a chain, a directory, then new objects where the old ones were
        w.rename(f, "wb", "small-5", "tmp")
        w.rename(f, "wb", "small-6", "small-5")
        w.rename(f, "wb", "tmp", "small-6")
        w.put(f, "wb", "moved/deep/0", c("m0", 100))
        w.rename(f, "wb", "small-7", "moved/deep/7")
        w.rename(f, "wb", "e/", "g/")
        w.put(f, "wb", "e/1", c("e1-new", 22 * KIB))
        w.put(f, "wb", "small-7", c("s7-new", 5 * KIB))
        w.rename(f, "wt", "a", "a-moved")
        w.delete(f, "wt", "b")
        w.delete(f, "wb", "small-8")
        w.delete_many(f, "wb", ["small-9", "renamed-1"])
        w.rename(f, "wb", "o/final", "o/moved")
        w.put(f, "wb", "o/after", c("oa", 500))
        w.delete(f, "wb", "o/data")
        w.rename(f, "tr", "x", "x-moved")
        w.delete(f, "tr", "y")
        r = f.cli("job", "load", "--path", "/so", check=False)
        if r.code != 0:
            raise Died(f"job load: {r}")
        self.persisted_s3()

    def trees(self):
        f, w = self.f, self.w
        w.rename(f, "wb", "g/", "h/")
        w.remove_tree(f, "wb", "h/")
        w.put(f, "wb", "h/0", proc.content("h0", 9 * KIB))

    def pressure(self):
        """More clean bytes than there is room, small ones too: eviction, recycling, cleaning; then read what was evicted."""
        f, w, c = self.f, self.w, proc.content
        for i in range(12):
            w.put(f, "wb", f"big/{i}", c(f"big{i}", 8 * MIB))
            if i % 3 == 2:
                self.settle()
        for r in range(2):
            for i in range(40):
                w.put(f, "wb", f"many/{i}", c(f"many{r}{i}", 60 * KIB))
        for i in range(40):
            if i % 6:
                w.delete(f, "wb", f"many/{i}")
        for i in (0, 1):
            try:
                a = f.raw.get("wb", f"big/{i}")
            except (OSError, http.client.HTTPException) as e:
                raise Died(f"GET big/{i}: {e}") from e
            assert a.body == w.state["wb", f"big/{i}"]
        for i in range(12):
            w.delete(f, "wb", f"big/{i}")

    PHASES = ["fresh", "settle", "persisted", "settle", "trees", "settle", "pressure", "settle"]

    def run(self, phases=None):
        """All phases; Died when the server goes."""
        for p in phases or self.PHASES:
            getattr(self, p)()

    # ---- the UFS ----

    def settle(self, timeout=300):
        """Wait until the UFS holds what the namespace says; Died when the server dies meanwhile."""
        for b, u in self.ufs.items():
            want = self.w.bucket(b) if b != "tr" else {}

            def same():
                if not self.f.alive():
                    raise Died("while it worked in the background")
                return set(u.keys()) == set(want) and u.tree() == want

            try:
                proc.wait_for(f"the UFS of /{b}", same, timeout, step=0.03)
            except AssertionError as e:
                if "timed out" in str(e):
                    queue = self.f.cli("async-persist", "list", check=False).out
                    raise AssertionError(f"the UFS of /{b} did not become right:\n{diff(want, u.tree())}\n{queue}") from None
                raise

    # ---- after the crash ----

    def through_open(self):
        """May the call that was under way have changed a WRITE_THROUGH bucket?"""
        s = self.w.state
        return any(s.get(k) != m.get(k) for m in self.w.maybe for k in {*s, *m} if k[0] in ("wt", "st"))

    def recover(self, **kw):
        """The server is dead: fsck, start, everything acknowledged is there and whole, work goes on, the UFS gets right,
        fsck again."""
        f, w = self.f, self.w
        f.assert_fsck_clean()
        f.start(**kw)
        w.check(f, BUCKETS)
        if self.through_open():
            # What a dead process wrote through may be in the UFS: it is looked at when its requests cannot arrive any more.
            time.sleep(2 * DEADLINE_S)
            w.check(f, BUCKETS)
        w.check_uploads(f)
        w.check(f, BUCKETS)
        w.put(f, "wb", "after/crash", proc.content("after", 70 * KIB))
        w.put(f, "wt", "after", proc.content("after-wt", 7 * KIB))
        for uid in list(w.uploads):
            if w.uploads[uid][1]:
                w.complete(f, uid)
        w.check(f, BUCKETS)
        self.settle()
        w.check(f, BUCKETS)
        assert f.stop() == 0
        f.assert_fsck_clean()

    def close(self):
        self.f.close()
        for u in self.ufs.values():
            u.close()

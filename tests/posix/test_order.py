# SPDX-License-Identifier: Apache-2.0
"""Ordered publication through the mount: what writers of checkpoints do, watched in the bucket at every instant, with kills."""
import os
import random
import time

from lib.model import seed
from lib.ufs import DirUfs
from lib.watcher import Notes, Watcher

ORDERED = {"/demo/**": ("WRITE_BACK", {"orderedPublication": True})}
PROPS = {"alluxio.worker.write.cache.async.persist.retry.initial.interval": "50ms", "forebay.persist.quiet": "0"}
SLOW = "ufs.put.before:sleep 3*100000, ufs.rename.before:sleep 3*100000"


def save(notes, top, name, body):
    """tmp, fsync, rename to the final name, fsync of the directory."""
    tmp = f"{top}/{name}.tmp"
    fd = os.open(tmp, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(fd, body)
    os.fsync(fd)
    os.close(fd)
    notes.add(name, body)
    os.rename(tmp, f"{top}/{name}")


def gone(notes, top, name):
    notes.add(name, None)
    os.unlink(f"{top}/{name}")


def step(notes, top, n, rng):
    """A directory of its own for each checkpoint, and names that stay the same; the one before the last goes."""
    body = lambda what: f"{what} of {n} ".encode() + b"." * rng.choice([3, 40_000, 300_000])
    os.mkdir(f"{top}/step-{n}")
    for part in ("a", "b"):
        save(notes, top, f"step-{n}/{part}", body(part))
    save(notes, top, f"step-{n}/.metadata", body(".metadata"))
    save(notes, top, "model", body("model"))
    save(notes, top, "latest", body("latest"))
    if n >= 2:
        for part in (".metadata", "a", "b"):
            gone(notes, top, f"step-{n - 2}/{part}")


def test_checkpoints_are_right_in_the_bucket_at_every_instant(make_mounted, work):
    ufs = DirUfs(os.path.join(work, "ufs"))
    f = make_mounted({"/demo": ufs.uri()}, ORDERED, props=PROPS, start=False)
    f.start(fault=SLOW)
    rng, notes = random.Random(seed()), Notes()
    w = Watcher(notes, ufs.get)
    n = 0
    for life in range(4):
        for _ in range(3):
            step(notes, f"{f.dir}/demo", n, rng)
            n += 1
        if life < 3:
            time.sleep(rng.random() * 0.3)
            f.kill9()
            os.system(f"umount -l {f.dir}")
            f.start(fault=SLOW)
    try:
        f.wait_all_persisted(120)
    finally:
        found = w.stop()
    assert not found, found
    assert w.looks > 10
    last = dict(notes.now())
    f.wait_ufs(ufs, {k: v for k, v in last.items() if v is not None})
    f.stop()
    f.assert_fsck_clean()


def test_a_directory_renamed_into_place_comes_before_the_mark(make_mounted, work):
    """step.tmp/ is renamed when some of it is in the bucket already and some is not."""
    ufs = DirUfs(os.path.join(work, "ufs"))
    f = make_mounted({"/demo": ufs.uri()}, ORDERED, props=PROPS, start=False)
    f.start(fault=SLOW)
    top, notes = f"{f.dir}/demo", Notes()
    wrong = []

    def get(name):  # latest names a directory: that one is whole, under that name
        latest = ufs.get("latest")
        if latest is not None:
            for part in range(4):
                if ufs.get(f"{latest.decode()}/{part}") is None and ufs.get("latest") == latest:
                    wrong.append((latest, part))
        return latest

    notes.add("latest", None)
    w = Watcher(notes, get)
    for n in range(6):
        os.mkdir(f"{top}/step.tmp")
        for part in range(4):
            with open(f"{top}/step.tmp/{part}", "wb") as o:
                o.write(b"%d %d" % (n, part))
                os.fsync(o.fileno())
            if part == 2 and n % 2:
                f.wait_all_persisted()
        os.rename(f"{top}/step.tmp", f"{top}/step-{n}")
        notes.add("latest", b"step-%d" % n)
        with open(f"{top}/latest.new", "wb") as o:
            o.write(b"step-%d" % n)
        os.rename(f"{top}/latest.new", f"{top}/latest")
    f.wait_all_persisted()
    assert not w.stop() and not wrong, (w.found, wrong)
    f.wait_ufs(ufs, {f"step-{n}/{p}": b"%d %d" % (n, p) for n in range(6) for p in range(4)} | {"latest": b"step-5"})
    f.stop()
    f.assert_fsck_clean()

# SPDX-License-Identifier: Apache-2.0
"""Very many small files through the mount while they are being persisted: nothing is lost, cache and bucket agree, a restart and
the removal of all are no event. FOREBAY_MANY=N: how many (4000000 is an evening)."""
import os
import shutil
import subprocess
import sys
import time

import pytest

from lib import proc

QUICK = bool(os.environ.get("FOREBAY_QUICK"))
MANY = int(os.environ.get("FOREBAY_MANY", 4_000 if QUICK else 200_000))
A_DIR = 1_000 if QUICK else 10_000

# Python, twice at once: each makes half of the directories. A file's content is its number.
MAKER = """
import os, sys
root, begin, end, a_dir = sys.argv[1], *map(int, sys.argv[2:])
for i in range(begin, end):
    d = f"{root}/d{i // a_dir:04d}"
    if i % a_dir == 0:
        os.mkdir(d)
    fd = os.open(f"{d}/f{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(fd, b"%d" % i)
    os.close(fd)
"""


def make_all(root):
    half = MANY // A_DIR // 2 * A_DIR
    ps = [subprocess.Popen([sys.executable, "-c", MAKER, root, str(a), str(b), str(A_DIR)]) for a, b in ((0, half), (half, MANY))]
    assert [p.wait(4 * 3600) for p in ps] == [0, 0]


def check_all(root):
    """Every name, every size; every 97th content."""
    n = 0
    for d in sorted(os.listdir(root)):
        for e in os.scandir(f"{root}/{d}"):
            i = int(e.name[1:])
            assert e.stat().st_size == len(str(i)) and d == f"d{i // A_DIR:04d}", e.path
            if i % 97 == 0:
                with open(e.path, "rb") as f:
                    assert f.read() == b"%d" % i, e.path
            n += 1
    assert n == MANY


@pytest.mark.timeout(6 * 3600)
def test_very_many_small_files(make_mounted, ufs):
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    root = f"{f.dir}/demo/many"
    os.mkdir(root)
    t = [time.monotonic()]
    make_all(root)
    t.append(time.monotonic())
    check_all(root)
    t.append(time.monotonic())
    f.cli("async-persist", "wait", timeout=3600)
    t.append(time.monotonic())
    check_all(os.path.join(ufs.path, "many"))  # the bucket is the same tree
    f.stop()
    f.start()
    t.append(time.monotonic())
    check_all(root)
    assert sum(len(p.get("Contents", ())) for p in f.s3.get_paginator("list_objects_v2").paginate(Bucket="demo", Prefix="many/d")
               ) == MANY + MANY // A_DIR  # and the directories' own
    t.append(time.monotonic())
    shutil.rmtree(root)
    t.append(time.monotonic())
    assert not os.path.exists(root) and os.listdir(f"{f.dir}/demo") == []
    proc.wait_for("the bucket to be empty", lambda: not os.path.exists(os.path.join(ufs.path, "many")), 600)
    t.append(time.monotonic())
    print([round(b - a, 1) for a, b in zip(t, t[1:])])
    assert f.stop() == 0
    f.assert_fsck_clean()

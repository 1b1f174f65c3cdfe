# SPDX-License-Identifier: Apache-2.0
"""Directory streams."""
import os
import shutil
import threading

from sys_calls import put


def test_many_entries(mnt):
    names = {f"file-{i:05d}" for i in range(5000)}
    for n in names:
        os.close(os.open(f"{mnt}/{n}", os.O_CREAT | os.O_WRONLY))
    got = [e.name for e in os.scandir(mnt)]
    assert len(got) == len(names) and set(got) == names
    assert all(e.stat(follow_symlinks=False).st_size == 0 for e in os.scandir(mnt))


def test_removed_while_listed(mnt):
    """rm -r reads and removes in turns: nothing is left over, nothing is given twice."""
    for i in range(3000):
        os.close(os.open(f"{mnt}/{i}", os.O_CREAT | os.O_WRONLY))
    seen = set()
    with os.scandir(mnt) as it:
        for e in it:
            assert e.name not in seen
            seen.add(e.name)
            os.unlink(f"{mnt}/{e.name}")
    assert len(seen) == 3000 and os.listdir(mnt) == []


def test_stable_entries_under_changes(mnt):
    stay = {f"stay-{i}" for i in range(1000)}
    for n in stay:
        put(f"{mnt}/{n}")
    stop = threading.Event()

    def churn():
        i = 0
        while not stop.is_set():
            put(f"{mnt}/tmp-{i % 50}")
            if i > 25:
                os.unlink(f"{mnt}/tmp-{(i - 25) % 50}")
            i += 1

    t = threading.Thread(target=churn)
    t.start()
    try:
        for _ in range(20):
            got = os.listdir(mnt)
            assert len(got) == len(set(got)) and stay <= set(got)
    finally:
        stop.set()
        t.join()


def test_tree(mnt):
    def make(at, depth):
        for i in range(4):
            put(f"{at}/f{i}", b"x" * i)
            if depth:
                os.mkdir(f"{at}/d{i}")
                make(f"{at}/d{i}", depth - 1)

    os.mkdir(f"{mnt}/t")
    make(f"{mnt}/t", 3)
    assert sum(len(f) for _, _, f in os.walk(f"{mnt}/t")) == 4 * (1 + 4 + 16 + 64)
    shutil.copytree(f"{mnt}/t", f"{mnt}/u")
    assert sum(len(f) for _, _, f in os.walk(f"{mnt}/u")) == 340
    shutil.rmtree(f"{mnt}/t")
    assert os.listdir(mnt) == ["u"]


def test_dots(mnt):
    os.mkdir(f"{mnt}/d")
    fd = os.open(f"{mnt}/d", os.O_RDONLY)
    assert os.stat("..", dir_fd=fd).st_ino == os.stat(mnt).st_ino
    assert os.stat(".", dir_fd=fd).st_ino == os.stat(f"{mnt}/d").st_ino
    os.close(fd)

# SPDX-License-Identifier: Apache-2.0
"""The power-loss rig itself: it loses what was not synced, keeps what was, and can keep a part of the rest."""
import os

import pytest

from lib import proc
from lib.disk import ForgetfulDisk

pytestmark = pytest.mark.root


@pytest.fixture
def disk(work):
    d = ForgetfulDisk(work, mib=128)
    yield d
    d.close()


def write(path, data, sync):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        if sync:
            os.fsync(f.fileno())


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def test_unsynced_is_lost_and_synced_is_kept(disk):
    kept, lost = proc.content("kept", 300_000), proc.content("lost", 300_000)
    write(f"{disk.path}/kept", kept, sync=True)
    sync_dir(disk.path)
    write(f"{disk.path}/lost", lost, sync=False)
    disk.cut()
    disk.remount()
    assert read(f"{disk.path}/kept") == kept
    assert read(f"{disk.path}/lost") in (None, b"")


def test_overwrite_in_place_without_sync_is_lost(disk):
    old, new = proc.content("old", 65536), proc.content("new", 65536)
    write(f"{disk.path}/f", old, sync=True)
    sync_dir(disk.path)
    with open(f"{disk.path}/f", "r+b") as f:
        f.write(new)
    disk.cut()
    disk.remount()
    assert read(f"{disk.path}/f") == old


def test_the_disk_lies_when_told_to(disk):
    write(f"{disk.path}/f", b"x" * 8192, sync=True)
    sync_dir(disk.path)
    disk.control("ignore -1")
    write(f"{disk.path}/g", b"y" * 8192, sync=True)
    sync_dir(disk.path)
    disk.cut()
    disk.remount()
    assert read(f"{disk.path}/f") == b"x" * 8192
    assert read(f"{disk.path}/g") is None


def test_a_random_subset_of_the_unflushed_survives(disk):
    """Blocks written in place, reached the device (page cache written back), not flushed: after the cut some are new,
    some old, by the seed."""
    n = 256
    write(f"{disk.path}/f", b"o" * 4096 * n, sync=True)
    sync_dir(disk.path)
    fd = os.open(f"{disk.path}/f", os.O_RDWR | os.O_DIRECT)
    import mmap

    m = mmap.mmap(-1, 4096)
    m.write(b"n" * 4096)
    for i in range(n):
        os.pwrite(fd, m, i * 4096)
    os.close(fd)
    assert disk.figures()["dirty"] >= n * 8, "the writes did not reach the device"
    disk.cut(seed=7, percent=50)
    disk.remount()
    b = read(f"{disk.path}/f")
    new = sum(b[i * 4096 : (i + 1) * 4096] == b"n" * 4096 for i in range(n))
    old = sum(b[i * 4096 : (i + 1) * 4096] == b"o" * 4096 for i in range(n))
    assert new > n // 8 and old > n // 8
    assert new + old < n, "no torn block among so many"

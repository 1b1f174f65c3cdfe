# SPDX-License-Identifier: Apache-2.0
"""Disks for tests (root only): one that loses its unflushed sectors at a power cut, and a small one that fills up.

ForgetfulDisk: tests/powerloss/forgetful.c shows a file whose writes are volatile until flushed; a loop device over it; ext4
on that. cut() is the power cut; remount() boots again from what the disk kept, journal replay included.
"""
import os
import shutil
import signal
import subprocess

from . import proc

SOURCE = os.path.join(proc.TOP, "tests", "powerloss", "forgetful.c")
BINARY = os.path.join(proc.BUILD, "tools", "forgetful")



def run(*argv, check=True):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if check and p.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {p.returncode}: {p.stderr}")
    return p.stdout.strip()


def build_forgetful():
    if os.path.exists(BINARY) and os.path.getmtime(BINARY) > os.path.getmtime(SOURCE):
        return BINARY
    os.makedirs(os.path.dirname(BINARY), exist_ok=True)
    flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
    tmp = f"{BINARY}.{os.getpid()}"
    run("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", tmp, SOURCE, *flags)
    os.rename(tmp, BINARY)
    return BINARY


class ForgetfulDisk:
    def __init__(self, work, mib=512):
        self.work = os.fspath(work)
        self.image = os.path.join(self.work, "disk.img")
        self.fuse = os.path.join(self.work, "fuse")
        self.path = os.path.join(self.work, "mnt")  # the file system under test
        self.log = os.path.join(self.work, "forgetful.log")
        self.loop = self.p = None
        self.mounted = False
        build_forgetful()
        os.makedirs(self.fuse, exist_ok=True)
        os.makedirs(self.path, exist_ok=True)
        with open(self.image, "wb") as f:
            f.truncate(mib << 20)
        # Full inode tables and journal now: nothing of mkfs is left to be written lazily.
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.image)
        self.mount()

    def mount(self):
        self.p = proc.spawn([BINARY, self.image, self.fuse, "-f", "-s"], self.log)
        disk = os.path.join(self.fuse, "disk")
        proc.wait_for("the forgetful disk", lambda: os.path.exists(disk), 20)
        self.loop = run("losetup", "--find", "--show", disk)
        # A short commit interval, so that metadata often reaches the disk before the data it speaks of.
        run("mount", "-t", "ext4", "-o", "commit=1", self.loop, self.path)
        self.mounted = True

    def control(self, cmd):
        with open(os.path.join(self.fuse, "control"), "w") as f:
            f.write(cmd)

    def figures(self):
        with open(os.path.join(self.fuse, "control")) as f:
            return {k: int(v) for k, v in (w.split("=") for w in f.read().split())}

    def cut(self, seed=0, percent=0):
        """The power goes now. Of the unflushed sectors a random share (percent, chosen by seed) is on the disk anyway.
        Whoever uses the file system gets errors from here on; kill it, then remount()."""
        self.control(f"cut {seed} {percent}")

    def _detach(self):
        if self.mounted:
            # The dirty pages cannot be written any more: their loss is the point.
            proc.wait_for("umount", lambda: subprocess.run(["umount", self.path], capture_output=True).returncode == 0, 30)
            self.mounted = False
        if self.loop:
            run("losetup", "-d", self.loop, check=False)
            self.loop = None
        if self.p:
            proc.end(self.p, signal.SIGKILL)
            self.p = None
        subprocess.run(["fusermount3", "-u", "-z", self.fuse], capture_output=True)

    def remount(self):
        self._detach()
        self.mount()

    def close(self):
        try:
            self._detach()
        finally:
            shutil.rmtree(self.fuse, ignore_errors=True)
            if not proc.KEEP and os.path.exists(self.image):
                os.unlink(self.image)


class SmallDisk:
    """A file system of a given size on a loop device, to fill up; or tmpfs, which needs no loop device."""

    def __init__(self, work, mib, kind="ext4"):
        self.path = os.path.join(os.fspath(work), f"small-{kind}")
        self.image = self.path + ".img"
        self.kind = kind
        os.makedirs(self.path, exist_ok=True)
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", self.path)
            return
        with open(self.image, "wb") as f:
            f.truncate(mib << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        run("mount", "-o", "loop", self.image, self.path)

    def fill(self, leave=0):
        """Fill it with a file of our own, but for `leave` bytes; returns a function that frees it again."""
        name = os.path.join(self.path, "ballast")
        s = os.statvfs(self.path)
        n = max(0, s.f_bavail * s.f_frsize - leave)
        with open(name, "wb") as f:
            try:
                os.posix_fallocate(f.fileno(), 0, n)
            except OSError:  # metadata took a little: write until it is full
                block = bytes(1 << 16)
                try:
                    while True:
                        f.write(block)
                        f.flush()
                except OSError:
                    pass
        return lambda: os.unlink(name)

    def close(self):
        proc.wait_for("umount", lambda: subprocess.run(["umount", self.path], capture_output=True).returncode == 0, 30)
        if os.path.exists(self.image):
            os.unlink(self.image)

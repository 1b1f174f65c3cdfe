# SPDX-License-Identifier: Apache-2.0
"""Directories that the mount's rows run in: Forebay's two ways to mount, what FUSE costs without anything behind it, and
the disk. Each has dir, pids() of the processes that serve it, and begins empty.
"""
import os
import shutil
import subprocess

from lib import proc
from lib.forebay import BIN, Forebay
from servers import Ours


def unmount(d):
    """Quietly: it may be unmounted already."""
    subprocess.run(["umount", d], stderr=subprocess.DEVNULL, check=False)


class Native:
    """The file system below all of them."""

    name = "native"

    def __init__(self, work):
        self.work, self.dir = work, os.path.join(work, "dir")
        os.makedirs(self.dir)

    def pids(self):
        return []

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)


class Passthrough(Native):
    """The example of libfuse that hands every request on to a directory; Debian's libfuse3-dev brings its source."""

    name = "passthrough"
    source = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
    binary = os.path.join(proc.BUILD, "bench", "passthrough_ll")

    @classmethod
    def available(cls):
        return os.path.exists(cls.source)

    @classmethod
    def build(cls):
        os.makedirs(os.path.dirname(cls.binary), exist_ok=True)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=True)
        subprocess.run(["cc", "-O2", "-o", cls.binary, cls.source, *flags.stdout.split()], check=True)

    def __init__(self, work):
        super().__init__(work)
        self.build()
        source, self.dir = self.dir, os.path.join(work, "mnt")
        os.makedirs(self.dir)
        argv = [self.binary, "-f", "-o", f"source={source}", "-o", "default_permissions", self.dir]
        self.p = proc.spawn(argv, os.path.join(work, "log"))
        proc.wait_for("the passthrough", lambda: os.path.ismount(self.dir))

    def pids(self):
        return [self.p.pid]

    def close(self):
        unmount(self.dir)
        proc.end(self.p)
        super().close()


class Mounted(Forebay):
    def argv(self):
        self.mnt = os.path.join(self.work, "mnt")
        os.makedirs(self.mnt, exist_ok=True)
        return super().argv() + ["--mount", self.mnt]


class Standalone(Ours):
    """`standalone --mount`: the instance mounts, and serves in its own process."""

    name = "standalone"
    instance = Mounted

    def __init__(self, work, store, properties=None):
        super().__init__(work, store, ufs_properties=properties)
        self.dir = os.path.join(self.f.mnt, "bench")

    def there(self, path):
        """Is it in the bucket?"""
        return os.path.exists(os.path.join(self.work, "ufs", os.path.relpath(path, self.dir)))

    def close(self):
        if self.f.alive():
            self.f.stop()
        super().close()


class Fuse(Standalone):
    """`forebay fuse`: a process of its own mounts, an instance without mounts serves."""

    name = "fuse"
    instance = Forebay

    def __init__(self, work, store, properties=None):
        Ours.__init__(self, work, store, ufs_properties=properties)
        self.dir, log = os.path.join(work, "mnt"), os.path.join(work, "keeper.log")
        os.makedirs(self.dir)
        self.keeper = proc.spawn([BIN, "fuse", self.dir, "--path", "/bench", "--data", self.f.data], log)
        proc.wait_for("the mount", lambda: os.path.ismount(self.dir) and "ready" in proc.tail(log))

    def pids(self):
        return super().pids() + [self.keeper.pid]

    def close(self):
        proc.end(self.keeper)
        super().close()


def available():
    """Why not, or None."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if os.geteuid() != 0:
        return "only root can empty the kernel's caches"
    return None


def start(scratch, store):
    """All of them; a column that cannot be had is left out."""
    out = [Native(scratch("mount-native"))]
    if Passthrough.available():
        out.append(Passthrough(scratch("mount-passthrough")))
    return out + [Standalone(scratch("mount-standalone"), store), Fuse(scratch("mount-fuse"), store)]

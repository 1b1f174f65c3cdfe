# SPDX-License-Identifier: Apache-2.0
"""A mount to test. FOREBAY_POSIX_DIR=DIR runs the suite in DIR instead (a native file system: the suite must pass there too).

mnt     an empty directory of a mount that the module shares
twin    an empty directory of the native file system, for tests that do the same in both and compare
"""
import os
import shutil
import subprocess
import tempfile
import uuid

import pytest

from lib import forebay as fb
from lib.ufs import DirUfs

NATIVE = os.environ.get("FOREBAY_POSIX_DIR")

PROPS = {"alluxio.worker.page.store.sizes": "4GB", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.8"}


class Mounted(fb.Forebay):
    """`standalone --mount DIR`; the mount shows the whole namespace."""

    def __init__(self, work, *a, options="allow_other", **kw):
        self.dir = os.path.join(os.fspath(work), "mnt")
        self.options = options
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(work, 0o755)  # made by mkdtemp; tests look as other users
        super().__init__(work, *a, **kw)

    def argv(self):
        a = super().argv() + ["--mount", self.dir]
        return a + (["--mount-options", self.options] if self.options else [])

    def close(self):
        super().close()
        subprocess.run(["umount", "-l", self.dir], stderr=subprocess.DEVNULL, check=False)


def fuse_missing():
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse here"
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        return "no fusermount3 here"
    return None


@pytest.fixture(scope="module")
def mounted(module_work):
    if NATIVE:
        pytest.skip("FOREBAY_POSIX_DIR is set: there is no instance")
    why = fuse_missing()
    if why:
        pytest.skip(why)
    ufs = DirUfs(os.path.join(module_work, "ufs"))
    rules = {"/demo/**": "WRITE_BACK"}
    with Mounted(module_work, {"/demo": ufs.uri()}, rules, PROPS) as f:
        f.under = ufs
        yield f


@pytest.fixture
def make_mounted(work):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    made = []

    def one(*a, **kw):
        props = dict(PROPS)
        props.update(kw.pop("props", {}))
        f = Mounted(kw.pop("work", work), *a, props=props, **kw)
        made.append(f)
        return f

    yield one
    for f in made:
        f.close()


@pytest.fixture
def mnt(request):
    top = NATIVE or os.path.join(request.getfixturevalue("mounted").dir, "demo")
    d = os.path.join(top, f"t-{uuid.uuid4().hex[:8]}")
    os.mkdir(d)
    os.chmod(d, 0o777)
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def twin():
    d = tempfile.mkdtemp(prefix="forebay-twin-")
    os.chmod(d, 0o777)
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture(autouse=True)
def plain_umask():
    old = os.umask(0o022)
    yield
    os.umask(old)

# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all outside tests. A test's directory is removed at its end unless FOREBAY_KEEP is set."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib import forebay as fb  # noqa: E402
from lib import proc  # noqa: E402
from lib.faultproxy import FaultProxy  # noqa: E402
from lib.ufs import DirUfs, Moto, VersityGw  # noqa: E402


def _workdir(scope_name):
    return tempfile.mkdtemp(prefix=f"forebay-{scope_name}-")


@pytest.fixture
def work():
    d = _workdir("test")
    yield d
    if not proc.KEEP:
        shutil.rmtree(d, ignore_errors=True)


@pytest.fixture(scope="module")
def module_work():
    d = _workdir("module")
    yield d
    if not proc.KEEP:
        shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def ufs(work):
    return DirUfs(os.path.join(work, "ufs"))


@pytest.fixture
def make(work):
    """make(ufs, rules, ...) -> a started Forebay, closed at the end of the test."""
    made = []

    def one(*a, **kw):
        f = fb.Forebay(kw.pop("work", work), *a, **kw)
        made.append(f)
        return f

    yield one
    for f in made:
        f.close()


@pytest.fixture
def wb(make, ufs):
    """/demo is WRITE_BACK over a directory."""
    return make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})


@pytest.fixture(scope="module")
def versity(module_work):
    s = VersityGw(module_work)
    yield s
    s.close()


@pytest.fixture(scope="module")
def moto(module_work):
    s = Moto(module_work)
    if not s.probe_verbatim():
        s.close()
        pytest.fail("this moto does not store keys verbatim")
    yield s
    s.close()


@pytest.fixture
def proxy_to():
    """proxy_to(store) -> FaultProxy in front of it; store.properties() then name the proxy."""
    made = []

    def one(store):
        p = FaultProxy(store.port)
        store.via = p.endpoint
        made.append((store, p))
        return p

    yield one
    for store, p in made:
        store.via = None
        p.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    r = (yield).get_result()
    if r.failed:
        for f in fb.LIVE:
            r.sections.append((f"{f.log}", proc.tail(f.log)))


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        skip = pytest.mark.skip(reason="needs root: mounts and loop devices")
        for i in items:
            if "root" in i.keywords:
                i.add_marker(skip)

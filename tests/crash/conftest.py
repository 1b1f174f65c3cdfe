# SPDX-License-Identifier: Apache-2.0
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import shutil  # noqa: E402
import tempfile  # noqa: E402

import pytest  # noqa: E402
from workload import Rig  # noqa: E402


@pytest.fixture(scope="module")
def visited(versity):
    """One run without a fault: {"work", "start"}: points that the workload with its background work, and a start after a
    crash, visit."""
    d = tempfile.mkdtemp(prefix="forebay-crash-")
    r = Rig(d, versity)
    log = {"work": os.path.join(d, "visited"), "start": os.path.join(d, "visited-start")}
    try:
        r.f.start(fault_log=log["work"])
        r.run()
        r.f.kill9()
        r.recover(fault_log=log["start"])
        yield {k: set(open(p).read().split()) if os.path.exists(p) else set() for k, p in log.items()}
    finally:
        r.close()
        shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def rig(work, versity):
    r = Rig(work, versity)
    yield r
    r.close()

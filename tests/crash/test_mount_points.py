# SPDX-License-Identifier: Apache-2.0
"""kill -9 at fault points that the programs of a mount reach, at a visit chosen by FOREBAY_SEED; FOREBAY_CRASH_HITS visits
for each. The points of the POSIX door are reached nowhere else.
"""
import os
import random

import pytest
from lib.forebay import StartError
from lib.model import seed
from mount_rig import MountRig
from points import HITS

pytestmark = pytest.mark.timeout(1500)

# Point, and the latest visit that the programs surely come to. Those of the POSIX door:
DOOR = {
    "px.flushed": 60,
    "meta.change.before": 60,
    "meta.change.after": 60,
    "meta.attr.after": 10,
    "meta.link.after": 5,
    "meta.forget.before": 5,
    "meta.confirm.before": 3,
}
# and those that others come to as well: FOREBAY_MOUNT_POINTS (4) of them, by the seed.
SHARED = {
    "meta.publish.before": 20,
    "meta.publish.after": 20,
    "meta.rename.before": 20,
    "meta.rename.after": 20,
    "meta.delete.before": 10,
    "meta.delete.after": 10,
    "meta.persist.claimed": 4,
    "meta.mark.before": 4,
    "meta.mark.after": 4,
    "meta.settle.claimed": 3,
    "meta.switch.before": 3,
    "meta.switch.after": 3,
    "meta.reap.claimed": 3,
    "meta.drop.after": 10,
    "page.seal.after_sync": 3,
    "kv.commit.after": 200,
    "kv.sync.after": 20,
}
SOME = int(os.environ.get("FOREBAY_MOUNT_POINTS", "4"))


def visits():
    rnd = random.Random(f"points of mounts {seed()}")
    points = DOOR | dict(rnd.sample(sorted(SHARED.items()), min(SOME, len(SHARED))))
    return [(p, rnd.randrange(1, most + 1)) for p, most in points.items() for _ in range(HITS)]


@pytest.fixture
def rig(work, versity):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    r = MountRig(work, versity)
    yield r
    r.close()


def die_at_work(rig, fault, seed):
    """Some points are visited on the way of a start, too."""
    try:
        rig.start(fault=fault)
    except StartError:
        return
    rig.work_on(seed, 3000)
    assert rig.wait_dead(120), f"the programs ended before {fault}"
    rig.f.wait_dead()


@pytest.mark.parametrize("point,hit", visits())
def test_kill(point, hit, rig):
    rig.start()
    rig.directories()
    rig.f.stop()
    die_at_work(rig, f"{point}:kill@{hit}", f"{seed()} {point}")
    rig.after()
    rig.converge()

# SPDX-License-Identifier: Apache-2.0
"""Programs work through two mounts and S3, by chance: until they have done what they were to do, or kill -9 at random moments.

FOREBAY_MOUNT_ROUNDS: rounds of a test (6); FOREBAY_SEED: which.
"""
import os
import random
import time

import pytest
from lib.model import seed
from mount_rig import MountRig

pytestmark = pytest.mark.timeout(1500)

ROUNDS = int(os.environ.get("FOREBAY_MOUNT_ROUNDS", "6"))
OPS = 300


@pytest.fixture
def rig(work, versity):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    r = MountRig(work, versity)
    r.start()
    yield r
    r.close()


def sometimes_converges(rig, i):
    if i % 3 == 2 or i == ROUNDS - 1:
        rig.converge()
        rig.start()


def test_without_a_kill(rig):
    for i in range(ROUNDS):
        rig.work_on(f"{seed()}-{i}", OPS)
        assert not rig.wait_dead(300), "the instance died"
        rig.compare()
        sometimes_converges(rig, i)


def test_kill_at_random_moments(rig):
    rnd = random.Random(f"mounts {seed()}")
    for i in range(ROUNDS):
        rig.work_on(f"{seed()}-{i}", 100000)
        time.sleep(rnd.choice([0.1, 0.3, 0.6, 1.0, 2.0]) + rnd.random() * 0.3)
        assert rig.f.alive() and not any(w.done() for w in rig.workers), [w.end() for w in rig.workers if w.done()]
        rig.kill()
        rig.after()
        sometimes_converges(rig, i)

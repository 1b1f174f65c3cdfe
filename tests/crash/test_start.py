# SPDX-License-Identifier: Apache-2.0
"""Recovery itself is killed at every fault point it visits, then started again."""
import http.client

import pytest
from lib import forebay as fb
from lib.model import Died
from points import POINTS, fault
from workload import BUCKETS

pytestmark = pytest.mark.timeout(1500)


def work_then_die(rig):
    rig.f.start()
    rig.fresh()
    rig.settle()
    rig.persisted()
    rig.f.kill9()


def die_in_start(rig, fault):
    """Start with the fault; use it until it dies, or all is well."""
    try:
        rig.f.start(fault=fault)
    except fb.StartError:
        return
    try:
        rig.w.check(rig.f, BUCKETS)
        rig.settle()
    except (Died, OSError, http.client.HTTPException, AssertionError):
        rig.f.wait_dead(60)  # dying; else it is a failure: TimeoutExpired
        return
    rig.f.kill9()


def test_there_are_fault_points():
    assert len(POINTS) > 20


@pytest.mark.parametrize("point", POINTS)
def test_kill(point, rig, visited):
    if point not in visited["start"]:
        pytest.skip("not on the way of a start after a crash: test_first_visit.py")
    work_then_die(rig)
    die_in_start(rig, fault(point, "kill@1"))
    rig.recover()

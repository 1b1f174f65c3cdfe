# SPDX-License-Identifier: Apache-2.0
"""kill -9 at the first visit of every fault point.

The workload runs until the process kills itself there, then it is started again and everything is checked (Rig.recover).
A point that neither the workload nor a start after a crash reaches fails its test, unless points.ELSEWHERE says where it is
reached.
"""
import re

import pytest
from points import AFTER, POINTS, die_in_workload, fault

pytestmark = pytest.mark.timeout(1500)


def test_there_are_fault_points():
    assert len(POINTS) > 20


def test_the_workload_without_a_fault(visited):
    assert visited["work"] and visited["start"]


@pytest.mark.parametrize("point", POINTS)
def test_kill(point, rig, visited):
    after = any(re.search(p, point) for p in AFTER)
    if not after and point not in visited["work"] and point in visited["start"]:
        pytest.skip("only on the way of a start after a crash: test_start.py")
    assert after or point in visited["work"], f"the workload never reaches {point}: extend crash/workload.py"
    assert die_in_workload(rig, fault(point, "kill@1")), f"{point} was visited before, not now"
    rig.recover()

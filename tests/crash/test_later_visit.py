# SPDX-License-Identifier: Apache-2.0
"""kill -9 at a later visit of every fault point, chosen by FOREBAY_SEED; FOREBAY_CRASH_HITS visits for each."""
import pytest
from points import POINTS, die_in_workload, fault, later_visits

pytestmark = pytest.mark.timeout(1500)


def test_there_are_fault_points():
    assert len(POINTS) > 20


@pytest.mark.parametrize("point,hit", later_visits())
def test_kill(point, hit, rig):
    die_in_workload(rig, fault(point, f"kill@{hit}"))  # or, when it is not visited as often, it is killed at the end
    rig.recover()

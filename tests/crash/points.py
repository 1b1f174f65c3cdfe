# SPDX-License-Identifier: Apache-2.0
"""The fault points, and what the crash tests share: a run that dies at one."""
import os
import random
import re
import subprocess

from lib import forebay as fb
from lib.model import Died, Refused, seed

# Points this workload cannot reach, and the suite that does.
ELSEWHERE = {
    r"^test\.skip\.": "no steps: planted bugs, for powerloss and the model checker",
    r"^kv\.memtable\.switch": "needs 20 MiB of metadata: the contract suite of kv kills there",
    r"^meta\.intend": "needs two requests for one key that fail one after the other: the model checker dies there",
    r"^(px|meta\.(change|compact|attr|link|forget|confirm))\.": "calls of mounts: the unit tests of the POSIX door die there, and test_mount_points.py",
    r"^persist\.scan": "pages that a crash between two steps of a living process left: the unit tests of files changed in place",
    r"^meta\.complete\.ahead": "needs more parts than one row holds, gigabytes: the unit tests of meta",
}
# Points that are only visited after something failed: what fails first.
AFTER = {
    r"^page\.probe": "page.write:error IO@20",
    r"^kv\.reopen": "kv.sync.before:error IO@20",
}
HITS = int(os.environ.get("FOREBAY_CRASH_HITS", "1"))


def all_points():
    """Rows of `forebay faults`: name, text."""
    try:
        out = subprocess.run([fb.BIN, "faults"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    names = [l.split()[0] for l in out.splitlines() if re.match(r"^[a-z]+\.[a-z0-9_.]+\s", l + " ")]
    return [n for n in names if not any(re.search(p, n) for p in ELSEWHERE)]


POINTS = all_points()


def fault(point, action):
    """The fault list that brings a run to point and does action there."""
    first = [f for p, f in AFTER.items() if re.search(p, point)]
    return ", ".join([*first, f"{point}:{action}"])


def later_visits():
    rnd = random.Random(seed())
    return [(p, rnd.choice([2, 3, 5, 8, 13, 21, 34, 55])) for p in POINTS for _ in range(HITS)]


def die_in_workload(r, faults):
    """Run until it dies there: True. False: the workload ended first; it is killed then."""
    try:
        r.f.start(fault=faults)
    except fb.StartError:
        return True
    try:
        r.run()
    except (Died, Refused):
        # Dying (a refusal may be its last word); else the broken connection or the refusal is a failure: TimeoutExpired. Where
        # an error was asked for first, the refusal is that one's, and the point may not be visited as often.
        try:
            r.f.wait_dead(10 if ", " in faults else 60)
            return True
        except subprocess.TimeoutExpired:
            if ", " not in faults:
                raise
    r.f.kill9()
    return False

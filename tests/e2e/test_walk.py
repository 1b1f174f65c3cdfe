# SPDX-License-Identifier: Apache-2.0
"""The way one PUT and one rename take through the rooms, compared with a file: a changed way is a changed file in the diff.

FOREBAY_TRACE=FILE makes the server write every trace entry ("room.verb a b") there. FOREBAY_BLESS=1 writes the expected
files anew.
"""
import os

import pytest

from lib import proc

HERE = os.path.dirname(os.path.abspath(__file__))
# Doors of the request's own way; background rooms run on their own threads at their own pace.
ROOMS = ("s3.", "net.", "fs.", "meta.", "kv.", "page.", "ufs.", "admin.")
BACKGROUND = ("page.clean", "page.recycle", "page.probe", "page.upkeep", "page.walk", "persist.")


def names(path, start):
    with open(path, "rb") as f:
        f.seek(start)
        lines = f.read().decode().splitlines()
    out = []
    for l in lines:
        n = l.split()[0] if l.split() else ""
        if n.startswith(ROOMS) and not n.startswith(BACKGROUND) and (not out or out[-1] != n):
            out.append(n)
    return out


@pytest.mark.parametrize("what", ["put", "rename"])
def test_walk(make, ufs, work, what):
    trace = os.path.join(work, "trace")
    f = make({"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"}, env={"FOREBAY_TRACE": trace})  # nothing follows in the background
    f.s3.put_object(Bucket="demo", Key="d/warm", Body=b"x" * 1000)
    f.cli("fs", "stat", "/demo/d/warm")
    size = [-1]

    def quiet():
        was, size[0] = size[0], os.path.getsize(trace)
        return was == size[0]

    proc.wait_for("quiet", quiet, step=0.5)
    start = size[0]
    if what == "put":
        assert f.raw.put("demo", "d/one", b"y" * 5000).status == 200
    else:
        f.cli("fs", "mv", "/demo/d/warm", "/demo/d/moved")
    proc.wait_for("quiet", quiet, step=0.5)
    got = names(trace, start)
    assert got, "no trace: FOREBAY_TRACE is not in force"
    expected = os.path.join(HERE, f"walk-{what}.txt")
    if os.environ.get("FOREBAY_BLESS"):
        with open(expected, "w") as o:
            o.write("\n".join(got) + "\n")
    with open(expected) as e:
        assert got == e.read().split()

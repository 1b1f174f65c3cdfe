# SPDX-License-Identifier: Apache-2.0
"""docs/log.md knows every event that the code logs, and only those; each WARN and ERROR has a meaning and an action."""
import glob
import os
import re

import pytest

from lib import proc

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def code_events():
    """{(event, level)} of all calls; log_event(a ? LOG_X : LOG_Y, ...) stands for both."""
    out = set()
    for path in glob.glob(os.path.join(TOP, "src", "**", "*.c"), recursive=True):
        if path.endswith("base/log.c"):
            continue
        with open(path) as f:
            text = f.read()
        out |= {(e, level.upper()) for level, e in re.findall(r'\blog_(info|warn|error)\(\s*"([\w.]+)"', text)}
        for args in re.findall(r'\blog_event\(([^;]*?)"[^"]*=%', text, re.S):
            events = re.findall(r'"([\w.]+)"', args)
            levels = re.findall(r"LOG_(\w+)", args)
            assert events and levels, (path, args)
            out |= set(zip(events, levels)) if len(events) > 1 else {(events[0], x) for x in levels}
    return out


def documented():
    """{(event, level): (meaning, action)}"""
    out = {}
    with open(os.path.join(TOP, "docs", "log.md")) as f:
        for line in f:
            m = re.fullmatch(r"\| `([\w.]+)` \| (\w+) \| (.*) \| ?(.*?) ?\|\n", line)
            if m:
                assert (m[1], m[2]) not in out, m[1]
                out[m[1], m[2]] = m[3], m[4]
    return out


@pytest.mark.quick
def test_every_event_is_explained():
    code, docs = code_events(), documented()
    assert len(code) > 15
    assert code - set(docs) == set(), "not in docs/log.md"
    assert set(docs) - code == set(), "nobody logs this"
    for (event, level), (meaning, action) in docs.items():
        assert meaning, event
        assert action or level == "INFO", f"{event} {level} needs an action"


def test_an_outage_is_one_line(make, versity, proxy_to):
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("log")}, {"/demo/**": "WRITE_BACK"}, versity.properties())
    p.down()
    for i in range(5):
        f.s3.put_object(Bucket="demo", Key=f"k{i}", Body=b"x")

    def lines(event):
        with open(f.log) as log:
            return [x for x in log if f" {event} " in x]

    proc.wait_for("the line", lambda: lines("mount.away"))
    p.up()
    f.wait_all_persisted()
    proc.wait_for("the other line", lambda: lines("mount.back"))
    assert len(lines("mount.away")) == len(lines("mount.back")) == 1 and "mount=/demo" in lines("mount.away")[0]
    assert len(lines("start")) == 1 and f.admin_addr in lines("start")[0]


def test_request_ids_lead_to_the_log(wb):
    a = wb.raw.get("demo", "none")

    def logged():  # a line is written after its answer was sent
        with open(wb.log) as log:
            return f"id={a.headers['x-amz-request-id']} " in log.read()

    proc.wait_for("the line", logged)


def test_a_failed_disk_is_told(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, start=False)
    f.start(fault="page.write:error IO@1*1000000, page.probe:error IO*1000000")
    assert f.raw.put("demo", "k", b"x").status >= 500

    def told():
        with open(f.log) as log:
            return [x for x in log if " ERROR page.failed " in x]

    proc.wait_for("the line", told)

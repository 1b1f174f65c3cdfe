# SPDX-License-Identifier: Apache-2.0
"""What /metrics says of mounts, and who asks for it."""
import os
import re

from prometheus_client.parser import text_string_to_metric_families
from sys_calls import errno_of, put

from lib import proc

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def of_mounts(f):
    families = text_string_to_metric_families(f.rest("GET", "/metrics")[1])
    return {(s.name, s.labels.get("op"), s.labels.get("le")): s.value for m in families if m.name.startswith("forebay_fuse_") for s in m.samples}


def text_of(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as i:
        return i.read()


def test_requests_are_counted_and_timed(make_mounted, ufs):
    f = make_mounted({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"},
                     props={"alluxio.worker.page.store.sizes": "128MB", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.25"})
    before = of_mounts(f)
    for i in range(7):
        put(f"{f.dir}/demo/f{i}", b"x")
    errno_of(os.stat, f"{f.dir}/demo/none")
    now = of_mounts(f)
    assert now["forebay_fuse_requests_total", "CREATE", None] - before.get(("forebay_fuse_requests_total", "CREATE", None), 0) == 7
    assert now["forebay_fuse_seconds_count", "CREATE", None] == now["forebay_fuse_requests_total", "CREATE", None]
    assert now["forebay_fuse_seconds_bucket", "CREATE", "+Inf"] == 7 and now["forebay_fuse_seconds_sum", "CREATE", None] > 0
    assert now["forebay_fuse_errors_total", "LOOKUP", None] == 0  # a name that is not there is no failure
    assert now["forebay_fuse_mounts", None, None] == 1
    f.cli("async-persist", "pause")
    with open(f"{f.dir}/demo/open", "wb", buffering=0) as o:
        o.write(b"y" * 100_000)
        held = of_mounts(f)
        assert held["forebay_fuse_open_files", None, None] >= 1 and held["forebay_fuse_buffered_bytes", None, None] == 100_000
    for i in range(100):
        if errno_of(put, f"{f.dir}/demo/big{i}", b"z" * 2_000_000):
            break
    proc.wait_for("what is full to be counted", lambda: sum(v for (n, _, _), v in of_mounts(f).items() if n == "forebay_fuse_errors_total") > 0)


def test_the_page_the_dashboard_and_the_alarms_know_them(make_mounted, ufs):
    f = make_mounted({"/demo": ufs.uri()})
    os.listdir(f.dir)
    served = dict(re.findall(r"^# TYPE (forebay_fuse_\S+) (\S+)$", f.rest("GET", "/metrics")[1], re.M))
    assert dict(re.findall(r"^\| `(forebay_fuse_\w+)` \| (\w+) \|", text_of("docs", "metrics.md"), re.M)) == served
    asked = set(re.findall(r"forebay_fuse_\w+", text_of("examples", "grafana-dashboard.json") + text_of("examples", "prometheus-alerts.yml")))
    assert asked and {re.sub("_(bucket|count|sum)$", "", n) for n in asked} <= set(served)

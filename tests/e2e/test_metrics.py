# SPDX-License-Identifier: Apache-2.0
"""/metrics as a real parser reads it; and that the dashboard and the alarms of examples/ ask for what is there."""
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lib import proc
from lib.ufs import DirUfs

WB = {"/demo/**": "WRITE_BACK"}
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
# The names known from elsewhere: family, type, labels.
KNOWN = {
    "alluxio_data_access_bytes": ("histogram", {"method"}),
    "alluxio_meta_operation": ("counter", {"op"}),
    "alluxio_ufs_data_access_bytes": ("counter", {"method"}),
    "alluxio_cached_data_read_bytes": ("counter", set()),
    "alluxio_external_data_read_bytes": ("counter", set()),
    "alluxio_cached_evicted_data_bytes": ("counter", set()),
    "alluxio_cached_storage_bytes": ("gauge", set()),
    "alluxio_cached_capacity_bytes": ("gauge", set()),
    "alluxio_distributed_load_job_failure": ("counter", set()),
    "alluxio_distributed_load_job_scanned": ("counter", set()),
    "alluxio_distributed_load_job_processed": ("counter", set()),
    "alluxio_distributed_load_job_skipped_bytes": ("counter", set()),
    "alluxio_distributed_load_job_loaded_bytes": ("counter", set()),
}


def families(f):
    return {m.name: m for m in text_string_to_metric_families(f.rest("GET", "/metrics")[1])}


def value(fams, family, sample=None, **labels):
    found = [s.value for s in fams[family].samples if s.name == (sample or s.name) and labels.items() <= s.labels.items()]
    assert len(found) == 1, (family, sample, labels, found)
    return found[0]


@pytest.fixture
def busy(make, ufs):
    """Something of everything has happened."""
    ufs.put("there", b"t" * 3000)
    f = make({"/demo": ufs.uri()}, WB)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 100_000)
    f.raw.get("demo", "k")
    f.raw.get("demo", "there")
    f.raw.get("demo", "none")
    f.raw.list("demo")
    f.wait_all_persisted()
    f.cli("job", "load", "--path", "/demo")
    return f


@pytest.mark.quick
def test_a_real_parser_reads_it(busy):
    fams = families(busy)
    for name, (kind, labels) in KNOWN.items():
        assert name in fams and fams[name].type == kind, name
        assert all(labels <= set(s.labels) for s in fams[name].samples), name
    for m in fams.values():
        assert m.type in ("counter", "gauge", "histogram") and m.documentation and m.samples, m
        if m.type == "histogram":
            check_histogram(m)
    assert value(fams, "alluxio_data_access_bytes", "alluxio_data_access_bytes_count", method="write") == 1
    assert value(fams, "alluxio_data_access_bytes", "alluxio_data_access_bytes_sum", method="write") == 100_000
    assert value(fams, "alluxio_data_access_bytes", "alluxio_data_access_bytes_sum", method="read") == 103_000
    assert value(fams, "alluxio_data_access_bytes", "alluxio_data_access_bytes_bucket", method="read", le="4096") == 1
    assert value(fams, "forebay_ufs_call_seconds", "forebay_ufs_call_seconds_count", op="read") >= 1
    assert value(fams, "forebay_kv_sync_seconds", "forebay_kv_sync_seconds_count") >= 1
    assert value(fams, "forebay_mount_up", mount="/demo") == 1
    assert value(fams, "alluxio_distributed_load_job_processed") == 2


def check_histogram(m):
    series = {}
    for s in m.samples:
        key = tuple(sorted((k, v) for k, v in s.labels.items() if k != "le"))
        series.setdefault(key, {}).setdefault(s.name.removeprefix(m.name), []).append((s.labels.get("le"), s.value))
    for parts in series.values():
        counts = [v for _, v in parts["_bucket"]]
        bounds = [float(le) for le, _ in parts["_bucket"]]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf") and counts == sorted(counts), m.name
        assert parts["_count"][0][1] == counts[-1] and len(parts["_sum"]) == 1, m.name


def test_what_is_not_persisted_by_mount(make, versity, proxy_to, work):
    p = proxy_to(versity)
    b = DirUfs(os.path.join(work, "b"))
    f = make({"/away": versity.uri("metrics"), "/demo": b.uri()}, {"/**": "WRITE_BACK"}, versity.properties())
    p.down()
    f.s3.put_object(Bucket="away", Key="k", Body=b"x" * 500)
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 70)
    proc.wait_for("the outage to be noticed", lambda: value(families(f), "forebay_mount_up", mount="/away") == 0)
    fams = families(f)
    assert value(fams, "forebay_mount_up", mount="/demo") == 1
    assert value(fams, "forebay_mount_dirty_bytes", mount="/away") == 500
    proc.wait_for("the other", lambda: value(families(f), "forebay_mount_dirty_files", mount="/demo") == 0)
    assert value(families(f), "forebay_mount_dirty_oldest_age_seconds", mount="/away") > 0
    p.up()
    proc.wait_for("its return", lambda: value(families(f), "forebay_mount_up", mount="/away") == 1)


def test_labels_are_escaped(make, ufs, work):
    odd = os.path.join(work, 'a "b" \\c')
    f = make({"/demo": ufs.uri()}, WB, {"alluxio.worker.page.store.dirs": odd, "alluxio.worker.page.store.sizes": "64MB"})
    assert {s.labels["dir"] for s in families(f)["forebay_page_dir_used_bytes"].samples} == {odd}


def names_of(expr):
    """Metric names in an expression: words that are no function, label or keyword."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without|ignoring)\s*\([^)]*\)', " ", expr)
    names = {w for w in re.findall(r"[a-zA-Z_:][\w:]*", bare) if "_" in w and w not in ("histogram_quantile", "label_values")}
    return {n for n in names if not n.startswith("forebay_fuse_")}  # without a mount there are none: tests/posix/test_metrics.py


def samples_of(f):
    return {s.name for m in families(f).values() for s in m.samples} | {"up"}


def test_the_dashboard_asks_for_what_is_there(busy):
    with open(os.path.join(EXAMPLES, "grafana-dashboard.json")) as d:
        dash = json.load(d)
    there, asked = samples_of(busy), set()
    for panel in dash["panels"]:
        for t in panel.get("targets", []):
            names = names_of(t["expr"])
            assert names <= there, f"{panel['title']}: {names - there}"
            asked |= names
    ids = [p["id"] for p in dash["panels"]]
    assert len(asked) > 40 and len(ids) == len(set(ids))


def test_the_alarms_ask_for_what_is_there(busy):
    with open(os.path.join(EXAMPLES, "prometheus-alerts.yml")) as a:
        groups = yaml.safe_load(a)["groups"]
    rules = [r for g in groups for r in g["rules"]]
    assert len(rules) > 8
    for r in rules:
        names = names_of(r["expr"])
        assert names <= samples_of(busy), f"{r['alert']}: {names}"
        assert r["annotations"]["summary"] and r["annotations"]["action"] and r["labels"]["severity"], r["alert"]
    with open(os.path.join(EXAMPLES, "prometheus.yml")) as a:
        assert yaml.safe_load(a)["scrape_configs"][0]["metrics_path"] == "/metrics"


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_alarms():
    subprocess.run(["promtool", "check", "rules", os.path.join(EXAMPLES, "prometheus-alerts.yml")], check=True, timeout=60)


def test_a_long_backlog_is_counted_whole(make, ufs):
    f = make({"/demo": ufs.uri()}, WB)
    f.cli("async-persist", "pause")
    f.cli("bench", "put", "--endpoint", f.endpoint, "--bucket", "demo", "--count", "2300", "--clients", "4", "--size", "100", timeout=300)
    for _ in range(2):  # the second may come from what is remembered
        fams = families(f)
        assert value(fams, "forebay_mount_dirty_files", mount="/demo") == value(fams, "forebay_dirty_files") == 2300
        assert value(fams, "forebay_mount_dirty_bytes", mount="/demo") == 230_000

# SPDX-License-Identifier: Apache-2.0
"""`forebay bench` against a standalone: each operation does what it says, counts what it did, and hides no failure."""
import json
import os
import re
import subprocess
import sys

import pytest

from lib import proc
from lib.forebay import BIN, Forebay
from lib.ufs import DirUfs, s3_client

BLOCK = 1 << 20


@pytest.fixture(scope="module")
def f(module_work):
    ufs = DirUfs(os.path.join(module_work, "ufs"))
    with Forebay(module_work, {"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"}) as f:
        yield f


def bench(f, *args, code=0, bucket="demo", keys=("--access-key", "a", "--secret-key", "b")):
    return f.cli("bench", "--endpoint", f.endpoint, "--bucket", bucket, *keys, *args, check=False), code


def run(f, *args, code=0, **kw):
    """The result as JSON, after a look at what must always hold."""
    r, _ = bench(f, *args, "--json", **kw)
    assert r.code == code, r
    j = json.loads(r.out)
    assert j["latency"]["count"] == j["operations"]
    assert sum(e["count"] for e in j["errors"]) >= j["failed"]
    assert (code == 0) == (j["failed"] == 0 and j["operations"] > 0)
    q = [j["latency"][k] for k in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")]
    assert q == sorted(q)
    return j


def listed(f, prefix):
    return f.raw.list("demo", prefix)


def test_put_get_head(f):
    j = run(f, "put", "-n", "40", "-c", "4", "-z", "10KB", "-p", "p/", "--pid", str(f.p.pid))
    assert (j["operations"], j["bytes"], j["failed"]) == (40, 40 * 10240, 0)
    assert j["server"]["rss_bytes"] > 0 and j["server"]["rss_max_bytes"] >= j["server"]["rss_bytes"]
    names = listed(f, "p/")
    assert names == sorted(f"p/{i % 16:02x}/{i:08d}" for i in range(40))
    bodies = [f.raw.get("demo", k).body for k in names]
    assert all(len(b) == 10240 for b in bodies) and len(set(bodies)) == 40

    j = run(f, "get", "-n", "30", "-c", "3", "-k", "40", "-z", "10KB", "-p", "p/", "--verify")
    assert (j["operations"], j["bytes"]) == (30, 30 * 10240)
    j = run(f, "head", "-n", "30", "-c", "3", "-k", "40", "-p", "p/")
    assert (j["operations"], j["bytes"], j["requests"]["head"]["count"]) == (30, 0, 30)


def test_large_bodies_and_signed_payloads(f):
    size = 2 * BLOCK + 12345
    run(f, "put", "-n", "2", "-z", str(size), "-p", "l/", "--signed")
    assert all(len(f.raw.get("demo", k).body) == size for k in listed(f, "l/"))
    run(f, "get", "-n", "4", "-k", "2", "-z", str(size), "-p", "l/", "--verify", "--signed")


def test_multipart_is_the_same_object(f):
    j = run(f, "multipart", "-n", "2", "-z", "11MB", "--part-size", "5MB", "-p", "m/")
    assert j["operations"] == 2 and j["bytes"] == 2 * 11 * BLOCK
    assert {k: v["count"] for k, v in j["requests"].items()} == {"create": 2, "part": 6, "complete": 2}
    assert len(listed(f, "m/")) == 2
    run(f, "get", "-n", "2", "-k", "2", "-z", "11MB", "-p", "m/", "--verify")


def test_list(f):
    run(f, "put", "-n", "25", "-z", "1", "-p", "ls/", "--dirs", "0")
    j = run(f, "list", "-n", "6", "--page", "10", "-p", "ls/")  # 10, 10, 5, and once more
    assert (j["operations"], j["units"]) == (6, 50)
    j = run(f, "list", "-n", "1", "--page", "10", "-p", "ls/", "--start-after", "ls/00000019")
    assert j["units"] == 5


def test_deletes(f):
    run(f, "put", "-n", "50", "-z", "1", "-p", "d/")
    j = run(f, "delete", "-k", "10", "-c", "2", "-p", "d/")
    assert j["operations"] == 10 and len(listed(f, "d/")) == 40
    j = run(f, "multi-delete", "--first", "10", "-k", "35", "--batch", "10", "-c", "2", "-p", "d/")
    assert (j["operations"], j["units"]) == (4, 35)
    assert sorted(int(k[-8:]) for k in listed(f, "d/")) == [45, 46, 47, 48, 49]


def test_mixed(f):
    run(f, "put", "-n", "40", "-z", "100", "-p", "x/")
    j = run(f, "mixed", "-n", "400", "-k", "40", "-c", "4", "-z", "100", "-p", "x/", "--verify")
    n = {k: v["count"] for k, v in j["requests"].items()}
    assert sum(n.values()) == j["operations"] == 400
    assert n["get"] > n["head"] > n["put"] and n["delete"] > 0
    assert len(listed(f, "x/")) == 40 + n["put"] - n["delete"]


def test_time_ends_it(f):
    r, _ = bench(f, "put", "-d", "1", "-z", "1", "-p", "t/")
    assert r.code == 0
    n = int(re.match(r"put: (\d+) operations in [\d.]+ s, 1 client, 0 failed\n", r.out)[1])
    assert n > 0 and len(listed(f, "t/")) == n
    assert "operations/s" in r.out and "p99.9" in r.out and "client CPU" in r.out


def test_without_keys_nothing_is_signed(f):
    r, _ = bench(f, "put", "-n", "1", "-p", "anon/", keys=())
    assert r.code == 0 and len(listed(f, "anon/")) == 1


def test_failures_are_counted_and_shown(f):
    j = run(f, "get", "-n", "5", "-k", "5", "-p", "nothing/", code=1)
    assert (j["operations"], j["failed"]) == (0, 5)
    assert [(e["error"], e["count"]) for e in j["errors"]] == [("404 NoSuchKey", 5)]
    assert "nothing/" in j["errors"][0]["first"]

    run(f, "put", "-n", "4", "-z", "9", "-p", "half/")
    j = run(f, "get", "-n", "40", "-k", "4", "-z", "10", "-p", "half/", code=1)
    assert [(e["error"], e["count"]) for e in j["errors"]] == [("wrong size", 40)]
    f.s3.put_object(Bucket="demo", Key="half/00/00000000", Body=b"x" * 9)
    j = run(f, "get", "-n", "5", "-k", "1", "-z", "9", "-p", "half/", "--verify", code=1)
    assert [(e["error"], e["count"]) for e in j["errors"]] == [("wrong bytes", 5)]

    r, _ = bench(f, "put", "-n", "1", bucket="absent")
    assert r.code == 1 and "404 NoSuchBucket" in r.out and "1 failed" in r.out


def test_a_server_that_is_not_there(f):
    port = proc.free_port()
    r = f.cli("bench", "put", "-b", "demo", "--endpoint", f"http://127.0.0.1:{port}", "-n", "3", "--json", check=False)
    j = json.loads(r.out)
    assert r.code == 1 and j["failed"] == 3 and j["errors"][0]["error"] == "UNREACHABLE"


@pytest.mark.parametrize(
    "args",
    [
        ["put"],  # no bucket
        ["-b", "demo"],
        ["shovel", "-b", "demo"],
        ["put", "-b", "demo", "-z", "10XB"],
        ["put", "-b", "demo", "-z", "KB"],
        ["put", "-b", "demo", "--part-size", "0"],
        ["put", "-b", "demo", "-c", "0"],
        ["put", "-b", "demo", "--pid", "12,x"],
        ["put", "-b", "demo", "--access-key", "a"],
        ["put", "-b", "demo", "--endpoint", "127.0.0.1:80"],
    ],
)
def test_misuse(f, args):
    r = f.cli("bench", *args, check=False)
    assert r.code == 2 and r.out == "" and r.err.count("\n") <= 2, r


def test_misuse_names_what_is_near(f):
    assert "did you mean 'multi-delete'" in f.cli("bench", "multidelete", "-b", "demo", check=False).err


def test_help_lists_the_operations(f):
    out = f.cli("bench", "--help").out
    for op in ("put", "get", "head", "list", "multipart", "delete", "multi-delete", "mixed"):
        assert f"  {op}: " in out


def test_https(make, work):
    cert, key = (os.path.join(work, n) for n in ("cert.pem", "key.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )
    port = proc.free_port()
    f = make({"/demo": DirUfs(work + "/ufs").uri()}, {"/demo/**": "TRANSIENT"},
             {"forebay.s3.tls.certificate": cert, "forebay.s3.tls.key": key, "forebay.s3.tls.port": str(port)})
    args = ["-b", "demo", "-c", "2", "-z", "100KB", "-n", "10", "-k", "10", "-p", "s/", "--json"]
    for host in ("127.0.0.1", "localhost"):
        at = ["--endpoint", f"https://{host}:{port}", "--ca", cert]
        assert json.loads(f.cli("bench", "put", *args, *at).out)["operations"] == 10
        assert json.loads(f.cli("bench", "get", "--verify", *args, *at).out)["operations"] == 10
    r = f.cli("bench", "put", *args, "--endpoint", f"https://127.0.0.1:{port}", check=False)  # not trusted
    j = json.loads(r.out)
    assert r.code == 1 and j["operations"] == 0 and j["errors"][0]["error"] == "UNREACHABLE"


def test_the_table(work):
    """`make bench` itself, over a few of its rows: figures of two runs add up to one table."""
    env = dict(os.environ, QUICK="1", SECONDS_A_STEP="1", STORE_MIB="256", BENCH_OUT=work + "/out", BENCH_DIR=work + "/scratch")
    exe = os.path.join(proc.TOP, "tests", "bench", "run")
    for more in ({"STEPS": "put1 first-dir"}, {"STEPS": "put1", "ADD": "1"}):
        p = subprocess.run([sys.executable, exe], env={**env, **more}, capture_output=True, text=True, timeout=200 * proc.SLOW)
        assert p.returncode == 0, p
    with open(work + "/out/forebay-paused.json") as o:
        steps = json.load(o)["steps"]
    assert {k: len(v) for k, v in steps.items()} == {"put1": 2, "first-dir": 1}
    assert all(r["errors"] == 0 and r["ops_s"] > 0 and r["p50"] > 0 for r in steps["put1"])
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in p.stdout.splitlines()]
    assert rows[0] == ["step", "target", "result", "with persistence running"]
    put1 = next(r for r in rows if r[0] == "PUT 10 KiB, 1 client")
    assert re.fullmatch(r"[\d,]+ \([\d,]+ to [\d,]+\)/s; .* ms p50; .* ms p99; .* s per 1,000", put1[2])
    assert any("ms median" in r[2] for r in rows[2:])
    assert not os.path.exists(work + "/scratch")


def test_another_server(versity):
    """Not only ours: it checks signatures."""
    versity.client.create_bucket(Bucket="bench")
    at = ["--endpoint", versity.endpoint, "-b", "bench", "--access-key", versity.key, "--secret-key", versity.secret, "--json"]
    
    def go(*args):
        p = subprocess.run([BIN, "bench", *args, *at], capture_output=True, text=True, timeout=60 * proc.SLOW)
        assert p.returncode == 0, p
        return json.loads(p.stdout)

    assert go("put", "-n", "20", "-c", "2", "-z", "3000")["operations"] == 20
    assert go("put", "-n", "5", "-z", "3000", "--signed", "-p", "s/")["operations"] == 5
    assert go("get", "-n", "20", "-k", "20", "-z", "3000", "--verify")["operations"] == 20
    assert go("head", "-n", "5", "-k", "20")["operations"] == 5
    assert go("list", "-n", "2", "--page", "15")["units"] == 20
    assert go("multipart", "-n", "1", "-z", "6MB", "--part-size", "5MB", "-p", "m/")["operations"] == 1
    assert go("mixed", "-n", "60", "-k", "20", "-z", "3000")["operations"] == 60
    assert go("multi-delete", "-k", "20", "--first", "200", "--batch", "7")["units"] == 20
    p = subprocess.run([BIN, "bench", "put", "-n", "1", *at, "--secret-key", "wrong"], capture_output=True, text=True)
    assert p.returncode == 1 and json.loads(p.stdout)["errors"][0]["error"].startswith("403")

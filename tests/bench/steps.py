# SPDX-License-Identifier: Apache-2.0
"""The rows of the table. A step is a function of a Rig that returns figures: a dict of numbers, of which report.py knows
how to show ops_s, units_s, mib_s, p50, p99, p999 (ms), cpu_1000, cpu_gib (server seconds), busy, rss (MiB), errors, or what
the step's own columns name.

The first dozen are one `forebay bench` each, for any server; the rest is about Forebay alone.
"""
import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import threading
import time

from lib import proc
from lib.forebay import BIN

K, M = 1 << 10, 1 << 20
FLAT = {"list/", "million/"}  # prefixes whose keys have no directory, so that their order is that of their numbers


class Rig:
    """A server and how hard to try. `n` remembers how many objects a step has made, by prefix."""

    def __init__(self, server, seconds, quick, wrap):
        self.server, self.seconds, self.quick, self.wrap = server, seconds, quick, wrap
        self.n, self.run, self.profile = {}, 0, None

    def scale(self, full, quick):
        return quick if self.quick else full

    def argv(self, op, prefix, *args):
        s = self.server
        return [BIN, "bench", op, "--json", "--endpoint", s.endpoint, "--access-key", s.access, "--secret-key", s.secret,
                "--bucket", "bench", "--prefix", prefix, "--pid", ",".join(map(str, s.pids())), *map(str, args)]

    def load(self, op, prefix, *args, measured=False):
        argv = (self.wrap if measured else []) + self.argv(op, prefix, *args)
        p = subprocess.run(argv, capture_output=True, text=True)
        if not p.stdout:
            raise RuntimeError(f"{' '.join(argv)}: exit {p.returncode}: {p.stderr}")
        return json.loads(p.stdout)

    def measure(self, op, prefix, *args):
        if not self.profile:
            return figures(self.load(op, prefix, *args, measured=True))
        with profile(self.server.pids(), self.profile):
            return figures(self.load(op, prefix, *args))

    def fill(self, prefix, count, size):
        """Objects to work on, made without being measured."""
        if self.n.get(prefix, 0) < count:
            j = self.load("put", prefix, "-c", 16 if size < M else 4, "-z", size, "-n", count,
                          *(("--dirs", 0) if prefix in FLAT else ()))
            if j["failed"]:
                raise RuntimeError(f"cannot make {count} objects of {size} bytes: {j['errors']}")
            self.n[prefix] = count
        return self.n[prefix]

    def clear(self):
        for prefix, n in self.n.items():
            flat = ("--dirs", 0) if prefix in FLAT else ()
            for clients in (4, 1, 1):  # what two clients hindered each other to do, one can
                j = self.load(self.server.remove, prefix, "-k", n, "-c", clients, *flat)
                left = [e for e in j["errors"] if not e["error"].startswith("404")]  # n is an upper bound
                if not left:
                    break
            else:
                raise RuntimeError(f"cannot delete {prefix}: {left}")
        self.n = {}


def figures(j):
    """What the table shows of one run of the load tool."""
    s, lat = j.get("server", {}), j["latency"]
    things = j["units"] or j["operations"]
    gib = j["bytes"] / (1 << 30)
    return {
        "ops_s": j["operations_per_s"], "units_s": j["units_per_s"], "mib_s": j["mib_per_s"],
        "p50": lat["p50_ms"], "p99": lat["p99_ms"], "p999": lat["p999_ms"], "max": lat["max_ms"],
        "cpu_1000": s.get("cpu_s", 0) * 1000 / things if things else 0,
        "cpu_gib": s.get("cpu_s", 0) / gib if gib else 0,
        "busy": (s.get("cpu_s", 0) + j["client_cpu_s"]) / j["seconds"] / os.cpu_count() if j["seconds"] else 0,
        "client_cpu_1000": j["client_cpu_s"] * 1000 / things if things else 0,
        "rss": s.get("rss_max_bytes", 0) / M, "count": j["operations"], "errors": j["failed"],
        "what": "; ".join(f"{e['count']} {e['error']}" for e in j["errors"]),
    }


@contextlib.contextmanager
def profile(pids, name):
    """Where the processes' CPU time goes in the meantime: by library, then by function."""
    if os.path.exists(name + ".data"):
        os.unlink(name + ".data")
    perf = subprocess.Popen(["perf", "record", "-q", "-F", "499", "-o", name + ".data", "-p", ",".join(map(str, pids))])
    proc.wait_for("perf", lambda: os.path.exists(name + ".data"))
    time.sleep(1)  # until it has attached
    try:
        yield
    finally:
        perf.send_signal(signal.SIGINT)
        perf.wait()
    with open(name + ".txt", "w") as f:
        for sort in ("dso", "symbol"):
            p = subprocess.run(["perf", "report", "-i", name + ".data", "--stdio", "-F", "overhead," + sort, "--percent-limit", "0.7"],
                               capture_output=True, text=True, check=True)
            f.writelines(line + "\n" for line in p.stdout.splitlines() if line.strip() and not line.startswith("#"))
            f.write("\n")
    os.unlink(name + ".data")


# ---- one load each ----


def put(r, clients):
    p = f"p{clients}-{r.run}/"
    f = r.measure("put", p, "-c", clients, "-z", 10 * K, "-d", r.seconds)
    r.n[p] = f["count"] + f["errors"]
    return f


def small(r):
    return f"small-{r.run}/", r.fill(f"small-{r.run}/", r.scale(20000, 5000), 10 * K)


def put1(r):
    return put(r, 1)


def put16(r):
    return put(r, 16)


def read(r, op, clients):
    p, n = small(r)
    return r.measure(op, p, "-c", clients, "-z", 10 * K, "-k", n, "-d", r.seconds)


def get1(r):
    return read(r, "get", 1)


def get16(r):
    return read(r, "get", 16)


def head16(r):
    return read(r, "head", 16)


def putbig(r):
    p = f"big-{r.run}/"
    f = r.measure("put", p, "-c", 4, "-z", 10 * M, "-n", r.scale(400, 60), "-d", r.seconds)
    r.n[p] = f["count"] + f["errors"]
    return f


def getbig(r):
    p = f"gbig-{r.run}/"
    n = r.fill(p, r.scale(100, 30), 10 * M)
    r.load("get", p, "-c", 4, "-z", 10 * M, "-k", n, "-n", 4 * n)  # blocks are verified at their first read
    return r.measure("get", p, "-c", 4, "-z", 10 * M, "-k", n, "-d", r.seconds)


def multipart(r):
    p = f"mpu-{r.run}/"
    f = r.measure("multipart", p, "-c", 4, "-z", 64 * M, "--part-size", 8 * M, "-n", r.scale(48, 8), "-d", r.seconds)
    r.n[p] = f["count"] + f["errors"]
    return f


def lst(r):
    p = "list/"
    r.fill(p, 10000, 100)
    return r.measure("list", p, "-d", r.scale(5, 2))


def mixed(r):
    p = f"mix-{r.run}/"
    r.fill(p, 2500, 10 * K)
    f = r.measure("mixed", p, "-c", 16, "-z", 10 * K, "-k", 2500, "-d", r.seconds)
    r.n[p] = 2500 + f["count"]  # at most
    return f


def mdel(r):
    p = f"del-{r.run}/"
    n = r.fill(p, r.scale(40000, 10000), 10 * K)
    f = r.measure("multi-delete", p, "-k", n, "-c", 4)
    del r.n[p]
    return f


# ---- Forebay alone ----


def copied_parts(r, key, n):
    """An upload of n parts of 5 MiB that takes no space: each is a copy of one range of one object."""
    host = r.server.endpoint.split("//")[1]
    auth = {"Authorization": f"AWS4-HMAC-SHA256 Credential={r.server.access}/20260101/us-east-1/s3/aws4_request, "
                             "SignedHeaders=host, Signature=" + "a" * 64, "x-amz-date": "20260101T000000Z"}
    main = http.client.HTTPConnection(host)

    def call(c, method, path, body=None, headers=None):
        c.request(method, path, body, {**auth, **(headers or {})})
        a = c.getresponse()
        text = a.read().decode()
        if a.status != 200:
            raise RuntimeError(f"{method} {path}: {a.status} {text[:300]}")
        return text

    call(main, "PUT", "/bench/source", b"x" * (5 * M))
    upload = re.search("<UploadId>(.*?)</UploadId>", call(main, "POST", f"/bench/{key}?uploads"))[1]
    etags = [None] * n

    def some(first):
        c = http.client.HTTPConnection(host)
        for i in range(first, n, 8):
            text = call(c, "PUT", f"/bench/{key}?partNumber={i + 1}&uploadId={upload}", None,
                        {"x-amz-copy-source": "/bench/source"})
            etags[i] = re.search("<ETag>(.*?)</ETag>", text)[1]

    threads = [threading.Thread(target=some, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    parts = "".join(f"<Part><PartNumber>{i + 1}</PartNumber><ETag>{e}</ETag></Part>" for i, e in enumerate(etags))
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    return lambda: call(main, "POST", f"/bench/{key}?uploadId={upload}", body.encode())


def complete(r):
    """Complete of 10,000 parts in the middle of a PUT load; the load's latencies with and without it."""
    n = r.scale(10000, 2000)
    finish = copied_parts(r, f"whole-{r.run}", n)
    p, times = f"beside-{r.run}/", []

    def later():
        time.sleep(1)
        begin = time.monotonic()
        finish()
        times.append((time.monotonic() - begin) * 1000)

    alone = r.measure("put", f"alone-{r.run}/", "-c", 4, "-z", 10 * K, "-d", 3)
    t = threading.Thread(target=later)
    t.start()
    beside = r.measure("put", p, "-c", 4, "-z", 10 * K, "-d", 3)
    t.join()
    r.n[p], r.n[f"alone-{r.run}/"] = beside["count"], alone["count"]
    if not times:
        raise RuntimeError("Complete failed")
    return {"parts": n, "complete_ms": times[0], "put_p99_alone": alone["p99"], "put_p99_beside": beside["p99"],
            "errors": alone["errors"] + beside["errors"], "rss": beside["rss"]}


def restart_ms(server, times=3):
    """From the start of the process to its ready line."""
    out = []
    for _ in range(times):
        server.f.stop(timeout=120)
        begin = time.monotonic()
        server.f.start()
        out.append((time.monotonic() - begin) * 1000)
    return statistics.median(out)


def start_small(r):
    r.fill("start/", 10000, 100)
    return {"ready_ms": restart_ms(r.server), "objects": 10000, "rss": rss_mib(r.server)}


def rss_mib(server):
    with open(f"/proc/{server.pids()[0]}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1024


def million(r):
    """A bucket with a million other keys. The keys are small objects, so that making them does not take an hour."""
    n = r.scale(1000000, 50000)
    r.fill("million/", n, 100)
    first = r.measure("list", "million/", "-n", 50)
    last = r.measure("list", "million/", "-n", 50, "--start-after", f"million/{n - 1001:08d}")
    f = {"keys": n, "put16_ops_s": put16(r)["ops_s"], "get16_ops_s": get16(r)["ops_s"], "first_page_ms": first["p50"],
         "last_page_ms": last["p50"], "rss": rss_mib(r.server)}
    f["ready_ms"] = restart_ms(r.server)
    f["rss_after_start"] = rss_mib(r.server)
    return f


def evict(r):
    """A cache that is full of persisted data: each new object pushes an old one out."""
    size = r.scale(2048, 512) * M
    for i in range(2):
        p = f"ballast-{r.run}-{i}/"
        r.fill(p, size // (10 * M) * 9 // 10, 10 * M)
        r.server.drain()
    r.server.pause()
    w = put16(r)
    g = get16(r)
    r.server.resume()
    return {"put16_ops_s": w["ops_s"], "put16_p99": w["p99"], "put16_cpu_1000": w["cpu_1000"], "get16_ops_s": g["ops_s"],
            "errors": w["errors"] + g["errors"], "rss": w["rss"]}


def persist(r, direct=None):
    """20,000 dirty objects of 10 KiB, from the moment persistence may go on until the last is in the UFS."""
    n, p = r.scale(20000, 4000), f"persist-{r.run}/"
    r.server.pause()
    r.fill(p, n, 10 * K)
    cpu = cpu_seconds(r.server)
    begin = time.monotonic()
    r.server.resume()
    r.server.drain()
    t = time.monotonic() - begin
    f = {"ops_s": n / t, "cpu_1000": (cpu_seconds(r.server) - cpu) * 1000 / n, "rss": rss_mib(r.server)}
    if direct:
        f["direct_ops_s"] = direct
        f["share"] = f["ops_s"] / direct
    return f


def cpu_seconds(server):
    total = 0
    for pid in server.pids():
        with open(f"/proc/{pid}/stat") as f:
            w = f.read().rsplit(")", 1)[1].split()
        total += (int(w[11]) + int(w[12])) / os.sysconf("SC_CLK_TCK")
    return total


def first_object(r, there):
    """Idle; one object is acknowledged: how long until another client of the UFS sees it. there(key) asks the UFS."""
    out, c = [], http.client.HTTPConnection(r.server.endpoint.split("//")[1])
    for i in range(r.scale(25, 9)):
        key = f"first-{r.run}/{i}"
        time.sleep(0.2)
        c.request("PUT", f"/bench/{key}", b"x" * 10 * K)
        if c.getresponse().read() is None:
            raise RuntimeError("PUT failed")
        begin = time.monotonic()
        while not there(key):
            if time.monotonic() - begin > 30:
                raise RuntimeError(f"{key} is not in the UFS after 30 s")
        out.append((time.monotonic() - begin) * 1000)
    return {"visible_p50": statistics.median(out), "visible_max": max(out)}


# What every server can be asked for, in this order; the rest is run.py's business.
LOADS = {"put1": put1, "put16": put16, "get1": get1, "get16": get16, "head16": head16, "putbig": putbig, "getbig": getbig,
         "multipart": multipart, "list": lst, "mixed": mixed, "mdel": mdel}

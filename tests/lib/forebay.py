# SPDX-License-Identifier: Apache-2.0
"""A running `forebay standalone` under test, its clients and its command line.

    with Forebay(work, {"/demo": ufs.uri()}, rules={"/demo/**": "WRITE_BACK"}) as f:
        f.s3.put_object(...)

The instance can be stopped, killed and started again on the same data; ports change at each start (port 0), f.s3 and
f.raw follow. What it writes to stderr is in f.log and becomes part of a failing test's report.
"""
import json
import os
import selectors
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

from . import proc
from .rawhttp import RawS3
from .ufs import s3_client

BIN = os.environ.get("FOREBAY_BIN", os.path.join(proc.BUILD, "forebay"))
LIVE = []  # every instance of this test run that was not closed

# Short periods, so that what happens in the background happens within a test.
QUICK = {
    "alluxio.worker.write.cache.async.persist.retry.initial.interval": "100ms",
    "alluxio.worker.write.cache.async.persist.retry.max.interval": "1s",
    "forebay.ufs.request.deadline": "3s",
    "forebay.page.keep.free": "16MB",
}


class StartError(Exception):
    pass


class Result:
    def __init__(self, p):
        self.code, self.out, self.err = p.returncode, p.stdout, p.stderr

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def path_config(rules, default="WRITE_THROUGH"):
    """The path configuration file for {glob: policy}, or {glob: (policy, {property: value})}."""
    def properties(p):
        return {"writeReplicas": 1, **(p[1] if isinstance(p, tuple) else {})}

    return {
        "apiVersion": "v1.0",
        "defaultRule": {"description": "default", "policyMode": default, "properties": {"writeReplicas": 1}},
        "pathRules": [
            {"alluxioPath": g, "description": g, "policyMode": p[0] if isinstance(p, tuple) else p, "properties": properties(p)}
            for g, p in rules.items()
        ],
    }


class Forebay:
    def __init__(self, work, ufs=None, rules=None, props=None, data=None, env=None, start=True, default="WRITE_THROUGH"):
        self.work = os.fspath(work)
        os.makedirs(self.work, exist_ok=True)
        self.data = os.fspath(data) if data else os.path.join(self.work, "data")
        self.log = os.path.join(self.work, f"forebay-{len(LIVE)}-{id(self) & 0xffff:x}.log")
        self.ufs = dict(ufs or {})
        self.props = dict(QUICK)
        self.props.update(props or {})
        self.env = dict(env or {})
        self.p = None
        self.s3_addr = self.admin_addr = None
        self._s3 = None
        if rules is not None:
            f = os.path.join(self.work, f"pathconfig-{id(self) & 0xffff:x}.json")
            with open(f, "w") as o:
                json.dump(path_config(rules, default), o)
            self.props["forebay.pathconfig.file"] = f
        LIVE.append(self)
        if start:
            self.start()

    # ---- life ----

    def argv(self):
        a = [BIN, "standalone", "--data", self.data, "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        for path, uri in self.ufs.items():
            a += ["--ufs", f"{path}={uri}"]
        for k, v in self.props.items():
            a += ["-D", f"{k}={v}"]
        return a

    def start(self, fault=None, fault_log=None, timeout=60, env=None):
        """Returns when it serves. StartError when it exits or the deadline passes before."""
        assert self.p is None, "already running"
        e = dict(os.environ)
        e.update(self.env)
        e.update(env or {})
        if fault:
            e["FOREBAY_FAULT"] = fault
        if fault_log:
            e["FOREBAY_FAULT_LOG"] = fault_log
        r, w = os.pipe()
        try:
            self.p = proc.spawn(self.argv(), self.log, env=e, stdout=w)
        finally:
            os.close(w)
        line = self._ready_line(r, timeout)
        if line is None:
            code = proc.end(self.p, signal.SIGKILL)
            self.p = None
            raise StartError(f"not ready (exit {code})\n{proc.tail(self.log)}")
        words = dict(w.split("=", 1) for w in line.split() if "=" in w)
        self.s3_addr, self.admin_addr = words["s3"], words["admin"]
        self._s3 = None
        return self

    def _ready_line(self, fd, timeout):
        end_at = time.monotonic() + timeout * proc.SLOW
        buf = b""
        with os.fdopen(fd, "rb", buffering=0) as f, selectors.DefaultSelector() as sel:
            sel.register(f, selectors.EVENT_READ)
            while time.monotonic() < end_at:
                if not sel.select(0.2):
                    continue
                b = f.read(4096)
                if not b:
                    return None
                buf += b
                for line in buf.decode("utf-8", "replace").split("\n")[:-1]:
                    if line.startswith("ready"):
                        self._out = os.dup(f.fileno())  # keeps the pipe open, so that later prints do not fail
                        return line
        return None

    def _drop_pipe(self):
        if getattr(self, "_out", None) is not None:
            os.close(self._out)
            self._out = None

    def stop(self, timeout=60):
        """SIGTERM; returns the exit code."""
        code = proc.end(self.p, timeout=timeout)
        self.p = None
        self._drop_pipe()
        return code

    def kill9(self):
        proc.end(self.p, signal.SIGKILL)
        self.p = None
        self._drop_pipe()

    def alive(self):
        return self.p is not None and self.p.poll() is None

    def wait_dead(self, timeout=60):
        """Wait until it has died by itself; returns the exit code (negative: signal)."""
        self.p.wait(timeout * proc.SLOW)
        code, self.p = self.p.returncode, None
        self._drop_pipe()
        return code

    def restart(self, how="stop", **kw):
        self.kill9() if how == "kill" else self.stop()
        return self.start(**kw)

    def close(self):
        if self.p is not None:
            self.kill9()
        if self in LIVE:
            LIVE.remove(self)
        if not proc.KEEP:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    # ---- clients ----

    @property
    def endpoint(self):
        return "http://" + self.s3_addr

    @property
    def s3(self):
        if self._s3 is None:
            self._s3 = s3_client(self.endpoint, "tester", "any-secret")
        return self._s3

    @property
    def raw(self):
        return RawS3(self.s3_addr)

    def cli(self, *args, input=None, env=None, check=True, timeout=60, name=None):
        """Run `forebay ARGS` against this instance. check: the exit code must be 0."""
        e = dict(os.environ)
        e.update(self.env)
        e.pop("FOREBAY_FAULT", None)
        if self.admin_addr:
            e["FOREBAY_ADMIN"] = self.admin_addr
        e.update(env or {})
        p = subprocess.run(
            [name or BIN, *args], input=input, env=e, capture_output=True, text=True, timeout=timeout * proc.SLOW
        )
        r = Result(p)
        if check:
            assert r.code == 0, f"forebay {' '.join(args)}: {r!r}"
        return r

    def rest(self, method, path, body=None):
        """(status, text) of a REST request."""
        req = urllib.request.Request(
            f"http://{self.admin_addr}{path}",
            data=body.encode() if isinstance(body, str) else body,
            method=method,
            headers={"Content-Type": "application/json"} if body is not None else {},
        )
        try:
            with urllib.request.urlopen(req, timeout=30 * proc.SLOW) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def metrics(self):
        """{name or name{labels}: value}"""
        _, text = self.rest("GET", "/metrics")
        out = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                k, v = line.rsplit(" ", 1)
                out[k] = float(v)
        return out

    # ---- offline ----

    def fsck(self, data=None):
        p = subprocess.run(
            [BIN, "fsck", "--data", data or self.data], capture_output=True, text=True, timeout=300 * proc.SLOW
        )
        return Result(p)

    def assert_fsck_clean(self):
        r = self.fsck()
        assert r.code == 0, f"fsck: {r!r}"

    # ---- waiting ----

    def state(self, path):
        """PERSISTED, NOT_PERSISTED or TRANSIENT of one file, by the command line."""
        out = self.cli("async-persist", "stat", "--path", path).out
        for word in ("NOT_PERSISTED", "PERSISTED", "TRANSIENT", "SKIPPED"):
            if word in out:
                return word
        raise AssertionError(f"no state in: {out!r}")

    def wait_persisted(self, path, timeout=60):
        proc.wait_for(f"{path} persisted", lambda: self.state(path) == "PERSISTED", timeout)

    def pending(self):
        """Paths in the persist and settle queues."""
        j = json.loads(self.cli("async-persist", "list", "--json").out or "[]")
        items = j if isinstance(j, list) else next(v for v in j.values() if isinstance(v, list))
        return [i["path"] for i in items]

    def wait_all_persisted(self, timeout=60):
        proc.wait_for("an empty persist queue", lambda: not self.pending(), timeout)

    def wait_ufs(self, ufs, want, timeout=60):
        """Wait until another client of the UFS sees exactly want ({key: bytes})."""
        seen = {}

        def same():
            seen["now"] = ufs.tree()
            return seen["now"] == want

        try:
            proc.wait_for("the UFS", same, timeout, step=0.05)
        except AssertionError:
            raise AssertionError("the UFS did not become right:\n" + diff(want, seen.get("now", {}))) from None

    def namespace(self, bucket, prefix=""):
        """{key: bytes} as an S3 client reads it, checking length and ETag of each on the way."""
        out = {}
        for k in self.raw.list(bucket, prefix):
            a = self.raw.get(bucket, k)
            assert a.status == 200, f"listed {k!r} but GET says {a.status} {a.body[:300]!r}"
            if len(a.etag) == 32:
                assert a.etag == proc.md5(a.body), f"{k!r}: ETag {a.etag} of other bytes ({len(a.body)})"
            out[k] = a.body
        return out


def brief(v):
    if v is None:
        return "absent"
    return f"{len(v)} bytes md5 {proc.md5(v)}"


def diff(want, got):
    lines = []
    for k in sorted(set(want) | set(got)):
        w, g = want.get(k), got.get(k)
        if w != g:
            lines.append(f"  {k!r}: want {brief(w)}, is {brief(g)}")
    return "\n".join(lines) or "  (equal)"

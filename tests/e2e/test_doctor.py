# SPDX-License-Identifier: Apache-2.0
"""`forebay doctor`: for each thing it looks at, a machine where that is wrong; the cause and the remedy are named."""
import json
import os
import shutil
import socket
import subprocess
import uuid

import pytest

from lib import proc
from lib.forebay import BIN
from lib.ufs import DirUfs

WB = {"/demo/**": "WRITE_BACK"}


def findings(r, check=None, level=None):
    j = json.loads(r.out)
    assert (r.code == 1) == (j["failures"] > 0), r
    for f in j["findings"]:
        assert f["level"] == "OK" or (f["cause"] and f["remedy"]), f
    return [f for f in j["findings"] if check in (None, f["check"]) and level in (None, f["level"])]


def one(r, check, level):
    found = findings(r, check, level)
    assert len(found) == 1, f"{check} {level}\n{r}"
    return found[0]


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Out:
    def __init__(self, p):
        self.code, self.out, self.err = p.returncode, p.stdout, p.stderr

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


def offline(data, *args, port=None, conf=None):
    """No server answers where it asks."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FOREBAY_")}
    argv = [BIN, "doctor", "--json", "--admin", f"127.0.0.1:{port or closed_port()}", "--data", data]
    for p in ("alluxio.worker.s3.port=0", "alluxio.coordinator.rest.port=0"):
        argv += ["-D", p]
    argv += ["--conf", conf] if conf else []
    return Out(subprocess.run([*argv, *args], capture_output=True, text=True, timeout=120 * proc.SLOW, env=env))


@pytest.mark.quick
def test_nothing_is_wrong(wb):
    wb.s3.put_object(Bucket="demo", Key="k", Body=b"x")
    wb.wait_all_persisted()
    r = wb.cli("doctor", "--json")
    assert not findings(r, level="FAIL")
    checks = {f["check"] for f in findings(r)}
    assert {"server", "disk.sync", "disk.room", "disk.pages", "limits.files", "clock", "write.cache", "mount", "rules",
            "metadata", "space.pinned", "persist.backlog"} <= checks
    assert "lists, reads, writes, deletes" in one(r, "mount", "OK")["text"]
    text = wb.cli("doctor").out
    assert text.splitlines()[0].startswith("OK    server") and text.splitlines()[-1].endswith("0 failures")
    assert not [x for x in wb.cli("doctor", "--problems").out.splitlines() if x.startswith("OK")]
    assert findings(wb.cli("info", "doctor", "--json"))
    assert wb.raw.list("demo") == ["k"], "the probes are gone and were never seen"


def test_before_the_first_start(work):
    data = os.path.join(work, "none")
    r = offline(data)
    assert not findings(r, level="FAIL") and "the first start makes it" in r.out
    assert not os.path.exists(data)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        f = one(offline(data, "-D", f"alluxio.worker.s3.port={port}"), "port", "FAIL")
    assert "alluxio.worker.s3.port" in f["text"] and "in use" in f["cause"]
    with open(os.path.join(work, "file"), "w"):
        pass
    assert "in the way" in one(offline(os.path.join(work, "file")), "data", "FAIL")["cause"]


def test_configuration(work):
    conf = os.path.join(work, "alluxio-site.properties")
    with open(conf, "w") as o:
        o.write("alluxio.write.cache.enabeld=true\nalluxio.worker.page.store.page.size=1MB\n")
    f = one(offline(os.path.join(work, "d"), conf=conf), "configuration", "WARN")
    assert f"{conf}:1" in f["text"] and "alluxio.write.cache.enabled" in f["text"]
    with open(conf, "w") as o:
        o.write("\nalluxio.write.cache.enabled=maybe\n")
    f = one(offline(os.path.join(work, "d"), conf=conf), "configuration", "FAIL")
    assert f"{conf}:2" in f["cause"] and "true or false" in f["cause"]
    r = offline(os.path.join(work, "d"), "-D", "forebay.admin.bind.address=0.0.0.0", "-D", "forebay.s3.bind.address=0.0.0.0")
    assert "forebay.admin.token" in one(r, "admin.open", "FAIL")["remedy"]
    assert "alluxio.security.authentication.type" in one(r, "s3.open", "WARN")["text"]
    f = one(offline(os.path.join(work, "d"), "-D", "forebay.s3.tls.certificate=/none.pem"), "tls", "FAIL")
    assert "forebay.s3.tls.certificate" in f["text"]


def test_disks(make, ufs, work):
    a, b = os.path.join(work, "a"), os.path.join(work, "b")
    shm = f"/dev/shm/forebay-doctor-{uuid.uuid4()}"
    os.mkdir(shm)
    try:
        f = make({"/demo": ufs.uri()}, WB, {"alluxio.worker.page.store.dirs": f"{a},{b},{shm}",
                                            "alluxio.worker.page.store.sizes": "64MB"})
        r = f.cli("doctor", "--json")
        assert one(r, "disk.shared", "WARN")["text"] == f"{a} and {b} are on one disk"
        assert shm in one(r, "disk.kind", "WARN")["text"] and "memory" in one(r, "disk.kind", "WARN")["cause"]
        assert shm in one(r, "disk.sync", "WARN")["text"], "a durable write that takes no time"
        f.stop()
    finally:
        shutil.rmtree(shm)
    r = offline(os.path.join(work, "d"), "-D", f"alluxio.worker.page.store.dirs={a}", "-D", "alluxio.worker.page.store.sizes=900TB")
    assert "alluxio.worker.page.store.sizes" in one(r, "disk.room", "FAIL")["remedy"]
    os.chmod(f.data, 0o755)
    assert "0755" in one(offline(f.data, "-D", f"alluxio.worker.page.store.dirs={a},{b}"), "data.mode", "WARN")["text"]


def test_a_disk_that_fails(make, ufs, work):
    f = make({"/demo": ufs.uri()}, WB, start=False)
    f.start(fault="page.write:error IO@1*1000000, page.probe:error IO*1000000")
    assert f.raw.put("demo", "k", b"x" * 100).status >= 500
    x = one(f.cli("doctor", "--json", check=False), "disk.failed", "FAIL")
    assert os.path.join(f.data, "pages") in x["text"]


def test_an_ufs_that_is_away(make, versity, proxy_to):
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("doctor")}, WB, versity.properties())
    assert "copy" in one(f.cli("doctor", "--json"), "mount", "OK")["text"]
    assert versity.keys("doctor/.forebay/doctor") == []
    p.down()
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 100)
    proc.wait_for("a failed upload", lambda: "last error" in f.cli("async-persist", "list").out)
    r = f.cli("doctor", "--json", check=False)
    x = one(r, "mount", "FAIL")
    assert "could not reach it" in x["text"] and "alluxio.underfs.s3.endpoint" in x["remedy"] and "GET" in x["cause"]
    x = findings(r, "persist.failing")
    assert len(x) == 1 and "/demo/k" in x[0]["text"] and "PUT k to" in x[0]["cause"], r
    assert findings(r, "persist.backlog")[0]["text"].startswith("1 file, 100B not persisted")
    f.cli("async-persist", "pause")
    assert "resume" in one(f.cli("doctor", "--json", check=False), "persist.paused", "WARN")["remedy"]
    f.stop()
    r = offline(f.data)
    assert "could not reach it" in one(r, "mount", "FAIL")["text"], "a stopped instance's mounts, too"
    assert "--conf" in one(r, "configuration.secrets", "WARN")["remedy"]
    assert "1 file, 100B" in findings(r, "persist.backlog")[0]["text"]
    f.assert_fsck_clean()


def test_a_directory_that_is_gone(make, work):
    u = DirUfs(os.path.join(work, "u"))
    f = make({"/demo": u.uri()}, WB)
    f.stop()
    shutil.rmtree(os.path.join(work, "u"))
    x = one(offline(f.data), "mount", "FAIL")
    assert u.uri() in x["text"] and "forebay.ufs.allowed.roots" in x["remedy"]


def test_rules_and_mounts(make, ufs, work):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK", "/dome/**": "WRITE_BACK"})
    rules = json.loads(f.rest("GET", "/api/v1/conf")[1])
    rules["pathRules"][0]["properties"]["writeReplicas"] = 2
    assert f.rest("PUT", "/api/v1/conf", json.dumps(rules))[0] == 200
    r = f.cli("doctor", "--json")
    assert "/dome/**" in one(r, "rules.unused", "WARN")["text"]
    assert "/demo/**" in one(r, "rules.replicas", "WARN")["text"]
    f.cli("mount", "remove", "--path", "/demo")
    assert "NoSuchBucket" in one(f.cli("doctor", "--json"), "mount", "WARN")["cause"]
    f.stop()
    f.ufs, f.props["alluxio.write.cache.enabled"] = {}, "false"
    f.start()
    r = f.cli("doctor", "--json")
    assert "alluxio.write.cache.enabled" in one(r, "write.cache", "WARN")["cause"]


def test_pinned_space(make, ufs, work):
    f = make({"/demo": ufs.uri()}, WB, {"alluxio.worker.page.store.sizes": "64MB"})
    f.cli("async-persist", "pause")
    while f.raw.put("demo", f"k{uuid.uuid4()}", b"x" * 1_000_000).status == 200:
        pass
    x = [y for y in findings(f.cli("doctor", "--json", check=False), "space.pinned") if y["level"] != "OK"]
    assert x and "pinned.file.capacity.limit.ratio" in x[0]["remedy"] and "thread.pool.size" in x[0]["remedy"]


def test_who_may_ask(make, ufs):
    f = make({"/demo": ufs.uri()}, WB, {"forebay.admin.token": "t0k"})
    x = one(f.cli("doctor", "--json", check=False), "server", "FAIL")
    assert "forebay.admin.token" in x["cause"] and "--token" in x["remedy"]
    assert not findings(f.cli("doctor", "--json", "--token", "t0k"), level="FAIL")
    x = one(offline(f.data), "instance", "FAIL")
    assert str(f.p.pid) in x["cause"] and "--admin" in x["remedy"]

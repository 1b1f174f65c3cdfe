# SPDX-License-Identifier: Apache-2.0
"""The admin endpoint over the wire: who is answered, what metrics look like, jobs, waiting, starting and stopping."""
import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from lib import proc
from lib.forebay import BIN
from lib.ufs import DirUfs

WB = {"/demo/**": "WRITE_BACK"}


def ask(addr, path, method="GET", body=None, **headers):
    """(status, json or text)"""
    req = urllib.request.Request(f"http://{addr}{path}", method=method, data=body,
                                 headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(req, timeout=30 * proc.SLOW) as r:
            status, text = r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def own_address():
    """An address of this machine that is not loopback, or None."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.connect(("192.0.2.1", 9))
        return s.getsockname()[0]
    except OSError:
        return None
    finally:
        s.close()


@pytest.mark.quick
def test_other_web_sites_are_turned_away(wb):
    a = wb.admin_addr
    assert ask(a, "/api/v1/conf")[0] == 200
    assert ask(a, "/api/v1/conf", Origin=f"http://{a}")[0] == 200
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        status, j = ask(a, "/api/v1/conf", **headers)
        assert status == 403 and j["error"]["code"] == "DENIED", headers
    status, _ = ask(a, "/api/v1/fs/rm", "POST", b'{"path": "/demo", "recursive": true}', Origin="http://evil.example")
    assert status == 403 and ask(a, "/api/v1/fs/stat?path=/demo")[0] == 200


def test_a_token_is_asked_of_everybody(make, ufs):
    f = make({"/demo": ufs.uri()}, WB, {"forebay.admin.token": "s3cr3t-token"})
    status, j = ask(f.admin_addr, "/api/v1/mounts")
    assert status == 401 and "forebay.admin.token" in j["error"]["message"]
    assert ask(f.admin_addr, "/metrics")[0] == 401
    assert ask(f.admin_addr, "/health") == (200, {"status": "ok"})
    assert ask(f.admin_addr, "/api/v1/mounts", Authorization="Bearer s3cr3t-token")[0] == 200
    assert ask(f.admin_addr, "/api/v1/mounts", Authorization="Bearer wrong")[0] == 401
    assert f.cli("mount", "list", check=False).code == 1
    assert "/demo" in f.cli("mount", "list", "--token", "s3cr3t-token").out
    assert "/demo" in f.cli("mount", "list", env={"FOREBAY_TOKEN": "s3cr3t-token"}).out
    assert "s3cr3t-token" not in f.cli("conf", "get", "--token", "s3cr3t-token").out
    with open(f.log) as log:
        text = log.read()
    assert "admin.refused" in text and "s3cr3t-token" not in text


def test_off_loopback_only_with_a_token(make, ufs, work):
    p = subprocess.run([BIN, "standalone", "--data", os.path.join(work, "d"), "--s3", "127.0.0.1:0", "--admin", "0.0.0.0:0"],
                       capture_output=True, text=True, timeout=60 * proc.SLOW)
    assert p.returncode == 1 and "forebay.admin.token" in p.stderr and "ready" not in p.stdout
    me = own_address()
    if not me:
        pytest.skip("this machine has only loopback")
    f = make({"/demo": ufs.uri()}, WB, {"forebay.admin.token": "t0ken"}, start=False)
    plain = f.argv
    f.argv = lambda: [w if w != "127.0.0.1:0" or i != plain().index("--admin") + 1 else "0.0.0.0:0" for i, w in enumerate(plain())]
    f.start()
    port = f.admin_addr.rsplit(":", 1)[1]
    assert ask(f"{me}:{port}", "/api/v1/mounts")[0] == 401
    assert ask(f"{me}:{port}", "/api/v1/mounts", Authorization="Bearer t0ken")[0] == 200


@pytest.mark.quick
def read_metrics(f):
    """Values by name and labels, after a look at the form."""
    _, text = f.rest("GET", "/metrics")
    family, seen, values = None, set(), {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in seen, "one block a family"
            seen.add(family)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
        else:
            m = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})? (\S+)", line)
            assert m and re.sub("_(bucket|sum|count)$", "", m[1]) in (family, re.sub("_(bucket|sum|count)$", "", family)), line
            values[m[1] + (m[2] or "")] = float(m[3])
    return values


def test_metrics_are_well_formed(wb):
    wb.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 1000)
    wb.raw.get("demo", "k")
    wb.wait_persisted("/demo/k")
    want = {"forebay_persist_uploaded_bytes_total": 1000, "forebay_dirty_files": 0, 'alluxio_meta_operation_total{op="PutObject"}': 1,
            'forebay_s3_seconds_bucket{op="GetObject",le="+Inf"}': 1}
    # what was done is counted a moment after it can be seen
    proc.wait_for("the counts", lambda: want.items() <= read_metrics(wb).items())
    values = read_metrics(wb)
    assert values["alluxio_cached_capacity_bytes"] > 0 and values["process_resident_memory_bytes"] > 1 << 20
    assert values['alluxio_ufs_data_access_bytes_total{method="write"}'] >= 1000


def test_load_and_free(make, ufs):
    for i in range(20):
        ufs.put(f"in/{i:02}", proc.content(f"l{i}", 10_000))
    wb = make({"/demo": ufs.uri()}, WB)
    j = json.loads(wb.cli("job", "load", "--path", "/demo/in", "--json").out)
    assert (j["state"], j["processedFiles"], j["loadedBytes"], j["failedFiles"]) == ("SUCCEEDED", 20, 200_000, 0)
    out = wb.cli("fs", "du", "/demo/in").out.splitlines()[1].split()
    assert out == ["200000", "200000", "0", "20", "/demo/in"], "size, cached, not persisted, files"
    assert "200" in wb.cli("job", "load", "--path", "/demo/in", "--skip-if-exists", "--json").out
    assert json.loads(wb.cli("job", "load", "--path", "/demo/in", "--progress", "--format", "JSON").out)["skippedBytes"] == 200_000
    r = wb.cli("job", "free", "--path", "/demo/in")
    assert "20 files" in r.out
    assert json.loads(wb.cli("fs", "du", "/demo/in", "--json").out)["cached"] == 0
    assert wb.raw.get("demo", "in/07").body == proc.content("l7", 10_000)
    out = wb.cli("job", "load", "--path", "/demo/in", "--submit").out
    assert re.fullmatch(r"Load '/demo/in' is successfully submitted.\nJobId: [0-9a-f-]{36}\n", out)
    proc.wait_for("the job", lambda: "SUCCEEDED" in wb.cli("job", "load", "--path", "/demo/in", "--progress").out)
    assert wb.cli("job", "load", "--path", "/demo/none", check=False).code == 1
    assert wb.rest("GET", "/api/v1/load?id=none")[0] == 404


def test_persist_wait(make, versity, proxy_to):
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("wait")}, WB, versity.properties())
    f.raw.list("demo")
    p.down()
    f.s3.put_object(Bucket="demo", Key="d/k", Body=b"x" * 100)
    r = f.cli("persist", "--wait", "--timeout", "1", "/demo/d", check=False)
    assert r.code == 1 and "1 file, 100 bytes" in r.err
    p.up()
    assert f.cli("persist", "--wait", "/demo/d").out == "/demo/d is persisted\n"
    assert versity.get("wait/d/k") == b"x" * 100
    assert f.cli("async-persist", "wait", "--path", "/demo/d/k").code == 0
    assert f.cli("persist", "--wait", "/demo/none", check=False).code == 1


def test_transient_files_are_not_waited_for(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "TRANSIENT"})
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x")
    r = f.cli("persist", "--wait", "/demo/k", check=False)
    assert r.code == 1 and "TRANSIENT" in r.err


def test_one_owner_of_a_data_directory(wb):
    p = subprocess.run([BIN, "standalone", "--data", wb.data, "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
                       capture_output=True, text=True, timeout=60 * proc.SLOW)
    assert p.returncode == 1 and str(wb.p.pid) in p.stderr, p
    r = wb.fsck()
    assert r.code == 2 and str(wb.p.pid) in r.err
    assert wb.fsck(wb.data + "-none").code == 2
    wb.stop()
    wb.assert_fsck_clean()


def test_an_ufs_option_meets_a_mount(make, work):
    a, b = DirUfs(os.path.join(work, "a")), DirUfs(os.path.join(work, "b"))
    f = make({"/demo": a.uri()}, WB)
    f.restart()
    f.stop()
    f.ufs = {"/demo": b.uri()}
    with pytest.raises(Exception, match="mounted from another place"):
        f.start()


def test_standard_mode_waits_for_what_is_not_persisted(make, versity, proxy_to):
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("std")}, WB, versity.properties())
    f.raw.list("demo")
    p.down()
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 77)
    f.stop()
    f.props["alluxio.write.cache.enabled"] = "false"
    with pytest.raises(Exception, match="1 file.*77 byte"):
        f.start()
    f.props["alluxio.write.cache.enabled"] = "true"
    p.up()
    f.start()
    f.wait_all_persisted()
    f.stop()
    f.props["alluxio.write.cache.enabled"] = "false"
    f.start()
    assert f.raw.get("demo", "k").body == b"x" * 77


def test_cp_between_here_and_there(wb, work):
    body = proc.content("cp", 3_000_000)
    src, back = os.path.join(work, "src"), os.path.join(work, "back")
    with open(src, "wb") as o:
        o.write(body)
    wb.cli("fs", "cp", f"file://{src}", "/demo/dir/")
    wb.cli("fs", "cp", f"file://{src}", "/demo/dir/named")
    assert wb.raw.get("demo", "dir/named").body == body
    wb.cli("fs", "cp", "/demo/dir/named", f"file://{back}")
    with open(back, "rb") as i:
        assert i.read() == body
    assert wb.cli("fs", "cp", "/demo/dir/named", f"file://{back}", check=False).code == 1, "nothing local is overwritten"
    assert wb.cli("fs", "checksum", "/demo/dir/named").out == f"md5sum: {proc.md5(body)}\n"
    wb.cli("fs", "cp", "-R", "/demo/dir", "/demo/copy")
    assert wb.raw.get("demo", "copy/named").body == body


def test_names_that_need_care(wb):
    for key in ("a b", "plus+sign", "per%cent", "qu?ery&x=1", "ümläut", "tab\there", "...", "-n"):
        wb.s3.put_object(Bucket="demo", Key=key, Body=key.encode())
        assert wb.cli("fs", "cat", "/demo/" + key).out == key
        assert json.loads(wb.cli("fs", "stat", "--json", "/demo/" + key).out)["size"] == len(key.encode())
    assert "tab\\x09here" in wb.cli("fs", "ls", "/demo").out, "control characters do not reach the terminal"


def test_arming_faults_needs_a_test_start(wb):
    status, text = wb.rest("POST", "/api/v1/faults", json.dumps({"arm": "kv.commit.before:abort"}))
    assert status == 403 and "FOREBAY_FAULT" in text
    assert wb.alive()
    assert any(x["name"] == "kv.commit.before" for x in json.loads(wb.rest("GET", "/api/v1/faults")[1])["faults"])
    assert "kv.commit.before" in wb.cli("faults").out


def test_completion_is_valid_bash(work):
    text = subprocess.run([BIN, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    script = text + "\nCOMP_WORDS=(forebay fs ls --rec); COMP_CWORD=3; _forebay; echo ${COMPREPLY[@]}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == "--recursive\n"

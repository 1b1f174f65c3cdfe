# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help, exit codes, JSON everywhere; and the commands that have no page of their own."""
import json
import os
import re
import subprocess
import tarfile

import pytest

from lib import proc
from lib.forebay import BIN
from lib.ufs import DirUfs

WB = {"/demo/**": "WRITE_BACK"}


def run(*args, **kw):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FOREBAY_")}
    return subprocess.run([BIN, *args], capture_output=True, text=True, timeout=60 * proc.SLOW, env=env, **kw)


def commands():
    """[words] of every command, as the help shows them."""
    out = run("help").stdout.split("Commands:\n")[1].split("\n\n")[0]
    return [line[2:24].split() for line in out.splitlines()]


@pytest.mark.quick
def test_every_command_has_help_and_refuses_what_it_does_not_know():
    all_of_them = commands()
    assert len(all_of_them) > 40 and ["fs", "ls"] in all_of_them
    for words in all_of_them:
        p = run(*words, "--help")
        assert p.returncode == 0 and p.stdout.startswith("Usage: forebay " + " ".join(words)) and not p.stderr, words
        assert run("help", *words).stdout == p.stdout
        p = run(*words, "--no-such-option")
        assert p.returncode == 2 and "unknown option --no-such-option" in p.stderr and not p.stdout, words
    for group in {w[0] for w in all_of_them if len(w) == 2}:
        assert run(group, "--help").returncode == 0 and run(group).returncode == 2
    assert run("fs", "lss").stderr == "forebay: unknown command 'fs lss'; did you mean 'fs ls'?\n"


def test_every_command_says_that_no_server_answers(work):
    """With the words and options its usage asks for."""
    needs = {"mount add": ["--path", "/a", "--ufs-uri", "file:///a"], "mount remove": ["--path", "/a"],
             "pathconfig test": ["--path", "/a"], "async-persist stat": ["--path", "/a"], "async-persist skip": ["--path", "/a"],
             "async-persist wait": ["--path", "/a"],
             "job load": ["--path", "/a"], "cache free": ["--path", "/a"], "fs test": ["-e", "/a"], "persist": ["--wait", "/a"]}
    local = {"standalone", "fsck", "doctor", "info doctor", "faults", "completion", "version", "conf get", "fuse", "fuse mount",
             "fuse umount"}  # tests/posix/test_keeper.py
    for words in commands():
        name = " ".join(words)
        usage = run(*words, "--help").stdout.splitlines()[0]
        args = needs.get(name) or ["/a"] * len(re.findall(r"(?<!\[)\b(?:PATH|FROM|TO|SRC|DST)\b", usage))
        if name in local or "pathconfig edit" in name or "bench" in name:
            continue
        p = run(*words, *args, "--admin", "127.0.0.1:1", cwd=work)
        assert p.returncode == 1 and "no server answers at 127.0.0.1:1" in p.stderr and not p.stdout, f"{name} {args}\n{p}"


def test_json_everywhere(wb):
    wb.s3.put_object(Bucket="demo", Key="k", Body=b"x" * 1000)
    wb.wait_all_persisted()
    for line in ("mount list", "pathconfig show", "pathconfig test --path /demo/k", "fs ls /demo", "fs ls -d /demo", "fs ls -Rr /demo",
                 "fs stat /demo/k", "fs du /demo", "fs checksum /demo/k", "fs location /demo/k", "fs check-cached /demo",
                 "fs consistent-hash", "fs test -e /demo/k", "fs mkdir /demo/d", "fs touch /demo/t", "fs mv /demo/t /demo/u",
                 "fs cp /demo/u /demo/v", "fs rm /demo/v", "async-persist list", "async-persist stat --path /demo/k",
                 "async-persist kick", "async-persist pause", "async-persist resume", "async-persist wait --path /demo",
                 "persist --wait /demo", "job load --path /demo", "job load --list", "job free", "info cache", "info nodes",
                 "info report", "info version", "conf get", "conf get alluxio.write.cache.enabled", "conf log", "cache format",
                 "cache free --path /demo", "doctor", "version", "faults"):
        r = wb.cli(*line.split(), "--json")
        assert r.code == 0 and r.out.strip(), line
        json.loads(r.out)


def test_where_and_how_much_is_cached(make, ufs):
    for i in range(6):
        ufs.put(f"in/{i}", b"x" * 1000)
    f = make({"/demo": ufs.uri()}, WB)
    assert f.cli("fs", "check-cached", "/demo/in").out.startswith("0 of 6 files checked are cached whole, 0 partly, 6 not; 0 of 6000")
    f.cli("job", "load", "--path", "/demo/in/3")
    assert f.cli("fs", "check-cached", "/demo/in").out.startswith("1 of 6 files checked are cached whole")
    assert f.cli("fs", "check-cached", "/demo/in", "--sample", "3").out.startswith("1 of 2 files")
    assert "--limit was reached" in f.cli("fs", "check-cached", "/demo/in", "--limit", "2").out
    worker = json.loads(f.cli("info", "nodes", "--json").out)["workers"][0]["id"]
    assert re.fullmatch(worker + r"  \S+  1000 of 1000 bytes cached\n", f.cli("fs", "location", "/demo/in/3").out)
    assert f.cli("fs", "location", "/demo/in", check=False).code == 1
    assert f.cli("fs", "consistent-hash").out.startswith(worker)
    assert f.cli("cache", "free", "--path", "/demo/in").out == "Freed 1 file, 4.00KB, below /demo/in\n"
    assert f.cli("cache", "free", check=False).code == 2
    f.cli("async-persist", "pause")
    f.s3.put_object(Bucket="demo", Key="mine", Body=b"y" * 5000)
    out = f.cli("cache", "format").out
    assert "is not persisted, and stays" in out and f.raw.get("demo", "mine").body == b"y" * 5000
    assert [x.split()[-1] for x in f.cli("fs", "ls", "-p", "-f", "-m", "-R", "/demo").out.splitlines()] == ["/demo/mine"]


def test_log_levels_at_run_time(wb):
    def ask():
        wb.raw.get("demo", "none")

    def lines():
        with open(wb.log) as log:
            return log.read().count("s3.access")

    def wait_lines(n):  # a line is written after its answer was sent
        proc.wait_for(f"{n} lines of s3.access", lambda: lines() >= n)
        assert lines() == n

    assert wb.cli("conf", "log").out == "root=INFO\n"
    ask()
    proc.wait_for("a line of s3.access", lines)
    n = lines()
    assert wb.cli("conf", "log", "--name", "s3", "--level", "error").out == "root=INFO\ns3=ERROR\n"
    ask()
    assert wb.cli("conf", "log", "--name", "s3.access", "--level", "INFO").code == 0
    ask()
    wait_lines(n + 1)
    wb.cli("conf", "log", "--level", "ERROR")
    ask()
    wait_lines(n + 2)  # the longest name counts
    assert wb.cli("conf", "log", "--level", "loud", check=False).code == 1
    assert wb.cli("conf", "log", "--name", "s3", check=False).code == 2


def test_collect_holds_no_secrets(make, versity, work):
    f = make({"/demo": versity.uri("collect")}, WB, {**versity.properties(), "forebay.log.file": os.path.join(work, "the.log"),
                                                     "forebay.admin.token": "hush-hush-token"})
    secret = versity.properties()["s3a.secretKey"]
    tok = ["--token", "hush-hush-token"]
    f.cli("mount", "add", "--path", "/two", "--ufs-uri", versity.uri("two"), "--option", f"s3a.secretKey={secret}",
          "--option", f"s3a.accessKeyId={versity.properties()['s3a.accessKeyId']}", *tok)
    f.raw.get("demo", "none")
    r = f.cli("info", "collect", "--output-dir", work, *tok)
    path = r.out.strip().removeprefix("Collected in ")
    with tarfile.open(path) as t:
        names = [os.path.basename(m.name) for m in t.getmembers()]
        texts = {os.path.basename(m.name): t.extractfile(m).read().decode() for m in t.getmembers()}
    assert {"report.json", "properties.json", "mounts.json", "doctor.json", "metrics.txt", "forebay.log"} <= set(names)
    assert "s3.access" in texts["forebay.log"] and "forebay_dirty_bytes" in texts["metrics.txt"]
    assert json.loads(texts["mounts.json"]) and "/two" in texts["mounts.json"]
    for name, text in texts.items():
        assert secret not in text and "hush-hush-token" not in text, name
    assert os.stat(path).st_mode & 0o077 == 0
    assert f.cli("info", "collect", "--output-dir", "/none/such", *tok, check=False).code == 1


@pytest.mark.parametrize("line,expect", [
    ("fs ls", []), ("fs ls --rec", ["--recursive"]), ("job load --su", ["--submit"]), ("inf", ["info"]),
    ("info re", ["report"]), ("async-persist pa", ["pause"]), ("doctor --pr", ["--problems"]),
])
def test_completion(line, expect):
    script = run("completion", "bash").stdout
    words = ["forebay", *line.split()]
    script += f"\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _forebay; echo ${{COMPREPLY[@]}}"
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert out == (expect or ["ls"])


def test_report(wb, ufs):
    j = json.loads(wb.cli("info", "report").out)
    assert {"version", "start", "rpcPort", "webPort", "masterAddress", "masterVersions", "safeMode", "uptime", "liveWorkers",
            "lostWorkers", "freeCapacity"} <= set(j)
    assert j["webPort"] == int(wb.admin_addr.rsplit(":", 1)[1]) and j["dataDirectory"] == os.path.realpath(wb.data)
    assert re.match(r"WorkerId +Address +Status\nworker-[0-9a-f-]{36} +\S+ +ONLINE\n$", wb.cli("info", "nodes").out)


def test_the_second_name(wb):
    """`alluxio` is the same program, with the outputs known from there."""
    wb.s3.put_object(Bucket="demo", Key="x.csv", Body=b"x" * 6912)
    wb.wait_all_persisted()
    a = lambda *w, **kw: wb.cli(*w, name=os.path.join(os.path.dirname(BIN), "alluxio"), **kw)
    assert a("conf", "get", "alluxio.worker.s3.api.enabled").out == "true\n"
    assert a("conf", "get", "alluxio.write.cache.enabled").out == "true\n"
    assert a("conf", "get", "alluxio.etcd.endpoints").out == "\n", "known and not set"
    assert a("conf", "get", "alluxio.none", check=False).code == 1
    assert a("mount", "list").out.startswith("Listing all mount points\nfile://")
    assert re.fullmatch(r"-rw\S+ +6912 +PERSISTED \d\d-\d\d-\d{4} [\d:]+ FILE /demo/x.csv\n", a("fs", "ls", "/demo").out)
    assert '"policyMode": "WRITE_BACK"' in a("pathconfig", "test", "--path", "/demo/x").out
    assert a("fs", "stat", "-f", "%N %z %b", "/demo/x.csv").out == "x.csv 6912 14\n"
    assert re.fullmatch(r"md5sum: [0-9a-f]{32}\n", a("fs", "checksum", "/demo/x.csv").out)
    assert a("fs", "test", "-f", "/demo/x.csv").code == 0 and a("fs", "test", "-d", "/demo/x.csv", check=False).code == 1
    assert "State: PERSISTED" in a("async-persist", "stat", "--path", "/demo/x.csv").out
    a("fs", "rm", "-R", "/demo/x.csv")
    assert a("fs", "rm", "-R", "/demo/x.csv", check=False).err == "alluxio: Path does not exist: /demo/x.csv\n"
    worker = json.loads(a("info", "nodes", "--json").out)["workers"][0]["id"]
    assert a("async-persist", "list", "--worker", worker).code == 0
    assert a("async-persist", "list", "--worker", "worker-none", check=False).code == 1
    assert a("job", "free").code == 0

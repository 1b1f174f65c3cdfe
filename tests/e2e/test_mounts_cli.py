# SPDX-License-Identifier: Apache-2.0
"""The command line and REST as the documentation's pages use them: outputs, exit codes, refusals."""
import json
import os
import subprocess

import pytest

from lib import proc
from lib.forebay import BIN, path_config
from lib.ufs import DirUfs

ALLUXIO = os.path.join(os.path.dirname(BIN), "alluxio")
WB = {"/demo/**": "WRITE_BACK"}


@pytest.mark.quick
def test_mount_add_list_remove(make, versity):
    f = make({}, {"/s3/**": "WRITE_BACK"})
    versity.put("mnt/k", b"in the bucket")
    opts = [x for o in versity.mount_options() for x in ("--option", o)]
    f.cli("mount", "add", "--path", "/s3", "--ufs-uri", versity.uri("mnt"), *opts, name=ALLUXIO)
    out = f.cli("mount", "list", name=ALLUXIO).out
    assert "/s3" in out and "s3://ufs/mnt" in out
    assert versity.secret not in out, "secrets are masked"
    assert f.raw.get("s3", "k").body == b"in the bucket"
    f.s3.put_object(Bucket="s3", Key="new", Body=b"n")
    f.wait_persisted("/s3/new")
    assert versity.get("mnt/new") == b"n"
    f.restart()
    assert f.raw.get("s3", "k").body == b"in the bucket", "mounts outlive the process"
    f.cli("mount", "remove", "--path", "/s3", name=ALLUXIO)
    assert "/s3" not in f.cli("mount", "list").out
    a = f.raw.get("s3", "k")
    assert (a.status, a.code) == (404, "NoSuchBucket")
    assert versity.get("mnt/k") == b"in the bucket" and versity.get("mnt/new") == b"n", "nothing in the UFS changes"


def test_mount_refusals(make, versity, work):
    f = make({"/demo": DirUfs(os.path.join(work, "u")).uri()}, WB)
    sub = os.path.join(work, "u", "sub")
    os.makedirs(sub)
    os.makedirs(os.path.join(work, "ok"))

    def refused(path, uri, *options):
        r = f.cli("mount", "add", "--path", path, "--ufs-uri", uri, *options, check=False)
        assert r.code != 0 and r.err.strip(), (path, uri, r)
        return r.err

    refused("/demo", f"file://{work}/ok")
    refused("/x", f"file://{work}/u")  # the same place twice
    assert "overlap" in refused("/x", f"file://{sub}").lower()
    assert "overlap" in refused("/x", f"file://{work}").lower()
    refused("/x/y", f"file://{work}/ok")
    refused("/", f"file://{work}/ok")
    refused("/x", "gopher://x/y")
    refused("/x", f"file://{work}/does-not-exist")
    opts = [x for o in versity.mount_options() for x in ("--option", o)]
    refused("/x", "s3://no-such-bucket/p", *opts)
    refused("/x", versity.uri("p"), "--option", f"alluxio.underfs.s3.endpoint={versity.endpoint}", "--option",
            "alluxio.underfs.s3.disable.dns.buckets=true", "--option", "s3a.accessKeyId=minio", "--option", "s3a.secretKey=wrong-secret")
    assert "/x" not in f.cli("mount", "list").out
    f.cli("mount", "add", "--path", "/x", "--ufs-uri", f"file://{work}/ok")
    f.s3.put_object(Bucket="x", Key="k", Body=b"")


def test_mount_remove_with_unpersisted_data_is_refused(make, versity, proxy_to):
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("mrr")}, WB, versity.properties())
    f.raw.list("demo")
    p.down()
    for i in range(3):
        f.s3.put_object(Bucket="demo", Key=f"k{i}", Body=b"x" * 1000)
    r = f.cli("mount", "remove", "--path", "/demo", check=False)
    assert r.code != 0 and "3" in r.err and "3000" in r.err.replace(",", ""), "count and bytes: " + r.err
    assert f.raw.get("demo", "k1").body == b"x" * 1000
    p.up()
    f.wait_all_persisted()
    f.cli("mount", "remove", "--path", "/demo")
    assert f.cli("mount", "remove", "--path", "/demo", check=False).code != 0


def test_mount_remove_force(make, versity, proxy_to):
    p = proxy_to(versity)
    f = make({"/demo": versity.uri("mrf")}, WB, versity.properties())
    p.down()
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x")
    f.cli("mount", "remove", "--path", "/demo", "--force")
    assert f.raw.get("demo", "k").status == 404
    f.stop()
    f.assert_fsck_clean()


def test_a_second_cluster_is_kept_out(make, ufs, work):
    """Two instances on one UFS place: the lock object."""
    f = make({"/demo": ufs.uri()}, WB)
    g = make({}, {}, work=os.path.join(work, "second"))
    r = g.cli("mount", "add", "--path", "/demo", "--ufs-uri", ufs.uri(), check=False)
    assert r.code != 0, "a lock object keeps a second cluster out"
    f.s3.put_object(Bucket="demo", Key="k", Body=b"")


# ---- path configuration ----


@pytest.mark.quick
def test_pathconfig_edit_show_test(make, work):
    f = make({"/checkpoints": DirUfs(os.path.join(work, "c")).uri()}, {})
    rules = json.dumps(path_config({"/checkpoints/**": "WRITE_BACK", "/shuffle/**": "TRANSIENT"}), indent=2)
    r = f.cli("pathconfig", "edit", input=rules, env={"EDITOR": "cp /dev/stdin"}, name=ALLUXIO)
    assert "Update successful!" in r.out
    assert json.loads(f.cli("pathconfig", "show").out)["pathRules"][0]["alluxioPath"] == "/checkpoints/**"
    out = f.cli("pathconfig", "test", "--path", "/checkpoints/epoch-1/model.pt", name=ALLUXIO).out
    assert '"policyMode": "WRITE_BACK"' in out
    assert '"policyMode": "WRITE_THROUGH"' in f.cli("pathconfig", "test", "--path", "/elsewhere").out
    f.restart()
    assert '"policyMode": "WRITE_BACK"' in f.cli("pathconfig", "test", "--path", "/checkpoints/x").out
    status, text = f.rest("GET", "/api/v1/conf")
    assert status == 200 and json.loads(text)["defaultRule"]["policyMode"] == "WRITE_THROUGH"


BAD = [
    ("{", "line"),
    ('{"apiVersion": "v9.9", "defaultRule": {"policyMode": "WRITE_BACK"}, "pathRules": []}', "apiVersion"),
    ('{"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_SIDEWAYS"}, "pathRules": []}', "WRITE_SIDEWAYS"),
    ('{"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_BACK"},\n "pathRules": [{"policyMode": "TRANSIENT"}]}', "alluxioPath"),
    ('{"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_BACK", "properties": {"writeReplicas": -1}}, "pathRules": []}', "writeReplicas"),
    ("[]", ""),
]


@pytest.mark.parametrize("text,word", BAD)
def test_bad_path_configurations_are_refused_as_a_whole(make, work, text, word):
    f = make({"/demo": DirUfs(os.path.join(work, "u")).uri()}, WB)
    before = f.rest("GET", "/api/v1/conf")
    status, answer = f.rest("PUT", "/api/v1/conf", text)
    assert status == 400 and word in answer, answer
    r = f.cli("pathconfig", "edit", input=text, env={"EDITOR": "cp /dev/stdin"}, check=False)
    assert r.code != 0 and "Update successful!" not in r.out and word in r.err
    assert f.rest("GET", "/api/v1/conf") == before


# ---- conf ----


def test_conf_get(wb):
    assert wb.cli("conf", "get", "alluxio.write.cache.enabled", name=ALLUXIO).out.strip() == "true"
    assert wb.cli("conf", "get", "alluxio.worker.page.store.pinned.file.capacity.limit.ratio").out.strip() == "0.3"
    assert wb.cli("conf", "get", "forebay.ufs.request.deadline").out.strip() == "3s", "what -D set"
    assert wb.cli("conf", "get", "forebay.log.file").out == "\n", "unset: an empty line"
    r = wb.cli("conf", "get", "alluxio.no.such.property", check=False)
    assert r.code != 0 and r.err
    assert "alluxio.user.file.metadata.sync.interval=" in wb.cli("conf", "get").out
    assert "any-secret" not in wb.cli("conf", "get").out
    wb.stop()
    r = wb.cli("conf", "get", "alluxio.user.file.metadata.sync.interval", env={"FOREBAY_ADMIN": "127.0.0.1:1"})
    assert r.out.strip() == "60s", "works with the cluster down"


def start_fails(work, *args):
    p = subprocess.run([BIN, "standalone", "--data", os.path.join(work, "data"), "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0", *args],
                       capture_output=True, text=True, timeout=60 * proc.SLOW)
    assert p.returncode != 0 and "ready" not in p.stdout, p
    return p.stderr


def test_bad_start_options_are_refused_with_a_reason(work):
    conf = os.path.join(work, "alluxio-site.properties")
    with open(conf, "w") as o:
        o.write("# comment\nalluxio.write.cache.enabled=true\nalluxio.worker.page.store.page.size=banana\n")
    err = start_fails(work, "--conf", conf)
    assert "alluxio-site.properties" in err and "3" in err and "banana" in err, err
    assert "banana" in start_fails(work, "-D", "alluxio.worker.page.store.page.size=banana")
    assert start_fails(work, "--conf", os.path.join(work, "none"))
    assert start_fails(work, "--ufs", "nonsense")
    assert start_fails(work, "--ufs", f"/demo=file://{work}/does-not-exist")
    assert start_fails(work, "--no-such-option")


def test_unknown_property_warns_with_the_nearest_name(make, ufs):
    f = make({"/demo": ufs.uri()}, WB, {"alluxio.write.cache.enabeld": "true"})
    with open(f.log) as log:
        text = log.read()
    assert "alluxio.write.cache.enabeld" in text and "alluxio.write.cache.enabled" in text


def test_property_not_in_force_yet_says_so(make, ufs):
    f = make({"/demo": ufs.uri()}, WB, {"alluxio.worker.page.store.evictor.type": "FIFO"})
    with open(f.log) as log:
        assert "alluxio.worker.page.store.evictor.type" in log.read()


def test_conf_file_is_read(make, ufs, work):
    conf = os.path.join(work, "alluxio-site.properties")
    with open(conf, "w") as o:
        o.write("alluxio.user.file.metadata.sync.interval=7s\n")
    f = make({"/demo": ufs.uri()}, WB, start=False)
    plain = f.argv
    f.argv = lambda: plain() + ["--conf", conf]
    f.start()
    assert f.cli("conf", "get", "alluxio.user.file.metadata.sync.interval").out.strip() == "7s"


# ---- fs ----


@pytest.mark.quick
def test_fs_commands(wb, ufs):
    wb.s3.put_object(Bucket="demo", Key="d/one", Body=b"first\n")
    wb.s3.put_object(Bucket="demo", Key="d/two", Body=b"second\n")
    wb.wait_ufs(ufs, {"d/one": b"first\n", "d/two": b"second\n"})
    wb.wait_all_persisted()
    out = wb.cli("fs", "ls", "/demo/d").out
    lines = [l.split() for l in out.splitlines()]
    assert [(l[1], l[2], l[-2], l[-1]) for l in lines] == [("6", "PERSISTED", "FILE", "/demo/d/one"), ("7", "PERSISTED", "FILE", "/demo/d/two")]
    assert "DIR" in wb.cli("fs", "ls", "/demo").out
    assert "/demo/d/one" in wb.cli("fs", "ls", "-R", "/").out
    assert wb.cli("fs", "cat", "/demo/d/one").out == "first\n"
    wb.cli("fs", "mv", "/demo/d/one", "/demo/d/uno")
    assert wb.cli("fs", "cat", "/demo/d/uno").out == "first\n"
    st = wb.cli("fs", "stat", "/demo/d/uno", "--json").out
    assert json.loads(st)["size"] == 6
    wb.cli("fs", "mkdir", "/demo/new")
    assert "/demo/new" in wb.cli("fs", "ls", "/demo").out
    assert "new/" in wb.raw.list("demo"), "an explicit directory is listed as its key"
    wb.cli("fs", "rm", "/demo/d/uno")
    assert wb.cli("fs", "rm", "/demo/d", check=False).code != 0, "not empty, no -R"
    wb.cli("fs", "rm", "-R", "/demo/d")
    wb.cli("fs", "rm", "/demo/new")
    assert wb.raw.list("demo") == []
    wb.wait_ufs(ufs, {})
    proc.wait_for("directories to go", lambda: sorted(os.listdir(ufs.path)) in ([], [".forebay"]))


def test_fs_errors_have_exit_codes_and_sentences(wb):
    for args in (["fs", "cat", "/demo/none"], ["fs", "ls", "/demo/none"], ["fs", "ls", "/nobucket"], ["fs", "rm", "/demo/none"],
                 ["fs", "rm", "-R", "/demo/none"], ["fs", "mv", "/demo/none", "/demo/x"], ["fs", "stat", "/demo/none"],
                 ["async-persist", "stat", "--path", "/demo/none"], ["fs", "mkdir", "/nobucket/x"]):
        r = wb.cli(*args, check=False)
        assert r.code not in (0, 2) and r.err.strip() and not r.out.strip(), (args, r)
    assert "does not exist" in wb.cli("fs", "rm", "-R", "/demo/none", check=False).err
    for args in (["nonsense"], ["fs"], ["fs", "nonsense"], ["fs", "mv", "/one"], ["mount", "add"], ["fs", "ls", "--bogus", "/"]):
        r = wb.cli(*args, check=False)
        assert r.code not in (0, 1) or r.code == 2, (args, r)
    wb.stop()
    r = wb.cli("fs", "ls", "/", env={"FOREBAY_ADMIN": "127.0.0.1:1"}, check=False)
    assert r.code != 0 and "127.0.0.1:1" in r.err


def test_help_everywhere():
    top = subprocess.run([BIN, "--help"], capture_output=True, text=True)
    assert top.returncode == 0 and "standalone" in top.stdout and "fsck" in top.stdout
    for group in ("fs", "mount", "pathconfig", "conf", "async-persist"):
        p = subprocess.run([BIN, group, "--help"], capture_output=True, text=True)
        assert p.returncode == 0 and p.stdout
    for cmd in (["fs", "ls"], ["mount", "add"], ["standalone"], ["fsck"], ["pathconfig", "edit"], ["faults"]):
        p = subprocess.run([BIN, *cmd, "--help"], capture_output=True, text=True)
        assert p.returncode == 0 and cmd[-1] in p.stdout, (cmd, p)


def test_rm_of_a_large_tree_answers_at_once_and_is_atomic(wb, ufs):
    for i in range(400):
        wb.raw.put("demo", f"t/{i % 20}/{i}", b"x")
    wb.cli("fs", "rm", "-R", "/demo/t")
    assert wb.raw.list("demo") == []
    wb.restart("kill")
    assert wb.raw.list("demo") == []
    wb.wait_ufs(ufs, {})
    wb.stop()
    wb.assert_fsck_clean()


def test_rest_and_metrics(wb):
    wb.s3.put_object(Bucket="demo", Key="k", Body=b"x")
    m = wb.metrics()
    assert m and all(n.startswith(("alluxio_", "forebay_", "process_")) for n in m)
    assert wb.rest("GET", "/api/v1/none")[0] == 404
    assert wb.rest("DELETE", "/api/v1/conf")[0] in (404, 405)
    assert wb.rest("POST", "/api/v1/fs/mv", "{not json")[0] == 400


def test_sigterm_drains_requests_not_persistence(make, versity, proxy_to):
    """A body under way is finished and answered; unpersisted data does not hold up the stop and is persisted later."""
    import signal

    p = proxy_to(versity)
    f = make({"/demo": versity.uri("drain")}, WB, versity.properties())
    p.down()
    f.s3.put_object(Bucket="demo", Key="backlog", Body=b"later")
    s = f.raw.connect()
    body = proc.content("drain", 200_000)
    s.sendall(f"PUT /demo/slow HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    assert s.recv(100).startswith(b"HTTP/1.1 100 Continue"), "the request is under way"
    s.sendall(body[:100_000])
    f.p.send_signal(signal.SIGTERM)
    s.sendall(body[100_000:])
    from lib.rawhttp import read_answer

    a, _ = read_answer(s)
    assert a.status == 200 and f.wait_dead() == 0
    p.up()
    f.start()
    assert f.raw.get("demo", "slow").body == body
    proc.wait_for("the backlog", lambda: versity.get("drain/backlog") == b"later" and versity.get("drain/slow") == body)


def test_fsck_finds_what_is_broken(wb, ufs):
    """A segment is lost: unpersisted bytes are missing, and fsck says which rule broke."""
    import glob

    wb.stop()
    wb.assert_fsck_clean()
    wb.ufs = {}
    # The UFS cannot be reached, so that the data stays here.
    wb.start(fault="")
    wb.cli("async-persist", "pause")
    wb.s3.put_object(Bucket="demo", Key="k", Body=proc.content("k", 300_000))
    wb.stop()
    wb.assert_fsck_clean()
    for seg in glob.glob(os.path.join(wb.data, "**", "segments", "*"), recursive=True):
        with open(seg, "r+b") as o:
            o.write(b"\0" * (1 << 20))
    r = wb.fsck()
    assert r.code != 0 and r.out.strip()


def test_secrets_of_mounts_show_nowhere(make, versity, work):
    """They lie in the metadata, which only the owner may enter, at every start; and in no output."""
    f = make({}, {"/s3/**": "WRITE_BACK"}, {"alluxio.worker.s3.access.logging.enabled": "true", "forebay.log.level": "debug"})
    token, other = "t0ken-of-the-session", "pa55-of-somebody"
    opts = versity.mount_options() + [f"some.sessionToken={token}", f"some.Password={other}"]
    out = f.cli("mount", "add", "--path", "/s3", "--ufs-uri", versity.uri("hid"), *[x for o in opts for x in ("--option", o)])
    wrong = [o.replace(versity.secret, "wr0ng-" + other) for o in opts]
    said = [
        out,
        f.cli("mount", "add", "--path", "/s4", "--ufs-uri", versity.uri("x"), *[x for o in wrong for x in ("--option", o)], check=False),
        f.cli("mount", "add", "--path", "/s5", "--ufs-uri", f"s3://k:{other}@bucket", check=False),
        f.cli("mount", "list"),
        f.cli("mount", "list", "--json"),
        f.cli("info", "version"),
        f.cli("info", "nodes"),
        f.cli("fs", "ls", "/s3"),
    ]
    said = [x.out + x.err for x in said] + [f.rest("GET", "/api/v1/mounts")[1], f.rest("GET", "/metrics")[1]]
    for mode in (0o755, 0o777):
        f.stop()
        fsck = f.fsck()
        said += [fsck.out + fsck.err]
        for d in ("", "/meta", "/pages"):
            os.chmod(f.data + d, mode)
        f.start()
        for d in ("", "/meta"):
            assert os.stat(f.data + d).st_mode & 0o777 == 0o700, d
    f.stop()
    said += [open(f.log).read(), open(f.data + "/instance.properties").read()]
    for text in said:
        for secret in (versity.secret, token, other):
            assert secret not in str(text), text
    assert "******" in said[4]

# SPDX-License-Identifier: Apache-2.0
"""Command line clients: AWS CLI, s3cmd, rclone."""
import json
import os
import subprocess

import pytest

from lib import clients, proc
from lib.clients import MIB, environment, file_with, read, run, venv_tool

RCLONE = os.path.join(proc.BUILD, "tools", "rclone")
SHELL_KEYS = [k for k in clients.ODD if not k.startswith("-") and "//" not in k and len(k) < 200]  # as names of files


@pytest.fixture(scope="module")
def f(module_work, moto):
    s = clients.server(module_work, moto)
    yield s
    s.close()


@pytest.fixture(scope="module")
def tree(module_work):
    """A directory of files with odd names."""
    top = os.path.join(module_work, "tree")
    for i, k in enumerate(SHELL_KEYS):
        file_with(top, k, proc.content(k, 100 * i))
    file_with(top, "deep/er/large", proc.content("large", 13 * MIB))
    return top


def same(a, b):
    subprocess.run(["diff", "-r", a, b], check=True)


# ---- AWS CLI ----


def aws(f, *args, check=True, input=None):
    return run([venv_tool("python"), venv_tool("aws"), *args], environment(f), check, input)


def test_aws_sync(f, tree, work):
    aws(f, "s3", "sync", tree, "s3://back/aws")
    assert f.raw.list("back", "aws/") == sorted(["aws/deep/er/large"] + ["aws/" + k for k in SHELL_KEYS], key=lambda k: k.encode())
    aws(f, "s3", "sync", "s3://back/aws", work + "/back")
    same(tree, work + "/back")
    assert aws(f, "s3", "sync", "s3://back/aws", work + "/back").stdout == "", "nothing is left to do"
    aws(f, "s3", "cp", "--recursive", "--quiet", "s3://back/aws", "s3://thru/aws")
    aws(f, "s3", "sync", "s3://thru/aws", work + "/thru")
    same(tree, work + "/thru")
    assert "PRE deep/" in aws(f, "s3", "ls", "s3://thru/aws/").stdout
    assert "Total Objects: %d" % (len(SHELL_KEYS) + 1) in aws(f, "s3", "ls", "--recursive", "--summarize", "s3://thru/aws/").stdout
    aws(f, "s3", "rm", "--recursive", "--quiet", "s3://thru/aws")
    assert f.raw.list("thru", "aws/") == []


@pytest.mark.parametrize("bucket", clients.BUCKETS)
def test_aws_s3api(f, bucket, work):
    api = lambda *a, **kw: aws(f, "s3api", *a, "--bucket", bucket, **kw)
    body = file_with(work, "body", b"one body")
    api("put-object", "--key", "api/k", "--body", body, "--metadata", "a=b,c=d e", "--tagging", "t=1", "--content-type", "text/z")
    h = json.loads(api("head-object", "--key", "api/k", "--checksum-mode", "ENABLED").stdout)
    assert h["Metadata"] == {"a": "b", "c": "d e"} and h["ContentType"] == "text/z" and "ChecksumCRC64NVME" in h or "ChecksumCRC32" in h
    assert json.loads(api("get-object-tagging", "--key", "api/k").stdout)["TagSet"] == [{"Key": "t", "Value": "1"}]
    api("get-object", "--key", "api/k", "--range", "bytes=4-7", work + "/part")
    assert read(work + "/part") == b"body"
    api("copy-object", "--key", "api/copy", "--copy-source", f"{bucket}/api/k", "--metadata-directive", "REPLACE", "--metadata", "x=y")
    assert json.loads(api("head-object", "--key", "api/copy").stdout)["Metadata"] == {"x": "y"}
    u = json.loads(api("create-multipart-upload", "--key", "api/mpu").stdout)["UploadId"]
    tag = json.loads(api("upload-part", "--key", "api/mpu", "--upload-id", u, "--part-number", "1", "--body", body).stdout)["ETag"]
    api("complete-multipart-upload", "--key", "api/mpu", "--upload-id", u, "--multipart-upload",
        json.dumps({"Parts": [{"ETag": tag, "PartNumber": 1}]}))
    assert api("put-object", "--key", "api/k", "--body", body, "--if-none-match", "*", check=False).returncode != 0
    keys = json.loads(api("list-objects-v2", "--prefix", "api/", "--page-size", "1").stdout)["Contents"]
    assert [k["Key"] for k in keys] == ["api/copy", "api/k", "api/mpu"]
    api("delete-objects", "--delete", json.dumps({"Objects": [{"Key": k["Key"]} for k in keys]}))
    assert f.raw.list(bucket, "api/") == []


def test_aws_streams_and_presigns(f, work):
    big = proc.content("stream", 9 * MIB)
    p = subprocess.run([venv_tool("python"), venv_tool("aws"), "s3", "cp", "-", "s3://thru/stream"], env=environment(f), input=big,
                       capture_output=True, timeout=120 * proc.SLOW)
    assert p.returncode == 0, p.stderr
    assert f.raw.get("thru", "stream").body == big
    url = aws(f, "s3", "presign", "s3://thru/stream").stdout.strip()
    assert f.raw.send("GET", url[len(f.endpoint):], {"Range": "bytes=0-3"}).body == big[:4]
    aws(f, "s3", "mv", "s3://thru/stream", "s3://back/moved")
    assert f.raw.head("thru", "stream").status == 404 and f.raw.get("back", "moved").body == big


# ---- s3cmd ----


def test_s3cmd(f, tree, work):
    conf = file_with(work, "s3cfg", f"""[default]
access_key = tester
secret_key = any
host_base = {f.s3_addr}
host_bucket = {f.s3_addr}
use_https = False
multipart_chunk_size_mb = 5
""".encode())
    s3 = lambda *a, check=True: run([venv_tool("python"), venv_tool("s3cmd"), "-c", conf, *a], environment(f), check)
    names = {l.split()[-1] for l in s3("ls").stdout.splitlines()}
    assert names == {"s3://back", "s3://thru"}
    s3("sync", "--no-progress", tree + "/", "s3://back/cmd/")
    s3("sync", "--no-progress", "s3://back/cmd/", work + "/out/")
    same(tree, work + "/out")
    one = file_with(work, "one", proc.content("one", 11 * MIB))
    s3("put", one, "s3://thru/cmd/one", "--add-header=x-amz-meta-a:b", "--mime-type=text/q", "--no-mime-magic")
    info = s3("info", "s3://thru/cmd/one").stdout
    assert "text/q" in info and str(11 * MIB) in info
    s3("get", "s3://thru/cmd/one", work + "/one.back")
    assert read(one) == read(work + "/one.back")
    s3("cp", "s3://thru/cmd/one", "s3://back/cmd-one")
    s3("mv", "s3://back/cmd-one", "s3://back/cmd-two")
    s3("modify", "s3://back/cmd-two", "--add-header=x-amz-meta-new:1")
    assert f.s3.head_object(Bucket="back", Key="cmd-two")["Metadata"]["new"] == "1"
    assert f.raw.get("back", "cmd-two").body == read(one)
    assert s3("ls", "s3://back/nothing/").stdout == ""
    s3("del", "--recursive", "--force", "s3://back/cmd")
    assert f.raw.list("back", "cmd") == []
    assert s3("info", "s3://back/nonesuch", check=False).returncode != 0


# ---- rclone ----


@pytest.mark.skipif(not os.path.exists(RCLONE), reason="no build/tools/rclone: `make deps-rclone` builds it")
@pytest.mark.parametrize("provider", ["AWS", "Other"])
def test_rclone(f, tree, work, provider):
    """AWS: V2 lists with url encoding, multipart ETags checked. Other: V1 lists without."""
    env = environment(f, RCLONE_CONFIG="/dev/null", RCLONE_CONFIG_R_TYPE="s3", RCLONE_CONFIG_R_PROVIDER=provider, RCLONE_CONFIG_R_ENV_AUTH="true",
                      RCLONE_CONFIG_R_ENDPOINT=f.endpoint, RCLONE_CONFIG_R_FORCE_PATH_STYLE="true", RCLONE_S3_UPLOAD_CUTOFF="6M",
                      RCLONE_S3_CHUNK_SIZE="5M", RCLONE_RETRIES="1", RCLONE_LOW_LEVEL_RETRIES="1", RCLONE_S3_NO_CHECK_BUCKET="true",
                      RCLONE_S3_USE_DATA_INTEGRITY_PROTECTIONS="false", RCLONE_S3_USE_UNSIGNED_PAYLOAD="true")  # as its SDK needs it without TLS
    rclone = lambda *a, check=True: run([RCLONE, *a], env, check)
    for bucket in clients.BUCKETS:
        at = f"r:{bucket}/rc-{provider}"
        rclone("sync", tree, at)
        rclone("check", "--download", tree, at)
        rclone("check", tree, at)
        listed = {e["Path"]: e["Size"] for e in json.loads(rclone("lsjson", "-R", "--files-only", at).stdout)}
        assert listed == {os.path.relpath(os.path.join(d, n), tree): os.path.getsize(os.path.join(d, n)) for d, _, ns in os.walk(tree) for n in ns}
        rclone("copy", at, work + f"/{bucket}")
        same(tree, work + f"/{bucket}")
        assert "Transferred:" not in rclone("sync", tree, at, "-q").stdout
        rclone("copyto", at + "/plain", at + "/plain copy")  # server side
        assert rclone("cat", at + "/plain copy").stdout.encode() == read(tree + "/plain")
        rclone("touch", "-t", "2020-01-02T03:04:05", at + "/plain copy")  # a copy onto itself
        assert json.loads(rclone("lsjson", at + "/plain copy").stdout)[0]["ModTime"].startswith("2020-01-02T03:04:05")
        rclone("move", at, f"r:{bucket}/rc2-{provider}")
        rclone("purge", f"r:{bucket}/rc2-{provider}")
        assert f.raw.list(bucket, f"rc-{provider}") == f.raw.list(bucket, f"rc2-{provider}") == []

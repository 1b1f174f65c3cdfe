# SPDX-License-Identifier: Apache-2.0
"""boto3 as applications use it: its defaults, retries, the transfer manager, presigned addresses."""
import io
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore
import botocore.config
import botocore.exceptions
import pytest
from boto3.s3.transfer import TransferConfig

from lib import clients, proc
from lib.clients import BUCKETS, MIB

SMALL_PARTS = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


@pytest.fixture(scope="module")
def f(module_work, moto):
    s = clients.server(module_work, moto)
    yield s
    s.close()


def client(f, key="tester", **cfg):
    return boto3.client("s3", endpoint_url=f.endpoint, aws_access_key_id=key, aws_secret_access_key="any-secret", region_name="us-east-1",
                        config=botocore.config.Config(**cfg))


@pytest.fixture(scope="module")
def s3(f):
    """Nothing set but where the server is: addressing by bucket name falls back to the path for an address."""
    return client(f)


def code(call, *a, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(*a, **kw)
    return e.value.response["Error"]["Code"]


@pytest.mark.quick
@pytest.mark.parametrize("bucket", BUCKETS)
def test_transfer_manager(f, s3, bucket):
    body = proc.content("tm", 17 * MIB + 3)
    s3.upload_fileobj(io.BytesIO(body), bucket, "tm/large", Config=SMALL_PARTS,
                      ExtraArgs={"ContentType": "text/x", "Metadata": {"k": "v"}, "Tagging": "a=1&b=2"})
    h = s3.head_object(Bucket=bucket, Key="tm/large")
    assert h["ContentLength"] == len(body) and h["ContentType"] == "text/x" and h["Metadata"] == {"k": "v"}
    assert h["ETag"].endswith('-4"')
    out = io.BytesIO()
    s3.download_fileobj(bucket, "tm/large", out, Config=SMALL_PARTS)
    assert out.getvalue() == body
    assert s3.get_object_tagging(Bucket=bucket, Key="tm/large")["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    s3.copy({"Bucket": bucket, "Key": "tm/large"}, bucket, "tm/copy", Config=SMALL_PARTS)
    out = io.BytesIO()
    s3.download_fileobj(bucket, "tm/copy", out)
    assert out.getvalue() == body
    f.wait_all_persisted()
    assert f.there[bucket].get("tm/copy") == body


@pytest.mark.parametrize("bucket", BUCKETS)
def test_defaults_with_checksums(s3, bucket):
    """What boto3 sends and asks for by itself since 1.36, and each algorithm by name."""
    r = s3.put_object(Bucket=bucket, Key="sum", Body=b"hello")
    assert r["ChecksumCRC32"] and r["ChecksumType"] == "FULL_OBJECT"
    g = s3.get_object(Bucket=bucket, Key="sum", ChecksumMode="ENABLED")
    assert g["Body"].read() == b"hello" and g["ChecksumCRC32"] == r["ChecksumCRC32"]
    for alg in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
        try:
            r = s3.put_object(Bucket=bucket, Key="sum-" + alg, Body=io.BytesIO(b"stream"), ChecksumAlgorithm=alg)
        except botocore.exceptions.MissingDependencyException:  # botocore computes some only with awscrt
            continue
        a = s3.get_object_attributes(Bucket=bucket, Key="sum-" + alg, ObjectAttributes=["Checksum", "ETag", "ObjectSize"])
        assert a["Checksum"]["Checksum" + alg] == r["Checksum" + alg] and a["ObjectSize"] == 6
    k = {"Bucket": bucket, "Key": "sum-mpu"}
    u = s3.create_multipart_upload(**k, ChecksumAlgorithm="CRC32")["UploadId"]
    p = s3.upload_part(**k, UploadId=u, PartNumber=1, Body=b"only", ChecksumAlgorithm="CRC32")
    done = s3.complete_multipart_upload(**k, UploadId=u, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": p["ETag"], "ChecksumCRC32": p["ChecksumCRC32"]}]})
    assert done["ChecksumCRC32"].endswith("-1") and done["ChecksumType"] == "COMPOSITE"


def test_odd_keys(s3):
    for k in clients.ODD:
        s3.put_object(Bucket="back", Key="odd/" + k, Body=k.encode(), Metadata={"n": "1"})
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="back", Prefix="odd/", PaginationConfig={"PageSize": 5})
    listed = [o["Key"] for p in pages for o in p.get("Contents", [])]
    assert listed == sorted(("odd/" + k for k in clients.ODD), key=lambda k: k.encode())
    v1 = s3.get_paginator("list_objects").paginate(Bucket="back", Prefix="odd/", PaginationConfig={"PageSize": 7})
    assert [o["Key"] for p in v1 for o in p.get("Contents", [])] == listed
    for k in clients.ODD:
        assert s3.get_object(Bucket="back", Key="odd/" + k)["Body"].read() == k.encode()
        s3.copy_object(Bucket="back", Key="odd2/" + k, CopySource={"Bucket": "back", "Key": "odd/" + k})
        assert s3.head_object(Bucket="back", Key="odd2/" + k)["Metadata"] == {"n": "1"}
    for prefix in ("odd/", "odd2/"):
        r = s3.delete_objects(Bucket="back", Delete={"Objects": [{"Key": prefix + k} for k in clients.ODD]})
        assert sorted(d["Key"] for d in r["Deleted"]) == sorted(prefix + k for k in clients.ODD) and "Errors" not in r
    assert "Contents" not in s3.list_objects_v2(Bucket="back", Prefix="odd")


def test_metadata_that_is_not_ascii(s3, f):
    """boto3 refuses it; what other clients send comes back as S3 sends it, encoded by RFC 2047."""
    with pytest.raises(botocore.exceptions.ParamValidationError):
        s3.put_object(Bucket="back", Key="m", Body=b"", Metadata={"k": "ü"})
    a = f.raw.put("back", "m", b"x", {"x-amz-meta-plain": "a b", "x-amz-meta-rfc": "=?UTF-8?B?w7w=?="})
    assert a.status == 200
    m = s3.head_object(Bucket="back", Key="m")["Metadata"]
    assert m == {"plain": "a b", "rfc": "=?UTF-8?B?w7w=?="}


def test_presigned(f, s3):
    def fetch(url, data=None, method="GET", headers=None):
        with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers=headers or {}), timeout=30) as r:
            return r.status, r.read(), r.headers

    for c in (s3, client(f, signature_version="s3v4")):
        put = c.generate_presigned_url("put_object", Params={"Bucket": "back", "Key": "pre signed/ü", "ContentType": "text/p"})
        assert fetch(put, b"body", "PUT", {"Content-Type": "text/p"})[0] == 200
        get = c.generate_presigned_url("get_object", Params={
            "Bucket": "back", "Key": "pre signed/ü", "ResponseContentType": "text/other",
            "ResponseContentDisposition": 'attachment; filename="a b.txt"', "ResponseCacheControl": "no-store"})
        status, body, h = fetch(get)
        assert (status, body) == (200, b"body")
        assert h["Content-Type"] == "text/other" and h["Content-Disposition"] == 'attachment; filename="a b.txt"'
        assert h["Cache-Control"] == "no-store"


def test_presigned_post(s3):
    """A browser form, made by boto3."""
    import requests

    p = s3.generate_presigned_post("back", "form/${filename}", Fields={"Content-Type": "text/f", "success_action_status": "201"},
                                   Conditions=[["starts-with", "$Content-Type", "text/"], {"success_action_status": "201"},
                                               ["content-length-range", 1, 1000]])
    r = requests.post(p["url"], data=p["fields"], files={"file": ("na me.txt", b"form body")}, timeout=30)
    assert r.status_code == 201, r.text
    g = s3.get_object(Bucket="back", Key="form/na me.txt")
    assert g["Body"].read() == b"form body" and g["ContentType"] == "text/f"
    r = requests.post(p["url"], data=p["fields"], files={"file": ("big", b"x" * 1001)}, timeout=30)
    assert (r.status_code, "EntityTooLarge" in r.text) == (400, True)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_conditions(s3, bucket):
    k = {"Bucket": bucket, "Key": "cond"}
    one = s3.put_object(**k, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, **k, Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    two = s3.put_object(**k, Body=b"2", IfMatch=one)["ETag"]
    assert code(s3.put_object, **k, Body=b"3", IfMatch=one) == "PreconditionFailed"
    assert code(s3.get_object, **k, IfMatch=one) == "PreconditionFailed"
    assert code(s3.get_object, **k, IfNoneMatch=two) == "304"
    assert code(s3.head_object, **k, IfMatch=one) == "412"
    assert code(s3.delete_object, **k, IfMatch=one) == "PreconditionFailed"
    s3.delete_object(**k, IfMatch=two)
    assert code(s3.get_object, **k) == "NoSuchKey" and code(s3.head_object, **k) == "404"


def test_retries_go_through_a_restart(f):
    """The standard retry mode carries a client over a restart on the same port."""
    c = client(f, retries={"mode": "standard", "total_max_attempts": 8})
    c.put_object(Bucket="back", Key="retry", Body=b"before")
    addr = f.s3_addr
    old = f.argv
    f.argv = lambda: [a if a != "127.0.0.1:0" or i != old().index("--s3") + 1 else addr for i, a in enumerate(old())]
    try:
        f.restart()
        assert f.s3_addr == addr
        assert c.get_object(Bucket="back", Key="retry")["Body"].read() == b"before"
        c.put_object(Bucket="back", Key="retry", Body=b"after")
    finally:
        f.argv = old


def test_resource_and_waiter(f):
    b = boto3.resource("s3", endpoint_url=f.endpoint, aws_access_key_id="tester", aws_secret_access_key="x", region_name="us-east-1").Bucket("thru")
    b.put_object(Key="res/a", Body=b"1").wait_until_exists()
    b.put_object(Key="res/b", Body=b"2")
    assert [o.key for o in b.objects.filter(Prefix="res/")] == ["res/a", "res/b"]
    assert b.Object("res/a").get()["Body"].read() == b"1"
    b.objects.filter(Prefix="res/").delete()
    b.Object("res/a").wait_until_not_exists()


def test_unsigned(f):
    c = client(f, signature_version=botocore.UNSIGNED)
    c.put_object(Bucket="back", Key="anon", Body=b"anon")
    assert c.get_object(Bucket="back", Key="anon", Range="bytes=1-2")["Body"].read() == b"no"
    assert code(c.get_object, Bucket="back", Key="anon", Range="bytes=4-9") == "InvalidRange"

# SPDX-License-Identifier: Apache-2.0
"""What clients use every day beyond put, get and list: copies, tags, conditions, checksums of uploads, presigned URLs,
both versions of ListObjects, attributes, the state of persistence as a header."""
import base64
import hashlib
import os
import urllib.request
import zlib

import botocore.exceptions
import pytest

from lib import proc
from lib.forebay import Forebay
from lib.ufs import DirUfs

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def f(module_work):
    ufs = DirUfs(os.path.join(module_work, "ufs"))
    new = DirUfs(os.path.join(module_work, "new"))
    with Forebay(
        module_work,
        {"/demo": ufs.uri("demo"), "/other": ufs.uri("other")},
        {"/demo/**": "WRITE_BACK", "/other/**": "TRANSIENT"},
        props={"forebay.s3.bucket.root.ufs": new.uri()},
    ) as f:
        yield f


@pytest.fixture
def s3(f):
    return f.s3


@pytest.fixture
def raw(f):
    return f.raw


def fails(call, status, code=None, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(**kw)
    r = e.value.response
    assert r["ResponseMetadata"]["HTTPStatusCode"] == status, r
    assert code is None or r["Error"]["Code"] == code, r


def b64(raw):
    return base64.b64encode(raw).decode()


# ---- copies ----


def test_copy_keeps_everything(s3):
    body = proc.content("copy", 300_000)
    s3.put_object(Bucket="demo", Key="src", Body=body, ContentType="text/x", CacheControl="no-cache", Metadata={"a": "1"},
                  Tagging="t=1")
    etag = s3.head_object(Bucket="demo", Key="src")["ETag"]
    for bucket, key in (("demo", "dst"), ("other", "deep/er/dst")):
        r = s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": "demo", "Key": "src"})
        assert r["CopyObjectResult"]["ETag"] == etag
        g = s3.get_object(Bucket=bucket, Key=key)
        assert g["Body"].read() == body and g["ContentType"] == "text/x" and g["Metadata"] == {"a": "1"}
        assert g["CacheControl"] == "no-cache" and g["TagCount"] == 1
    s3.delete_object(Bucket="demo", Key="src")
    assert s3.get_object(Bucket="demo", Key="dst")["Body"].read() == body, "the copy lives without its source"


def test_copy_directives(s3):
    s3.put_object(Bucket="demo", Key="src2", Body=b"x", Metadata={"a": "1"}, Tagging="t=1", ContentType="text/x")
    copy = lambda **kw: s3.copy_object(Bucket="demo", CopySource="demo/src2", **kw)
    copy(Key="d1", MetadataDirective="REPLACE", Metadata={"b": "2"})
    h = s3.head_object(Bucket="demo", Key="d1")
    assert h["Metadata"] == {"b": "2"} and h["ContentType"] == "binary/octet-stream"
    assert s3.get_object_tagging(Bucket="demo", Key="d1")["TagSet"] == [{"Key": "t", "Value": "1"}]
    copy(Key="d2", TaggingDirective="REPLACE", Tagging="u=2&v=3")
    assert len(s3.get_object_tagging(Bucket="demo", Key="d2")["TagSet"]) == 2
    assert s3.head_object(Bucket="demo", Key="d2")["Metadata"] == {"a": "1"}
    r = copy(Key="d3", ChecksumAlgorithm="SHA256")
    assert r["CopyObjectResult"]["ChecksumSHA256"] == b64(hashlib.sha256(b"x").digest())


def test_copy_onto_itself(s3):
    s3.put_object(Bucket="demo", Key="self", Body=b"me", Metadata={"mtime": "1"})
    fails(s3.copy_object, 400, "InvalidRequest", Bucket="demo", Key="self", CopySource="demo/self")
    s3.copy_object(Bucket="demo", Key="self", CopySource="demo/self", MetadataDirective="REPLACE", Metadata={"mtime": "2"})
    g = s3.get_object(Bucket="demo", Key="self")
    assert g["Body"].read() == b"me" and g["Metadata"] == {"mtime": "2"}


def test_copy_conditions(s3):
    etag = s3.put_object(Bucket="demo", Key="cc", Body=b"x")["ETag"]
    copy = dict(Bucket="demo", Key="cc2", CopySource="demo/cc")
    fails(s3.copy_object, 412, CopySourceIfMatch='"0"', **copy)
    fails(s3.copy_object, 412, CopySourceIfNoneMatch=etag, **copy)
    fails(s3.copy_object, 404, Bucket="demo", Key="cc2", CopySource="demo/cc-none")
    fails(s3.copy_object, 404, Bucket="demo", Key="cc2", CopySource="nobucket/cc")
    fails(s3.head_object, 404, Bucket="demo", Key="cc2")
    s3.copy_object(CopySourceIfMatch=etag, **copy)
    assert s3.head_object(Bucket="demo", Key="cc2")["ETag"] == etag


def test_copy_of_a_multipart_object_by_parts(s3):
    body = proc.content("big-copy", 12 * MIB)
    s3.put_object(Bucket="demo", Key="bc", Body=body)
    up = s3.create_multipart_upload(Bucket="demo", Key="bc2")["UploadId"]
    parts = []
    for n, (a, b) in enumerate([(0, 5 * MIB - 1), (5 * MIB, 10 * MIB - 1), (10 * MIB, len(body) - 1)], 1):
        r = s3.upload_part_copy(Bucket="demo", Key="bc2", UploadId=up, PartNumber=n, CopySource="demo/bc",
                                CopySourceRange=f"bytes={a}-{b}")
        assert r["CopyPartResult"]["ETag"]
        parts.append({"PartNumber": n, "ETag": r["CopyPartResult"]["ETag"]})
    fails(s3.upload_part_copy, 400, Bucket="demo", Key="bc2", UploadId=up, PartNumber=4, CopySource="demo/bc",
          CopySourceRange=f"bytes=0-{len(body)}")
    s3.complete_multipart_upload(Bucket="demo", Key="bc2", UploadId=up, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="demo", Key="bc2")["Body"].read() == body


# ---- tags, metadata ----


def test_object_tags(s3):
    s3.put_object(Bucket="demo", Key="tagged", Body=b"x", Tagging="a=1&b=ü%20x")
    get = lambda: {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket="demo", Key="tagged")["TagSet"]}
    assert get() == {"a": "1", "b": "ü x"}
    etag = s3.head_object(Bucket="demo", Key="tagged")["ETag"]
    s3.put_object_tagging(Bucket="demo", Key="tagged", Tagging={"TagSet": [{"Key": "c", "Value": ""}]})
    assert get() == {"c": ""}
    assert s3.head_object(Bucket="demo", Key="tagged")["ETag"] == etag
    s3.delete_object_tagging(Bucket="demo", Key="tagged")
    assert get() == {}
    many = [{"Key": str(i), "Value": "v"} for i in range(11)]
    fails(s3.put_object_tagging, 400, Bucket="demo", Key="tagged", Tagging={"TagSet": many})
    fails(s3.put_object_tagging, 404, "NoSuchKey", Bucket="demo", Key="tagged-none", Tagging={"TagSet": many[:1]})


def test_bucket_tags(s3):
    fails(s3.get_bucket_tagging, 404, "NoSuchTagSet", Bucket="demo")
    s3.put_bucket_tagging(Bucket="demo", Tagging={"TagSet": [{"Key": "team", "Value": "x"}]})
    assert s3.get_bucket_tagging(Bucket="demo")["TagSet"] == [{"Key": "team", "Value": "x"}]
    s3.delete_bucket_tagging(Bucket="demo")
    fails(s3.get_bucket_tagging, 404, "NoSuchTagSet", Bucket="demo")


def test_metadata_and_tags_survive_restart_and_persistence(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    f.s3.put_object(Bucket="demo", Key="k", Body=b"x", Metadata={"a": "1"}, Tagging="t=1", ContentLanguage="de",
                    ChecksumAlgorithm="SHA1")
    f.wait_persisted("/demo/k")
    f.restart("kill")
    h = f.s3.head_object(Bucket="demo", Key="k", ChecksumMode="ENABLED")
    assert h["Metadata"] == {"a": "1"} and h["ContentLanguage"] == "de"
    assert h["ChecksumSHA1"] == b64(hashlib.sha1(b"x").digest())
    assert f.s3.get_object_tagging(Bucket="demo", Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]


def test_state_header(make, ufs):
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK", "/demo/through/**": "WRITE_THROUGH"})
    assert f.raw.put("demo", "through/k", b"x").headers["x-forebay-state"] == "PERSISTED"
    assert f.raw.put("demo", "k", b"x").headers["x-forebay-state"] in ("NOT_PERSISTED", "PERSISTED")
    proc.wait_for("persisted", lambda: f.raw.head("demo", "k").headers["x-forebay-state"] == "PERSISTED", 30)
    assert f.raw.get("demo", "k").headers["x-forebay-state"] == "PERSISTED"


# ---- conditions ----


def test_conditional_writes(s3):
    key = dict(Bucket="demo", Key="cond")
    etag = s3.put_object(Body=b"1", IfNoneMatch="*", **key)["ETag"]
    fails(s3.put_object, 412, "PreconditionFailed", Body=b"2", IfNoneMatch="*", **key)
    fails(s3.put_object, 412, "PreconditionFailed", Body=b"2", IfMatch='"0"', **key)
    s3.put_object(Body=b"2", IfMatch=etag, **key)
    fails(s3.put_object, 404, "NoSuchKey", Bucket="demo", Key="cond-none", Body=b"2", IfMatch=etag)
    fails(s3.delete_object, 412, IfMatch=etag, **key)
    assert s3.get_object(**key)["Body"].read() == b"2"


def test_conditional_reads(s3):
    key = dict(Bucket="demo", Key="condread")
    s3.put_object(Body=b"1", **key)
    h = s3.head_object(**key)
    fails(s3.get_object, 304, IfNoneMatch=h["ETag"], **key)
    fails(s3.get_object, 304, IfModifiedSince=h["LastModified"], **key)
    fails(s3.get_object, 412, IfMatch='"0"', **key)
    fails(s3.head_object, 412, IfMatch='"0"', **key)
    assert s3.get_object(IfMatch=h["ETag"], IfUnmodifiedSince="1994-11-06", **key)["Body"].read() == b"1"


# ---- checksums of uploads ----


@pytest.mark.parametrize("alg,kind", [("CRC32", "FULL_OBJECT"), ("CRC32", "COMPOSITE"), ("SHA1", "COMPOSITE"),
                                      ("SHA256", "COMPOSITE")])
def test_upload_checksums(s3, alg, kind):
    key = f"mpu-{alg}-{kind}"
    pieces = [proc.content(key + str(i), 5 * MIB + i) for i in range(2)] + [b"end"]
    r = s3.create_multipart_upload(Bucket="demo", Key=key, ChecksumAlgorithm=alg, ChecksumType=kind)
    assert r["ChecksumAlgorithm"] == alg and r["ChecksumType"] == kind
    up, parts = r["UploadId"], []
    for n, p in enumerate(pieces, 1):
        r = s3.upload_part(Bucket="demo", Key=key, UploadId=up, PartNumber=n, Body=p, ChecksumAlgorithm=alg)
        parts.append({"PartNumber": n, "ETag": r["ETag"], f"Checksum{alg}": r[f"Checksum{alg}"]})
    listed = s3.list_parts(Bucket="demo", Key=key, UploadId=up)
    assert [p[f"Checksum{alg}"] for p in listed["Parts"]] == [p[f"Checksum{alg}"] for p in parts]
    assert listed["ChecksumAlgorithm"] == alg
    r = s3.complete_multipart_upload(Bucket="demo", Key=key, UploadId=up, MultipartUpload={"Parts": parts})
    got = r[f"Checksum{alg}"]
    if kind == "COMPOSITE":
        raws = b"".join(base64.b64decode(p[f"Checksum{alg}"]) for p in parts)
        h = {"CRC32": lambda b: zlib.crc32(b).to_bytes(4, "big"), "SHA1": lambda b: hashlib.sha1(b).digest(),
             "SHA256": lambda b: hashlib.sha256(b).digest()}[alg]
        assert got == b64(h(raws)) + "-3"
    elif alg == "CRC32":
        assert got == b64(zlib.crc32(b"".join(pieces)).to_bytes(4, "big"))
    h = s3.head_object(Bucket="demo", Key=key, ChecksumMode="ENABLED")
    assert h[f"Checksum{alg}"] == got and h["ChecksumType"] == kind
    a = s3.get_object_attributes(Bucket="demo", Key=key, ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize"])
    assert a["Checksum"][f"Checksum{alg}"] == got and a["ObjectParts"]["TotalPartsCount"] == 3
    assert a["ObjectSize"] == sum(map(len, pieces)) and a["ETag"] == h["ETag"].strip('"')
    g = s3.get_object(Bucket="demo", Key=key, PartNumber=2)
    assert g["Body"].read() == pieces[1] and g["PartsCount"] == 3
    assert s3.get_object(Bucket="demo", Key=key)["Body"].read() == b"".join(pieces)


@pytest.mark.parametrize("alg", [None, "CRC64NVME"])
def test_upload_gets_the_checksum_of_the_whole(s3, raw, alg):
    """Parts without a checksum of their own: the server's, put together, is that of the same bytes in one PUT."""
    pieces = [proc.content("whole" + str(i), 5 * MIB + i) for i in range(2)] + [b"end"]
    want = raw.put("demo", "whole-raw", b"".join(pieces)).headers["x-amz-checksum-crc64nvme"]
    kw = {"ChecksumAlgorithm": alg} if alg else {}
    up = s3.create_multipart_upload(Bucket="demo", Key="whole", **kw)["UploadId"]
    parts = []
    for n, p in enumerate(pieces, 1):
        a = raw.request("PUT", "demo", "whole", {"partNumber": n, "uploadId": up}, body=p)
        assert a.status == 200
        parts.append({"PartNumber": n, "ETag": a.etag})
    r = s3.complete_multipart_upload(Bucket="demo", Key="whole", UploadId=up, MultipartUpload={"Parts": parts})
    assert r["ChecksumCRC64NVME"] == want and r["ChecksumType"] == "FULL_OBJECT"


def test_upload_with_wrong_whole_checksum(s3, raw):
    r = s3.create_multipart_upload(Bucket="demo", Key="mpw", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    up = r["UploadId"]
    p = s3.upload_part(Bucket="demo", Key="mpw", UploadId=up, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32")
    part = [{"PartNumber": 1, "ETag": p["ETag"]}]
    fails(s3.complete_multipart_upload, 400, "BadDigest", Bucket="demo", Key="mpw", UploadId=up, ChecksumCRC32="AAAAAA==",
          ChecksumType="FULL_OBJECT", MultipartUpload={"Parts": part})
    assert raw.head("demo", "mpw").status == 404
    s3.complete_multipart_upload(Bucket="demo", Key="mpw", UploadId=up, MultipartUpload={"Parts": part})


def one_part(s3, key, body=b"x", **kw):
    """An upload with one part: its id, and the part as Complete names it."""
    up = s3.create_multipart_upload(Bucket="demo", Key=key, **kw)["UploadId"]
    alg = {"ChecksumAlgorithm": kw["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in kw else {}
    p = s3.upload_part(Bucket="demo", Key=key, UploadId=up, PartNumber=1, Body=body, **alg)
    return dict(Bucket="demo", Key=key, UploadId=up, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": p["ETag"]}]})


def crc32_of(b):
    return b64(zlib.crc32(b).to_bytes(4, "big"))


def test_complete_may_say_the_checksum_of_the_whole(s3):
    """The header is about the object, not about the document it comes with. minio-go and mc always send it, for a composite
    one without the number of parts, which S3 takes with and without (minio/minio 19670)."""
    whole = crc32_of(b"x")
    r = s3.complete_multipart_upload(**one_part(s3, "mpf", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"),
                                     ChecksumCRC32=whole, ChecksumType="FULL_OBJECT", MpuObjectSize=1)
    assert r["ChecksumCRC32"] == whole
    of_parts = crc32_of(zlib.crc32(b"x").to_bytes(4, "big"))
    for said in of_parts, of_parts + "-1":
        r = s3.complete_multipart_upload(**one_part(s3, "mpc", ChecksumAlgorithm="CRC32"), ChecksumCRC32=said, ChecksumType="COMPOSITE")
        assert r["ChecksumCRC32"] == of_parts + "-1" and r["ChecksumType"] == "COMPOSITE"


def test_complete_with_a_wrong_checksum_of_the_whole(s3):
    kw = one_part(s3, "mpw", ChecksumAlgorithm="CRC32")
    of_parts = crc32_of(zlib.crc32(b"x").to_bytes(4, "big"))
    for said in crc32_of(b"y"), of_parts + "-2", of_parts + "-":
        fails(s3.complete_multipart_upload, 400, "BadDigest", ChecksumCRC32=said, **kw)
    fails(s3.complete_multipart_upload, 400, "BadDigest", ChecksumType="FULL_OBJECT", **kw)
    fails(s3.complete_multipart_upload, 400, "InvalidRequest", ChecksumCRC32C=of_parts, **kw)
    fails(s3.complete_multipart_upload, 400, "InvalidRequest", MpuObjectSize=2, **kw)
    s3.complete_multipart_upload(ChecksumCRC32=of_parts, **kw)


# ---- listings of uploads and objects ----


def test_list_uploads_and_parts(s3):
    ids = {}
    for k in ("lu/a", "lu/a", "lu/b/1", "lu/b/2", "lu/c"):
        kw = {"ChecksumAlgorithm": "SHA256"} if k == "lu/c" else {}
        ids.setdefault(k, []).append(s3.create_multipart_upload(Bucket="other", Key=k, **kw)["UploadId"])
    got = s3.list_multipart_uploads(Bucket="other", Prefix="lu/")
    want = [(k, i) for k in sorted(ids) for i in sorted(ids[k])]
    assert [(u["Key"], u["UploadId"]) for u in got["Uploads"]] == want and not got["IsTruncated"]
    assert [(u.get("ChecksumAlgorithm"), u.get("ChecksumType")) for u in got["Uploads"]] == [(None, None)] * 4 + [("SHA256", "COMPOSITE")]
    seen, key, uid = [], "", ""
    while True:
        kw = {"KeyMarker": key, "UploadIdMarker": uid} if key else {}
        p = s3.list_multipart_uploads(Bucket="other", Prefix="lu/", MaxUploads=2, **kw)
        seen += [(u["Key"], u["UploadId"]) for u in p.get("Uploads", [])]
        if not p["IsTruncated"]:
            break
        key, uid = p["NextKeyMarker"], p["NextUploadIdMarker"]
    assert seen == want
    d = s3.list_multipart_uploads(Bucket="other", Prefix="lu/", Delimiter="/")
    assert [u["Key"] for u in d["Uploads"]] == ["lu/a", "lu/a", "lu/c"]
    assert [p["Prefix"] for p in d["CommonPrefixes"]] == ["lu/b/"]
    for n in (1, 2, 5):
        s3.upload_part(Bucket="other", Key="lu/c", UploadId=ids["lu/c"][0], PartNumber=n, Body=b"x" * n)
    p = s3.list_parts(Bucket="other", Key="lu/c", UploadId=ids["lu/c"][0], MaxParts=2)
    assert [(x["PartNumber"], x["Size"]) for x in p["Parts"]] == [(1, 1), (2, 2)] and p["IsTruncated"]
    p = s3.list_parts(Bucket="other", Key="lu/c", UploadId=ids["lu/c"][0], PartNumberMarker=p["NextPartNumberMarker"])
    assert [x["PartNumber"] for x in p["Parts"]] == [5] and not p["IsTruncated"]
    for k, us in ids.items():
        for u in us:
            s3.abort_multipart_upload(Bucket="other", Key=k, UploadId=u)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="other", Prefix="lu/")


def test_list_v1_pages(s3):
    keys = [f"v1/{i:03}" for i in range(25)] + ["v1/d/a", "v1/d/b", "v1/e/x"]
    for k in keys:
        s3.put_object(Bucket="other", Key=k, Body=b"x")
    for page in (1, 2, 7, 1000):
        seen = []
        for p in s3.get_paginator("list_objects").paginate(Bucket="other", Prefix="v1/", PaginationConfig={"PageSize": page}):
            seen += [o["Key"] for o in p.get("Contents", [])]
        assert seen == sorted(keys)
        objects, prefixes = [], []
        for p in s3.get_paginator("list_objects").paginate(Bucket="other", Prefix="v1/", Delimiter="/",
                                                           PaginationConfig={"PageSize": page}):
            objects += [o["Key"] for o in p.get("Contents", [])]
            prefixes += [o["Prefix"] for o in p.get("CommonPrefixes", [])]
        assert objects == sorted(keys)[:25] and prefixes == ["v1/d/", "v1/e/"]


def test_list_with_long_delimiters(raw):
    for k in ("ld/a", "ld/b--1", "ld/b--2", "ld/c--", "ld/d"):
        raw.put("other", k, b"x")
    for page in (1, 2, 3, None):
        keys, prefixes = raw.list("other", "ld/", "--", page)
        assert keys == ["ld/a", "ld/d"] and prefixes == ["ld/b--", "ld/c--"], page


def test_list_versions(s3):
    s3.put_object(Bucket="other", Key="lv/a", Body=b"x")
    s3.put_object(Bucket="other", Key="lv/b", Body=b"x")
    v = s3.list_object_versions(Bucket="other", Prefix="lv/")["Versions"]
    assert [(x["Key"], x["VersionId"], x["IsLatest"]) for x in v] == [("lv/a", "null", True), ("lv/b", "null", True)]
    seen = [x["Key"] for p in s3.get_paginator("list_object_versions").paginate(Bucket="other", Prefix="lv/",
                                                                                PaginationConfig={"PageSize": 1})
            for x in p["Versions"]]
    assert seen == ["lv/a", "lv/b"]
    assert s3.get_object(Bucket="other", Key="lv/a", VersionId="null")["Body"].read() == b"x"
    fails(s3.get_object, 400, "InvalidArgument", Bucket="other", Key="lv/a", VersionId="3sL4")


# ---- buckets ----


def test_create_and_delete_bucket(s3):
    s3.create_bucket(Bucket="made-here")
    fails(s3.create_bucket, 409, Bucket="made-here")
    assert "made-here" in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket="made-here", Key="a/b", Body=b"x")
    fails(s3.delete_bucket, 409, "BucketNotEmpty", Bucket="made-here")
    s3.delete_object(Bucket="made-here", Key="a/b")
    s3.delete_bucket(Bucket="made-here")
    fails(s3.head_bucket, 404, Bucket="made-here")
    assert s3.get_bucket_location(Bucket="demo")["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket="demo")


def test_folder_objects(s3, raw):
    s3.put_object(Bucket="demo", Key="folder/", Body=b"", Metadata={"a": "1"})
    h = s3.head_object(Bucket="demo", Key="folder/")
    assert h["ContentLength"] == 0 and h["Metadata"] == {"a": "1"} and h["ETag"] == '"d41d8cd98f00b204e9800998ecf8427e"'
    fails(s3.head_object, 404, Bucket="demo", Key="folder")
    s3.put_object(Bucket="demo", Key="folder/x", Body=b"x")
    s3.put_object(Bucket="demo", Key="implied/x", Body=b"x")
    fails(s3.head_object, 404, Bucket="demo", Key="implied/")
    fails(s3.head_object, 404, Bucket="demo", Key="implied")
    assert raw.list("demo", "folder") == ["folder/", "folder/x"]
    s3.delete_object(Bucket="demo", Key="folder/")
    assert raw.list("demo", "folder") == ["folder/x"]
    fails(s3.head_object, 404, Bucket="demo", Key="folder/")
    s3.delete_object(Bucket="demo", Key="folder/x")
    assert raw.list("demo", "folder") == []


# ---- who asks ----


def test_presigned(s3):
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "demo", "Key": "pre signed"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT")) as r:
        assert r.status == 200
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "demo", "Key": "pre signed",
                                                          "ResponseContentType": "text/special"}, ExpiresIn=60)
    with urllib.request.urlopen(url) as r:
        assert r.read() == b"by url" and r.headers["Content-Type"] == "text/special"


PRESIGNED = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "u/20261130/us-east-1/s3/aws4_request", "X-Amz-Date": "20261130T000000Z",
             "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host", "X-Amz-Signature": "0" * 64}


def test_headers_in_the_query_of_a_presigned_address(s3, raw):
    """SDKs move x-amz-* there when they presign, and S3 reads metadata and tags in both places; a checksum it does not: the SDK
    for JavaScript puts in that of an empty body."""
    hoisted = {"x-amz-meta-k": "a b", "x-amz-meta-u": "\u00fc", "x-amz-tagging": "t=1&w=%C3%BC", "x-amz-checksum-crc32": "AAAAAA==",
               "x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-acl": "private", "x-id": "PutObject"}
    assert raw.request("PUT", "demo", "hoist", {**PRESIGNED, **hoisted}, {"x-amz-meta-u": "of the header"}, b"body").status == 200
    assert s3.head_object(Bucket="demo", Key="hoist")["Metadata"] == {"k": "a b", "u": "of the header"}
    tags = s3.get_object_tagging(Bucket="demo", Key="hoist")["TagSet"]
    assert tags == [{"Key": "t", "Value": "1"}, {"Key": "w", "Value": "\u00fc"}]
    a = raw.request("POST", "demo", "hoist-mpu", {"uploads": "", **PRESIGNED, **hoisted})
    kw = dict(Bucket="demo", Key="hoist-mpu", UploadId=a.xml().findtext("UploadId"))
    part = s3.upload_part(PartNumber=1, Body=b"x", **kw)
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **kw)
    assert s3.head_object(Bucket="demo", Key="hoist-mpu")["Metadata"] == {"k": "a b", "u": "=?UTF-8?B?w7w=?="}
    for name, value in (("x-amz-acl", "public-read"), ("x-amz-storage-class", "GLACIER"), ("x-amz-server-side-encryption", "AES256")):
        a = raw.request("PUT", "demo", "hoist-no", {**PRESIGNED, name: value}, body=b"body")
        assert (a.status, a.code) == (501, "NotImplemented"), name
    assert raw.request("PUT", "demo", "plain", hoisted, body=b"body").status == 200  # not presigned: only a query
    assert s3.head_object(Bucket="demo", Key="plain")["Metadata"] == {}


def test_malformed_authorization(raw):
    for value, code in (("AWS4-HMAC-SHA256 Credential=x", "AuthorizationHeaderMalformed"), ("AWS nocolon", "AuthorizationHeaderMalformed"),
                        ("Basic eDp5", "InvalidArgument")):
        a = raw.request("GET", None, headers={"Authorization": value})
        assert (a.status, a.code) == (400, code)

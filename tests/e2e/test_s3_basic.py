# SPDX-License-Identifier: Apache-2.0
"""The S3 front by real clients and by hand: PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects, ListObjectsV2,
ListBuckets, HeadBucket; bodies, checksums, framing, errors, odd keys."""
import base64
import hashlib
import http.client
import os
import subprocess
import sys
import threading
import time

import botocore.exceptions
import minio
import pytest

from lib import chunked, proc
from lib.forebay import Forebay
from lib.rawhttp import read_answer
from lib.ufs import DirUfs

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture(scope="module")
def f(module_work):
    ufs = DirUfs(os.path.join(module_work, "ufs"))
    with Forebay(
        module_work, {"/demo": ufs.uri("demo"), "/list": ufs.uri("list")}, {"/demo/**": "WRITE_BACK", "/list/**": "TRANSIENT"}
    ) as f:
        yield f


@pytest.fixture
def s3(f):
    return f.s3


@pytest.fixture
def raw(f):
    return f.raw


# ---- objects ----


@pytest.mark.quick
@pytest.mark.parametrize("size", [0, 1, 100, 4096, 16384, 65536, 65537, 300_000, MIB - 1, MIB, MIB + 1, 5 * MIB + 3])
def test_put_get_head(s3, size):
    body, key = proc.content(f"pgh{size}", size), f"pgh/{size}"
    etag = f'"{proc.md5(body)}"'
    assert s3.put_object(Bucket="demo", Key=key, Body=body)["ETag"] == etag
    g = s3.get_object(Bucket="demo", Key=key)
    assert g["Body"].read() == body and g["ETag"] == etag and g["ContentLength"] == size
    h = s3.head_object(Bucket="demo", Key=key)
    assert h["ETag"] == etag and h["ContentLength"] == size and h["AcceptRanges"] == "bytes"
    assert abs(h["LastModified"].timestamp() - time.time()) < 3600


def test_large_object_streams(f, s3):
    body = proc.content("large", 40 * MIB)
    s3.put_object(Bucket="demo", Key="large", Body=body)
    assert proc.md5(s3.get_object(Bucket="demo", Key="large")["Body"].read()) == proc.md5(body)


def test_overwrite_and_delete(s3):
    for body in (b"one", b"two two", b""):
        s3.put_object(Bucket="demo", Key="od", Body=body)
        assert s3.get_object(Bucket="demo", Key="od")["Body"].read() == body
    s3.delete_object(Bucket="demo", Key="od")
    s3.delete_object(Bucket="demo", Key="od")  # absent is success
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="demo", Key="od")


def test_headers_and_user_metadata_come_back(s3):
    s3.put_object(
        Bucket="demo", Key="meta", Body=b"x", ContentType="text/x-test", CacheControl="max-age=5",
        ContentDisposition='attachment; filename="a b"', ContentLanguage="en", ContentEncoding="gzip",
        Metadata={"colour": "green", "mtime": "1700000000.5"},
    )
    for r in (s3.head_object(Bucket="demo", Key="meta"), s3.get_object(Bucket="demo", Key="meta")):
        assert r["ContentType"] == "text/x-test" and r["CacheControl"] == "max-age=5" and r["ContentLanguage"] == "en"
        assert r["ContentDisposition"] == 'attachment; filename="a b"' and r["ContentEncoding"] == "gzip"
        assert r["Metadata"] == {"colour": "green", "mtime": "1700000000.5"}


RANGES = [
    ("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None),
    ("bytes=0-999999999", 0, None), ("bytes=-999999999", 0, None), ("bytes=1048570-1048590", 1048570, 1048591),
    ("bytes=65530-65545", 65530, 65546), ("bytes=2099999-2099999", 2099999, 2100000),
]


@pytest.mark.parametrize("spec,start,stop", RANGES)
def test_range(s3, raw, spec, start, stop):
    body = proc.content("ranged", 2_100_000)
    if raw.head("demo", "ranged").status == 404:
        s3.put_object(Bucket="demo", Key="ranged", Body=body)
    a = raw.get("demo", "ranged", {"Range": spec})
    want = body[start:stop]
    assert a.status == 206 and a.body == want
    first = start if start >= 0 else len(body) + start
    assert a.headers["content-range"] == f"bytes {first}-{first + len(want) - 1}/{len(body)}"
    h = raw.head("demo", "ranged", {"Range": spec})
    assert h.status == 206 and int(h.headers["content-length"]) == len(want)


@pytest.mark.parametrize("spec", ["bytes=2100000-", "bytes=2100000-2100005", "bytes=-0"])
def test_range_outside(s3, raw, spec):
    if raw.head("demo", "ranged").status == 404:
        s3.put_object(Bucket="demo", Key="ranged", Body=proc.content("ranged", 2_100_000))
    a = raw.get("demo", "ranged", {"Range": spec})
    assert (a.status, a.code) == (416, "InvalidRange")


@pytest.mark.parametrize("spec", ["bytes=9-5", "bytes=0-1,4-5", "lines=1-2", "bytes=x-y"])
def test_ranges_that_are_ignored(s3, raw, spec):
    """S3 answers several ranges, other units and what it cannot parse with the whole object."""
    s3.put_object(Bucket="demo", Key="ranged-small", Body=b"0123456789abcdef")
    a = raw.get("demo", "ranged-small", {"Range": spec})
    assert a.status == 200 and a.body == b"0123456789abcdef"


def test_range_of_an_empty_object(s3, raw):
    s3.put_object(Bucket="demo", Key="ranged-empty", Body=b"")
    assert raw.get("demo", "ranged-empty", {"Range": "bytes=0-5"}).status == 416
    assert raw.get("demo", "ranged-empty").body == b""


# ---- errors ----


def test_errors_are_well_formed(raw):
    cases = [
        ("GET", "demo", "no-such", None, 404, "NoSuchKey"),
        ("GET", "nobucket", "x", None, 404, "NoSuchBucket"),
        ("PUT", "nobucket", "x", None, 404, "NoSuchBucket"),
        ("DELETE", "nobucket", "x", None, 404, "NoSuchBucket"),
        ("GET", "nobucket", None, {"list-type": "2"}, 404, "NoSuchBucket"),
        ("GET", "demo", "x", {"uploadId": "0" * 32}, 404, "NoSuchUpload"),
        ("PUT", "demo", "k" * 1025, None, 400, "KeyTooLongError"),
    ]
    for method, bucket, key, query, status, code in cases:
        a = raw.request(method, bucket, key, query)
        assert (a.status, a.code) == (status, code), (method, bucket, key, a)
        assert a.headers["content-type"].startswith("application/xml")
        x = a.xml()
        assert x.findtext("Message") and x.findtext("RequestId") and x.findtext("Resource") is not None
        assert a.headers["x-amz-request-id"] == x.findtext("RequestId")


def test_head_errors_have_no_body(raw):
    for bucket, key in (("demo", "no-such"), ("nobucket", "x"), ("nobucket", None)):
        a = raw.request("HEAD", bucket, key)
        assert a.status == 404 and a.body == b""


def test_what_is_not_there_says_so(raw):
    """Never a wrong success."""
    raw.put("demo", "ni", b"x")
    for method, key, query in [
        ("GET", "ni", "torrent"), ("GET", "ni", "acl"), ("PUT", "ni", "retention"), ("PUT", "ni", "legal-hold"),
        ("PUT", "ni", "acl"), ("POST", "ni", "select&select-type=2"), ("POST", "ni", "restore"), ("PUT", None, "policy"),
        ("PUT", None, "versioning"), ("PUT", None, "lifecycle"), ("PUT", None, "encryption"), ("GET", None, "policy"),
        ("DELETE", None, "policy"), ("PUT", None, "notification"), ("PUT", None, "object-lock"),
    ]:
        a = raw.request(method, "demo", key, query)
        assert a.status in (400, 404, 405, 501), (method, query, a)
        assert a.code, (method, query, a)
        if method != "GET":
            assert (a.status, a.code) == (501, "NotImplemented"), (method, query, a)
    assert raw.get("demo", "ni").body == b"x"


@pytest.mark.parametrize("key", [b"nul\0in", b"bad-\xff-utf8", b"over-\xc0\xaf-long", b"sur-\xed\xa0\x80-rogate"])
def test_names_that_no_store_holds(raw, key):
    a = raw.request("PUT", "demo", key, body=b"x")
    assert a.status == 400 and a.code


def test_bad_request_line_and_headers(f):
    for text in (b"BLAH\r\n\r\n", b"GET / HTTP/1.1\r\nno-colon\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"PUT /demo/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                 b"PUT /demo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                 b"PUT /demo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"):
        s = f.raw.connect()
        try:
            s.sendall(text)
            a, _ = read_answer(s)
            assert 400 <= a.status < 500, (text[:60], a)
        except (ConnectionResetError, BrokenPipeError):
            pass  # refused while we still wrote
        finally:
            s.close()
    assert f.raw.request("GET", None).status == 200


def test_put_without_length(f):
    s = f.raw.connect()
    s.sendall(b"PUT /demo/nolen HTTP/1.1\r\nHost: x\r\n\r\n")
    a, _ = read_answer(s)
    assert (a.status, a.code) == (411, "MissingContentLength")


# ---- digests and checksums ----


def test_content_md5(raw):
    body = b"md5 me"
    good = base64.b64encode(hashlib.md5(body).digest()).decode()
    bad = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert raw.put("demo", "cm", body, {"Content-MD5": good}).status == 200
    a = raw.put("demo", "cm", b"changed", {"Content-MD5": bad})
    assert (a.status, a.code) == (400, "BadDigest")
    a = raw.put("demo", "cm", b"changed", {"Content-MD5": "xyz"})
    assert (a.status, a.code) == (400, "InvalidDigest")
    assert raw.get("demo", "cm").body == body, "a failed overwrite must keep the old object"


def test_content_sha256(raw):
    body = b"hash me"
    h = {"Authorization": chunked.AUTH, "x-amz-date": "20260101T000000Z"}
    ok = dict(h, **{"x-amz-content-sha256": hashlib.sha256(body).hexdigest()})
    assert raw.put("demo", "cs", body, ok).status == 200
    a = raw.put("demo", "cs", body + b"!", ok)
    assert (a.status, a.code) == (400, "XAmzContentSHA256Mismatch")
    assert raw.put("demo", "cs", body, dict(h, **{"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})).status == 200
    assert raw.get("demo", "cs").body == body


@pytest.mark.parametrize("alg", chunked.ALGORITHMS)
def test_checksum_header(raw, alg):
    body, key = proc.content("chk", 100_000), f"chk/{alg}"
    name = f"x-amz-checksum-{alg}"
    a = raw.put("demo", key, body, {name: chunked.checksum(alg, body)})
    assert a.status == 200 and a.headers.get(name) == chunked.checksum(alg, body)
    a = raw.put("demo", key, b"other", {name: chunked.checksum(alg, body)})
    assert (a.status, a.code) == (400, "BadDigest")
    a = raw.put("demo", key, body, {name: "AAA"})
    assert a.status == 400
    assert raw.get("demo", key).body == body
    a = raw.head("demo", key, {"x-amz-checksum-mode": "ENABLED"})
    assert a.headers.get(name) == chunked.checksum(alg, body)


@pytest.mark.parametrize("alg", chunked.ALGORITHMS)
@pytest.mark.parametrize("size", [0, 5, 200_000])
def test_unsigned_trailer(raw, alg, size):
    body, key, name = proc.content("ut", size), f"ut/{alg}/{size}", f"x-amz-checksum-{alg}"
    t = [(name, chunked.checksum(alg, body))]
    a = raw.put("demo", key, chunked.encode(body, trailers=t), chunked.headers(body, chunked.UNSIGNED_TRAILER, t))
    assert a.status == 200 and a.etag == proc.md5(body), a
    g = raw.get("demo", key, {"x-amz-checksum-mode": "ENABLED"})
    assert g.body == body, "framing or trailers were stored"
    assert g.headers.get(name) == t[0][1]
    assert "aws-chunked" not in g.headers.get("content-encoding", "")
    bad = [(name, chunked.checksum(alg, body + b"x"))]
    a = raw.put("demo", key, chunked.encode(body, trailers=bad), chunked.headers(body, chunked.UNSIGNED_TRAILER, bad))
    assert (a.status, a.code) == (400, "BadDigest")
    assert raw.get("demo", key).body == body


def test_signed_chunks(raw):
    body = proc.content("sc", 150_000)
    a = raw.put("demo", "sc", chunked.encode(body, signed=True), chunked.headers(body, chunked.SIGNED))
    assert a.status == 200 and raw.get("demo", "sc").body == body
    t = [("x-amz-checksum-crc32c", chunked.checksum("crc32c", body))]
    a = raw.put(
        "demo", "sc2", chunked.encode(body, signed=True, trailers=t, trailer_signature=True),
        chunked.headers(body, chunked.SIGNED_TRAILER, t),
    )
    assert a.status == 200 and raw.get("demo", "sc2").body == body


def test_other_content_encodings_stay(raw):
    body = b"z" * 100
    h = dict(chunked.headers(body, chunked.SIGNED), **{"Content-Encoding": "aws-chunked,gzip"})
    assert raw.put("demo", "ce", chunked.encode(body, signed=True), h).status == 200
    assert raw.get("demo", "ce").headers["content-encoding"] == "gzip"


def test_missing_trailer_passes(raw):
    body = b"no trailer here"
    h = chunked.headers(body, chunked.UNSIGNED_TRAILER)
    a = raw.put("demo", "mt", chunked.encode(body), h)
    assert a.status == 200 and raw.get("demo", "mt").body == body


def test_aws_chunked_inside_http_chunked(f):
    """No Content-Length at all."""
    body = proc.content("hc", 90_000)
    t = [("x-amz-checksum-crc32", chunked.checksum("crc32", body))]
    inner = chunked.encode(body, trailers=t, chunk=7000)
    s = f.raw.connect()
    h = dict(chunked.headers(body, chunked.UNSIGNED_TRAILER, t), Host="x")
    h["Transfer-Encoding"] = "chunked"
    s.sendall(b"PUT /demo/hc HTTP/1.1\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in h.items()) + b"\r\n")
    for at in range(0, len(inner), 5000):
        p = inner[at : at + 5000]
        s.sendall(b"%x\r\n" % len(p) + p + b"\r\n")
    s.sendall(b"0\r\n\r\n")
    a, _ = read_answer(s)
    assert a.status == 200, a
    assert f.raw.get("demo", "hc").body == body


def test_http_chunked_plain(f):
    body = proc.content("plain-chunked", 50_000)
    c = http.client.HTTPConnection(f.s3_addr, timeout=30)
    c.request("PUT", "/demo/pc", body=iter([body[:10], body[10:40_000], body[40_000:]]), encode_chunked=True,
              headers={"Transfer-Encoding": "chunked"})
    r = c.getresponse()
    r.read()
    assert r.status == 200 and f.raw.get("demo", "pc").body == body


def test_wrong_decoded_length(raw):
    raw.put("demo", "dl", b"before")
    body = b"0123456789"
    for lie in (5, 20):
        h = dict(chunked.headers(body, chunked.UNSIGNED_TRAILER), **{"x-amz-decoded-content-length": str(lie)})
        a = raw.put("demo", "dl", chunked.encode(body), h)
        assert a.status == 400, (lie, a)
    assert raw.get("demo", "dl").body == b"before"


def test_malformed_chunk_framing(f):
    f.raw.put("demo", "mc", b"before")
    for wire in (b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcX0\r\n\r\n", b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n", b"3\r\nab"):
        h = dict(chunked.headers(b"abc", chunked.UNSIGNED_TRAILER), Host="x")
        h["Content-Length"] = str(len(wire))
        s = f.raw.connect()
        s.sendall(b"PUT /demo/mc HTTP/1.1\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in h.items()) + b"\r\n" + wire)
        a, _ = read_answer(s)
        assert a.status == 400, (wire, a)
        s.close()
    assert f.raw.get("demo", "mc").body == b"before"


def test_streaming_sigv4a_is_not_implemented(raw):
    body = b"abc"
    h = chunked.headers(body, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
    a = raw.put("demo", "v4a", chunked.encode(body, signed=True), h)
    assert (a.status, a.code) == (501, "NotImplemented")


# ---- connections ----


@pytest.mark.parametrize("body", [b"", b"x", proc.content("expect", 300_000)], ids=["empty", "one", "large"])
def test_expect_100_continue(f, body):
    s = f.raw.connect()
    s.sendall(f"PUT /demo/ex HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    line = b""
    while not line.endswith(b"\r\n\r\n"):
        b = s.recv(1)
        assert b, "closed instead of 100 Continue"
        line += b
    assert line.startswith(b"HTTP/1.1 100 Continue\r\n")
    s.sendall(body)
    a, _ = read_answer(s)
    assert a.status == 200 and f.raw.get("demo", "ex").body == body


def test_early_refusal_closes(f):
    """An answer before the body leaves the connection unusable: it says so."""
    s = f.raw.connect()
    s.sendall(b"PUT /nobucket/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
    a, interim = read_answer(s)
    assert a.status == 404 and not interim and a.headers.get("connection", "").lower() == "close"


def test_early_refusal_is_readable_by_clients_that_send_on(f):
    body = proc.content("refuse", 3 * MIB)
    a = f.raw.put("nobucket", "x", body)
    assert (a.status, a.code) == (404, "NoSuchBucket")


def test_keep_alive_and_pipelining(f):
    f.raw.put("demo", "ka", b"keep")
    s = f.raw.connect()
    s.sendall(b"GET /demo/ka HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    got = b""
    while got.count(b"keep") < 3 or got.count(b"HTTP/1.1 200") < 3:
        b = s.recv(65536)
        assert b, got
        got += b
    s.sendall(b"GET /demo/ka HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    a, _ = read_answer(s)
    assert a.body == b"keep" and s.recv(1) == b""


def test_body_that_ends_early_leaves_nothing(f):
    f.raw.put("demo", "cut", b"before")
    for key, want in (("cut", b"before"), ("cut-new", None)):
        s = f.raw.connect()
        s.sendall(f"PUT /demo/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n".encode() + b"z" * 100_000)
        s.close()
    # Both requests were ended by the server before a later one on the same keys is answered.
    time.sleep(0.3)
    assert f.raw.get("demo", "cut").body == b"before"
    assert f.raw.get("demo", "cut-new").status == 404


def test_concurrent_writers_of_one_key(f):
    bodies = [proc.content(f"race{i}", 150_000 + i) for i in range(16)]
    errors = []

    def put(b):
        for _ in range(4):
            if f.raw.put("demo", "race", b).status != 200:
                errors.append(b[:4])

    ts = [threading.Thread(target=put, args=(b,)) for b in bodies]
    stop = threading.Event()

    def read():
        while not stop.is_set():
            a = f.raw.get("demo", "race")
            if a.status == 200 and a.body not in bodies:
                errors.append("a reader saw a mix")

    r = threading.Thread(target=read)
    for t in ts + [r]:
        t.start()
    for t in ts:
        t.join()
    stop.set()
    r.join()
    assert not errors
    assert f.raw.get("demo", "race").body in bodies


# ---- DeleteObjects ----


def delete_xml(keys, quiet=False):
    from xml.sax.saxutils import escape

    q = "<Quiet>true</Quiet>" if quiet else ""
    return ("<Delete>" + q + "".join(f"<Object><Key>{escape(k)}</Key></Object>" for k in keys) + "</Delete>").encode()


def test_delete_objects(s3, raw):
    keys = [f"do/{i:04}" for i in range(300)] + ["do/a&b<c>", "do/ü ☃"]
    for k in keys:
        raw.put("demo", k, b"x")
    r = s3.delete_objects(Bucket="demo", Delete={"Objects": [{"Key": k} for k in keys + ["do/absent"]]})
    assert sorted(d["Key"] for d in r["Deleted"]) == sorted(keys + ["do/absent"]) and "Errors" not in r
    assert raw.list("demo", "do/") == []


def test_delete_objects_digest(raw):
    raw.put("demo", "dd", b"x")
    x = delete_xml(["dd"], quiet=True)
    post = lambda h, b=x: raw.request("POST", "demo", None, "delete", h, b)
    assert post({}).status == 400, "a digest is demanded"
    assert post({"Content-MD5": base64.b64encode(hashlib.md5(b"no").digest()).decode()}).code == "BadDigest"
    assert raw.get("demo", "dd").status == 200
    a = post({"x-amz-checksum-crc32": chunked.checksum("crc32", x)})
    assert a.status == 200 and not a.xml().findall("Deleted"), "quiet"
    assert raw.get("demo", "dd").status == 404
    a = post({"Content-MD5": base64.b64encode(hashlib.md5(x).digest()).decode()})
    assert a.status == 200


def test_delete_objects_malformed(raw):
    for x in (b"", b"<Delete>", b"<Other/>", b"not xml", delete_xml([f"k{i}" for i in range(1001)])):
        a = raw.request("POST", "demo", None, "delete", {"Content-MD5": base64.b64encode(hashlib.md5(x).digest()).decode()}, x)
        assert (a.status, a.code) == (400, "MalformedXML"), (x[:40], a)


# ---- buckets and listing ----


@pytest.mark.quick
def test_buckets(s3):
    assert {b["Name"] for b in s3.list_buckets()["Buckets"]} >= {"demo", "list"}
    s3.head_bucket(Bucket="demo")
    with pytest.raises(botocore.exceptions.ClientError) as e:
        s3.head_bucket(Bucket="none")
    assert e.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


LISTED = sorted(
    ["a", "a/b", "a/b/c", "a!", "a0", "dir/", "dir/x", "e/f/g/h", "zz", "ü", "☃/snow", "😀", "\uffff", "x y", "x+y", "x%20y",
     "q/1", "q/2", "q/3", "q-after", "\x01ctl", "tab\tkey", "<xml>&\"'"],
    key=lambda s: s.encode(),
)


@pytest.fixture(scope="module")
def listed(f):
    """What the UFS cannot hold is refused; the listing then goes without."""
    for k in LISTED:
        f.raw.put("list", k, k.encode())
    return [k for k in LISTED if f.raw.head("list", k).status == 200]


def model_list(keys, prefix="", delimiter=None, after=""):
    ks, ps = [], []
    for k in keys:
        if not k.startswith(prefix) or k.encode() <= after.encode():
            continue
        if delimiter and delimiter in k[len(prefix):]:
            p = prefix + k[len(prefix):].split(delimiter)[0] + delimiter
            if p not in ps:
                ps.append(p)
        else:
            ks.append(k)
    return ks, ps


@pytest.mark.parametrize("page", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize("prefix,delimiter", [
    ("", None), ("", "/"), ("a", None), ("a", "/"), ("a/", "/"), ("dir/", "/"), ("dir", "/"), ("e/", "/"), ("q", "/"),
    ("nothing", None), ("q/", "-"), ("", "2"), ("☃", "/"),
])
def test_listing_is_exact_at_every_page(f, listed, prefix, delimiter, page):
    want = model_list(listed, prefix, delimiter)
    got = f.raw.list("list", prefix, delimiter, page)
    assert (got if delimiter else (got, [])) == want


def test_listing_start_after(f, listed):
    for after in listed + ["", "a/a", "q/25", "zzz"]:
        ks, _ = model_list(listed, after=after)
        assert f.raw.list("list", start_after=after or None) == ks


def test_listing_edges(f, raw, s3, listed):
    q = {"list-type": "2", "max-keys": "0"}
    x = raw.request("GET", "list", None, q).xml()
    assert x.findtext("IsTruncated") == "false" and x.findtext("KeyCount") == "0" and not x.findall("Contents")
    for bad in ("-1", "x", "99999999999999999999"):
        a = raw.request("GET", "list", None, dict(q, **{"max-keys": bad}))
        assert (a.status, a.code) == (400, "InvalidArgument"), bad
    x = raw.request("GET", "list", None, {"list-type": "2", "max-keys": "5000", "fetch-owner": "true", "encoding-type": "url"}).xml()
    assert x.findtext("MaxKeys") in ("1000", "5000") and x.find("Contents/Owner/ID") is not None
    a = raw.request("GET", "list", None, {"list-type": "2", "continuation-token": "rubbish!"})
    assert (a.status, a.code) == (400, "InvalidArgument")
    e = {c["Key"]: c for c in s3.list_objects_v2(Bucket="list", EncodingType="url")["Contents"]}
    assert len(e) == len(listed)
    for c in e.values():
        assert c["StorageClass"] == "STANDARD"
    one = s3.list_objects_v2(Bucket="list", Prefix="zz")["Contents"][0]
    assert one["ETag"] == f'"{proc.md5(b"zz")}"' and one["Size"] == 2


def test_list_sees_each_change_at_once(f, s3):
    for i in range(30):
        s3.put_object(Bucket="demo", Key=f"now/{i:02}", Body=b"x")
        assert len(f.raw.list("demo", "now/")) == i + 1
    for i in range(30):
        s3.delete_object(Bucket="demo", Key=f"now/{i:02}")
        assert len(f.raw.list("demo", "now/")) == 29 - i
    assert f.raw.list("demo", "now", "/") == ([], []), "an emptied directory shows nothing"


# ---- odd keys ----

ODD = ["a", "a/b", "//", "x//y", "/lead", "dot/./x", "dot/../x", "..", ".", "../../escape", "trail/", "t/r/", "q?x=1&y", "back\\slash",
       "per%cent", "%2e%2e/enc", "plus+space me", "ü/ñ", "😀", "[b]", "{c}", "~`!@#$^&*()_=|;:',<>", "ctl\x01\x1f", "new\nline", "cr\rx",
       " lead-space", "trail-space ", "x" * 255, "y" * 300, ("d" * 100 + "/") * 10 + "z", "k" * 1024, "-dash", ".hidden", "aux", "con:"]


def odd_body(key):
    """A key that ends in '/' is a directory: an empty object."""
    return b"" if key.endswith("/") else key.encode()


def test_odd_keys_on_a_verbatim_store(make, moto):
    f = make({"/odd": moto.uri()}, {"/odd/**": "WRITE_BACK"}, moto.properties())
    keys = [k for k in ODD if "\n" not in k]  # moto's HTTP server has no route for those
    for k in keys:
        a = f.raw.put("odd", k, odd_body(k))
        assert a.status == 200, (k, a.body)
    for k in keys:
        assert f.raw.get("odd", k).body == odd_body(k), k
    want = sorted(keys, key=lambda s: s.encode())
    for page in (None, 1, 4):
        assert f.raw.list("odd", page=page) == want
    f.wait_ufs(moto, {k: odd_body(k) for k in keys})
    f.restart()
    for k in keys:
        assert f.raw.get("odd", k).body == odd_body(k), k
        assert f.raw.delete("odd", k).status == 204
    assert f.raw.list("odd") == []
    f.wait_ufs(moto, {})


def refused_or_whole(f, bucket, ufs):
    """Each odd key is either refused at write time with a 400 that says why, or stored and persisted as it is."""
    stored = {}
    for k in ODD:
        a = f.raw.put(bucket, k, odd_body(k))
        if a.status == 200:
            stored[k] = odd_body(k)
        else:
            assert a.status == 400 and a.code and a.xml().findtext("Message"), (k, a)
    assert f.raw.list(bucket) == sorted(stored, key=lambda s: s.encode())
    for k, v in stored.items():
        assert f.raw.get(bucket, k).body == v
    f.wait_ufs(ufs, {k: v for k, v in stored.items() if not k.endswith("/")})
    return stored


def test_odd_keys_on_a_directory(make, work):
    outer = os.path.join(work, "outer")
    ufs = DirUfs(os.path.join(outer, "u", "fs"))
    f = make({"/odd": ufs.uri()}, {"/odd/**": "WRITE_BACK"})
    stored = refused_or_whole(f, "odd", ufs)
    for k in ("//", "x//y", "dot/../x", "..", "../../escape", "y" * 300):
        assert k not in stored, f"{k!r} cannot be held by a directory"
    for k in ("q?x=1&y", "back\\slash", "per%cent", "ü/ñ", "😀", "ctl\x01\x1f", "new\nline", "x" * 255, ".hidden", "-dash"):
        assert k in stored, f"{k!r} is an ordinary file name"
    assert sorted(os.listdir(outer)) == ["u"] and sorted(os.listdir(os.path.join(outer, "u"))) == ["fs"], "something escaped"


def test_odd_keys_on_versitygw(make, versity):
    f = make({"/odd": versity.uri("sub")}, {"/odd/**": "WRITE_BACK"}, versity.properties())
    stored = {}
    for k in ODD:
        a = f.raw.put("odd", k, odd_body(k))
        if a.status == 200:
            stored[k] = odd_body(k)
        else:
            assert a.status == 400 and a.code, (k, a)
    assert f.raw.list("odd") == sorted(stored, key=lambda s: s.encode())
    assert "😀" in stored and "ü/ñ" in stored


def test_a_beside_a_slash_on_a_directory(make, ufs):
    """A directory tree cannot hold "a" beside "a/b": the second is refused, whichever comes first; the first stays."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    assert f.raw.put("demo", "a", b"file").status == 200
    a = f.raw.put("demo", "a/b", b"below")
    assert a.status == 400 and a.code
    assert f.raw.put("demo", "d/b", b"below").status == 200
    a = f.raw.put("demo", "d", b"file")
    assert a.status == 400 and a.code
    f.wait_ufs(ufs, {"a": b"file", "d/b": b"below"})
    assert f.raw.delete("demo", "a").status == 204
    assert f.raw.put("demo", "a/b", b"below now").status == 200
    f.wait_ufs(ufs, {"a/b": b"below now", "d/b": b"below"})


# ---- other clients ----


def aws(f, *args, check=True):
    env = dict(os.environ, AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_DEFAULT_REGION="us-east-1",
               AWS_EC2_METADATA_DISABLED="true")
    p = subprocess.run(
        [sys.executable, os.path.join(os.path.dirname(sys.executable), "aws"), *args, "--endpoint-url", f.endpoint,
         "--no-sign-request"],
        capture_output=True, text=True, env=env, timeout=120 * proc.SLOW,
    )
    assert not check or p.returncode == 0, p.stderr + p.stdout
    return p


@pytest.mark.quick
def test_aws_cli(f, work):
    one, many = os.path.join(work, "one"), os.path.join(work, "many")
    with open(one, "wb") as o:
        o.write(proc.content("aws", 20 * MIB + 5))  # multipart: 8 MiB parts
    os.makedirs(os.path.join(many, "sub"))
    for i in range(5):
        with open(os.path.join(many, "sub", f"f{i}"), "wb") as o:
            o.write(proc.content(i, 1000 * i))
    assert "upload:" in aws(f, "s3", "cp", one, "s3://demo/aws/one").stdout
    aws(f, "s3", "cp", "s3://demo/aws/one", one + ".back")
    assert open(one, "rb").read() == open(one + ".back", "rb").read()
    aws(f, "s3", "sync", many, "s3://demo/aws/many")
    aws(f, "s3", "sync", "s3://demo/aws/many", many + ".back")
    subprocess.run(["diff", "-r", many, many + ".back"], check=True)
    assert aws(f, "s3", "sync", many, "s3://demo/aws/many").stdout == ""
    ls = aws(f, "s3", "ls", "s3://demo/aws/").stdout
    assert "PRE many/" in ls and "one" in ls
    aws(f, "s3", "mv", "s3://demo/aws/many/sub/f4", "s3://demo/aws/moved")
    aws(f, "s3", "rm", "--recursive", "s3://demo/aws/")
    assert f.raw.list("demo", "aws/") == []
    assert aws(f, "s3", "cp", "s3://demo/aws/none", one + ".none", check=False).returncode != 0


def test_minio_client(f):
    import io

    host = f.s3_addr
    m = minio.Minio(host, access_key="minio", secret_key="minio123", secure=False, region="us-east-1")
    assert m.bucket_exists("demo") and not m.bucket_exists("nonesuch")
    body = proc.content("minio", 12 * MIB)
    m.put_object("demo", "minio/big", io.BytesIO(body), len(body), part_size=5 * MIB)
    m.put_object("demo", "minio/small", io.BytesIO(b"hello"), 5)
    m.put_object("demo", "minio/unknown", io.BytesIO(b"length"), -1, part_size=5 * MIB)
    assert m.get_object("demo", "minio/big").read() == body
    assert m.get_object("demo", "minio/big", offset=1000, length=77).read() == body[1000:1077]
    assert [o.object_name for o in m.list_objects("demo", "minio/", recursive=True)] == ["minio/big", "minio/small", "minio/unknown"]
    assert m.stat_object("demo", "minio/small").size == 5
    assert list(m.remove_objects("demo", [minio.deleteobjects.DeleteObject(o) for o in ("minio/big", "minio/small", "minio/unknown")])) == []
    assert f.raw.list("demo", "minio/") == []


def test_a_directory_object_with_bytes_is_refused(raw):
    """An object whose key ends in '/' is a directory. Bytes in it could not be shown by a mount: refused, not dropped."""
    a = raw.put("demo", "dir-with-bytes/", b"x")
    assert a.status == 400 and "directory" in a.xml().findtext("Message")
    assert raw.put("demo", "dir-empty/", b"").status == 200
    assert "dir-empty/" in raw.list("demo") and "dir-with-bytes/" not in raw.list("demo")

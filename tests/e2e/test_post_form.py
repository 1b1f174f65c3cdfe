# SPDX-License-Identifier: Apache-2.0
"""Uploads out of browser forms (PostObject), byte by byte."""
import base64
import json
import time

import pytest

from lib import chunked, proc
from lib.forebay import Forebay
from lib.ufs import DirUfs

B = "----WebKitFormBoundaryx9"
MIB = 1 << 20


@pytest.fixture(scope="module")
def f(module_work):
    u = DirUfs(module_work + "/ufs")
    s = Forebay(module_work, {"/demo": u.uri()}, {"/demo/**": "WRITE_BACK", "/demo/ro/**": "READ_ONLY"})
    yield s
    s.close()


def form(fields, file=b"hello", filename="f.txt", after=(), boundary=B):
    out = b""
    for k, v in fields:
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n'.encode() + (v if isinstance(v, bytes) else v.encode()) + b"\r\n"
    if file is not None:
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'.encode()
        out += file + b"\r\n"
    for k, v in after:
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
    return out + f"--{boundary}--\r\n".encode()


def post(f, body, boundary=B, headers=None, bucket="demo"):
    h = {"Content-Type": f"multipart/form-data; boundary={boundary}", **(headers or {})}
    return f.raw.request("POST", bucket, None, None, h, body)


def signed(conditions, expires=3600, **extra):
    """Fields of a form with a policy; under SIMPLE the signature may be anything."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + expires))
    auth = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": "form-user/20261128/us-east-1/s3/aws4_request",
            "x-amz-date": "20261128T000000Z"}
    doc = {"expiration": when, "conditions": [{k: v} for k, v in auth.items()] + list(conditions)}
    return [*auth.items(), ("policy", base64.b64encode(json.dumps(doc).encode()).decode()), ("x-amz-signature", "0" * 64), *extra.items()]


@pytest.mark.quick
def test_plain_form(f):
    a = post(f, form([("key", "a/${filename}"), ("Content-Type", "image/x"), ("x-amz-meta-K", "v ${filename}"), ("Cache-Control", "no-store"),
                      ("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>")],
                     filename="C:\\\\dir\\\\b c.txt", after=[("submit", "Upload")]))
    assert a.status == 204 and a.body == b"" and a.etag == proc.md5(b"hello"), a
    assert a.headers["location"].endswith("/demo/a/b%20c.txt")
    g = f.s3.get_object(Bucket="demo", Key="a/b c.txt", ChecksumMode="ENABLED")
    assert g["Body"].read() == b"hello" and g["ContentType"] == "image/x" and g["Metadata"] == {"k": "v b c.txt"}
    assert g["CacheControl"] == "no-store" and g["TagCount"] == 1 and g["ChecksumCRC64NVME"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3 * MIB + 1])
def test_any_size_and_any_bytes(f, size):
    body = proc.content(f"form{size}", size)
    trap = b"\r\n--" + B[:-1].encode() + b"\r\n-\r\n" + b"\r\n" * 3
    for b in (body, trap + body + trap):
        assert post(f, form([("key", "bytes")], b)).status == 204
        assert f.raw.get("demo", "bytes").body == b


def test_slow_and_in_pieces(f):
    body = form([("key", "pieces")], b"x\r\n--y")
    s = f.raw.connect()
    s.sendall(f"POST /demo HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=\"{B}\"\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    for i in range(len(body)):
        s.sendall(body[i : i + 1])
    assert s.recv(100).startswith(b"HTTP/1.1 204")
    assert f.raw.get("demo", "pieces").body == b"x\r\n--y"


def test_answers(f):
    for status, want in (("200", 200), ("201", 201), ("204", 204), ("418", 204), ("", 204)):
        a = post(f, form([("key", "ans/ü"), ("success_action_status", status)]))
        assert a.status == want
        if want == 201:
            x = a.xml()
            assert x.tag == "PostResponse" and x.findtext("Bucket") == "demo" and x.findtext("Key") == "ans/ü"
            assert x.findtext("ETag") == f'"{proc.md5(b"hello")}"' and x.findtext("Location").endswith("/demo/ans/%C3%BC")
    a = post(f, form([("key", "ans/r"), ("success_action_redirect", "http://example.com/done?x=1")]))
    assert a.status == 303
    assert a.headers["location"] == f'http://example.com/done?x=1&bucket=demo&key=ans%2Fr&etag=%22{proc.md5(b"hello")}%22'
    for url in ("javascript:alert(1)", "/relative", "http://x/\r\nSet-Cookie: a=b"):
        assert post(f, form([("key", "ans/r"), ("success_action_redirect", url)])).status == 204


def test_policy_holds(f):
    ok = [{"bucket": "demo"}, ["starts-with", "$key", "user/"], {"acl": "private"}, ["eq", "$Content-Type", "text/x"],
          ["starts-with", "$x-amz-meta-any", ""], ["content-length-range", 2, 10]]
    base = {"key": "user/1", "acl": "private", "Content-Type": "text/x", "x-amz-meta-any": "thing"}

    def go(conditions=ok, file=b"12345", expires=3600, **change):
        fields = {**base, **{k.replace("_", "-"): v for k, v in change.items()}}
        return post(f, form(signed(conditions, expires, **{k: v for k, v in fields.items() if v is not None}), file))

    assert go().status == 204
    assert f.raw.get("demo", "user/1").body == b"12345"
    for what, a in {
        "another key": go(key="other/1"), "another type": go(Content_Type="text/y"), "a field without condition": go(x_amz_meta_more="1"),
        "a missing field": go(acl=None), "another bucket": go([{"bucket": "other"}, *ok[1:]]), "expired": go(expires=-10),
        "expired before 1970": go(expires=-time.time() - 86400),
    }.items():
        assert (a.status, a.code) == (403, "AccessDenied") and "Policy" in a.xml().findtext("Message"), (what, a)
    assert go(x_ignore_this="1").status == 204
    assert go(file=b"1").code == "EntityTooSmall" and go(file=b"x" * 11).code == "EntityTooLarge"
    assert f.raw.get("demo", "user/1").body == b"12345" and f.raw.list("demo", "other/") == []


def test_policy_documents(f):
    def go(policy, **drop):
        fields = [(k, policy if k == "policy" else v) for k, v in signed([["starts-with", "$key", ""]], key="p") if k not in drop.get("without", ())]
        return post(f, form(fields))

    when = '"expiration": "2999-01-01T00:00:00Z"'
    for text in ("", "[]", "{}", "{", f"{{{when}}}", f'{{{when}, "conditions": {{}}}}', f'{{{when}, "conditions": [1]}}',
                 f'{{{when}, "conditions": [["eq", "key", "p"]]}}', f'{{{when}, "conditions": [["like", "$key", "p"]]}}',
                 f'{{{when}, "conditions": [["content-length-range", "a", 5]]}}', f'{{{when}, "conditions": [{{"key": 1}}]}}',
                 '{"expiration": "tomorrow", "conditions": []}', '{"conditions": []}'):
        a = go(base64.b64encode(text.encode()).decode())
        assert a.status == 400 and a.code in ("InvalidPolicyDocument", "InvalidArgument"), (text, a)
    assert go("!!!!").code == "InvalidPolicyDocument"
    for name in ("x-amz-credential", "x-amz-signature", "x-amz-date", "x-amz-algorithm"):
        a = go("e30=", without=(name,))
        assert (a.status, a.code) == (400, "InvalidArgument") and name in a.xml().findtext("Message")


def test_malformed_forms(f):
    good = form([("key", "bad")])
    cases = {
        "no key": (form([]), 400, "InvalidArgument"),
        "empty key": (form([("key", "")]), 400, "InvalidArgument"),
        "no file": (form([("key", "bad")], None), 400, "InvalidArgument"),
        "cut": (good[: good.index(b"hello") + 2], 400, "MalformedPOSTRequest"),
        "no final boundary": (good[:-6], 400, "MalformedPOSTRequest"),
        "empty": (b"", 400, "MalformedPOSTRequest"),
        "no form": (b"x" * 100_000, 400, "MalformedPOSTRequest"),
        "a field twice": (form([("key", "bad"), ("key", "worse")]), 400, "MalformedPOSTRequest"),
        "no name": (good.replace(b'name="key"', b"x"), 400, "MalformedPOSTRequest"),
        "no colon": (good.replace(b"Content-Disposition:", b"Content-Disposition", 1), 400, "MalformedPOSTRequest"),
        "fields too large": (form([("key", "bad"), ("x-ignore-a", "x" * 21000)]), 400, "MaxPostPreDataLengthExceeded"),
        "long head": (good.replace(b'name="key"', b'name="key"; x="' + b"y" * 9000 + b'"'), 400, "MalformedPOSTRequest"),
        "reserved": (form([("key", ".forebay/x")]), 400, "InvalidURI"),
        "long key": (form([("key", "k" * 1025)]), 400, "KeyTooLongError"),
        "nul": (form([("key", "a\0b")]), 400, "InvalidURI"),
        "encryption": (form([("key", "bad"), ("x-amz-server-side-encryption", "AES256")]), 501, "NotImplemented"),
        "acl": (form([("key", "bad"), ("acl", "public-read")]), 501, "NotImplemented"),
        "checksum": (form([("key", "bad"), ("x-amz-checksum-crc32", "AAAAAA==")]), 400, "BadDigest"),
        "meta": (form([("key", "bad"), ("x-amz-meta-a", "x" * 2050)]), 400, "MetadataTooLarge"),
        "read-only": (form([("key", "ro/x")]), 403, "AccessDenied"),
    }
    for what, (body, status, code) in cases.items():
        a = post(f, body)
        assert (a.status, a.code) == (status, code), (what, a)
    assert post(f, good, headers={"Content-Type": "multipart/form-data"}).code == "MalformedPOSTRequest"
    assert post(f, good, headers={"Content-Type": "multipart/form-data; boundary=" + "b" * 71}).code == "MalformedPOSTRequest"
    a = post(f, good, headers={"Content-Type": "text/plain"})
    assert (a.status, a.code) == (412, "PreconditionFailed")
    assert post(f, good, bucket="nonesuch").code == "NoSuchBucket"
    assert f.raw.list("demo", "bad") == []
    a = post(f, form([("key", "sum"), ("x-amz-checksum-crc32", chunked.checksum("crc32", b"hello"))]))
    assert a.status == 204


def test_other_posts_are_refused(f):
    for q in ("restore", "select", "x"):
        a = f.raw.request("POST", "demo", None, {q: None}, {"Content-Type": f"multipart/form-data; boundary={B}"}, form([("key", "k")]))
        assert (a.status, a.code) == (501, "NotImplemented")


def test_an_answer_that_cannot_be_given_is_refused_before_anything_is_stored(f):
    """Each ${filename} stands for up to 4 KB: a redirect of them is longer than the head of an answer."""
    many = "http://example.com/?" + "${filename}" * 100
    a = post(f, form([("key", "unsaid/1"), ("success_action_redirect", many)], filename="n" * 3000))
    assert (a.status, a.code) == (400, "MaxPostPreDataLengthExceeded")
    a = post(f, form([("key", "unsaid/2")]), headers={"Host": "h" * 40_000})
    assert a.status == 400
    assert f.raw.list("demo", "unsaid/") == []
    long = "http://example.com/?" + "x" * 19_000
    a = post(f, form([("key", "said"), ("success_action_redirect", long)]))
    assert a.status == 303 and a.headers["location"].startswith(long) and f.raw.get("demo", "said").body == b"hello"


def test_names_of_files_are_filled_in_up_to_the_limits(f):
    a = post(f, form([("key", "${filename}" * 500)], filename="n" * 3000))
    assert (a.status, a.code) == (400, "KeyTooLongError")
    a = post(f, form([("key", "fill"), ("x-amz-meta-a", "${filename}" * 500)], filename="n" * 3000))
    assert (a.status, a.code) == (400, "MaxPostPreDataLengthExceeded")
    a = post(f, form([("key", "fill"), ("x-ignore-a", "${filename}" * 700), ("x-ignore-b", "${filename}" * 700)], filename="n" * 20))
    assert (a.status, a.code) == (400, "MaxPostPreDataLengthExceeded"), "all fields together"
    assert post(f, form([("key", "/".join(["${filename}"] * 41))], filename="n" * 24)).status == 204
    assert f.raw.list("demo", "nnn") == ["/".join(["n" * 24] * 41)] and f.raw.list("demo", "fill") == []

# SPDX-License-Identifier: Apache-2.0
"""Corners of the protocol that clients run into."""
import base64
import re
import threading
import urllib.parse

import pytest

from lib import proc
from lib.forebay import Forebay
from lib.ufs import DirUfs

OLD, NEW = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(scope="module")
def f(module_work):
    u = DirUfs(module_work + "/ufs")
    s = Forebay(module_work, {"/demo": u.uri()}, {"/demo/**": "WRITE_BACK"}, {"forebay.s3.virtual.host.domains": "s3.test, other.test"})
    yield s
    s.close()


@pytest.fixture(scope="module")
def raw(f):
    return f.raw


# ---- conditions, ranges ----


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_precedence_of_conditions(raw, method):
    """RFC 9110, 13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since."""
    raw.put("demo", "cond", b"body")
    e, other = f'"{proc.md5(b"body")}"', '"00000000000000000000000000000000"'
    for headers, status in [
        ({"If-Match": e, "If-Unmodified-Since": OLD}, 200),
        ({"If-Match": other, "If-Unmodified-Since": NEW}, 412),
        ({"If-Unmodified-Since": OLD}, 412),
        ({"If-Unmodified-Since": NEW}, 200),
        ({"If-None-Match": other, "If-Modified-Since": NEW}, 200),
        ({"If-None-Match": e, "If-Modified-Since": OLD}, 304),
        ({"If-Modified-Since": OLD}, 200),
        ({"If-Match": other, "If-None-Match": e}, 412),
        ({"If-Match": e, "If-None-Match": e}, 304),
        ({"If-Match": "*"}, 200), ({"If-None-Match": "*"}, 304),
        ({"If-Match": f"{other}, {e}"}, 200), ({"If-None-Match": f"{other}, {e}"}, 304),
        ({"If-Match": e.strip('"')}, 200),  # as SDKs send it
        ({"If-Modified-Since": "yesterday"}, 200), ({"If-Unmodified-Since": "yesterday"}, 200),
        ({"If-Match": other, "Range": "bytes=99-"}, 412), ({"If-None-Match": e, "Range": "bytes=0-0"}, 304),
    ]:
        a = raw.request(method, "demo", "cond", None, headers)
        assert a.status == status, (headers, a.status)
        assert status != 304 or (a.body == b"" and a.headers["etag"] == e)


@pytest.mark.parametrize("method, headers, named", [
    ("PUT", {"If-None-Match": "*"}, "If-None-Match"),
    ("PUT", {"If-Match": '"0"'}, "If-Match"),
    ("DELETE", {"If-Match": '"0"'}, "If-Match"),
    ("GET", {"If-Match": '"0"', "If-None-Match": '"0"', "If-Unmodified-Since": NEW}, "If-Match"),
    ("GET", {"If-Unmodified-Since": OLD}, "If-Unmodified-Since"),
    ("PUT", {"x-amz-copy-source": "demo/named", "x-amz-copy-source-if-match": '"0"'}, "x-amz-copy-source-If-Match"),
    ("PUT", {"x-amz-copy-source": "demo/named", "x-amz-copy-source-if-none-match": "*"}, "x-amz-copy-source-If-None-Match"),
    ("PUT", {"If-Match": '"0"', "If-None-Match": '"0"'}, None),  # one of them: which, the answer does not say
])
def test_the_condition_that_failed_is_named(raw, method, headers, named):
    """s3fs tells "exists already" from other failures by it."""
    raw.put("demo", "named", b"x")
    a = raw.request(method, "demo", "named", headers=headers, body=b"y" if method == "PUT" and "x-amz-copy-source" not in headers else b"")
    assert (a.status, a.code, a.xml().findtext("Condition")) == (412, "PreconditionFailed", named)


@pytest.mark.parametrize("header", ["x-amz-checksum-sha512", "x-amz-checksum-md5", "x-amz-checksum-xxhash3", "x-amz-checksum-xxhash64"])
def test_a_checksum_that_cannot_be_verified_is_refused(raw, header):
    """S3's newer algorithms: what a client wants checked is never let pass unchecked."""
    a = raw.put("demo", "newer", b"x", {header: "AAAAAAAAAAA="})
    assert (a.status, a.code) == (501, "NotImplemented")
    assert raw.head("demo", "newer").status == 404


def test_a_range_beyond_the_end_says_how_long_the_object_is(raw):
    raw.put("demo", "r", b"0123456789")
    a = raw.get("demo", "r", {"Range": "bytes=10-"})
    assert (a.status, a.code, a.headers.get("content-range")) == (416, "InvalidRange", "bytes */10")
    assert b"<ActualObjectSize>10</ActualObjectSize>" in a.body
    assert raw.get("demo", "r", {"Range": "bytes=0-1,3-4"}).body == b"0123456789"


def test_response_headers_of_the_askers_choice(raw):
    raw.put("demo", "resp", b"x", {"Content-Type": "text/a", "Cache-Control": "max-age=1"})
    q = {"response-content-type": "text/b; charset=utf-8", "response-cache-control": "no-store", "response-expires": NEW,
         "response-content-disposition": 'attachment; filename="ü.txt"'.encode().decode("latin1"), "response-content-language": "de", "response-content-encoding": "identity"}
    for method in ("GET", "HEAD"):
        h = raw.request(method, "demo", "resp", q).headers
        assert h["content-type"] == "text/b; charset=utf-8" and h["cache-control"] == "no-store" and h["expires"] == NEW
        assert h["content-language"] == "de" and h["content-encoding"] == "identity" and h["content-disposition"].startswith("attachment")
    a = raw.send("GET", "/demo/resp?response-content-type=a%0d%0aSet-Cookie:%20x", {})
    assert a.status == 400 and "set-cookie" not in a.headers


# ---- metadata, tags ----


def test_metadata_that_is_not_ascii_comes_back_encoded(f, ufs, make):
    """As S3 does it (RFC 2047), from the first answer on, so that it is the same after a reload from the store."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    s = f.raw.connect()
    s.sendall("PUT /demo/m HTTP/1.1\r\nHost: x\r\nx-amz-meta-City: Zürich ☃\r\nx-amz-meta-latin: ".encode() + b"\xfc\r\nContent-Length: 1\r\n\r\nx")
    assert s.recv(1000).startswith(b"HTTP/1.1 200")
    want = "=?UTF-8?B?" + base64.b64encode("Zürich ☃".encode()).decode() + "?="
    latin = "=?UTF-8?B?" + base64.b64encode("ü".encode()).decode() + "?="
    for _ in range(2):
        h = f.raw.head("demo", "m").headers
        assert (h["x-amz-meta-city"], h["x-amz-meta-latin"]) == (want, latin)
        f.wait_persisted("/demo/m")
        f.cli("job", "free", "--path", "/demo", check=False)
        f.restart()


def test_limits_of_metadata(raw):
    assert raw.put("demo", "meta", b"", {"x-amz-meta-a": "x" * 2047}).status == 200
    a = raw.put("demo", "meta", b"", {"x-amz-meta-a": "x" * 2048})
    assert (a.status, a.code) == (400, "MetadataTooLarge")
    a = raw.put("demo", "meta", b"", {f"x-amz-meta-{i}": "x" * 100 for i in range(30)})
    assert (a.status, a.code) == (400, "MetadataTooLarge")


def tagging(tags):
    return ("<Tagging><TagSet>" + "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in tags) + "</TagSet></Tagging>").encode()


def test_limits_of_tags(raw, make, ufs):
    raw.put("demo", "tags", b"")
    put = lambda r, tags: r.request("PUT", "demo", "tags", {"tagging": None}, None, tagging(tags))
    assert put(raw, [(f"k{i}", "v") for i in range(10)]).status == 200
    assert put(raw, [("k" * 128, "v" * 256)]).status == 200
    assert put(raw, [("☃" * 128, "ü" * 256)]).status == 200, "characters, not bytes"
    for what, tags in {"eleven": [(f"k{i}", "v") for i in range(11)], "long key": [("k" * 129, "v")], "long value": [("k", "v" * 257)],
                       "twice": [("k", "1"), ("k", "2")], "empty key": [("", "v")], "aws:": [("aws:x", "v")]}.items():
        a = put(raw, tags)
        assert a.status == 400 and a.code in ("InvalidTag", "BadRequest"), (what, a)
    assert raw.request("PUT", "demo", "tags", {"tagging": None}, None, b"<Tagging><TagSet><Tag></TagSet></Tagging>").code == "MalformedXML"
    assert raw.put("demo", "tags", b"", {"x-amz-tagging": "&".join(f"k{i}=v" for i in range(11))}).status == 400
    free = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"}, {"alluxio.worker.s3.tagging.restrictions.enabled": "false"})
    free.raw.put("demo", "tags", b"")
    assert put(free.raw, [(f"k{i}", "v" * 300) for i in range(40)]).status == 200


# ---- names ----


def test_virtual_hosted_style(f):
    at = lambda method, target, host, body=b"", **h: f.raw.send(method, target, {"Host": host, **h}, body)
    assert at("PUT", "/vh/key", "demo.s3.test", b"by host").status == 200
    for host in ("demo.s3.test", "demo.s3.test:80", "DEMO.S3.TEST", "demo.other.test"):
        assert at("GET", "/vh/key", host).body == b"by host", host
    for host in ("s3.test", "other.test:1", "127.0.0.1", "unrelated.test"):
        assert at("GET", "/demo/vh/key", host).body == b"by host", host
    assert "vh/key" in at("GET", "/?list-type=2&prefix=vh", "demo.s3.test").body.decode()
    assert at("GET", "/k", "nonesuch.s3.test").code == "NoSuchBucket"
    assert at("PUT", "/vh/copy", "demo.s3.test", **{"x-amz-copy-source": "demo/vh/key"}).status == 200
    assert f.raw.get("demo", "vh/copy").body == b"by host"
    assert at("DELETE", "/vh/copy", "demo.s3.test").status == 204


def listed(a, url):
    """Keys of a listing; without url encoding control characters are character references that XML 1.0 has no room for."""
    ks = re.findall(r"<Contents><Key>(.*?)</Key>", a.body.decode(), re.S)
    if url:
        return [urllib.parse.unquote_plus(k) for k in ks]
    k2 = [re.sub(r"&#x([0-9a-f]+);", lambda m: chr(int(m[1], 16)), k) for k in ks]
    return [k.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&apos;", "'").replace("&amp;", "&") for k in k2]


@pytest.mark.parametrize("version", ["1", "2"])
def test_control_characters_in_listings(raw, version):
    keys = sorted([f"c/{chr(i)}" for i in range(1, 32) if i != 10] + ["c/\x7f", "c/\u0085", "c/\ufffe", "c/&<>\"'", "c/\u2028", "c/ ", "c/+", "c/%2F"],
                  key=lambda k: k.encode())
    for k in keys:
        assert raw.put("demo", k, b"").status == 200, k
    q = {"prefix": "c/", **({"list-type": "2"} if version == "2" else {})}
    assert listed(raw.request("GET", "demo", None, q | {"encoding-type": "url"}), True) == keys
    a = raw.request("GET", "demo", None, q)
    assert listed(a, False) == keys and b"\x01" not in a.body
    for k in keys:
        raw.delete("demo", k)


@pytest.mark.parametrize("target", ["/demo/nul%00x", "/demo/bad%ff", "/demo/bad%c0%af", "/demo/%ed%a0%80", "/demo/" + "k" * 1025, "/demo/%", "/demo/%zz"])
def test_names_that_are_none(raw, target):
    for method in ("PUT", "GET", "HEAD", "DELETE"):
        assert raw.send(method, target).status == 400, method


# ---- listings while others write ----


def pages_v1(raw, prefix, delimiter, page):
    ks, marker = [], ""
    while True:
        q = {"prefix": prefix, "max-keys": page, "marker": marker, "encoding-type": "url", **({"delimiter": delimiter} if delimiter else {})}
        x = raw.request("GET", "demo", None, q).xml()
        un = urllib.parse.unquote_plus
        here = [un(e.findtext("Key")) for e in x.findall("Contents")] + [un(e.findtext("Prefix")) for e in x.findall("CommonPrefixes")]
        assert len(here) <= page
        ks += sorted(here)
        if x.findtext("IsTruncated") != "true":
            return ks
        marker = un(x.findtext("NextMarker")) if x.find("NextMarker") is not None else sorted(here)[-1]


def test_listings_are_exact_while_others_write(f, raw):
    """What was there all the time is on exactly one page, in order, whatever comes and goes around it; what never was is on none."""
    stable = sorted(f"conc/{i:03}" + ("/leaf" if i % 3 == 0 else "") for i in range(60))
    for k in stable:
        raw.put("demo", k, b"s")
    stop = threading.Event()
    failed = []

    def write(n):
        try:
            i = 0
            while not stop.is_set():
                k = f"conc/{(i * 7 + n) % 60:03}-{n}"
                assert f.raw.put("demo", k, b"n").status == 200
                assert f.raw.delete("demo", f"conc/{(i * 7 + n - 70) % 60:03}-{n}").status == 204
                i += 1
        except AssertionError as e:
            failed.append(e)

    ts = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for t in ts:
        t.start()
    try:
        rolled = sorted({k[:8] + "/" if k.endswith("/leaf") else k for k in stable})
        for page in (1, 2, 3, 7, 1000):
            for delimiter, want in ((None, stable), ("/", rolled)):
                for got in (pages_v1(raw, "conc/", delimiter, page), f.raw.list("demo", "conc/", delimiter, page)):
                    got = got if isinstance(got, list) else sorted(got[0] + got[1])
                    assert got == sorted(set(got)), "in order, nothing twice"
                    noise = [k for k in got if k not in want]
                    assert [k for k in got if k in want] == want
                    assert all(re.fullmatch(r"conc/\d{3}-[012]", k) for k in noise)
    finally:
        stop.set()
        for t in ts:
            t.join()
    assert not failed


def test_what_is_kept_with_an_object_can_be_given_back(f, raw):
    """Headers that an answer could not hold, or no header can say, are refused with the object, not found out by a GET."""
    systems = ("Content-Type", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Encoding", "Expires")
    big = {k: "v" * 7000 for k in systems}
    for n in (1, 5, 6):
        a = raw.put("demo", "kept/big", b"x", dict(list(big.items())[:n]))
        assert (a.status, a.code) == (400, "MetadataTooLarge")
    a = raw.request("POST", "demo", "kept/big", "uploads", big)
    assert (a.status, a.code) == (400, "MetadataTooLarge")
    fits = {k: "v" * 300 for k in systems}
    assert raw.put("demo", "kept/fits", b"x", fits).status == 200
    head = raw.head("demo", "kept/fits")
    assert head.status == 200 and all(head.headers[k.lower()] == v for k, v in fits.items())
    evil = "?X-Amz-Signature=0&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20300101/us-east-1/s3/aws4_request" \
           "&X-Amz-Date=20300101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    for q in ("&x-amz-meta-a=b%0d%0aSet-Cookie:%20c", "&x-amz-meta-a%20b=c", "&x-amz-meta-a=%00"):
        assert raw.send("PUT", "/demo/kept/evil" + evil + q, {}, b"x").status == 400
    b = "xyz"
    for name, value in (("Content-Type", "a\r\nSet-Cookie: b"), ("x-amz-meta-a", "a\nb"), ("x-amz-meta-a b", "c"), ("Cache-Control", "a\0")):
        form = "".join(f'--{b}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in (("key", "kept/form"), (name, value)))
        form += f'--{b}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--{b}--\r\n'
        a = raw.request("POST", "demo", None, None, {"Content-Type": f"multipart/form-data; boundary={b}"}, form.encode())
        assert a.status == 400, (name, value, a)
    assert raw.list("demo", "kept/") == ["kept/fits"]


@pytest.mark.parametrize("header", ["x-amz-if-match-size", "x-amz-if-match-last-modified-time"])
def test_a_delete_with_a_condition_that_is_not_known_deletes_nothing(raw, header):
    raw.put("demo", "judged", b"0123456789")
    a = raw.request("DELETE", "demo", "judged", None, {header: "5" if "size" in header else "Mon, 01 Jan 2001 00:00:00 GMT"})
    assert (a.status, a.code) == (501, "NotImplemented")
    assert raw.get("demo", "judged").body == b"0123456789"

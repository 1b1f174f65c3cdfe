# SPDX-License-Identifier: Apache-2.0
"""A minimal S3 client for what boto3 hides or forbids: keys sent verbatim, odd framing, half requests.

Bytes go out exactly as given; answers come back as Answer(status, headers with lower-case names, body).
"""
import http.client
import socket
import urllib.parse
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from .proc import SLOW


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    reason: str = ""

    @property
    def etag(self):
        return self.headers.get("etag", "").strip('"')

    def xml(self):
        return strip_ns(ET.fromstring(self.body))

    @property
    def code(self):
        """The <Code> of an error body, or None."""
        if not self.body.lstrip().startswith(b"<"):
            return None
        root = self.xml()
        return root.findtext("Code") if root.tag == "Error" else None


def strip_ns(root):
    for e in root.iter():
        e.tag = e.tag.rsplit("}", 1)[-1]
    return root


def quote_key(key):
    if isinstance(key, str):
        key = key.encode()
    return urllib.parse.quote(key, safe="/-_.~")


def read_answer(sock, method="GET"):
    """One final answer from a socket; 1xx answers before it are returned as a list beside it."""
    interim = []
    f = sock.makefile("rb")
    while True:
        line = f.readline()
        if not line:
            raise ConnectionError("closed before an answer")
        parts = line.decode("latin1").rstrip("\r\n").split(" ", 2)
        status, reason = int(parts[1]), parts[2] if len(parts) > 2 else ""
        headers = {}
        while True:
            h = f.readline()
            if h in (b"\r\n", b"\n", b""):
                break
            k, v = h.decode("latin1").split(":", 1)
            headers[k.strip().lower()] = v.strip()
        if status >= 200:
            break
        interim.append((status, reason))
    body = b""
    if method != "HEAD" and status not in (204, 304):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                n = int(f.readline().split(b";")[0], 16)
                chunk = f.read(n)
                f.readline()
                if n == 0:
                    break
                body += chunk
        elif "content-length" in headers:
            want = int(headers["content-length"])
            body = f.read(want)
            if len(body) != want:
                raise ConnectionError(f"body ended after {len(body)} of {want} bytes")
        else:
            body = f.read()
    return Answer(status, headers, body, reason), interim


class RawS3:
    """addr: "host:port". A connection per request unless used through .conn()."""

    def __init__(self, addr, timeout=60):
        self.host, port = addr.rsplit(":", 1)
        self.port = int(port)
        self.timeout = timeout * SLOW

    def connect(self):
        s = socket.create_connection((self.host, self.port), self.timeout)
        s.settimeout(self.timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def path(self, bucket, key=None, query=None):
        p = "/" + quote_key(bucket) if bucket else "/"
        if key is not None:
            p += "/" + quote_key(key)
        if query:
            if isinstance(query, dict):
                query = "&".join(
                    urllib.parse.quote(k, safe="") + ("" if v is None else "=" + urllib.parse.quote(str(v), safe=""))
                    for k, v in query.items()
                )
            p += "?" + query
        return p

    def send(self, method, target, headers=None, body=b""):
        """target as it goes on the wire."""
        c = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        c._validate_path = lambda url: None
        try:
            hs = dict(headers or {})
            c.putrequest(method, target, skip_accept_encoding=True, skip_host=any(k.lower() == "host" for k in hs))
            if method in ("PUT", "POST") and not any(k.lower() in ("content-length", "transfer-encoding") for k in hs):
                hs["Content-Length"] = str(len(body))
            for k, v in hs.items():
                c.putheader(k, v)
            c.endheaders(body if body else None)
            r = c.getresponse()
            data = r.read()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, data, r.reason)
        finally:
            c.close()

    def request(self, method, bucket, key=None, query=None, headers=None, body=b""):
        return self.send(method, self.path(bucket, key, query), headers, body)

    def put(self, bucket, key, body=b"", headers=None):
        return self.request("PUT", bucket, key, None, headers, body)

    def get(self, bucket, key, headers=None, query=None):
        return self.request("GET", bucket, key, query, headers)

    def head(self, bucket, key, headers=None):
        return self.request("HEAD", bucket, key, None, headers)

    def delete(self, bucket, key, headers=None):
        return self.request("DELETE", bucket, key, None, headers)

    def list(self, bucket, prefix="", delimiter=None, page=None, start_after=None):
        """All keys (or with a delimiter (keys, prefixes)) by ListObjectsV2 with url encoding, page by page, checking the
        order and the page limit on the way."""
        keys, prefixes, token, last = [], [], None, None
        while True:
            q = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
            if delimiter:
                q["delimiter"] = delimiter
            if page:
                q["max-keys"] = page
            if start_after and not token:
                q["start-after"] = start_after
            if token:
                q["continuation-token"] = token
            a = self.request("GET", bucket, None, q)
            assert a.status == 200, (a.status, a.body)
            x = a.xml()
            ks = [urllib.parse.unquote_plus(e.findtext("Key")) for e in x.findall("Contents")]
            ps = [urllib.parse.unquote_plus(e.findtext("Prefix")) for e in x.findall("CommonPrefixes")]
            merged = sorted(ks + ps, key=lambda s: s.encode())
            assert ks == sorted(ks, key=lambda s: s.encode()), f"keys out of order: {ks}"
            assert ps == sorted(ps, key=lambda s: s.encode()), f"prefixes out of order: {ps}"
            if page:
                assert len(merged) <= page, f"{len(merged)} entries on a page of {page}"
            assert int(x.findtext("KeyCount")) == len(merged)
            if merged and last is not None:
                assert last.encode() < merged[0].encode(), f"{merged[0]!r} after {last!r}"
            if merged:
                last = merged[-1]
            keys += ks
            prefixes += ps
            if x.findtext("IsTruncated") != "true":
                assert x.find("NextContinuationToken") is None
                break
            token = x.findtext("NextContinuationToken")
            assert token and merged, "a truncated page needs a token and an entry"
        return (keys, prefixes) if delimiter else keys

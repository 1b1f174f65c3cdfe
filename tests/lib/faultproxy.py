# SPDX-License-Identifier: Apache-2.0
"""A proxy between Forebay and an S3 UFS that misbehaves on request.

Every request is read whole, shown to proxy.rule (a function of Request that returns an Action or None: pass), then
handled. Actions:
    refuse        the connection is reset before anything reached the store (proxy.down() resets new connections too)
    reset         reset after the request was read, not delivered
    hang          neither delivered nor answered until proxy.release() or the client goes
    delay         delivered after .seconds
    late          client's connection is reset at once; the request reaches the store .seconds later
    drop_answer   delivered, answer thrown away, connection reset
    throttle      503 SlowDown, not delivered
    status        .status with an S3 error body .code, not delivered
    repeat        delivered twice; the first answer is given
    cut_answer    delivered; half of the answer's body, then reset
    garbage       delivered; the answer's body replaced by an error document under a 200 status line
Requests are logged in proxy.log as (method, target, action name). FOREBAY_PROXY_JOURNAL=FILE: what reached the proxy, what
it did and what the store said, with times, is added to FILE.
"""
import hashlib
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Request:
    method: str
    target: str
    headers: dict
    raw: bytes = field(repr=False, default=b"")
    body: bytes = field(repr=False, default=b"")

    @property
    def path(self):
        return self.target.split("?")[0]

    @property
    def query(self):
        return self.target.partition("?")[2]

    @property
    def writes(self):
        return self.method in ("PUT", "POST", "DELETE")


@dataclass
class Action:
    name: str
    seconds: float = 0
    status: int = 500
    code: str = "InternalError"


def act(name, **kw):
    return Action(name, **kw)


def times(n, action, match=lambda r: True):
    """A rule: the first n matching requests get action, later ones pass."""
    left = [n]
    lock = threading.Lock()

    def rule(r):
        with lock:
            if left[0] > 0 and match(r):
                left[0] -= 1
                return action
        return None

    rule.left = left
    return rule


def always(action, match=lambda r: True):
    return lambda r: action if match(r) else None


def error_xml(code):
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message>'
        f"<Resource>/</Resource><RequestId>0</RequestId></Error>"
    ).encode()


class FaultProxy:
    def __init__(self, upstream_port):
        self.upstream = ("127.0.0.1", upstream_port)
        self.rule = None
        self.log = []
        self._down = False
        self._gate = threading.Event()
        self._stop = False
        self._open = set()
        self._lock = threading.Lock()
        self._journal = os.environ.get("FOREBAY_PROXY_JOURNAL") and open(os.environ["FOREBAY_PROXY_JOURNAL"], "a")
        self._listen = socket.socket()
        self._listen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listen.bind(("127.0.0.1", 0))
        self._listen.listen(256)
        self.port = self._listen.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    # ---- switching ----

    def down(self):
        """The store is gone: existing connections are reset, new ones too."""
        self._down = True
        with self._lock:
            conns = list(self._open)
        for c in conns:
            _rst(c)

    def up(self):
        self._down = False

    def release(self):
        """Let what hangs go on (as closed connections)."""
        self._gate.set()
        self._gate = threading.Event()

    def close(self):
        self._stop = True
        self.release()
        self._listen.close()
        self.down()

    def count(self, match):
        with self._lock:
            return sum(1 for e in self.log if match(e))

    # ---- serving ----

    def _accept(self):
        while not self._stop:
            try:
                c, _ = self._listen.accept()
            except OSError:
                return
            if self._down:
                _rst(c)
                continue
            with self._lock:
                self._open.add(c)
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        up = None
        try:
            c.settimeout(600)
            f = c.makefile("rb")
            while not self._stop:
                r = self._read_request(c, f)
                if r is None:
                    return
                up = self._handle(c, r, up)
                if up is False:
                    return
        except (OSError, ValueError):
            pass
        finally:
            for s in (c, up):
                if s:
                    s.close()
            with self._lock:
                self._open.discard(c)

    def _read_request(self, c, f):
        head = _read_head(f)
        if not head:
            return None
        lines = head.decode("latin1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {}
        for h in lines[1:]:
            if h:
                k, v = h.split(":", 1)
                headers[k.strip().lower()] = v.strip()
        if headers.get("expect", "").lower() == "100-continue":
            c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = _read_chunked(f)
            headers.pop("transfer-encoding")
            headers["content-length"] = str(len(body))
        else:
            n = int(headers.get("content-length", "0"))
            body = f.read(n)
            if len(body) != n:
                return None
        headers.pop("expect", None)
        raw = f"{method} {target} HTTP/1.1\r\n".encode("latin1")
        raw += b"".join(f"{k}: {v}\r\n".encode("latin1") for k, v in headers.items()) + b"\r\n" + body
        return Request(method, target, headers, raw, body)

    def _handle(self, c, r, up):
        """Returns the upstream connection to keep, or False when the client's connection is over."""
        rule = self.rule
        a = (rule(r) if rule else None) or Action("pass")
        if self._down:
            a = Action("refuse")
        with self._lock:
            self.log.append((r.method, r.target, a.name))
        self._note(r, a.name)
        if a.name in ("refuse", "reset"):
            _rst(c)
            return False
        if a.name == "hang":
            self._gate.wait(600)
            _rst(c)
            return False
        if a.name in ("throttle", "status"):
            status, code = (503, "SlowDown") if a.name == "throttle" else (a.status, a.code)
            b = b"" if r.method == "HEAD" else error_xml(code)
            c.sendall(f"HTTP/1.1 {status} Error\r\nContent-Type: application/xml\r\nContent-Length: {len(b)}\r\n\r\n".encode() + b)
            return up
        if a.name == "late":
            _rst(c)
            threading.Thread(target=self._late, args=(r, a.seconds), daemon=True).start()
            return False
        if a.name == "delay":
            time.sleep(a.seconds)
        up, head, body = self._forward(r, up)
        if a.name == "repeat":
            up, _, _ = self._forward(r, up)
        if a.name == "drop_answer":
            _rst(c)
            return False
        if a.name == "cut_answer":
            c.sendall(head + body[: len(body) // 2])
            time.sleep(0.05)
            _rst(c)
            return False
        if a.name == "garbage":
            b = error_xml("InternalError")
            c.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len(b)}\r\n\r\n".encode() + b)
            return up
        c.sendall(head + body)
        return up

    def _late(self, r, seconds):
        time.sleep(seconds)
        try:
            up, _, _ = self._forward(r, None)
            if up:
                up.close()
        except OSError:
            pass

    def _note(self, r, what):
        """One line per step of a request, for whoever looks for the cause of a failure."""
        if self._journal:
            now = time.time()
            ms = time.strftime("%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}"
            cond = " ".join(f"{k}={r.headers[k]}" for k in ("if-match", "if-none-match", "x-amz-copy-source", "x-amz-copy-source-if-match") if k in r.headers)
            md5 = hashlib.md5(r.body).hexdigest() if r.body else "-"
            self._journal.write(f"{ms} {id(r) & 0xffffff:x} {r.method} {r.target} {cond} body={md5} {what}\n")
            self._journal.flush()

    def _forward(self, r, up):
        up, head, body = self._forward_it(r, up)
        etag = [l for l in head.decode("latin1").split("\r\n") if l.lower().startswith("etag")]
        self._note(r, f"answer {head.split(b' ', 2)[1].decode()} {etag}")
        return up, head, body

    def _forward_it(self, r, up):
        for fresh in (False, True):
            if up is None or fresh:
                up = socket.create_connection(self.upstream, 60)
                up.settimeout(600)
            try:
                up.sendall(r.raw)
                f = up.makefile("rb")
                while True:
                    head = _read_head(f)
                    if head and head.split(b" ", 2)[1][:1] == b"1":
                        continue
                    break
                if not head:
                    raise ConnectionError("upstream closed")
                head, body = _answer_body(head, f, r.method)
                if b"connection: close" in head.lower():
                    up.close()
                    up = None
                return up, head, body
            except (ConnectionError, BrokenPipeError):
                if fresh:
                    raise
                up = None
        raise ConnectionError("unreachable")


def _rst(s):
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    s.close()


def _read_head(f):
    head = b""
    while True:
        line = f.readline(65536)
        if not line:
            return b""
        if line in (b"\r\n", b"\n"):
            if not head:
                continue
            return head
        head += line


def _read_chunked(f):
    out = b""
    while True:
        n = int(f.readline().split(b";")[0], 16)
        out += f.read(n)
        f.readline()
        if n == 0:
            return out


def _answer_body(head, f, method):
    lines = head.decode("latin1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    hs = {h.split(":", 1)[0].strip().lower(): h.split(":", 1)[1].strip() for h in lines[1:] if ":" in h}
    if method == "HEAD" or status in (204, 304):
        return head + b"\r\n", b""
    if hs.get("transfer-encoding", "").lower() == "chunked":
        body = _read_chunked(f)
        keep = [h for h in lines if h and not h.lower().startswith("transfer-encoding:")]
        head = ("\r\n".join(keep) + f"\r\nContent-Length: {len(body)}\r\n").encode("latin1")
        return head + b"\r\n", body
    return head + b"\r\n", f.read(int(hs.get("content-length", "0")))

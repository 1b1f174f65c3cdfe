# SPDX-License-Identifier: Apache-2.0
"""The HTTP server from outside: many connections, slow ones, hostile ones, and its end."""
import re
import resource
import signal
import socket
import threading
import time

import pytest

from lib import proc
from lib.forebay import Forebay
from lib.rawhttp import read_answer
from lib.ufs import DirUfs

MIB = 1 << 20


@pytest.fixture(scope="module")
def f(module_work):
    u = DirUfs(module_work + "/ufs")
    s = Forebay(module_work, {"/demo": u.uri()}, {"/demo/**": "WRITE_BACK"})
    s.raw.put("demo", "k", b"smuggled!")
    yield s
    s.close()


def rss_mib(f):
    with open(f"/proc/{f.p.pid}/status") as i:
        return next(int(l.split()[1]) / 1024 for l in i if l.startswith("VmRSS"))


def exchange(f, raw, answers=1):
    """Send bytes, read what comes until the server closes or nothing more can come; the status lines in it."""
    s = f.raw.connect()
    got = b""
    try:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
        while True:
            b = s.recv(65536)
            if not b:
                break
            got += b
    except ConnectionResetError:
        pass
    finally:
        s.close()
    return got


def statuses(got):
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d+) ", got)]


# ---- many ----


def test_ten_thousand_idle_connections(f):
    """Each has had an answer and is kept alive; the server stays small and goes on serving."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(10_000, hard - 2000)
    if n < 1000:
        pytest.skip(f"only {hard} descriptors are allowed")
    socks = []
    try:
        for _ in range(n):
            s = socket.create_connection((f.raw.host, f.raw.port), 60)
            s.sendall(b"GET /demo/k HTTP/1.1\r\nHost: x\r\n\r\n")
            socks.append(s)
        for s in socks:
            assert s.recv(1000).endswith(b"smuggled!")
        assert rss_mib(f) < 300, f"{n} idle connections"
        assert f.raw.put("demo", "many", b"x" * MIB).status == 200
        for s in socks[:: n // 100]:
            s.sendall(b"HEAD /demo/k HTTP/1.1\r\nHost: x\r\n\r\n")
            assert s.recv(1000).startswith(b"HTTP/1.1 200")
    finally:
        for s in socks:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_clients_hold_up_nobody(f):
    """Heads, bodies and answers that are left half done, more of them than there are threads."""
    f.raw.put("demo", "large", proc.content("large", 8 * MIB))
    slow = []
    for i in range(150):
        for part in (b"GET /demo/k HT", b"GET /demo/k HTTP/1.1\r\nHost: x\r\nX-Slow: ",
                     f"PUT /demo/slow{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode() + b"z" * 100):
            s = f.raw.connect()
            s.sendall(part)
            slow.append(s)
    for i in range(50):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(60)
        s.connect((f.raw.host, f.raw.port))
        s.sendall(b"GET /demo/large HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.append(s)
    for i in range(50):
        assert f.raw.put("demo", f"fast{i}", b"f" * 1000).status == 200
        assert f.raw.get("demo", f"fast{i}").body == b"f" * 1000
    assert len(f.raw.list("demo", "fast")) == 50 and f.raw.list("demo", "slow") == []
    done = slow[2]  # a slow one that goes on is served
    done.sendall(b"z" * 99_900)
    assert read_answer(done)[0].status == 200
    for s in slow:
        s.close()


def test_pipelined_requests_are_answered_in_order(f):
    puts = b"".join(b"PUT /demo/p%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (i, i, b"p" * i) for i in range(50))
    gets = b"".join(b"GET /demo/p%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(50))
    s = f.raw.connect()
    t = threading.Thread(target=s.sendall, args=(puts + gets + b"GET /demo/nonesuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",))
    t.start()
    got = b""
    while b := s.recv(65536):
        got += b
    t.join()
    assert statuses(got) == [200] * 100 + [404]
    lengths = [int(l.split(b":")[1]) for l in got.split(b"\r\n") if l.lower().startswith(b"content-length:")]
    assert lengths[50:100] == list(range(50))


# ---- hostile ----

TAIL = b"GET /demo/k HTTP/1.1\r\nHost: x\r\n\r\n"  # smuggled, if what stands before it is read in another way
PUT = b"PUT /demo/smuggle HTTP/1.1\r\nHost: x\r\n"
CORPUS = {
    "length and chunked": PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + TAIL,
    "chunked and length": PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + TAIL,
    "two lengths": PUT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + TAIL,
    "two lengths in one": PUT + b"Content-Length: 5, 6\r\n\r\nhello" + TAIL,
    "signed length": PUT + b"Content-Length: +5\r\n\r\nhello" + TAIL,
    "negative length": PUT + b"Content-Length: -5\r\n\r\nhello" + TAIL,
    "hex length": PUT + b"Content-Length: 0x5\r\n\r\nhello" + TAIL,
    "length with a space": PUT + b"Content-Length: 5 0\r\n\r\nhello" + TAIL,
    "huge length": PUT + b"Content-Length: 99999999999999999999\r\n\r\nhello" + TAIL,
    "space before the colon": PUT + b"Content-Length : 5\r\n\r\nhello" + TAIL,
    "folded line": PUT + b"X-A: 1\r\n Content-Length: 5\r\n\r\nhello" + TAIL,
    "folded coding": PUT + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + TAIL,
    "unknown coding": PUT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + TAIL,
    "two codings": PUT + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + TAIL,
    "coding twice": PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + TAIL,
    "coding with a tab": PUT + b"Transfer-Encoding:\tx\x0bchunked\r\n\r\n0\r\n\r\n" + TAIL,
    "coding in HTTP/1.0": PUT.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + TAIL,
    "bare LF in the head": PUT + b"X-A: 1\nContent-Length: 5\r\n\r\nhello" + TAIL,
    "bare CR in the head": PUT + b"X-A: 1\rContent-Length: 5\r\n\r\nhello" + TAIL,
    "NUL in a value": PUT + b"X-A: a\x00b\r\nContent-Length: 5\r\n\r\nhello" + TAIL,
    "no name": PUT + b": x\r\nContent-Length: 5\r\n\r\nhello" + TAIL,
    "no colon": PUT + b"Content-Length 5\r\n\r\nhello" + TAIL,
    "two hosts": PUT + b"Host: y\r\nContent-Length: 5\r\n\r\nhello" + TAIL,
    "no host": b"PUT /demo/smuggle HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + TAIL,
    "chunk size with a sign": PUT + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n" + TAIL,
    "chunk size 0x": PUT + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n" + TAIL,
    "chunk size overflows": PUT + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n" + TAIL,
    "chunk with bare LF": PUT + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n" + TAIL,
    "chunk without its end": PUT + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n" + TAIL,
    "chunk extension with LF": PUT + b"Transfer-Encoding: chunked\r\n\r\n5;a\n\r\nhello\r\n0\r\n\r\n" + TAIL,
    "huge chunk extension": PUT + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n" + TAIL,
    "huge trailer": PUT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-T: " + b"a" * 200_000 + b"\r\n\r\n" + TAIL,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + TAIL,
    "HTTP/0.9": b"GET /demo/k\r\n" + TAIL,
    "HTTP/1.2": b"GET /demo/k HTTP/1.2x\r\nHost: x\r\n\r\n" + TAIL,
    "control character in the target": b"GET /demo/k\x01 HTTP/1.1\r\nHost: x\r\n\r\n" + TAIL,
    "space in the target": b"GET /demo/k x HTTP/1.1\r\nHost: x\r\n\r\n" + TAIL,
    "long target": b"GET /demo/" + b"k" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n" + TAIL,
    "long header": b"GET /demo/k HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n" + TAIL,
    "many headers": b"GET /demo/k HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * 5_000 + b"\r\n" + TAIL,
    "long method": b"G" * 100_000 + b" /demo/k HTTP/1.1\r\nHost: x\r\n\r\n" + TAIL,
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + TAIL,
}


@pytest.mark.parametrize("what", CORPUS)
def test_what_could_be_read_in_two_ways_is_refused(f, what):
    """One refusal, then the connection is closed: nothing behind it is taken for a request, and nothing is stored."""
    got = exchange(f, CORPUS[what])
    assert got.count(b"smuggled!") == 0, f"the smuggled request was answered: {got!r}"
    assert all(400 <= s < 600 for s in statuses(got)) and len(statuses(got)) <= 1, got[:500]
    assert f.raw.get("demo", "smuggle").status == 404


def test_harmless_chunk_extensions_and_trailers_pass(f):
    got = exchange(f, b"PUT /demo/ext HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;x\r\nX-T: 1\r\n\r\n" + TAIL)
    assert statuses(got) == [200, 200] and got.endswith(b"smuggled!")
    assert f.raw.get("demo", "ext").body == b"hello"


# ---- refusals before the body ----


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("target,status", [(b"/nobucket/x", 404), (b"/demo/.forebay/x", 400), (b"/demo/k?acl", 501)])
def test_early_refusals_close(f, expect, target, status):
    """The client reads the refusal whole, though it is still sending, and knows that the connection is over."""
    s = f.raw.connect()
    s.sendall(b"PUT %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (target, expect, 50 * MIB))
    a, interim = read_answer(s)
    assert a.status == status and not interim and a.headers["connection"].lower() == "close", a
    s.close()
    a = f.raw.send("PUT", target.decode(), {}, proc.content("on", 4 * MIB))
    assert a.status == status and a.code


def test_a_failed_condition_on_a_small_body_keeps_the_connection(f):
    """Nothing is gained by closing when the body has come with the head."""
    s = f.raw.connect()
    for _ in range(3):
        s.sendall(b"PUT /demo/k HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 3\r\n\r\nnew")
        a, _ = read_answer(s)
        assert (a.status, a.code) == (412, "PreconditionFailed")
        if a.headers.get("connection", "").lower() == "close":
            s.close()
            s = f.raw.connect()
    assert f.raw.get("demo", "k").body == b"smuggled!"


# ---- the end ----


def test_graceful_stop(make, ufs):
    """What runs is let end, what is idle is closed, what is new is refused; then the process ends with 0."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"})
    idle, busy = f.raw.connect(), f.raw.connect()
    idle.sendall(b"GET /demo/k HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(idle)[0].status == 404
    busy.sendall(b"PUT /demo/busy HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"b" * 100_000)
    busy.sendall(b"b" * 10)
    time.sleep(0.3)  # it has begun: an early part of the body was taken
    f.p.send_signal(signal.SIGTERM)
    assert idle.recv(1) == b"", "idle connections are closed"
    busy.sendall(b"b" * 99_990)
    a, _ = read_answer(busy)
    assert a.status == 200 and a.headers["connection"].lower() == "close"
    assert f.wait_dead(30) == 0
    f.start()
    assert f.raw.get("demo", "busy").body == b"b" * 200_000

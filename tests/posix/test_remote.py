# SPDX-License-Identifier: Apache-2.0
"""`forebay fuse --server`: a mount whose instance is on another host (here: behind TCP and a proxy that can cut it)."""
import errno as E
import hashlib
import os
import socket
import struct
import subprocess
import threading
import time

import pytest
from conftest import PROPS, fuse_missing
from sys_calls import errno_of, get, put
from test_keeper import Kept, Program

from lib import forebay as fb
from lib import proc

TOKEN = "a-token-of-the-tests"


class Cable:
    """Forwards TCP connections; cut() ends them all, unplugged: new ones too."""

    def __init__(self, to):
        self.to, self.open, self.unplugged = to, [], False
        self.held = threading.Event()  # what clients send waits while it is not set, but for acknowledgements
        self.held.set()
        self.lock = threading.Lock()
        self.s = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.s.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            if self.unplugged:
                c.close()
                continue
            host, port = self.to.rsplit(":", 1)
            try:
                u = socket.create_connection((host, int(port)))
            except OSError:
                c.close()
                continue
            with self.lock:
                self.open += [c, u]
            for a, b in ((c, u), (u, c)):
                threading.Thread(target=self.pump, args=(a, b, a is c), daemon=True).start()

    def pump(self, a, b, up):
        try:
            while data := a.recv(1 << 16):
                if up and len(data) > 8:
                    self.held.wait()
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.held.set()
        with self.lock:
            for s in self.open:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open = []

    def close(self):
        self.s.close()
        self.cut()


class Away(Kept):
    """A `forebay fuse --server` process."""

    def __init__(self, work, server, name="away", token=TOKEN, more=()):
        super().__init__(work, name=name, more=("--server", server, *more), env=dict(os.environ, FOREBAY_FUSE_TOKEN=token))


@pytest.fixture
def server(make, ufs):
    why = fuse_missing()
    if why:
        pytest.skip(why)
    port = proc.free_port()
    return make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_BACK"},
                {**PROPS, "forebay.fuse.listen": f"127.0.0.1:{port}", "forebay.fuse.token": TOKEN})


@pytest.fixture
def cable(server):
    c = Cable(server.props["forebay.fuse.listen"])
    yield c
    c.close()


@pytest.fixture
def away(work, cable):
    made = []

    def one(**kw):
        made.append(Away(work, cable.address, **kw))
        return made[-1]

    yield one
    for a in made:
        a.close()


def test_files(server, away):
    a = away()
    body = proc.content("remote", 9_000_001)
    put(f"{a.dir}/f", body)
    assert get(f"{a.dir}/f") == body and os.stat(f"{a.dir}/f").st_size == len(body)
    assert hashlib.md5(server.s3.get_object(Bucket="demo", Key="f")["Body"].read()).digest() == hashlib.md5(body).digest()
    os.makedirs(f"{a.dir}/d/e")
    for i in range(300):
        put(f"{a.dir}/d/e/{i}", b"%d" % i)
    assert sorted(map(int, os.listdir(f"{a.dir}/d/e"))) == list(range(300))
    os.rename(f"{a.dir}/d", f"{a.dir}/g")
    assert get(f"{a.dir}/g/e/77") == b"77" and errno_of(os.stat, f"{a.dir}/d") == E.ENOENT
    assert os.statvfs(a.dir).f_blocks > 0
    assert a.close() == 0 and not os.path.ismount(a.dir)


def test_changes_by_others_are_seen_at_once(server, away):
    """Two mounts and S3: what one has in its kernel's caches goes before the other gets its answer."""
    a, b = away(name="a"), away(name="b")
    for i in range(30):
        server.s3.put_object(Bucket="demo", Key="k", Body=b"%d" % i * (i + 1))
        assert get(f"{a.dir}/k") == get(f"{b.dir}/k") == b"%d" % i * (i + 1)
        put(f"{a.dir}/t", b"%d" % i)
        os.rename(f"{a.dir}/t", f"{a.dir}/k")
        assert get(f"{b.dir}/k") == b"%d" % i
        assert server.s3.get_object(Bucket="demo", Key="k")["Body"].read() == b"%d" % i
        os.unlink(f"{b.dir}/k")
        assert errno_of(os.stat, f"{a.dir}/k") == E.ENOENT and "k" not in os.listdir(a.dir)


def test_the_instance_is_replaced(server, away):
    a = away()
    w = Program()
    try:
        w.send(f"[globals().update(fd=os.open({a.dir + '/f'!r}, os.O_RDWR | os.O_CREAT)), os.write(fd, b'one')]")
        assert w.answer()[1] == 3
        server.stop()
        w.send("os.write(fd, b'two')")  # waits
        server.start()
        assert w.answer() == 3
        w.send("[os.fsync(fd), os.pread(fd, 10, 0)]")
        assert w.answer()[1] == b"onetwo"
        w.send("os.write(fd, b'lost')")
        assert w.answer() == 4
        server.kill9()
        server.start()
        w.send("os.write(fd, b'x')")
        assert w.answer() == -E.EIO
        assert get(f"{a.dir}/f") == b"onetwo"
    finally:
        w.close()


def test_the_connection_is_lost(server, cable, away):
    """The instance lives: nothing that was accepted is lost, open files go on, what was under way is asked again."""
    a = away()
    w = Program()
    try:
        w.send(f"[globals().update(fd=os.open({a.dir + '/f'!r}, os.O_RDWR | os.O_CREAT)), os.write(fd, b'0')]")
        w.answer()
        for i in range(1, 6):
            cable.cut()
            w.send(f"os.write(fd, b'{i}')")
            assert w.answer() == 1
        cable.unplugged = True
        cable.cut()
        w.send("os.write(fd, b'6')")
        time.sleep(0.5)
        cable.unplugged = False
        assert w.answer() == 1
        w.send("[os.fsync(fd), os.pread(fd, 10, 0)]")
        assert w.answer()[1] == b"0123456"
    finally:
        w.close()
    assert server.s3.get_object(Bucket="demo", Key="f")["Body"].read() == b"0123456"


def test_a_notice_that_waits_in_the_kernel(server, cable, work, away):
    """A page is being read when its file changes: the kernel hears that only when it has the page. The connection that is to bring it
    is lost."""
    server.s3.put_object(Bucket="demo", Key="f", Body=b"old" * 50000)
    a = away()
    b = Away(work, server.props["forebay.fuse.listen"], name="b")
    w, x = Program(), Program()
    try:
        fd = w(f"os.open({a.dir + '/f'!r}, os.O_RDONLY)")
        out = x(f"os.open({b.dir + '/f'!r}, os.O_WRONLY)")
        cable.held.clear()
        w.send(f"os.pread({fd}, 3, 0)")
        time.sleep(0.5)
        x.send(f"[os.pwrite({out}, b'new', 0), os.fsync({out})]")
        assert x.answer()[0] == 3  # a's server has given its kernel up
        cable.cut()
        assert w.answer() == b"new"
        put(f"{a.dir}/g", b"x")
        assert get(f"{b.dir}/g") == b"x"
    finally:
        cable.held.set()
        w.close()
        x.close()
        b.close()


def test_what_changes_while_the_connection_is_lost(server, cable, work, away):
    """The pages of an open file go when it is back."""
    server.s3.put_object(Bucket="demo", Key="f", Body=b"old" * 1000)
    a = away()
    b = Away(work, server.props["forebay.fuse.listen"], name="b")
    w = Program()
    try:
        fd = w(f"os.open({a.dir + '/f'!r}, os.O_RDONLY)")
        assert w(f"os.pread({fd}, 3, 0)") == b"old"
        cable.unplugged = True
        cable.cut()
        with open(f"{b.dir}/f", "r+b") as o:
            o.write(b"new")
        cable.unplugged = False
        assert errno_of(os.stat, f"{a.dir}/no such name") == E.ENOENT  # it is back
        proc.wait_for("the new bytes", lambda: w(f"os.pread({fd}, 3, 0)") == b"new", timeout=20)
    finally:
        w.close()
        b.close()


def test_load_while_the_connection_comes_and_goes(server, cable, away):
    a = away()
    stop = threading.Event()

    def cutter():
        while not stop.wait(0.15):
            cable.cut()

    t = threading.Thread(target=cutter)
    t.start()
    try:
        for i in range(60):
            body = proc.content(f"cut{i}", 200_000)
            for _ in range(20):  # a create whose answer was lost is carried out again: the name may be there
                if errno_of(put, f"{a.dir}/f{i}", body) == 0:
                    break
            assert get(f"{a.dir}/f{i}") == body
    finally:
        stop.set()
        t.join()
    for i in range(60):
        assert server.s3.get_object(Bucket="demo", Key=f"f{i}")["Body"].read() == proc.content(f"cut{i}", 200_000)


def test_nobody_serves_any_more(server, cable, away):
    a = away(more=("--grace", "1"))
    put(f"{a.dir}/f", b"x")
    cable.unplugged = True
    cable.cut()
    assert a.p.wait(60) == 1
    assert errno_of(os.listdir, a.dir) in (0, E.ENOTCONN)
    assert server.s3.get_object(Bucket="demo", Key="f")["Body"].read() == b"x"


def test_who_does_not_know_the_token(server, away):
    with pytest.raises(fb.StartError, match="forebay.fuse.token"):
        away(token="another")
    with pytest.raises(fb.StartError, match="forebay.fuse.token"):
        away(token="")


def test_a_server_that_does_not_know_the_token(server, work):
    """It welcomes everybody, and would have their files."""
    def serve(s):
        for _ in range(2):
            c, _ = s.accept()
            c.sendall(struct.pack("=II", 1, 32) + b"c" * 32)
            c.recv(4096)
            c.sendall(struct.pack("=II", 3, 32) + b"p" * 32)

    with socket.create_server(("127.0.0.1", 0)) as s:
        threading.Thread(target=serve, args=(s,), daemon=True).start()
        with pytest.raises(fb.StartError, match="does not know the token"):
            Away(work, "127.0.0.1:%d" % s.getsockname()[1])


def test_off_loopback_a_token_is_needed(make, ufs):
    f = make({"/demo": ufs.uri()}, {}, {"forebay.fuse.listen": "0.0.0.0:0"}, start=False)
    with pytest.raises(fb.StartError, match="forebay.fuse.token"):
        f.start()


def test_wrong_places(server, work, away):
    with pytest.raises(fb.StartError, match="forebay.fuse.listen"):
        Away(work, "127.0.0.1:1")
    with pytest.raises(fb.StartError, match="is not HOST:PORT"):
        Away(work, "nowhere")
    with pytest.raises(fb.StartError, match="another protocol|forebay.fuse.listen"):
        Away(work, server.s3_addr)


def test_strangers_at_the_door(server, cable, away):
    """Garbage, silence, half a greeting and a crowd harm nobody."""
    host, port = server.props["forebay.fuse.listen"].split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(300)]  # more than there are places
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, b"\xff" * 8, os.urandom(4096), b"\x02\0\0\0\xff\xff\xff\x7f"):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(rubbish)
            s.settimeout(20)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    a = away()
    put(f"{a.dir}/f", b"x")
    assert get(f"{a.dir}/f") == b"x"
    assert server.stop() == 0  # at once, though they are still silent
    for s in silent:
        s.close()


def test_a_line_of_fstab(server, work, cable):
    helper, d, conf = os.path.join(work, "mount.fuse.forebay"), os.path.join(work, "tab"), os.path.join(work, "mount.properties")
    os.symlink(os.path.abspath(fb.BIN), helper)
    os.mkdir(d)
    with open(conf, "w") as o:
        o.write(f"forebay.fuse.token={TOKEN}\n")
    p = subprocess.run([helper, "forebay:/demo", d, "-o", f"rw,_netdev,server={cable.address},conf={conf}"], capture_output=True, text=True,
                       timeout=60, check=False)
    assert p.returncode == 0, p.stderr
    try:
        put(f"{d}/f", b"x")
        assert server.s3.get_object(Bucket="demo", Key="f")["Body"].read() == b"x"
    finally:
        assert subprocess.run([fb.BIN, "fuse", "umount", d, "--admin", server.admin_addr], timeout=60, check=False).returncode == 0

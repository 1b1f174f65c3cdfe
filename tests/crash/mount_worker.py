# SPDX-License-Identifier: Apache-2.0
"""A program that works in a directory of a mount until the mount dies: mount_worker.py MODEL JOURNAL DIR S3 KEY SEED OPS

MODEL: a pickled Model of what is in DIR. JOURNAL gets each operation before it is called and a line after it returned, so
that the state at any moment can be found again. S3 KEY: address, and bucket/prefix of DIR, for the calls that go through
the other door. Ends with 0 after OPS operations, or 10 when the mount or the server went away; everything else is a
failure, told on stderr.
"""
import ast
import ctypes
import errno as E
import http.client
import mmap
import os
import pickle
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mount_model import Model, parent  # noqa: E402
from lib.proc import content  # noqa: E402

KIB, MIB = 1024, 1024 * 1024
GONE = {E.ENOTCONN, E.ECONNABORTED, E.ENODEV, E.EIO, E.ECONNREFUSED, E.ECONNRESET, E.EPIPE}
AFTER = 10  # exit code: the mount is gone
AT_FDCWD, AT_SYMLINK_FOLLOW, EXCHANGE, PUNCH = -100, 0x400, 2, 3
libc = ctypes.CDLL(None, use_errno=True)


class Gone(Exception):
    pass


class Wrong(Exception):
    pass


def checked(r):
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


class Calls:
    """Operations of a Model as system calls in a directory."""

    def __init__(self, top, s3, key):
        self.top, self.s3, self.key = top, s3, key
        self.fds = {}

    def at(self, path):
        return os.path.join(self.top, path) if path else self.top

    def call(self, op):
        getattr(self, "do_" + op[0])(*op[1:])

    def do_create(self, fd, path, mode):
        self.fds[fd] = os.open(self.at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def do_open(self, fd, path, flags):
        self.fds[fd] = os.open(self.at(path), os.O_RDWR | (os.O_APPEND if "a" in flags else 0) | (os.O_TRUNC if "t" in flags else 0))

    def do_tmpfile(self, fd, path, mode):
        self.fds[fd] = os.open(self.at(path), os.O_RDWR | os.O_TMPFILE, mode)

    def do_linkfd(self, fd, path):
        name = f"/proc/self/fd/{self.fds[fd]}".encode()
        checked(libc.linkat(AT_FDCWD, name, AT_FDCWD, self.at(path).encode(), AT_SYMLINK_FOLLOW))

    def do_write(self, fd, off, tag, n):
        b = content(tag, n)
        k = os.pwrite(self.fds[fd], b, off)
        if k != n:
            raise Gone(f"write of {n} bytes wrote {k}")

    def do_ftruncate(self, fd, n):
        os.ftruncate(self.fds[fd], n)

    def do_punch(self, fd, off, n):
        checked(libc.fallocate(self.fds[fd], PUNCH, ctypes.c_long(off), ctypes.c_long(n)))

    def do_mmap(self, fd, writes):
        with mmap.mmap(self.fds[fd], os.fstat(self.fds[fd]).st_size) as m:
            for off, tag, n in writes:
                m[off : off + n] = content(tag, n)
            m.flush()

    def do_copy(self, fd_in, fd_out, off_in, off_out, n):
        k = os.copy_file_range(self.fds[fd_in], self.fds[fd_out], n, off_in, off_out)
        if k != n:
            raise Wrong(f"copy of {n} bytes copied {k}")

    def do_fsync(self, fd):
        os.fsync(self.fds[fd])

    def do_fdatasync(self, fd):
        os.fdatasync(self.fds[fd])

    def do_syncfs(self, fd):
        checked(libc.syncfs(self.fds[fd]))

    def do_close(self, fd):
        os.close(self.fds.pop(fd))

    def do_fsyncdir(self, path):
        fd = os.open(self.at(path), os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def do_truncate(self, path, n):
        os.truncate(self.at(path), n)

    def rename2(self, a, b, flags):
        checked(libc.renameat2(AT_FDCWD, self.at(a).encode(), AT_FDCWD, self.at(b).encode(), flags))

    def do_rename(self, a, b):
        os.rename(self.at(a), self.at(b))

    def do_exchange(self, a, b):
        self.rename2(a, b, EXCHANGE)

    def do_link(self, a, b):
        os.link(self.at(a), self.at(b))

    def do_unlink(self, path):
        os.unlink(self.at(path))

    def do_mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def do_rmdir(self, path):
        os.rmdir(self.at(path))

    def do_symlink(self, target, path):
        os.symlink(target, self.at(path))

    def do_mkfifo(self, path, mode):
        os.mkfifo(self.at(path), mode)

    def do_chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def do_utime(self, path, ns):
        os.utime(self.at(path), ns=(ns, ns))

    def do_setxattr(self, path, name, tag, n):
        os.setxattr(self.at(path), name, content(tag, n))

    def do_removexattr(self, path, name):
        os.removexattr(self.at(path), name)

    def request(self, method, path, body=None):
        c = http.client.HTTPConnection(self.s3, timeout=60)
        try:
            c.request(method, f"/{self.key}/{path}", body=body)
            a = c.getresponse()
            text = a.read()
        except (OSError, http.client.HTTPException) as e:
            raise Gone(f"{method} {path}: {e}") from e
        finally:
            c.close()
        if a.status >= 300:
            raise Wrong(f"{method} {path}: {a.status} {text!r}")

    def do_s3put(self, path, tag, n):
        self.request("PUT", path, content(tag, n))

    def do_s3delete(self, path):
        self.request("DELETE", path)


class Program:
    """What it does next, by chance: each method yields operations."""

    KINDS = {
        "new": 8, "replace": 6, "in_place": 6, "append": 4, "hold": 3, "held": 8, "cut": 2, "move": 4, "move_dir": 2, "swap": 2,
        "more_names": 3, "remove": 5, "directory": 3, "no_directory": 1, "links": 2, "attributes": 3, "other_door": 4, "mapping": 2,
        "unnamed": 2, "copies": 2, "sync": 2, "large": 1, "look": 6,
    }
    MOST = 40  # names

    def __init__(self, model, seed):
        self.m, self.r = model, random.Random(seed)

    def operations(self):
        kinds, weights = list(self.KINDS), list(self.KINDS.values())
        while True:
            yield from getattr(self, self.r.choices(kinds, weights)[0])()

    # ---- choices ----

    def tag(self):
        self.m.count += 1
        return f"t{self.m.count}"

    def fresh(self):
        self.m.count += 1
        d = self.r.choice(self.m.dirs())
        return f"{d}/n{self.m.count}" if d else f"n{self.m.count}"

    def fd(self):
        self.m.count += 1
        return self.m.count

    def one(self, kind="f"):
        of = self.m.of(kind)
        return self.r.choice(of) if of else None

    def size(self):
        r = self.r
        return r.choice([1, r.randrange(1, 300), r.randrange(1, 4096), 4096, r.randrange(4096, 20000), r.randrange(20000, 300000)])

    def offset(self, node):
        n = len(node.now())
        return self.r.choice([0, n, self.r.randrange(n + 1), self.r.randrange(n + 1) & ~4095, n + self.r.randrange(1, 10000)])

    def full(self):
        return len(self.m.names) > self.MOST

    # ---- groups of operations ----

    def new(self):
        if self.full():
            return
        fd, at = self.fd(), 0
        yield "create", fd, self.fresh(), self.r.choice([0o600, 0o644, 0o755])
        for _ in range(self.r.randrange(4)):
            n = self.size()
            yield "write", fd, at, self.tag(), n
            at += n
        if self.r.random() < 0.3:
            yield "fsync", fd
        yield "close", fd

    def replace(self):
        to = self.one()
        if not to:
            return
        fd, tmp = self.fd(), self.fresh()
        yield "create", fd, tmp, 0o644
        yield "write", fd, 0, self.tag(), self.size()
        if self.r.random() < 0.5:
            yield "fsync", fd
        if self.r.random() < 0.8:
            yield "close", fd
            yield "rename", tmp, to
        else:
            yield "rename", tmp, to
            yield "close", fd

    def in_place(self):
        p = self.one()
        if not p:
            return
        fd = self.fd()
        yield "open", fd, p, self.r.choice(["", "", "", "t"])
        for _ in range(self.r.randrange(1, 6)):
            yield "write", fd, self.offset(self.m.names[p]), self.tag(), self.size()
        if self.r.random() < 0.4:
            yield self.r.choice(["fsync", "fdatasync"]), fd
        yield "close", fd

    def append(self):
        p = self.one()
        if not p:
            return
        fd = self.fd()
        yield "open", fd, p, "a"
        for _ in range(self.r.randrange(1, 8)):
            yield "write", fd, 0, self.tag(), self.r.randrange(1, 200)
            if self.r.random() < 0.3:
                yield "fsync", fd
        yield "close", fd

    def hold(self):
        p = self.one()
        if p and len(self.m.fds) < 5:
            yield "open", self.fd(), p, ""

    def held(self):
        if not self.m.fds:
            return
        fd = self.r.choice(sorted(self.m.fds))
        node, append = self.m.fds[fd]
        what = self.r.choice(["write", "write", "write", "ftruncate", "punch", "fsync", "close"])
        if what == "write":
            yield "write", fd, 0 if append else self.offset(node), self.tag(), self.size()
        elif what == "ftruncate":
            yield "ftruncate", fd, self.r.choice([0, len(node.now()) // 2, self.r.randrange(40000)])
        elif what == "punch":
            yield "punch", fd, self.r.randrange(len(node.now()) + 1), self.r.randrange(1, 20000)
        else:
            yield what, fd

    def cut(self):
        p = self.one()
        if p:
            yield "truncate", p, self.r.choice([0, len(self.m.names[p].now()) // 2, self.r.randrange(100000)])

    def move(self):
        a = self.one(self.r.choice("fffflp"))
        if not a:
            return
        to = self.one() if self.r.random() < 0.4 and self.m.names[a].kind == "f" else None
        yield "rename", a, to or self.fresh()

    def move_dir(self):
        a = self.one("d")
        if not a:
            return
        to = self.fresh()
        if not to.startswith(a + "/"):
            yield "rename", a, to

    def swap(self):
        a, b = self.one(), self.one(self.r.choice("ffd"))
        if a and b and a != b and not a.startswith(b + "/"):
            yield "exchange", a, b

    def more_names(self):
        p = self.one(self.r.choice("ffffl"))
        if p and not self.full() and self.m.links(self.m.names[p]) < 5:
            yield "link", p, self.fresh()

    def remove(self):
        p = self.one(self.r.choice("fffflp"))
        if p:
            yield "unlink", p

    def directory(self):
        if not self.full() and len(self.m.dirs()) < 8:
            yield "mkdir", self.fresh(), self.r.choice([0o755, 0o700])

    def no_directory(self):
        empty = [d for d in self.m.of("d") if not self.m.below(d)]
        if empty:
            yield "rmdir", self.r.choice(empty)

    def links(self):
        if self.full():
            return
        if self.r.random() < 0.7:
            yield "symlink", self.r.choice(["x", "../" * 20 + "y", "z" * 300]), self.fresh()
        else:
            yield "mkfifo", self.fresh(), 0o640

    def attributes(self):
        p = self.one(self.r.choice("fffd"))
        if not p:
            return
        node = self.m.names[p]
        what = self.r.choice(["chmod", "utime", "setxattr", "removexattr"])
        if what == "chmod":
            yield "chmod", p, self.r.choice([0o600, 0o640, 0o755, 0o700])
        elif what == "utime":
            if node.kind == "f" and not any(n is node for n, _ in self.m.fds.values()):
                yield "utime", p, self.r.randrange(10**18, 2 * 10**18)
        elif what == "setxattr":
            yield "setxattr", p, self.r.choice(["user.a", "user.b"]), self.tag(), self.r.randrange(200)
        elif node.xattr:
            yield "removexattr", p, self.r.choice(sorted(node.xattr))

    def other_door(self):
        p = self.one()
        if p and self.r.random() < 0.4:
            yield "s3delete", p
        else:
            yield "s3put", p if p and self.r.random() < 0.5 else self.fresh(), self.tag(), self.size()

    def mapping(self):
        p = self.one()
        if not p or not self.m.names[p].now():
            return
        fd, n = self.fd(), len(self.m.names[p].now())
        yield "open", fd, p, ""
        writes = []
        for _ in range(self.r.randrange(1, 4)):
            off = self.r.randrange(n)
            writes.append((off, self.tag(), self.r.randrange(1, min(n - off, 9000) + 1)))
        yield "mmap", fd, writes
        yield "close", fd

    def unnamed(self):
        if self.full():
            return
        fd, to = self.fd(), self.fresh()
        yield "tmpfile", fd, parent(to), 0o600
        yield "write", fd, 0, self.tag(), self.size()
        if self.r.random() < 0.5:
            yield "fsync", fd
        if self.r.random() < 0.7:
            yield "linkfd", fd, to
        yield "close", fd

    def copies(self):
        a, b = self.one(), self.one()
        if not a or not b or self.m.names[a] is self.m.names[b] or not self.m.names[a].now():
            return
        i, o, n = self.fd(), self.fd(), len(self.m.names[a].now())
        yield "open", i, a, ""
        yield "open", o, b, ""
        off = self.r.randrange(n)
        yield "copy", i, o, off, self.r.randrange(len(self.m.names[b].now()) + 1), min(n - off, 100000)
        yield "close", i
        yield "close", o

    def sync(self):
        if self.m.fds and self.r.random() < 0.3:
            yield "syncfs", self.r.choice(sorted(self.m.fds))
        else:
            yield "fsyncdir", self.r.choice(self.m.dirs())

    def large(self):
        """More than a buffer, so that it reaches the page store before it is shown."""
        p = self.one()
        if not p:
            return
        fd = self.fd()
        yield "open", fd, p, "t"
        for i in range(7):
            yield "write", fd, i * 800 * KIB, self.tag(), 800 * KIB
        yield "ftruncate", fd, self.r.randrange(5 * MIB)
        if self.r.random() < 0.5:
            yield "fsync", fd
        yield "close", fd
        yield "truncate", p, 1000

    def look(self):
        p = self.one()
        if p:
            yield "look", p


def look_at(calls, model, path):
    """A program reads what was written, unpublished or not."""
    fd = os.open(calls.at(path), os.O_RDONLY)
    try:
        b = b""
        while k := os.read(fd, MIB):
            b += k
        st = os.fstat(fd)
    finally:
        os.close(fd)
    node = model.names[path]
    if b != node.now() or st.st_size != len(b):
        raise Wrong(f"{path}: {len(b)} bytes read, st_size {st.st_size}, {len(node.now())} were written")
    if st.st_nlink != model.links(node):
        raise Wrong(f"{path}: st_nlink {st.st_nlink}, it has {model.links(node)} names")


def run(calls, model, journal, seed, ops):
    say = lambda line: os.write(journal, line.encode() + b"\n")  # noqa: E731
    for n, op in enumerate(Program(model, seed).operations()):
        if n == ops:
            return
        if op[0] == "look":
            look_at(calls, model, op[1])
            continue
        say(repr(op))
        calls.call(op)
        say("done")
        model.apply(op)


def replay(model, journal):
    """Brings model to what was answered; returns the operation that was not, or None."""
    with open(journal) as f:
        lines = f.read().splitlines()
    for i in range(0, len(lines), 2):
        op = ast.literal_eval(lines[i])
        model.count += 1000  # tags and names used by what is not known of
        if i + 1 == len(lines):
            return op
        model.apply(op)
    return None


def main():
    os.umask(0)
    state, path, top, s3, key, seed, ops = sys.argv[1:]
    with open(state, "rb") as f:
        model = pickle.load(f)
    journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        run(Calls(top, s3, key), model, journal, seed, int(ops))
    except Gone as e:
        print(e, file=sys.stderr)
        os._exit(AFTER)
    except OSError as e:
        if e.errno not in GONE:
            raise
        print(e, file=sys.stderr)
        os._exit(AFTER)
    os._exit(0)


if __name__ == "__main__":
    main()

__all__ = ["Model", "replay", "AFTER"]

# SPDX-License-Identifier: Apache-2.0
"""What a directory of a mount must hold, system call by system call, and which states a crash may leave.

A Model is the history of one program that works alone in its directory: names, what they name, and for each file the
contents it may have after a crash: the one that was shown last (by close, fsync or truncate) and each that a later write
made of it, because a file may be shown at any moment between. Operations are tuples, (call, arguments ...), with paths
below the directory and contents as (tag, size); apply() says what they do, mount_worker.py does them.
"""
import copy
import os
import stat

from lib.proc import content


class Mixed:
    """Written through a mapping: each page is the old or the new one."""

    PAGE = 4096

    def __init__(self, old, new):
        self.old, self.new = old, new

    def allows(self, b):
        if len(b) != len(self.new):
            return False
        cut = range(0, len(b), self.PAGE)
        return all(b[i : i + self.PAGE] in (self.old[i : i + self.PAGE], self.new[i : i + self.PAGE]) for i in cut)


class Cut:
    """A write without an answer: the kernel may send it in several requests, cut at pages."""

    def __init__(self, old, off, new):
        self.old, self.off, self.new = old, off, new

    def allows(self, b):
        first = Mixed.PAGE - self.off % Mixed.PAGE
        return any(b == overwrite(self.old, self.off, self.new[:n]) for n in range(first, len(self.new), Mixed.PAGE))


class Node:
    def __init__(self, kind, mode):
        self.kind, self.mode = kind, mode  # kind: f d l p
        self.hist = [b""]  # of a file: allowed after a crash, oldest first; the last is what programs read now
        self.target = None
        self.xattr = {}
        self.mtime = None  # ns, while it is known

    def now(self):
        return self.hist[-1]

    def wrote(self, b):
        self.hist.append(b)
        self.mtime = None

    def shown(self):
        self.hist = [self.hist[-1]]

    def allows(self, b):
        return any(h == b if isinstance(h, bytes) else h.allows(b) for h in self.hist)


def overwrite(b, off, new):
    if not new:
        return b
    return b[:off].ljust(off, b"\0") + new + b[off + len(new) :]


def resized(b, n):
    return b[:n].ljust(n, b"\0")


def parent(path):
    return path.rpartition("/")[0]


class Model:
    def __init__(self):
        self.names = {"": Node("d", 0o755)}
        self.fds = {}  # number -> (node, append)
        self.count = 0  # operations so far, for fresh tags and names

    # ---- looking ----

    def of(self, kind):
        return sorted(p for p, n in self.names.items() if n.kind == kind and p)

    def dirs(self):
        return sorted(p for p, n in self.names.items() if n.kind == "d")

    def below(self, d):
        return [p for p in self.names if p.startswith(d + "/")]

    def links(self, node):
        return sum(n is node for n in self.names.values())

    # ---- doing ----

    def apply(self, op):
        getattr(self, "do_" + op[0])(*op[1:])

    def partly(self, op):
        """States that an operation without an answer may have led to, besides "not at all"."""
        m = copy.deepcopy(self)
        if op[0] == "mmap":
            node, _ = m.fds[op[1]]
            node.wrote(Mixed(node.now(), self.mapped(node.now(), op[2])))
            return [m]
        if op[0] == "write":
            node, append = m.fds[op[1]]
            node.wrote(Cut(node.now(), len(node.now()) if append else op[2], content(op[3], op[4])))
            return [m, *self.whole(op)]
        return self.whole(op)

    def whole(self, op):
        m = copy.deepcopy(self)
        m.apply(op)
        return [m]

    def do_create(self, fd, path, mode):
        self.names[path] = Node("f", mode)
        self.fds[fd] = (self.names[path], False)

    def do_open(self, fd, path, flags):
        self.fds[fd] = (self.names[path], "a" in flags)
        if "t" in flags:
            self.names[path].wrote(b"")

    def do_tmpfile(self, fd, path, mode):
        self.fds[fd] = (Node("f", mode), False)

    def do_linkfd(self, fd, path):
        self.names[path] = self.fds[fd][0]

    def do_write(self, fd, off, tag, n):
        node, append = self.fds[fd]
        node.wrote(overwrite(node.now(), len(node.now()) if append else off, content(tag, n)))

    def do_ftruncate(self, fd, n):
        node, _ = self.fds[fd]
        node.wrote(resized(node.now(), n))

    def do_punch(self, fd, off, n):
        node, _ = self.fds[fd]
        end = min(off + n, len(node.now()))
        if end > off:
            node.wrote(overwrite(node.now(), off, bytes(end - off)))

    def mapped(self, b, writes):
        for off, tag, n in writes:
            b = overwrite(b, off, content(tag, n))
        return b

    def do_mmap(self, fd, writes):
        node, _ = self.fds[fd]
        node.wrote(self.mapped(node.now(), writes))
        node.shown()

    def do_copy(self, fd_in, fd_out, off_in, off_out, n):
        node, _ = self.fds[fd_out]
        node.wrote(overwrite(node.now(), off_out, self.fds[fd_in][0].now()[off_in : off_in + n]))

    def do_fsync(self, fd):
        self.fds[fd][0].shown()

    do_fdatasync = do_fsync

    def do_syncfs(self, fd):
        pass

    def do_close(self, fd):
        self.fds.pop(fd)[0].shown()

    def do_fsyncdir(self, path):
        pass

    def do_truncate(self, path, n):
        self.names[path].wrote(resized(self.names[path].now(), n))
        self.names[path].shown()

    def do_rename(self, a, b):
        node = self.names[a]
        if node is self.names.get(b):
            return  # two names of one file: nothing happens
        moved = {b + p[len(a) :]: n for p, n in self.names.items() if p == a or p.startswith(a + "/")}
        self.names = {p: n for p, n in self.names.items() if not (p == a or p.startswith(a + "/"))}
        self.names.update(moved)

    def do_exchange(self, a, b):
        self.do_rename(a, "\0")
        self.do_rename(b, a)
        self.do_rename("\0", b)

    def do_link(self, a, b):
        self.names[b] = self.names[a]

    def do_unlink(self, path):
        del self.names[path]

    def do_mkdir(self, path, mode):
        self.names[path] = Node("d", mode)

    do_rmdir = do_unlink

    def do_symlink(self, target, path):
        self.names[path] = Node("l", 0o777)
        self.names[path].target = target

    def do_mkfifo(self, path, mode):
        self.names[path] = Node("p", mode)

    def do_chmod(self, path, mode):
        self.names[path].mode = mode

    def do_utime(self, path, ns):
        self.names[path].mtime = ns

    def do_setxattr(self, path, name, tag, n):
        self.names[path].xattr[name] = content(tag, n)

    def do_removexattr(self, path, name):
        del self.names[path].xattr[name]

    def do_s3put(self, path, tag, n):
        self.names[path] = Node("f", 0o644)
        self.names[path].hist = [content(tag, n)]

    do_s3delete = do_unlink

    # ---- comparing ----

    def differences(self, seen):
        """seen: {path: Seen}. Lines; none when this state is what is there."""
        out = [f"{p}: missing" for p in sorted(set(self.names) - set(seen))]
        out += [f"{p}: nobody made it" for p in sorted(set(seen) - set(self.names))]
        for p in sorted(set(seen) & set(self.names)):
            out += [f"{p}: {w}" for w in self.differs(p, self.names[p], seen[p])]
        return out

    def differs(self, path, node, s):
        if node.kind != s.kind:
            yield f"is {s.kind}, not {node.kind}"
            return
        links = 2 + sum(n.kind == "d" and p != "" and parent(p) == path for p, n in self.names.items()) if node.kind == "d" else self.links(node)
        if s.nlink != links:
            yield f"st_nlink is {s.nlink}, not {links}"
        if node.kind != "l" and s.mode != node.mode:
            yield f"mode is {s.mode:o}, not {node.mode:o}"
        if node.kind == "l" and s.target != node.target:
            yield f"points to {s.target!r}, not {node.target!r}"
        if s.xattr != node.xattr:
            yield f"xattrs are {sorted(s.xattr)}, not {sorted(node.xattr)}, or of other values"
        if node.mtime is not None and s.mtime != node.mtime:
            yield f"mtime is {s.mtime}, not {node.mtime}"
        if node.kind == "f" and not node.allows(s.data):
            yield f"{describe(s.data)}; allowed: {', '.join(describe(h) for h in node.hist)}"

    def settle(self, seen):
        """What is there became certain: it is the only state from here on, and nothing is open."""
        self.fds = {}
        for p, node in self.names.items():
            if node.kind == "f":
                node.hist = [seen[p].data]


def describe(b):
    import hashlib

    return "a part of it" if not isinstance(b, bytes) else f"{len(b)} bytes {hashlib.md5(b).hexdigest()[:8]}"


class Seen:
    """A file as a program sees it."""

    KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}

    def __init__(self, path):
        st = os.lstat(path)
        self.kind = self.KINDS[stat.S_IFMT(st.st_mode)]
        self.mode, self.nlink, self.ino, self.mtime = st.st_mode & 0o7777, st.st_nlink, st.st_ino, st.st_mtime_ns
        self.target = os.readlink(path) if self.kind == "l" else None
        self.xattr = {}
        if self.kind in "fd":
            self.xattr = {n: os.getxattr(path, n) for n in os.listxattr(path) if n.startswith("user.")}
        self.data = None
        if self.kind == "f":
            with open(path, "rb") as f:
                self.data = f.read()
            assert len(self.data) == st.st_size, f"{path}: st_size {st.st_size}, {len(self.data)} bytes read"


def look(top):
    """{path: Seen} of a directory and all below it; a listing must say what stat says."""
    seen = {"": Seen(top)}
    todo = [""]
    while todo:
        d = todo.pop()
        with os.scandir(os.path.join(top, d)) as entries:
            for e in entries:
                p = f"{d}/{e.name}" if d else e.name
                assert p not in seen, f"{p}: listed twice"
                seen[p] = s = Seen(os.path.join(top, p))
                kind = "d" if e.is_dir(follow_symlinks=False) else "l" if e.is_symlink() else "f" if e.is_file(follow_symlinks=False) else "p"
                assert (kind, e.inode()) == (s.kind, s.ino), f"{p}: listed as {kind} {e.inode()}, stat says {s.kind} {s.ino}"
                if s.kind == "d":
                    todo.append(p)
    return seen


def same_files(model, seen):
    """Names of one file, and only they, have one inode number."""
    ino = {}
    for p, node in model.names.items():
        ino.setdefault(id(node), set()).add(seen[p].ino)
    return all(len(s) == 1 for s in ino.values()) and len(set.union(*ino.values())) == len(ino)


def match(candidates, seen, what):
    """The candidate that is there, settled; AssertionError when it is none of them."""
    wrong = []
    for m in candidates:
        d = m.differences(seen)
        if not d and same_files(m, seen):
            m.settle(seen)
            return m
        wrong.append(d or ["inode numbers do not follow the names"])
    nearest = min(wrong, key=len)
    raise AssertionError(f"after {what}: none of {len(candidates)} states; nearest:\n  " + "\n  ".join(nearest[:20]))

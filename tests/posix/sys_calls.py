# SPDX-License-Identifier: Apache-2.0
"""System calls that Python's os module has no name for, and doing things as somebody else."""
import ctypes
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32


def _checked(r):
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return r


def renameat2(a, b, flags):
    return _checked(libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags))


def fallocate(fd, mode, off, n):
    return _checked(libc.fallocate(fd, mode, ctypes.c_longlong(off), ctypes.c_longlong(n)))


def link_open(fd, path):
    """Gives a file of O_TMPFILE a name."""
    follow = 0x400  # AT_SYMLINK_FOLLOW
    return _checked(libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(path), follow))


def errno_of(fn, *a, **kw):
    """0, or the errno the call failed with."""
    try:
        fn(*a, **kw)
        return 0
    except OSError as e:
        return e.errno


def as_user(uid, gid, fn, groups=()):
    """Runs fn in a child with that identity; the errno it failed with, or 0."""
    pid = os.fork()
    if pid == 0:
        code = 199
        try:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            code = errno_of(fn)
        except BaseException as e:  # noqa: BLE001 the child must not run the parent's clean-up
            print(f"as_user: {e!r}", file=sys.stderr)
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def put(path, data=b"", flags=0, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()

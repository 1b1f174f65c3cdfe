# SPDX-License-Identifier: Apache-2.0
"""Child processes, ports, waiting and contents: what every rig needs.

A child dies with the test run (PR_SET_PDEATHSIG) and is only ever ended by its own pid. Waiting is always for a
condition with a deadline far above what it should take (times FOREBAY_SLOW, for sanitizer builds): no test asserts a time.
"""
import ctypes
import hashlib
import os
import random
import signal
import socket
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build")
SLOW = float(os.environ.get("FOREBAY_SLOW", "1"))
KEEP = bool(os.environ.get("FOREBAY_KEEP"))

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def spawn(argv, log, env=None, stdout=None):
    """Start argv; stderr (and stdout unless given) go to the file log, appended."""
    with open(log, "ab") as f:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout if stdout is not None else f,
            stderr=f,
            env=env,
            preexec_fn=_die_with_parent,
            close_fds=True,
        )


def end(p, sig=signal.SIGTERM, timeout=20):
    """Send sig and wait; a child that does not go is killed. Returns its exit code."""
    if p is None:
        return None
    if p.poll() is None:
        try:
            p.send_signal(sig)
        except ProcessLookupError:
            pass
        try:
            p.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait(30)
    return p.returncode


def free_port():
    """A port nobody listens on now. For servers that cannot take port 0."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, cond, timeout=60, step=0.02):
    """Call cond until it returns something true, which is returned. AssertionError naming `what` after the deadline,
    with the last false answer or exception."""
    end_at = time.monotonic() + timeout * SLOW
    last = None
    while True:
        try:
            last = cond()
            if last:
                return last
        except (OSError, AssertionError, subprocess.SubprocessError) as e:
            last = e
        if time.monotonic() > end_at:
            raise AssertionError(f"timed out waiting for {what}; last: {last!r}")
        time.sleep(step)
        step = min(step * 1.3, 0.25)


def wait_listening(port, p=None, timeout=30):
    def up():
        if p is not None and p.poll() is not None:
            raise RuntimeError(f"exited with {p.returncode} before it listened on {port}")
        with socket.create_connection(("127.0.0.1", port), 1):
            return True

    wait_for(f"port {port}", up, timeout)


def content(tag, size):
    """Bytes that only this tag has, the same in every run."""
    return random.Random(f"forebay {tag}").randbytes(size)


def md5(b):
    return hashlib.md5(b).hexdigest()


def tail(path, n=60):
    try:
        with open(path, "rb") as f:
            return b"\n".join(f.read().splitlines()[-n:]).decode("utf-8", "replace")
    except OSError as e:
        return str(e)

# SPDX-License-Identifier: Apache-2.0
"""Somebody who polls the under file system and believes what he sees.

Notes say what was committed, in order: (name, body), body None: deleted. A Watcher polls and says what no order explains in
which each commit follows all earlier ones of its directory and of those below. One look takes time, and the bucket changes meanwhile: so what a look saw of a
name may be newer than what it saw of another. It is wrong only if a name looked at later than another is older than the
other allows: names are looked at from the newest commit to the oldest.
"""
import threading


class Notes:
    """What was committed, in order. Each body tells by itself which commit it is of: bodies of one name differ."""

    def __init__(self):
        self.list = []
        self.lock = threading.Lock()

    def add(self, name, body):
        with self.lock:
            self.list.append((name, body))

    def now(self):
        with self.lock:
            return list(self.list)


def newest_first(notes):
    seen = []
    for name, _ in reversed(notes):
        if name not in seen:
            seen.append(name)
    return seen


def waits_for(name, other):
    """Does a commit of name wait for earlier ones of other?"""
    top = name.rpartition("/")[0]
    return other.startswith(top + "/" if top else "")


def judge(notes, seen):
    """seen: [(name, body or None)] in the order they were looked at. What each name proves to have happened must be covered by
    all that was looked at after it. Returns a text, or None."""
    proved = []  # (commit, name)
    for name, body in seen:
        fits = [i for i, (n, b) in enumerate(notes) if n == name and b == body]
        if body is None:
            fits.append(-1)
        if not fits:
            return f"{name} shows bytes nobody committed: {body[:60]!r}"
        limit, by = max([p for p in proved if waits_for(p[1], name)], default=(-1, None))
        due = [i for i, (n, _) in enumerate(notes) if n == name and i <= limit]
        if due and max(fits) < due[-1]:
            return f"{name} shows commit {max(fits)}, and {by} shows commit {limit}: commit {due[-1]} of {name} came before that"
        proved.append((min(i for i in fits if not due or i >= due[-1]), name))
    return None


class Watcher:
    """Polls until stop(); problems in .found. get(name) -> body or None."""

    def __init__(self, notes, get):
        self.notes, self.get, self.found, self.looks = notes, get, [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def look(self):
        names = newest_first(self.notes.now())
        seen = [(n, self.get(n)) for n in names]
        self.looks += 1
        why = judge(self.notes.now(), seen)
        if why:
            self.found.append(why)

    def _run(self):
        while not self._stop.is_set() and not self.found:
            self.look()

    def stop(self):
        self._stop.set()
        self._thread.join()
        if not self.found:
            self.look()
        return self.found

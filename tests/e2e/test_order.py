# SPDX-License-Identifier: Apache-2.0
"""Ordered publication: on paths that ask for it the bucket sees what was committed in the order it was committed."""
import json
import random

import pytest

from lib import proc
from lib.faultproxy import act, always
from lib.model import seed
from lib.watcher import Notes, Watcher, judge

MIB = 1 << 20
ORDERED = {"/demo/**": ("WRITE_BACK", {"orderedPublication": True})}
QUICK_RETRY = {"alluxio.worker.write.cache.async.persist.retry.initial.interval": "50ms",
               "alluxio.worker.write.cache.async.persist.retry.max.interval": "300ms"}


def test_the_watcher_sees_what_is_wrong():
    notes = [("data", b"1"), ("mark", b"1"), ("data", b"2"), ("mark", b"2"), ("old", b"x"), ("old", None)]
    ok = lambda *seen: judge(notes, list(seen)) is None
    assert ok(("mark", None), ("data", None)) and ok(("mark", None), ("data", b"1"))
    assert ok(("mark", b"1"), ("data", b"1")) and ok(("mark", b"1"), ("data", b"2")) and ok(("mark", b"2"), ("data", b"2"))
    assert not ok(("mark", b"1"), ("data", None)) and not ok(("mark", b"2"), ("data", b"1"))
    assert not ok(("old", b"x"), ("mark", b"1"), ("data", b"2"))
    assert ok(("old", None), ("mark", None)) and not ok(("mark", b"3"),)


@pytest.fixture
def on(make, versity, proxy_to, request):
    """on(rules) -> (forebay, proxy, prefix) over a store behind a proxy."""

    def build(rules=None, **props):
        p = proxy_to(versity)
        prefix = request.node.name.replace("[", "-").replace("]", "")[:60]
        f = make({"/demo": versity.uri(prefix)}, rules or ORDERED, {**versity.properties(), **QUICK_RETRY, **props})
        f.prefix, f.proxy, f.store = prefix, p, versity
        return f

    return build


def put(f, key, body):
    f.s3.put_object(Bucket="demo", Key=key, Body=body)


def writes(f):
    """Keys in the order the store was asked to change them."""
    return [(m, t.split("?")[0].rsplit(f.prefix + "/", 1)[1], a) for m, t, a in list(f.proxy.log)
            if m in ("PUT", "DELETE") and f"/{f.prefix}/" in t and "/.forebay/" not in t]


def test_objects_are_sent_in_commit_order(on):
    f = on()
    f.cli("async-persist", "pause")
    want = []
    for i in range(60):
        key = f"d/k{random.Random(i).randrange(1000):03}-{i}"
        put(f, key, b"x" * (9 * MIB if i % 20 == 0 else 10))
        want.append(key)
    f.cli("async-persist", "resume")
    f.wait_all_persisted()
    sent = list(dict.fromkeys(k for m, k, a in writes(f)))
    assert sent == want
    f.stop()
    f.assert_fsck_clean()


def hold(f, key):
    """PUTs of key hang until f.proxy.rule is changed and released; returns when one does."""
    f.proxy.rule = always(act("hang"), lambda r: r.method == "PUT" and r.path.endswith("/" + key))


def let_go(f):
    f.proxy.rule = None
    f.proxy.release()


def wait_held(f, key):
    proc.wait_for("a request for " + key, lambda: any(k == key for m, k, a in writes(f)))


def test_directories_wait_for_what_is_below_and_not_for_each_other(on):
    f = on()
    hold(f, "a/data")
    put(f, "a/data", b"1")
    wait_held(f, "a/data")
    put(f, "a/mark", b"2")
    put(f, "latest", b"3")
    put(f, "b/data", b"4")
    f.wait_persisted("/demo/b/data")
    assert f.store.get(f"{f.prefix}/b/data") == b"4"
    stat = f.cli("async-persist", "stat", "--path", "/demo/latest").out
    assert "NOT_PERSISTED" in stat and "Order: waits for its turn" in stat
    let_go(f)
    f.wait_all_persisted(90)
    order = [k for m, k, a in writes(f)]
    assert max(i for i, k in enumerate(order) if k == "a/data") < order.index("a/mark") < order.index("latest")


def test_where_nothing_is_asked_nothing_waits(on):
    f = on({"/demo/o/**": ("WRITE_BACK", {"orderedPublication": True}), "/demo/**": "WRITE_BACK"})
    hold(f, "o/a")
    put(f, "o/a", b"1")
    wait_held(f, "o/a")
    put(f, "o/b", b"2")
    put(f, "c", b"3")
    f.wait_persisted("/demo/c")
    assert f.state("/demo/o/b") == "NOT_PERSISTED"
    let_go(f)
    f.wait_all_persisted(90)


def test_a_replaced_object_is_sent_before_what_came_after_it(on):
    """data, mark, data again while the first is not sent: who sees the mark sees data."""
    f = on()
    hold(f, "d/first")
    put(f, "d/first", b"0")
    wait_held(f, "d/first")
    for n in (b"1", b"2", b"3"):
        put(f, "d/data", n)
        put(f, "d/mark", n)
    let_go(f)
    f.wait_all_persisted(90)
    sent = [k for m, k, a in writes(f) if k != "d/first"]
    assert sent[:2] == ["d/data", "d/mark"] and sent[-2:] == ["d/data", "d/mark"] and len(sent) == 6
    assert f.store.get(f"{f.prefix}/d/data") == f.store.get(f"{f.prefix}/d/mark") == b"3"
    f.stop()
    f.assert_fsck_clean()


def test_a_deletion_waits_for_what_came_before_it(on):
    f = on()
    put(f, "step-1/data", b"old")
    put(f, "d/old", b"old")
    f.wait_all_persisted()
    hold(f, "step-2/data")
    put(f, "step-2/data", b"new")
    wait_held(f, "step-2/data")
    f.s3.delete_object(Bucket="demo", Key="step-1/data")
    assert f.cli("fs", "test", "-e", "/demo/step-1/data", check=False).code == 1
    put(f, "step-1/later", b"x")
    let_go(f)
    f.wait_all_persisted(90)
    proc.wait_for("the deletion", lambda: f.store.get(f"{f.prefix}/step-1/data") is None)
    w = [(m, k) for m, k, a in writes(f)]
    assert max(i for i, x in enumerate(w) if x == ("PUT", "step-2/data")) < w.index(("DELETE", "step-1/data")) < w.index(("PUT", "step-1/later"))


def renamed(f, a, b):
    f.cli("fs", "mv", "/demo/" + a, "/demo/" + b)


def test_renames_are_in_the_order(on):
    """A clean file that is renamed, then a mark: copy, deletion of the old name, mark."""
    f = on()
    put(f, "d/tmp", b"data")
    f.wait_all_persisted()
    f.cli("async-persist", "pause")
    renamed(f, "d/tmp", "d/final")
    put(f, "d/mark", b"1")
    renamed(f, "d/mark", "d/mark2")
    put(f, "d/end", b"2")
    f.cli("async-persist", "resume")
    f.wait_all_persisted()
    proc.wait_for("the old name to go", lambda: f.store.get(f"{f.prefix}/d/tmp") is None)
    w = [k for m, k, a in writes(f)][1:]
    assert w == ["d/final", "d/tmp", "d/mark2", "d/end"]


def test_a_directory_renamed_into_place(on):
    f = on()
    for i in range(5):
        put(f, f"step.tmp/{i}", b"clean")
    f.wait_all_persisted()
    f.cli("async-persist", "pause")
    put(f, "step.tmp/dirty", b"dirty")
    renamed(f, "step.tmp", "step")
    put(f, "latest", b"step")
    f.cli("async-persist", "resume")
    f.wait_all_persisted()
    w = [k for m, k, a in writes(f)][5:]
    before = w[:w.index("latest")]
    assert sorted(k for k in before if k.startswith("step/")) == [f"step/{i}" for i in range(5)] + ["step/dirty"]
    proc.wait_for("the old names to go", lambda: not [k for k in f.store.keys(f.prefix) if "step.tmp" in k])
    f.stop()
    f.assert_fsck_clean()


DENIED = act("status", status=403, code="AccessDenied")


def finding(f, what):
    r = f.cli("doctor", "--json", check=False)
    return [x for x in json.loads(r.out)["findings"] if x["check"] == what]


def test_an_object_that_fails_stops_its_directory_and_skip_releases_it(on):
    f = on()
    f.proxy.rule = always(DENIED, lambda r: r.method == "PUT" and r.path.endswith("/d/bad"))
    put(f, "d/good", b"0")
    put(f, "d/bad", b"1")
    put(f, "d/after", b"2")
    put(f, "e/other", b"3")
    metric = lambda: f.metrics()["forebay_ordered_directories_stopped"]
    # the directory, and the one above, which waits for it
    proc.wait_for("the stop", lambda: "Stopped: /demo/d is published in order" in f.cli("async-persist", "list").out)
    f.wait_persisted("/demo/e/other")
    out = f.cli("async-persist", "list").out
    assert "/demo/d/bad failed" in out and "async-persist skip --path /demo/d/bad" in out and "2 wait" in out
    assert metric() >= 1
    stat = f.cli("async-persist", "stat", "--path", "/demo/d/after").out
    assert "Stopped by: /demo/d/bad" in stat and "async-persist skip --path /demo/d/bad" in stat
    x = finding(f, "order.stopped")
    assert len(x) == 1 and x[0]["level"] == "FAIL" and "/demo/d/bad" in x[0]["text"] and "skip --path /demo/d/bad" in x[0]["remedy"]
    proc.wait_for("the log", lambda: "order.stopped" in proc.tail(f.log, 1000))
    assert f.store.get(f"{f.prefix}/d/after") is None
    f.restart("kill9")
    proc.wait_for("the stop again", lambda: metric() >= 1)
    assert f.store.get(f"{f.prefix}/d/after") is None

    r = f.cli("async-persist", "skip", "--path", "/demo/d/nothing", check=False)
    assert r.code == 1 and "nothing at /demo/d/nothing waits" in r.err
    assert "Skipped /demo/d/bad: it stays here" in f.cli("async-persist", "skip", "--path", "/demo/d/bad").out
    f.wait_persisted("/demo/d/after")
    proc.wait_for("the end of the stop", lambda: metric() == 0)
    assert f.metrics()["forebay_persist_skipped_total"] == 1
    assert f.state("/demo/d/bad") == "SKIPPED" and f.store.get(f"{f.prefix}/d/bad") is None
    assert f.raw.get("demo", "d/bad").body == b"1" and f.raw.head("demo", "d/bad").headers["x-forebay-state"] == "NOT_PERSISTED"
    r = f.cli("async-persist", "wait", "--path", "/demo/d/bad", check=False)
    assert r.code != 0 and "skipped" in r.err
    f.restart("kill9")
    assert f.state("/demo/d/bad") == "SKIPPED" and f.raw.get("demo", "d/bad").body == b"1"
    f.proxy.rule = None
    put(f, "d/bad", b"again")
    f.wait_persisted("/demo/d/bad")
    assert f.store.get(f"{f.prefix}/d/bad") == b"again"
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("what", ["rename", "deletion", "replaced"])
def test_skip_of_what_is_no_upload(on, what):
    f = on()
    put(f, "d/k", b"1")
    f.wait_all_persisted()
    if what == "rename":
        f.proxy.rule = always(DENIED, lambda r: r.method == "PUT" and r.path.endswith("/d/k2"))
        renamed(f, "d/k", "d/k2")
    elif what == "deletion":
        f.proxy.rule = always(DENIED, lambda r: r.method == "DELETE")
        f.s3.delete_object(Bucket="demo", Key="d/k")
    else:
        f.cli("async-persist", "pause")
        f.proxy.rule = always(DENIED, lambda r: r.method == "PUT" and r.path.endswith("/d/k") and b"older" in r.body)
        put(f, "d/k", b"older")
    put(f, "d/after", b"2")
    if what == "replaced":
        put(f, "d/k", b"newer")
        f.cli("async-persist", "resume")
    name = "/demo/d/k2" if what == "rename" else "/demo/d/k"
    proc.wait_for("the stop", lambda: f"skip --path {name}" in f.cli("async-persist", "list").out)
    assert f.store.get(f"{f.prefix}/d/after") is None
    out = f.cli("async-persist", "skip", "--path", name).out
    assert {"rename": "moves", "deletion": "is deleted", "replaced": "older content"}[what] in out
    f.wait_persisted("/demo/d/after")
    f.proxy.rule = None
    f.cli("async-persist", "kick")
    want = {"rename": {"d/k2": b"1"}, "deletion": {}, "replaced": {"d/k": b"newer"}}[what]
    proc.wait_for("the end", lambda: {k[len(f.prefix) + 1:]: f.store.get(k) for k in f.store.keys(f.prefix + "/d/")}
                  == {**want, "d/after": b"2"})
    f.stop()
    f.assert_fsck_clean()


def test_the_rule_is_checked(on):
    f = on()
    rule = {"alluxioPath": "/demo/**", "policyMode": "WRITE_BACK", "properties": {"orderedPublication": "yes"}}
    doc = {"apiVersion": "v1.0", "pathRules": [rule]}
    r = f.cli("pathconfig", "edit", input=json.dumps(doc), env={"EDITOR": "cp /dev/stdin"}, check=False)
    assert r.code == 1 and "orderedPublication must be true or false" in r.err


class Trainer:
    """A writer of checkpoints over S3, the same names again and again: the mark goes, data, the mark, and in the directory above
    which one is the latest."""

    def __init__(self, f, notes, rng, deletes=True):
        self.f, self.notes, self.rng, self.deletes = f, notes, rng, deletes

    def commit(self, name, body):
        self.notes.add(name, body)  # before it is answered it may be seen
        if body is None:
            self.f.s3.delete_object(Bucket="demo", Key=name)
        else:
            put(self.f, name, body)

    def step(self, n):
        body = lambda what: f"{what} {n} ".encode() + b"." * self.rng.choice([10, 5000, 300_000])
        if n % 3 == 2 and self.deletes:
            self.commit("d/mark", None)
        for name in ("d/a", "d/b", "d/c", "d/mark", "latest"):
            self.commit(name, body(name))


def run_watched(f, get, kills, rounds=8, fault=None):
    rng = random.Random(seed())
    notes = Notes()
    w = Watcher(notes, get)
    for life in range(kills + 1):
        t = Trainer(f, notes, rng, deletes=False)  # docs/semantics.md, Ordered publication: the known gap
        for n in range(rounds):
            t.step(life * rounds + n)
        if life < kills:
            f.kill9()
            f.start(fault=fault)
    found = []
    try:
        f.wait_all_persisted(120)
    finally:
        found = w.stop()
    assert not found, found
    assert w.looks > 10
    last = dict(notes.now())
    proc.wait_for("the last state", lambda: all(get(k) == v for k, v in last.items()))
    f.stop()
    f.assert_fsck_clean()


@pytest.mark.parametrize("kills", [0, 6])
def test_a_watcher_of_a_directory_never_sees_a_mark_without_its_data(make, ufs, kills):
    fault = "ufs.put.before:sleep 3*100000"
    f = make({"/demo": ufs.uri()}, ORDERED, QUICK_RETRY, start=False)
    f.start(fault=fault)
    run_watched(f, ufs.get, kills, rounds=12 if not kills else 5, fault=fault)


def test_a_watcher_of_a_store_that_fails_and_is_slow(on):
    f = on()
    rng = random.Random(seed())

    def rule(r):
        if not r.writes or rng.random() > 0.4:
            return None
        return rng.choice([act("delay", seconds=0.05), act("throttle"), act("status", status=500), act("refuse"), act("repeat")])

    f.proxy.rule = rule
    run_watched(f, lambda k: f.store.get(f"{f.prefix}/{k}"), 3, rounds=4)


def test_a_lost_order_is_noticed(make, ufs):
    """The planted bug: commits take no turn. The same watcher must see it."""
    fault = "test.skip.turn:error IO*1000000, ufs.put.before:sleep 3*100000"
    f = make({"/demo": ufs.uri()}, ORDERED, QUICK_RETRY, start=False)
    f.start(fault=fault)
    notes = Notes()
    w = Watcher(notes, ufs.get)
    t = Trainer(f, notes, random.Random(seed()))
    for n in range(200):
        t.step(n)
        if w.found:
            break
    assert w.stop(), "nobody noticed"

# SPDX-License-Identifier: Apache-2.0
"""Load and free jobs: shapes of REST and command line, options, and what outlives the process."""
import json
import re

import pytest

from lib import proc
from test_admin import ask

WB = {"/demo/**": "WRITE_BACK"}
SHAPE = """id startTime state runningState errorMessage failedFileListPath paths index skipIfExists loadMetadataOnly verify bandwidth
timeElapsedMilliseconds loadedBytes skippedBytes totalBytes loadedNonEmptyFiles failedFiles scannedFiles quota quotaCheckError"""
PROGRESS = r"""Progress for loading path '/demo/in':
\tSettings:\tbandwidth: 4.88KB/s\tverify: true\tmetadata-only: false
\tTime Elapsed: \S.*
\tJob State: RUNNING
\tInodes Scanned: \d+
\tInodes Processed: \d+
\tBytes Loaded: \S+ out of \S+
\tThroughput: \S+/s
\tFile Failure rate: 0.00%
\tSubtask Failure rate: 0.00%
\tFiles Failed: 0
\tSubtask Retry rate: 0.00%
\tSubtasks on Retry Dead Letter Queue: 0
"""


def submit(f, **body):
    return ask(f.admin_addr, "/api/v1/load", "POST", json.dumps(body).encode(), Content_Type="application/json")


def fill(ufs, n=20, size=10_000):
    for i in range(n):
        ufs.put(f"in/{i:02}", proc.content(f"l{i}", size))


def state(f, job):
    return ask(f.admin_addr, f"/api/v1/load?id={job}")[1]


def ended(f, job):
    proc.wait_for("the end of the job", lambda: state(f, job)["state"] != "RUNNING")
    return state(f, job)


@pytest.mark.quick
def test_shapes(make, ufs):
    fill(ufs)
    f = make({"/demo": ufs.uri()}, WB)
    args = ["job", "load", "--path", "/demo/in"]
    out = f.cli(*args, "--submit", "--bandwidth", "5000", "--verify").out
    m = re.fullmatch(r"Load '/demo/in' is successfully submitted.\nJobId: ([0-9a-f-]{36})\n", out)
    assert m, out
    assert f.cli(*args, "--submit").out == f"Load '/demo/in' is already running.\nJobId: {m[1]}\n"
    assert submit(f, paths=["/demo/in"])[0] == 409 and submit(f, paths=["/demo/in"])[1]["id"] == m[1]
    text = f.cli(*args, "--progress").out
    assert re.fullmatch(PROGRESS, text), text
    j = json.loads(f.cli(*args, "--progress", "--format", "JSON").out)
    assert set(SHAPE.split()) <= set(j) and j["bandwidth"] == 5000 and j["verify"] is True
    assert j["runningState"] in ("SCANNING", "LOADING")
    assert f.cli(*args, "--stop").out == "Load '/demo/in' is successfully stopped.\n"
    assert ended(f, m[1])["state"] == "STOPPED"
    assert f.cli(*args, "--format", "XML", check=False).code == 2
    assert f.cli("job", "load", check=False).code == 2, "a path is needed"
    assert ask(f.admin_addr, "/api/v1/load?alias=none") == (404, {"status": "No job found for this id, alias, index or path"})
    assert f.cli("job", "load", "--path", "/demo/other", "--progress", check=False).code == 1


def test_options(make, ufs):
    fill(ufs)
    ufs.put("in/sub/x.csv", b"x" * 50)
    ufs.put("list", b"/demo/in/03\n" + ufs.uri().encode() + b"/in/04\n\n")
    f = make({"/demo": ufs.uri()}, WB)
    s, j = submit(f, paths=["/demo/in"], alias="csv", options={"fileFilterRegex": ".*[.]csv", "replicas": 1})
    assert s == 200 and j["ignoredOptions"] == ["replicas"]
    j = ended(f, j["id"])
    assert (j["state"], j["scannedFiles"], j["loadedBytes"]) == ("SUCCEEDED", 1, 50)
    assert ask(f.admin_addr, "/api/v1/load?alias=csv")[1]["id"] == j["id"]
    j = json.loads(f.cli("job", "load", "--index", "/demo/list", "--json").out)
    assert (j["state"], j["processedFiles"], j["loadedBytes"]) == ("SUCCEEDED", 2, 20_000)
    assert ask(f.admin_addr, "/api/v1/load?index=/demo/list")[1]["id"] == j["id"]
    j = json.loads(f.cli("job", "load", "--path", ufs.uri() + "/in", "--verify", "--skip-if-exists", "--json").out)
    assert (j["path"], j["processedFiles"], j["skippedBytes"], j["loadedBytes"]) == ("/demo/in", 21, 20_050, 180_000)
    ids = [x["id"] for x in ask(f.admin_addr, "/api/v1/load")[1]]
    assert len(ids) == 3 and ids[0] == j["id"], "newest first"
    assert [x["id"] for x in ask(f.admin_addr, f"/api/v1/load?lastKey={ids[0]}&count=1")[1]] == ids[1:2]
    listed = f.cli("job", "load", "--list").out.splitlines()
    assert listed[0].split() == ["JobId", "State", "Started", "Files", "Bytes", "Path"] and listed[1].split()[0] == ids[0]
    for bad in ({"fileFilterRegex": "("}, {"fileFilterRegex": "(a{1,255}){1,255}"}, {"verify": "yes"}, {"bandwidth": "fast"}, {"banana": 1}):
        status, j = submit(f, paths=["/demo/in"], options=bad)
        assert status == 400 and list(bad)[0] in j["error"]["message"] or "fast" in j["error"]["message"], j
    assert submit(f, paths=["/demo/none"])[0] == 404 and submit(f, paths=["s3://elsewhere/x"])[0] == 404
    assert submit(f, index="/demo/none")[0] == 404 and submit(f, index="/demo/list", paths=["/demo"])[0] == 400


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_job_goes_on_after_a_restart(make, ufs, how):
    fill(ufs)
    f = make({"/demo": ufs.uri()}, WB)
    done = json.loads(f.cli("job", "load", "--path", "/demo/in/00", "--json").out)
    _, j = submit(f, paths=["/demo/in"], options={"bandwidth": 20_000})
    stopped = submit(f, paths=["/demo"], options={"bandwidth": 100})[1]["id"]
    assert f.cli("job", "load", "--path", "/demo", "--stop").code == 0
    proc.wait_for("some progress", lambda: state(f, j["id"])["processedFiles"] > 3)
    f.restart(how)
    after = ended(f, j["id"])
    assert (after["state"], after["processedFiles"], after["totalBytes"]) == ("SUCCEEDED", 20, 200_000), after
    assert after["startTime"] == j["startTime"] and after["bandwidth"] == 20_000
    assert json.loads(f.cli("fs", "du", "/demo/in", "--json").out)["cached"] == 200_000
    assert state(f, done["id"]) == done, "ended jobs are remembered as they were"
    assert state(f, stopped)["state"] == "STOPPED", "what was stopped does not come back"


def test_ended_jobs_are_forgotten(make, ufs):
    fill(ufs, 2)
    f = make({"/demo": ufs.uri()}, WB, {"alluxio.job.retention.time": "0s"})
    j = json.loads(f.cli("job", "load", "--path", "/demo/in", "--json").out)
    f.restart()
    proc.wait_for("its end", lambda: ask(f.admin_addr, f"/api/v1/load?id={j['id']}")[0] == 404)
    f.stop()
    f.assert_fsck_clean()


def test_failures_are_named(make, versity, proxy_to):
    p = proxy_to(versity)
    for i in range(3):
        versity.put(f"jobs/{i}", b"x" * 1000)
    f = make({"/demo": versity.uri("jobs")}, WB, {**versity.properties(), "forebay.ufs.retry.attempts": "1"})
    f.cli("job", "load", "--path", "/demo", "--metadata-only")
    p.down()
    r = f.cli("job", "load", "--path", "/demo", check=False)
    assert r.code == 1 and "3 files failed" in r.err, r
    text = f.cli("job", "load", "--path", "/demo", "--progress", "--verbose").out
    assert text.count("\tFailed: /demo/") == 3 and "Files Failed: 3" in text and "Job State: FAILED\n" in text


def test_more_failures_than_a_row_holds(make, ufs):
    f = make({"/demo": ufs.uri()}, WB)
    missing = ["/demo/" + ("x" * 240 + "/") * 4 + str(i) for i in range(120)]
    f.s3.put_object(Bucket="demo", Key="index", Body="\n".join(missing).encode())
    j = ended(f, submit(f, index="/demo/index")[1]["id"])
    assert j["state"] == "FAILED" and j["errorMessage"].startswith("/demo/xxx") and len(j["failures"]) == 100, j["errorMessage"]
    assert j["failedFiles"] == 120
    f.restart()
    again = state(f, j["id"])
    assert (again["state"], again["endTime"]) == ("FAILED", j["endTime"]) and 0 < len(again["failures"]) <= 100


def test_a_stop_is_not_overwritten_by_an_older_state(make, ufs):
    """The job writes down how far it is while somebody stops it: what is kept in the end is the stop."""
    fill(ufs, 3)
    f = make({"/demo": ufs.uri()}, WB)
    f.restart(fault="meta.job.put:sleep 3000@2, meta.job.put:sleep 600000@4")  # its phase; its end
    job = submit(f, paths=["/demo/in"], options={"bandwidth": 100})[1]["id"]
    proc.wait_for("the job to write its phase", lambda: state(f, job)["runningState"] == "LOADING")
    assert ask(f.admin_addr, f"/api/v1/load?id={job}", "DELETE")[0] == 200
    proc.wait_for("the job to have written its phase", lambda: state(f, job)["state"] == "STOPPED")
    f.restart("kill")
    assert state(f, job)["state"] == "STOPPED"


def test_a_job_is_refused_at_once_or_can_be_kept_to_its_end(make, ufs):
    """What a job is told to do must leave room in its row for how far it came, wherever the limit lies."""
    ufs.put("in/" + "x" * 200, b"x")
    f = make({"/demo": ufs.uri()}, WB)
    fits, too_long = 1, 100_000
    last = None
    while too_long - fits > 1:
        n = (fits + too_long) // 2
        status, j = submit(f, paths=["/demo/in"], alias="a" * n)
        if status == 200:
            fits, last = n, ended(f, j["id"])
            assert (last["state"], last["errorMessage"]) == ("SUCCEEDED", ""), n
        else:
            too_long = n
            assert status == 400 and "index" in j["error"]["message"], j
    listed = len(ask(f.admin_addr, "/api/v1/load")[1])
    assert submit(f, paths=["/demo/in"], alias="a" * too_long)[0] == 400
    assert len(ask(f.admin_addr, "/api/v1/load")[1]) == listed, "a refused one is no job"
    long = ["/demo/in/" + "y" * 240 + f"/{i}" for i in range(fits // 260 - 1)]
    ufs.put("list", "\n".join(long).encode())
    j = ended(f, submit(f, index="/demo/list", alias="b" * (fits - 100))[1]["id"])
    assert j["failedFiles"] == len(long) and j["failures"] and "NoSuchKey" not in j["errorMessage"]
    f.restart()
    assert state(f, j["id"])["errorMessage"] == j["errorMessage"] and state(f, last["id"]) == last
    assert len(ask(f.admin_addr, "/api/v1/load")[1]) == listed + 1


@pytest.mark.parametrize("shift", range(3))
def test_failures_are_cut_at_a_character(make, ufs, shift):
    f = make({"/demo": ufs.uri()}, WB)
    missing = "/demo/" + "x" * shift + ("\u20ac" * 80 + "/") * 2 + "n"
    f.s3.put_object(Bucket="demo", Key="index", Body=missing.encode())
    j = ended(f, submit(f, index="/demo/index")[1]["id"])
    assert j["state"] == "FAILED" and [x["path"] for x in j["failures"]] == [missing]
    assert j["errorMessage"].startswith(missing[:95]), j
    f.restart()
    assert state(f, j["id"])["errorMessage"] == j["errorMessage"]

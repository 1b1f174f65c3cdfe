# SPDX-License-Identifier: Apache-2.0
"""Policy x call, as docs/semantics.md has it: acknowledged when, visible where, in the UFS when."""
import os
import socket
import threading

import botocore.exceptions
import pytest

from lib import proc
from lib.faultproxy import act, always, times
from lib.forebay import path_config
from lib.ufs import DirUfs, Prefix

POLICIES = ["WRITE_THROUGH", "WRITE_BACK", "TRANSIENT", "READ_ONLY", "NO_CACHE"]
WRITABLE = [p for p in POLICIES if p != "READ_ONLY"]
MIB = 1 << 20


@pytest.fixture
def one(make, work):
    """one(policy) -> (forebay, ufs): /b under that policy over a directory that holds pre/existing."""

    def build(policy, **kw):
        ufs = DirUfs(os.path.join(work, "ufs"))
        ufs.put("pre/existing", b"was there")
        return make({"/b": ufs.uri()}, {"/b/**": policy}, **kw), ufs

    return build


def denied(call, *a, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(*a, **kw)
    return e.value.response["Error"]["Code"]


@pytest.mark.quick
@pytest.mark.parametrize("policy", WRITABLE)
def test_put_get_list_delete(one, policy):
    f, ufs = one(policy)
    body = proc.content("p", 100_000)
    f.s3.put_object(Bucket="b", Key="d/k", Body=body)
    assert f.raw.get("b", "d/k").body == body
    assert f.raw.list("b") == ["d/k", "pre/existing"]
    in_ufs = ufs.get("d/k")
    if policy in ("WRITE_THROUGH", "NO_CACHE"):
        assert in_ufs == body, "acknowledged means in the UFS"
    if policy == "TRANSIENT":
        assert in_ufs is None
    if policy == "WRITE_BACK":
        f.wait_persisted("/b/d/k")
        assert ufs.get("d/k") == body
    f.s3.delete_object(Bucket="b", Key="d/k")
    assert f.raw.get("b", "d/k").status == 404
    assert f.raw.list("b") == ["pre/existing"]
    if policy in ("WRITE_THROUGH", "NO_CACHE"):
        assert ufs.get("d/k") is None, "acknowledged means gone from the UFS"
    f.wait_ufs(ufs, {"pre/existing": b"was there"})


@pytest.mark.parametrize("policy", POLICIES)
def test_reading_what_the_ufs_holds(one, policy):
    f, ufs = one(policy)
    assert f.raw.get("b", "pre/existing").body == b"was there"
    assert f.raw.head("b", "pre/existing").headers["content-length"] == "9"
    assert f.raw.list("b") == ["pre/existing"]


def test_read_only_refuses_every_write(one):
    f, ufs = one("READ_ONLY")
    s3 = f.s3
    assert denied(s3.put_object, Bucket="b", Key="k", Body=b"x") == "AccessDenied"
    assert denied(s3.put_object, Bucket="b", Key="pre/existing", Body=b"x") == "AccessDenied"
    assert denied(s3.delete_object, Bucket="b", Key="pre/existing") == "AccessDenied"
    assert denied(s3.copy_object, Bucket="b", Key="c", CopySource="b/pre/existing") == "AccessDenied"
    assert denied(s3.create_multipart_upload, Bucket="b", Key="k") == "AccessDenied"
    r = s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "pre/existing"}]})
    assert r["Errors"][0]["Code"] == "AccessDenied"
    for args in (["mv", "/b/pre/existing", "/b/x"], ["mv", "/b/pre", "/b/post"], ["rm", "/b/pre/existing"], ["rm", "-R", "/b/pre"],
                 ["mkdir", "/b/new"]):
        r = f.cli("fs", *args, check=False)
        assert r.code != 0 and "READ_ONLY" in r.err, (args, r)
    assert ufs.tree() == {"pre/existing": b"was there"}
    assert f.raw.get("b", "pre/existing").body == b"was there"


@pytest.mark.parametrize("policy", WRITABLE)
def test_multipart(one, policy):
    f, ufs = one(policy)
    parts = [proc.content("m1", 5 * MIB), proc.content("m2", 1234)]
    u = f.s3.create_multipart_upload(Bucket="b", Key="mpu")["UploadId"]
    tags = [f.s3.upload_part(Bucket="b", Key="mpu", UploadId=u, PartNumber=i + 1, Body=p)["ETag"] for i, p in enumerate(parts)]
    assert f.raw.get("b", "mpu").status == 404 and ufs.get("mpu") is None, "invisible before Complete"
    f.s3.complete_multipart_upload(
        Bucket="b", Key="mpu", UploadId=u,
        MultipartUpload={"Parts": [{"PartNumber": i + 1, "ETag": t} for i, t in enumerate(tags)]},
    )
    body = b"".join(parts)
    assert f.raw.get("b", "mpu").body == body
    if policy in ("WRITE_THROUGH", "NO_CACHE"):
        assert ufs.get("mpu") == body
    f.wait_ufs(ufs, {"pre/existing": b"was there", **({} if policy == "TRANSIENT" else {"mpu": body})})


@pytest.mark.parametrize("policy", WRITABLE)
def test_copy(one, policy):
    f, ufs = one(policy)
    body = proc.content("copy", 300_000)
    f.s3.put_object(Bucket="b", Key="src", Body=body, ContentType="text/x-a", Metadata={"k": "v"})
    r = f.s3.copy_object(Bucket="b", Key="dst", CopySource={"Bucket": "b", "Key": "src"})
    assert r["CopyObjectResult"]["ETag"] == f'"{proc.md5(body)}"'
    f.s3.delete_object(Bucket="b", Key="src")
    assert f.raw.get("b", "dst").body == body
    h = f.s3.head_object(Bucket="b", Key="dst")
    assert h["ContentType"] == "text/x-a" and h["Metadata"] == {"k": "v"}
    f.wait_ufs(ufs, {"pre/existing": b"was there", **({} if policy == "TRANSIENT" else {"dst": body})})
    assert f.raw.get("b", "dst").body == body


@pytest.mark.parametrize("policy", ["WRITE_THROUGH", "WRITE_BACK", "TRANSIENT"])
def test_rename(one, policy):
    f, ufs = one(policy)
    body = proc.content("rn", 50_000)
    f.s3.put_object(Bucket="b", Key="r/one", Body=body)
    etag = f.raw.head("b", "r/one").etag
    f.cli("fs", "mv", "/b/r/one", "/b/r/two")
    assert f.raw.get("b", "r/one").status == 404
    g = f.raw.get("b", "r/two")
    assert g.body == body and g.etag == etag, "a rename changes no ETag"
    f.cli("fs", "mv", "/b/r", "/b/s")
    assert f.raw.get("b", "s/two").body == body and f.raw.list("b") == ["pre/existing", "s/two"]
    f.wait_ufs(ufs, {"pre/existing": b"was there", **({} if policy == "TRANSIENT" else {"s/two": body})})


def test_no_cache_renames_are_refused(one):
    f, ufs = one("NO_CACHE")
    r = f.cli("fs", "mv", "/b/pre/existing", "/b/x", check=False)
    assert r.code != 0 and "NO_CACHE" in r.err
    assert ufs.tree() == {"pre/existing": b"was there"}


@pytest.mark.parametrize("policy", WRITABLE)
def test_restart_keeps_it(one, policy):
    f, ufs = one(policy)
    body = proc.content("keep", 70_000)
    f.s3.put_object(Bucket="b", Key="k", Body=body)
    f.restart("kill")
    assert f.raw.get("b", "k").body == body, "TRANSIENT too: it survives the process, not the cache"
    assert f.raw.list("b") == ["k", "pre/existing"]


@pytest.mark.parametrize("policy,fails", [("WRITE_THROUGH", True), ("NO_CACHE", True), ("WRITE_BACK", False), ("TRANSIENT", False)])
def test_ufs_away(make, versity, proxy_to, policy, fails):
    """What must reach the UFS before the answer fails cleanly without it and leaves the old object; the others go on."""
    p = proxy_to(versity)
    prefix = f"away-{policy.lower()}"
    f = make({"/b": versity.uri(prefix)}, {"/b/**": policy}, versity.properties())
    f.s3.put_object(Bucket="b", Key="k", Body=b"old")
    assert f.raw.get("b", "k").body == b"old"
    p.down()
    a = f.raw.put("b", "k", b"new")
    if fails:
        assert a.status in (500, 503) and a.code, a
    else:
        assert a.status == 200 and f.raw.get("b", "k").body == b"new"
    p.up()
    want = b"old" if fails else b"new"
    proc.wait_for("the object", lambda: f.raw.get("b", "k").body == want)
    if policy != "TRANSIENT":
        proc.wait_for("the UFS", lambda: versity.get(f"{prefix}/k") == want)


def test_write_through_is_invisible_until_it_is_in_the_ufs(make, versity, proxy_to):
    """While the UFS refuses, nobody sees the new bytes, through Forebay or beside it."""
    p = proxy_to(versity)
    f = make({"/b": versity.uri("wt-inv")}, {"/b/**": "WRITE_THROUGH"}, versity.properties())
    f.s3.put_object(Bucket="b", Key="k", Body=b"old")
    p.rule = always(act("status", status=403, code="AccessDenied"), lambda r: r.writes)
    a = f.raw.put("b", "k", b"newer")
    assert a.status == 403 and a.code == "AccessDenied", a
    assert f.raw.get("b", "k").body == b"old" and versity.get("wt-inv/k") == b"old"
    assert f.raw.put("b", "k2", b"never").status == 403
    assert f.raw.get("b", "k2").status == 404 and f.raw.list("b") == ["k"]


def test_an_overwrite_under_way_shows_the_old_object(make, versity, proxy_to):
    """NO_CACHE keeps no file here: while the UFS takes its time with the new object, readers get the old one, not a 404."""
    p = proxy_to(versity)
    f = make({"/b": versity.uri("nc-over")}, {"/b/**": "NO_CACHE"}, versity.properties())
    f.s3.put_object(Bucket="b", Key="k", Body=b"old")
    p.rule = times(1, act("hang"), lambda r: r.method == "PUT")
    t = threading.Thread(target=lambda: f.raw.put("b", "k", b"new"))
    t.start()
    proc.wait_for("the PUT at the store", lambda: any(m == "PUT" and a == "hang" for m, _, a in p.log))
    assert f.raw.get("b", "k").body == b"old" and f.raw.list("b") == ["k"]
    p.release()
    t.join()


# ---- rules ----


def test_the_most_specific_rule_decides_and_the_default_the_rest(make, ufs):
    f = make({"/b": ufs.uri()}, {"/b/wb/**": "WRITE_BACK", "/b/ro/**": "READ_ONLY", "/b/tr/**": "TRANSIENT"}, default="WRITE_THROUGH")
    f.s3.put_object(Bucket="b", Key="tr/x", Body=b"t")
    f.s3.put_object(Bucket="b", Key="x", Body=b"through")
    assert ufs.get("x") == b"through" and ufs.get("tr/x") is None
    assert denied(f.s3.put_object, Bucket="b", Key="ro/x", Body=b"") == "AccessDenied"
    f.s3.put_object(Bucket="b", Key="wb/x", Body=b"back")
    f.wait_ufs(ufs, {"x": b"through", "wb/x": b"back"})


def test_rename_between_policies(make, ufs):
    """From TRANSIENT to a persisted path the object is persisted; the other way it leaves the UFS. Metadata only both ways."""
    f = make({"/b": ufs.uri()}, {"/b/tr/**": "TRANSIENT", "/b/wb/**": "WRITE_BACK"})
    body = proc.content("tp", 80_000)
    f.s3.put_object(Bucket="b", Key="tr/one", Body=body)
    f.s3.put_object(Bucket="b", Key="tr/d/two", Body=body)
    f.cli("fs", "mkdir", "/b/wb")
    f.cli("fs", "mv", "/b/tr/one", "/b/wb/one")
    f.cli("fs", "mv", "/b/tr/d", "/b/wb/d")
    assert f.raw.get("b", "wb/one").body == body
    f.wait_ufs(ufs, {"wb/one": body, "wb/d/two": body})
    f.cli("fs", "mkdir", "/b/tr", check=False)  # it went with its last entry
    f.cli("fs", "mv", "/b/wb/one", "/b/tr/back")
    f.wait_ufs(ufs, {"wb/d/two": body})
    assert f.raw.get("b", "tr/back").body == body
    f.restart()
    assert f.raw.get("b", "tr/back").body == body


def test_read_only_guards_both_ends_of_a_rename(make, ufs):
    f = make({"/b": ufs.uri()}, {"/b/ro/**": "READ_ONLY", "/b/wb/**": "WRITE_BACK"})
    f.s3.put_object(Bucket="b", Key="wb/x", Body=b"x")
    assert f.cli("fs", "mv", "/b/wb/x", "/b/ro/x", check=False).code != 0
    assert f.raw.get("b", "wb/x").body == b"x"


def test_an_edit_applies_to_later_writes_and_queues_what_became_persistable(make, ufs):
    import json

    f = make({"/b": ufs.uri()}, {"/b/**": "TRANSIENT"})
    f.s3.put_object(Bucket="b", Key="one", Body=b"1")
    status, text = f.rest("PUT", "/api/v1/conf", json.dumps(path_config({"/b/**": "WRITE_BACK"})))
    assert status == 200, text
    f.s3.put_object(Bucket="b", Key="two", Body=b"2")
    f.wait_ufs(ufs, {"one": b"1", "two": b"2"})
    status, _ = f.rest("PUT", "/api/v1/conf", json.dumps(path_config({"/b/**": "READ_ONLY"})))
    assert status == 200
    assert denied(f.s3.put_object, Bucket="b", Key="two", Body=b"3") == "AccessDenied", "in force at once"
    f.restart()
    assert denied(f.s3.put_object, Bucket="b", Key="two", Body=b"3") == "AccessDenied", "and after a restart"


def test_write_cache_off_is_the_same_without_write_back(make, ufs):
    f = make({"/b": ufs.uri()}, None, {"alluxio.write.cache.enabled": "false"})
    f.s3.put_object(Bucket="b", Key="x", Body=b"through")
    assert ufs.get("x") == b"through"
    assert f.raw.get("b", "x").body == b"through"


def test_a_put_that_loses_a_race_leaves_no_pages(one):
    f, ufs = one("WRITE_THROUGH")
    host, port = f.s3_addr.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as s:
        s.sendall(f"PUT /b/k HTTP/1.1\r\nHost: {f.s3_addr}\r\nContent-Length: {MIB}\r\nIf-None-Match: *\r\n"
                  "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 100"), "it has looked at the condition, and wants the body"
        s.sendall(b"x" * (MIB // 2))
        proc.wait_for("pages of it", lambda: f.metrics()['forebay_page_bytes{region="evictable"}'] > 0)
        f.s3.put_object(Bucket="b", Key="k", Body=b"first")
        s.sendall(b"x" * (MIB // 2))
        assert s.recv(100).startswith(b"HTTP/1.1 412")
    assert f.metrics()['forebay_page_bytes{region="evictable"}'] < MIB
    assert f.raw.get("b", "k").body == ufs.get("k") == b"first"


def test_what_is_not_published_takes_no_space(make, ufs):
    """WRITE_THROUGH keeps pages while it writes; when the name is certainly not published nobody needs them."""
    f = make({"/demo": ufs.uri()}, {"/demo/**": "WRITE_THROUGH"})
    f.restart(fault="meta.publish.before:error INVALID*3")

    def used():
        return {k: v for k, v in f.metrics().items() if k.startswith("forebay_page_bytes")}

    before = used()
    for i in range(3):
        assert f.raw.put("demo", f"k{i}", proc.content("lost", 3_000_000)).status == 400
    assert used() == before
    assert f.raw.put("demo", "k0", b"kept").status == 200 and f.raw.get("demo", "k0").body == b"kept"


@pytest.mark.parametrize("policy,call,point", [
    ("WRITE_THROUGH", "PUT", "meta.claim.after"), ("WRITE_THROUGH", "PUT", "ufs.commit.after"), ("WRITE_THROUGH", "PUT", "meta.publish.before"),
    ("WRITE_THROUGH", "POST", "ufs.complete.after"), ("NO_CACHE", "PUT", "ufs.commit.after"), ("NO_CACHE", "POST", "ufs.complete.after")])
def test_a_key_nobody_has_asked_for_is_listed_while_it_is_overwritten(make, versity, work, policy, call, point):
    """Only the UFS knows of the objects; one is overwritten, and each listing meanwhile shows all of them."""
    where = Prefix(versity, f"listed-{policy}-{call}-{point}")
    for k in ("d/a", "d/b", "d/c", "e"):
        where.put(k, b"old")
    f = make({"/demo": where.uri()}, {"/demo/**": policy}, versity.properties())
    if call == "POST":
        up = f.s3.create_multipart_upload(Bucket="demo", Key="d/b")["UploadId"]
        tag = f.s3.upload_part(Bucket="demo", Key="d/b", UploadId=up, PartNumber=1, Body=b"new")["ETag"]
        done = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    visited = os.path.join(work, "visited")
    f.restart(fault=f"{point}:sleep 3000", fault_log=visited)

    def overwrite():
        if call == "PUT":
            f.s3.put_object(Bucket="demo", Key="d/b", Body=b"new")
        else:
            f.s3.complete_multipart_upload(Bucket="demo", Key="d/b", UploadId=up, MultipartUpload=done)

    t = threading.Thread(target=overwrite)
    t.start()
    try:
        proc.wait_for("the overwrite to be under way", lambda: os.path.exists(visited) and point in open(visited).read())
        while t.is_alive():
            assert f.raw.list("demo") == ["d/a", "d/b", "d/c", "e"]
            assert f.raw.list("demo", "d/", "/") == (["d/a", "d/b", "d/c"], [])
            assert f.raw.list("demo", "d/b") == ["d/b"]
            assert f.raw.list("demo", "", "/") == (["e"], ["d/"])
    finally:
        t.join()
    assert f.raw.list("demo") == ["d/a", "d/b", "d/c", "e"] and f.raw.get("demo", "d/b").body == b"new"

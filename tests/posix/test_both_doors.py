# SPDX-License-Identifier: Apache-2.0
"""One namespace through the mount and S3 at once: what one does the other sees at once, and no mix of two contents."""
import errno as E
import hashlib
import os
import random
import threading

import pytest
from sys_calls import errno_of, get, put

from lib.ufs import Prefix


@pytest.fixture
def both(mounted, mnt):
    """(instance, directory, its prefix as keys of the bucket demo)"""
    return mounted, mnt, os.path.basename(mnt) + "/"


def body(f, key):
    return f.s3.get_object(Bucket="demo", Key=key)["Body"].read()


def keys(f, prefix, **kw):
    r = f.s3.list_objects_v2(Bucket="demo", Prefix=prefix, **kw)
    return [o["Key"] for o in r.get("Contents", [])]


def test_file_is_an_object(both):
    f, d, p = both
    put(f"{d}/a", b"from the mount")
    assert body(f, p + "a") == b"from the mount"
    h = f.s3.head_object(Bucket="demo", Key=p + "a")
    assert h["ContentLength"] == 14 and h["ETag"].strip('"') == hashlib.md5(b"from the mount").hexdigest()
    os.mkdir(f"{d}/sub")
    assert keys(f, p) == [p, p + "a", p + "sub/"]
    f.s3.delete_object(Bucket="demo", Key=p + "a")
    assert errno_of(os.stat, f"{d}/a") == E.ENOENT
    assert os.listdir(d) == ["sub"]


def test_object_is_a_file(both):
    f, d, p = both
    assert errno_of(os.stat, f"{d}/o") == E.ENOENT  # the kernel may keep that
    f.s3.put_object(Bucket="demo", Key=p + "o", Body=b"from S3")
    assert get(f"{d}/o") == b"from S3" and os.listdir(d) == ["o"]
    f.s3.put_object(Bucket="demo", Key=p + "o", Body=b"longer than before")
    assert os.stat(f"{d}/o").st_size == 18 and get(f"{d}/o") == b"longer than before"
    f.s3.put_object(Bucket="demo", Key=p + "x/y/z", Body=b"deep")
    assert get(f"{d}/x/y/z") == b"deep"
    f.s3.delete_object(Bucket="demo", Key=p + "x/y/z")
    assert errno_of(os.stat, f"{d}/x/y/z") == E.ENOENT


def test_open_reader_keeps_what_s3_replaces(both):
    f, d, p = both
    put(f"{d}/a", b"A" * 200_000)
    fd = os.open(f"{d}/a", os.O_RDONLY)
    assert os.pread(fd, 10, 0) == b"A" * 10
    f.s3.put_object(Bucket="demo", Key=p + "a", Body=b"B" * 100)
    assert os.pread(fd, 10, 150_000) == b"A" * 10
    assert get(f"{d}/a") == b"B" * 100
    os.close(fd)


def test_open_writer_keeps_what_s3_replaces(both):
    f, d, p = both
    fd = os.open(f"{d}/a", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"written before")
    f.s3.put_object(Bucket="demo", Key=p + "a", Body=b"the object")
    os.write(fd, b", and after")
    assert os.pread(fd, 100, 0) == b"written before, and after"
    os.close(fd)
    assert get(f"{d}/a") == b"the object" and body(f, p + "a") == b"the object"


def test_rename_is_seen(both):
    f, d, p = both
    os.mkdir(f"{d}/dir")
    for i in range(20):
        put(f"{d}/dir/{i:02d}", b"%d" % i)
    os.rename(f"{d}/dir", f"{d}/new")
    assert keys(f, p + "dir/") == []
    assert keys(f, p + "new/")[1:] == [f"{p}new/{i:02d}" for i in range(20)]
    f.cli("fs", "mv", f"/demo/{p}new", f"/demo/{p}back")
    assert sorted(os.listdir(f"{d}/back")) == [f"{i:02d}" for i in range(20)] and errno_of(os.stat, f"{d}/new") == E.ENOENT


def test_metadata_reaches_the_bucket(make_mounted, versity):
    """Owner, mode and times are user metadata of the object, under the names that s3fs and rclone use."""
    f = make_mounted({"/demo": versity.uri("meta")}, {"/demo/**": "WRITE_BACK"}, props=versity.properties())
    put(f"{f.dir}/demo/a", b"x")
    os.chmod(f"{f.dir}/demo/a", 0o751)
    os.utime(f"{f.dir}/demo/a", ns=(10**18, 1_500_000_000_250_000_000))
    f.cli("persist", "--wait", "/demo/a", "--timeout", "60", timeout=120)
    meta = versity.head("meta/a")["Metadata"]
    assert float(meta["mtime"]) == 1_500_000_000.25 and meta["uid"] == "0" and int(meta["mode"]) & 0o7777 == 0o751, meta


def test_concurrent_writers_of_both_kinds(both):
    """PUTs, renames into place and readers on the same few names: every read is one whole content."""
    f, d, p = both
    stop, bad = threading.Event(), []

    def content(rnd):
        n = rnd.choice((10, 5000, 80000))
        b = rnd.randbytes(n)
        return b + hashlib.md5(b).digest()

    def whole(b):
        return hashlib.md5(b[:-16]).digest() == b[-16:]

    def by_mount(seed):
        rnd = random.Random(seed)
        while not stop.is_set():
            name = f"{d}/n{rnd.randrange(3)}"
            put(f"{d}/tmp{seed}", content(rnd))
            os.rename(f"{d}/tmp{seed}", name)

    def by_s3(seed):
        rnd = random.Random(seed)
        while not stop.is_set():
            f.s3.put_object(Bucket="demo", Key=f"{p}n{rnd.randrange(3)}", Body=content(rnd))

    def reader(how):
        rnd = random.Random(how)
        while not stop.is_set():
            n = f"n{rnd.randrange(3)}"
            try:
                b = get(f"{d}/{n}") if how else body(f, p + n)
            except OSError as e:
                if e.errno not in (E.ENOENT, E.ESTALE):  # ESTALE: replaced twice between the kernel's lookup and its open
                    bad.append((how, e))
                continue
            except f.s3.exceptions.NoSuchKey:
                continue
            if not whole(b):
                bad.append((how, n, len(b)))

    ts = [threading.Thread(target=t, args=(s,)) for t, s in
          ((by_mount, 1), (by_mount, 2), (by_s3, 3), (reader, 0), (reader, 1), (reader, 2))]
    for t in ts:
        t.start()
    stop.wait(8)
    stop.set()
    for t in ts:
        t.join()
    assert not bad, bad[:5]


def test_tree_removed_by_s3_side(both):
    f, d, p = both
    os.makedirs(f"{d}/t/u")
    put(f"{d}/t/u/f", b"x")
    f.cli("fs", "rm", "-R", f"/demo/{p}t")
    assert errno_of(os.stat, f"{d}/t/u/f") == E.ENOENT and os.listdir(d) == []


def test_keys_posix_cannot_show(both):
    f, d, p = both
    f.s3.put_object(Bucket="demo", Key=p + "both", Body=b"the file")
    assert get(f"{d}/both") == b"the file"


def test_a_file_beside_a_directory(make_mounted, moto):
    """The bucket has `a` and `a/b`: the mount shows the directory, and whatever is done to it `a` stays what it is."""
    store = Prefix(moto, "beside")
    store.put("a", b"the file")
    store.put("a/b", b"below")
    store.put("plain", b"plain")
    f = make_mounted({"/demo": store.uri()}, {"/demo/**": "WRITE_BACK"}, props=moto.properties())
    d = f"{f.dir}/demo"

    def hidden_is_whole():
        assert body(f, "a") == b"the file"
        f.cli("persist", "--wait", "/demo", "--timeout", "60")
        assert store.get("a") == b"the file"

    assert sorted(os.listdir(d)) == ["a", "plain"]
    assert os.listdir(f"{d}/a") == ["b"]
    assert errno_of(os.unlink, f"{d}/a") in (E.EISDIR, E.EPERM)
    assert errno_of(os.rmdir, f"{d}/a") == E.ENOTEMPTY
    assert errno_of(put, f"{d}/a", b"over it") == E.EISDIR
    put(f"{d}/new", b"new")
    assert errno_of(os.rename, f"{d}/new", f"{d}/a") == E.EISDIR
    hidden_is_whole()
    os.rename(f"{d}/a", f"{d}/moved")  # the directory goes, the file appears
    assert get(f"{d}/moved/b") == b"below" and get(f"{d}/a") == b"the file"
    assert errno_of(os.mkdir, f"{d}/a") == E.EEXIST
    assert errno_of(os.rename, f"{d}/moved", f"{d}/a") == E.ENOTDIR
    hidden_is_whole()
    f.s3.put_object(Bucket="demo", Key="a/c", Body=b"by S3")  # and is hidden again
    assert os.listdir(f"{d}/a") == ["c"]
    hidden_is_whole()
    os.unlink(f"{d}/a/c")
    if os.path.isdir(f"{d}/a"):
        os.rmdir(f"{d}/a")
    assert get(f"{d}/a") == b"the file"
    hidden_is_whole()
    f.stop()
    f.assert_fsck_clean()

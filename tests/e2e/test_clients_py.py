# SPDX-License-Identifier: Apache-2.0
"""Libraries that applications reach S3 through: minio-py, pyarrow, DuckDB, Rust's object_store, fsspec's s3fs."""
import io
import os
import sys
import textwrap

import pytest

from lib import clients, proc
from lib.clients import BUCKETS, MIB, environment, run


@pytest.fixture(scope="module")
def f(module_work, moto):
    s = clients.server(module_work, moto)
    yield s
    s.close()


def code_of(call, *a, **kw):
    import minio

    with pytest.raises(minio.error.S3Error) as e:
        call(*a, **kw)
    return e.value.code


@pytest.mark.parametrize("bucket", BUCKETS)
def test_minio(f, bucket, work):
    import minio
    from minio.commonconfig import REPLACE, CopySource, Tags
    from minio.deleteobjects import DeleteObject
    from minio.sse import SseS3

    m = minio.Minio(f.s3_addr, access_key="minio", secret_key="minio123", secure=False)
    body = proc.content("minio", 11 * MIB + 7)
    tags = Tags.new_object_tags()
    tags["a"] = "1"
    m.put_object(bucket, "m/large", io.BytesIO(body), len(body), part_size=5 * MIB, content_type="text/m", metadata={"k": "v"}, tags=tags)
    st = m.stat_object(bucket, "m/large")
    assert st.size == len(body) and st.content_type == "text/m" and st.metadata["x-amz-meta-k"] == "v"
    m.fget_object(bucket, "m/large", work + "/large")
    assert clients.read(work + "/large") == body
    assert m.get_object(bucket, "m/large", offset=5 * MIB - 2, length=4).read() == body[5 * MIB - 2 : 5 * MIB + 2]
    assert dict(m.get_object_tags(bucket, "m/large")) == {"a": "1"}
    m.copy_object(bucket, "m/copy", CopySource(bucket, "m/large"), metadata={"n": "2"}, metadata_directive=REPLACE)
    assert m.stat_object(bucket, "m/copy").metadata["x-amz-meta-n"] == "2"
    for k in clients.ODD:
        m.put_object(bucket, "m/odd/" + k, io.BytesIO(k.encode()), len(k.encode()))
    for v1 in (False, True):
        listed = [o.object_name for o in m.list_objects(bucket, "m/odd/", recursive=True, use_api_v1=v1)]
        assert listed == sorted(("m/odd/" + k for k in clients.ODD), key=lambda k: k.encode())
    for k in clients.ODD:
        assert m.get_object(bucket, "m/odd/" + k).read() == k.encode()
    versions = [o.object_name for o in m.list_objects(bucket, "m/odd/", recursive=True, include_version=True)]
    assert versions == listed
    url = m.presigned_get_object(bucket, "m/odd/sp ace")
    assert f.raw.send("GET", url.split(f.s3_addr, 1)[1]).body == b"sp ace"
    assert code_of(m.put_object, bucket, "m/enc", io.BytesIO(b"x"), 1, sse=SseS3()) == "NotImplemented"
    assert code_of(m.stat_object, bucket, "m/none") == "NoSuchKey"
    names = [o.object_name for o in m.list_objects(bucket, "m/", recursive=True)]
    assert list(m.remove_objects(bucket, [DeleteObject(n) for n in names])) == []
    assert list(m.list_objects(bucket, "m/")) == []


@pytest.mark.parametrize("bucket", BUCKETS)
def test_pyarrow(f, bucket):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.dataset
    import pyarrow.fs
    import pyarrow.parquet

    fs = pyarrow.fs.S3FileSystem(endpoint_override=f.s3_addr, scheme="http", access_key="pa", secret_key="x", region="us-east-1")
    body = proc.content("pa", 12 * MIB)
    with fs.open_output_stream(f"{bucket}/pa/stream") as o:
        o.write(body)
    with fs.open_input_file(f"{bucket}/pa/stream") as i:
        assert i.size() == len(body)
        i.seek(6 * MIB)
        assert i.read(1000) == body[6 * MIB : 6 * MIB + 1000]
    fs.create_dir(f"{bucket}/pa/dir/deep", recursive=True)  # markers for all parents
    kinds = {i.path: i.type for i in fs.get_file_info([f"{bucket}/pa/{n}" for n in ("stream", "dir", "dir/deep", "none")])}
    T = pyarrow.fs.FileType
    assert list(kinds.values()) == [T.File, T.Directory, T.Directory, T.NotFound]
    t = pa.table({"n": list(range(50_000)), "s": [f"row {i}" for i in range(50_000)]})
    pa.parquet.write_table(t, f"{bucket}/pa/dir/t.parquet", filesystem=fs)
    assert pa.parquet.read_table(f"{bucket}/pa/dir/t.parquet", filesystem=fs, columns=["n"]).num_rows == 50_000
    part = pa.dataset.partitioning(pa.schema([("k", pa.string())]), flavor="hive")
    few = pa.table({"k": ["a", "b c", "ü"] * 10, "n": list(range(30))})
    pa.dataset.write_dataset(few, f"{bucket}/pa/set", filesystem=fs, format="parquet", partitioning=part)
    assert pa.dataset.dataset(f"{bucket}/pa/set", filesystem=fs, partitioning=part).to_table().num_rows == 30
    fs.delete_dir(f"{bucket}/pa/set")
    fs.copy_file(f"{bucket}/pa/stream", f"{bucket}/pa/copy")
    fs.move(f"{bucket}/pa/copy", f"{bucket}/pa/moved")
    names = sorted(i.base_name for i in fs.get_file_info(pyarrow.fs.FileSelector(f"{bucket}/pa", recursive=True)))
    assert names == ["deep", "dir", "moved", "stream", "t.parquet"]
    fs.delete_dir_contents(f"{bucket}/pa")
    fs.delete_dir(f"{bucket}/pa")
    assert f.raw.list(bucket, "pa/") == []


@pytest.mark.parametrize("bucket", BUCKETS)
def test_duckdb(f, bucket):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    ext = pytest.importorskip("duckdb_extension_httpfs", reason="the httpfs extension is not installed")
    top = os.path.dirname(ext.__file__)
    found = [os.path.join(d, n) for d, _, ns in os.walk(top) for n in ns if n.endswith(".duckdb_extension")]
    assert found, f"no extension below {top}"
    db = duckdb.connect(config={"allow_unsigned_extensions": "true", "extension_directory": f.work + "/duckdb"})
    db.execute(f"LOAD '{found[0]}'")
    db.execute(f"""CREATE SECRET s (TYPE s3, KEY_ID 'duck', SECRET 'x', REGION 'us-east-1', ENDPOINT '{f.s3_addr}', URL_STYLE 'path', USE_SSL false)""")
    db.execute(f"COPY (SELECT range AS n, 'row ' || range AS s FROM range(200000)) TO 's3://{bucket}/duck/a b/one.parquet'")
    db.execute(f"COPY (SELECT range % 3 AS part, range AS n FROM range(1000)) TO 's3://{bucket}/duck/set' (FORMAT csv, PARTITION_BY (part))")
    assert db.execute(f"SELECT count(*), sum(n) FROM 's3://{bucket}/duck/a b/one.parquet'").fetchone() == (200000, sum(range(200000)))
    assert db.execute(f"SELECT count(*) FROM read_csv('s3://{bucket}/duck/set/*/*.csv', hive_partitioning = true)").fetchone() == (1000,)
    assert len(db.execute(f"SELECT * FROM glob('s3://{bucket}/duck/**')").fetchall()) == 4
    assert len(db.execute(f"SELECT * FROM glob('s3://{bucket}/duck/a*/on*.parquet')").fetchall()) == 1
    db.close()


@pytest.mark.parametrize("bucket", BUCKETS)
def test_object_store(f, bucket):
    """Rust's object_store, below Delta Lake, Lance, polars and DataFusion: their commits are its conditional puts."""
    obstore = pytest.importorskip("obstore", reason="obstore is not installed")
    from obstore.exceptions import AlreadyExistsError, PreconditionError
    from obstore.store import S3Store

    def store(**more):
        return S3Store(bucket, prefix="ob", endpoint=f.endpoint, access_key_id="a", secret_access_key="b", region="us-east-1",
                       virtual_hosted_style_request=False, client_options={"allow_http": True}, **more)

    s, body = store(), proc.content("obstore", 12 * MIB + 1)
    for key, st in (("large", s), ("large sha256", store(checksum_algorithm="sha256"))):
        obstore.put(st, key, body, use_multipart=True, chunk_size=5 * MIB)
        assert bytes(obstore.get(st, key).bytes()) == body
    assert bytes(obstore.get_range(s, "large", start=6 * MIB, length=9)) == body[6 * MIB : 6 * MIB + 9]
    obstore.put(s, "attributes", b"", attributes={"Content-Type": "x/y", "k": "v"}, tags={"t": "\u00fc"})
    a = obstore.get(s, "attributes").attributes
    assert (a["Content-Type"], a["k"]) == ("x/y", "v")
    obstore.put(s, "commit", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(s, "commit", b"2", mode="create")
    version = {"e_tag": obstore.head(s, "commit")["e_tag"]}
    obstore.put(s, "commit", b"2", mode=version)
    with pytest.raises(PreconditionError):
        obstore.put(s, "commit", b"3", mode=version)
    by_upload = store(copy_if_not_exists="multipart")
    obstore.copy(by_upload, "commit", "copy", overwrite=False)
    with pytest.raises(AlreadyExistsError):
        obstore.copy(by_upload, "large", "copy", overwrite=False)
    assert bytes(obstore.get(s, "copy").bytes()) == b"2"
    obstore.rename(s, "copy", "renamed")
    keys = ["plain", "sp ace", "plus+", "per%cent", "q?x=1&y", "am&p;<tag>", "\u00fc/\u00f1", "star*"]
    for k in keys:
        obstore.put(s, "odd/" + k, k.encode())
    listed = [o["path"] for page in obstore.list(s, "odd", chunk_size=3) for o in page]
    assert sorted(bytes(obstore.get(s, k).bytes()).decode() for k in listed) == sorted(keys)
    assert [o["path"] for page in obstore.list(s, "odd", offset=listed[3]) for o in page] == listed[4:]
    assert obstore.list_with_delimiter(s)["common_prefixes"] == ["odd"]
    obstore.delete(s, [o["path"] for page in obstore.list(s) for o in page])
    assert f.raw.list(bucket, "ob/") == []


S3FS = os.path.join(proc.BUILD, "venv-s3fs", "bin", "python")


@pytest.mark.skipif(not os.path.exists(S3FS), reason="no build/venv-s3fs: `make deps-s3fs` makes it (its botocore is older than boto3's)")
@pytest.mark.parametrize("bucket", BUCKETS)
def test_s3fs(f, bucket):
    script = textwrap.dedent("""
        import fsspec, os, sys
        from fsspec.utils import atomic_write
        bucket = sys.argv[1]
        fs = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], key="fsspec", secret="x")
        body = os.urandom(12 << 20)
        with fs.open(f"{bucket}/sf/large", "wb", block_size=5 << 20) as o:
            o.write(body)
        assert fs.info(f"{bucket}/sf/large")["size"] == len(body)
        assert fs.cat_file(f"{bucket}/sf/large", start=100, end=-100) == body[100:-100]
        with fs.open(f"{bucket}/sf/large", "rb") as i:
            i.seek(7 << 20)
            assert i.read(10) == body[7 << 20:][:10]
        keys = ["plain", "sp ace", "plus+", "per%cent", "\\u00fc/\\u00f1", "deep/er/x"]
        fs.pipe({f"{bucket}/sf/many/{k}": k.encode() for k in keys})
        assert sorted(fs.find(f"{bucket}/sf/many")) == sorted(f"{bucket}/sf/many/{k}" for k in keys)
        assert fs.cat([f"{bucket}/sf/many/{k}" for k in keys]) == {f"{bucket}/sf/many/{k}": k.encode() for k in keys}
        fs.setxattr(f"{bucket}/sf/many/plain", attr="value")
        assert fs.metadata(f"{bucket}/sf/many/plain") == {"attr": "value"}
        fs.put_tags(f"{bucket}/sf/many/plain", {"t": "1"})
        assert fs.get_tags(f"{bucket}/sf/many/plain") == {"t": "1"}
        fs.cp(f"{bucket}/sf/large", f"{bucket}/sf/copy")
        fs.mv(f"{bucket}/sf/copy", f"{bucket}/sf/moved")
        with fs.open(f"{bucket}/sf/moved", "ab") as o:  # reads, or copies the whole as a part
            o.write(b"tail")
        assert fs.cat_file(f"{bucket}/sf/moved") == body + b"tail"
        fs.invalidate_cache()
        assert fs.isdir(f"{bucket}/sf/many") and fs.isfile(f"{bucket}/sf/large") and not fs.exists(f"{bucket}/sf/none")
        assert {e["name"] for e in fs.ls(f"{bucket}/sf", detail=True)} == {f"{bucket}/sf/{n}" for n in ("large", "many", "moved")}
        fs.rm(f"{bucket}/sf", recursive=True)
        fs.invalidate_cache()
        assert not fs.exists(f"{bucket}/sf")
    """)
    run([S3FS, "-c", script, bucket], environment(f))
    assert f.raw.list(bucket, "sf/") == []


TORCH = """
import sys
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client, S3Exception

bucket, endpoint = sys.argv[1:]
c = MountpointS3Client("us-east-1", endpoint=endpoint, force_path_style=True, part_size=5 << 20)
body = bytes(range(251)) * ((21 << 20) // 251)
for key, b in ("ckpt/large", body), ("ckpt/sp ace+ü", b"small"), ("ckpt/empty", b""):
    w = c.put_object(bucket, key)
    for i in range(0, len(b), 1 << 20):
        w.write(b[i : i + (1 << 20)])
    w.close()
    assert c.head_object(bucket, key).size == len(b), key
    assert b"".join(c.get_object(bucket, key)) == b, key
assert b"".join(c.get_object(bucket, "ckpt/large", 6 << 20, (11 << 20) + 3)) == body[6 << 20 : (11 << 20) + 3]
c.copy_object(bucket, "ckpt/large", bucket, "ckpt/copy")
pages = list(c.list_objects(bucket, "ckpt/", "/", 2))
assert [[o.key for o in p.object_info] for p in pages] == [["ckpt/copy", "ckpt/empty"], ["ckpt/large", "ckpt/sp ace+ü"]], pages
for p in pages:
    for o in p.object_info:
        c.delete_object(bucket, o.key)
assert not [o for p in c.list_objects(bucket, "ckpt/") for o in p.object_info]
try:
    c.head_object(bucket, "ckpt/large")
except S3Exception as e:
    print("gone:", e)
else:
    raise AssertionError("a deleted object is still there")
"""


@pytest.mark.parametrize("bucket", BUCKETS)
def test_torch_connector(f, bucket):
    """The client below PyTorch's S3 connector: uploads in parallel parts with CRC-32C, reads in parallel ranges."""
    pytest.importorskip("s3torchconnectorclient", reason="s3torchconnectorclient is not installed")
    assert "gone:" in run([sys.executable, "-c", TORCH, bucket, f.endpoint], environment(f)).stdout

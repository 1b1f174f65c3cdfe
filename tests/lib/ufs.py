# SPDX-License-Identifier: Apache-2.0
"""Under file systems of the tests: a directory, and two real S3 servers that are not ours.

All have the same face: uri(prefix), tree() -> {key: bytes} of what another client of the store sees, put, get, delete,
mount_options() for `mount add`, properties() for -D.
"""
import os
import shutil

import boto3
import botocore.config
import botocore.exceptions

from . import proc

HIDDEN = ".forebay/"  # the product's own corner of a UFS: locks and temporary objects


def s3_client(endpoint, key="minio", secret="minio12345", retries=0, timeout=60, **cfg):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=botocore.config.Config(
            retries={"max_attempts": retries, "mode": "standard"} if retries else {"total_max_attempts": 1},
            connect_timeout=10,
            read_timeout=timeout * proc.SLOW,
            max_pool_connections=64,
            s3={"addressing_style": "path"},
            **cfg,
        ),
    )


class DirUfs:
    def __init__(self, path):
        self.path = os.fspath(path)
        os.makedirs(self.path, exist_ok=True)

    def uri(self, prefix=""):
        d = os.path.join(self.path, prefix) if prefix else self.path
        os.makedirs(d, exist_ok=True)
        return "file://" + d

    def properties(self):
        return {}

    def mount_options(self):
        return []

    def _file(self, key):
        return os.path.join(self.path, key)

    def put(self, key, body):
        """As another program would: whole or not at all."""
        f = self._file(key)
        os.makedirs(os.path.dirname(f), exist_ok=True)
        tmp = self.path.rstrip("/") + ".tmp-outside"
        with open(tmp, "wb") as o:
            o.write(body)
        os.rename(tmp, f)

    def get(self, key):
        try:
            with open(self._file(key), "rb") as f:
                return f.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def delete(self, key):
        os.unlink(self._file(key))

    def keys(self):
        ks = []
        for d, _, files in os.walk(self.path):
            rel = os.path.relpath(d, self.path)
            for f in files:
                k = f if rel == "." else f"{rel}/{f}"
                if not k.startswith(HIDDEN):
                    ks.append(k)
        return sorted(ks)

    def tree(self):
        return {k: b for k in self.keys() if (b := self.get(k)) is not None}

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


class S3Ufs:
    """Common part of the foreign S3 servers. `via` is a FaultProxy's address to give to the product instead."""

    key, secret = "minio", "minio12345"
    bucket = "ufs"
    verbatim = False  # stores any key as it is, "a" beside "a/b" too

    def __init__(self, work):
        self.work = os.path.join(os.fspath(work), type(self).__name__.lower())
        os.makedirs(self.work, exist_ok=True)
        self.log = os.path.join(self.work, "log")
        self.p = None
        self.port = proc.free_port()
        self.via = None
        self.start()
        self.client = s3_client(self.endpoint, self.key, self.secret, retries=3)
        self.client.create_bucket(Bucket=self.bucket)

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.p = proc.spawn(self.argv(), self.log, env=self.env())
        proc.wait_listening(self.port, self.p)

    def env(self):
        e = dict(os.environ)
        e.update(ROOT_ACCESS_KEY=self.key, ROOT_SECRET_KEY=self.secret)
        return e

    def stop(self):
        proc.end(self.p, timeout=10)
        self.p = None

    def uri(self, prefix=""):
        return f"s3://{self.bucket}/{prefix}" if prefix else f"s3://{self.bucket}"

    def properties(self):
        return {
            "alluxio.underfs.s3.endpoint": self.via or self.endpoint,
            "alluxio.underfs.s3.endpoint.region": "us-east-1",
            "alluxio.underfs.s3.disable.dns.buckets": "true",
            "s3a.accessKeyId": self.key,
            "s3a.secretKey": self.secret,
        }

    def mount_options(self):
        return [f"{k}={v}" for k, v in self.properties().items()]

    def put(self, key, body, **kw):
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **kw)

    def get(self, key):
        try:
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except botocore.exceptions.ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def head(self, key):
        return self.client.head_object(Bucket=self.bucket, Key=key)

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, prefix=""):
        ks = []
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            ks += [o["Key"] for o in page.get("Contents", [])]
        return sorted(k for k in ks if HIDDEN not in k)

    def tree(self):
        return {k: b for k in self.keys() if (b := self.get(k)) is not None}

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])

    def close(self):
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)


class Prefix:
    """A part of a store that a test has for itself."""

    def __init__(self, store, prefix):
        self.store, self.prefix = store, prefix.strip("/") + "/"

    def uri(self):
        return self.store.uri(self.prefix.rstrip("/"))

    def put(self, key, body, **kw):
        self.store.put(self.prefix + key, body, **kw)

    def get(self, key):
        return self.store.get(self.prefix + key)

    def delete(self, key):
        self.store.delete(self.prefix + key)

    def keys(self):
        return [k[len(self.prefix):] for k in self.store.keys(self.prefix)]

    def tree(self):
        return {k: b for k in self.keys() if (b := self.get(k)) is not None}

    def close(self):
        for k in self.keys():
            self.delete(k)


class VersityGw(S3Ufs):
    """versitygw over a directory; built by `make deps` from the Go module proxy."""

    binary = os.path.join(proc.BUILD, "tools", "versitygw")

    def argv(self):
        root = os.path.join(self.work, "root")
        os.makedirs(root, exist_ok=True)
        return [self.binary, "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", root]


class Moto(S3Ufs):
    """moto's server: everything in memory, keys verbatim."""

    verbatim = True
    binary = os.path.join(proc.BUILD, "venv", "bin", "moto_server")

    def argv(self):
        return [self.binary, "-H", "127.0.0.1", "-p", str(self.port)]

    def probe_verbatim(self):
        """Does it really? (Asked at a test's start.)"""
        odd = ["probe", "probe/b", "probe//c", "probe/../d", "probe/."]
        for k in odd:
            self.put(k, k.encode())
        ok = all(self.get(k) == k.encode() for k in odd) and self.keys() == sorted(odd)
        for k in odd:
            self.delete(k)
        return ok

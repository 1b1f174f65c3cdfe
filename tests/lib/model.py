# SPDX-License-Identifier: Apache-2.0
"""What the namespace must be, operation by operation, and a check of what is after a crash.

A World is the sequential history of one client: the acknowledged state, and while an operation is under way the states
it may lead to. After a crash the namespace must equal one of them, whole: never a mix, never a third thing. Several
clients have a World each, over keys of their own.
"""
import base64
import os

import botocore.exceptions

from . import proc
from .forebay import brief, diff

# No answer came: the operation may or may not have happened.
NO_ANSWER = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.EndpointConnectionError,
    ConnectionError,
    OSError,
)


class Died(Exception):
    """The server went away during an operation."""


class Refused(Exception):
    """The server answered, and not with success."""


def _patiently(run):
    """The rigs give a foreign store a second for a request. On a busy machine that can be too little: the client is told so, and
    says the same again, as clients do."""
    for _ in range(8):
        try:
            return run()
        except botocore.exceptions.ClientError as e:
            if "Timeout was reached" not in str(e):
                raise
    return run()


class World:
    def __init__(self):
        self.state = {}  # (bucket, key) -> bytes, acknowledged
        self.maybe = []  # other states the operation under way may have led to
        self.what = None
        self.uploads = {}  # id -> ((bucket, key), {number: (etag, bytes)}), acknowledged
        self.completing = None  # id of the upload whose Complete is under way

    # ---- doing ----

    def _do(self, f, what, after, run):
        """after: list of states; the last is the one that holds when run returns."""
        self.what, self.maybe = what, after
        try:
            ret = _patiently(run)
        except NO_ANSWER as e:
            raise Died(f"{what}: {e}") from e
        except botocore.exceptions.ClientError as e:
            code = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code and code < 500:
                self.maybe = []
            raise Refused(f"{what}: {e}") from e
        if after:
            self.state = after[-1]
        self.maybe = []
        return ret

    def put(self, f, bucket, key, body):
        s = dict(self.state)
        s[bucket, key] = body
        r = self._do(f, f"PUT {bucket}/{key} {len(body)}", [s], lambda: f.s3.put_object(Bucket=bucket, Key=key, Body=body))
        assert r["ETag"].strip('"') == proc.md5(body)

    def delete(self, f, bucket, key):
        s = dict(self.state)
        s.pop((bucket, key), None)
        self._do(f, f"DELETE {bucket}/{key}", [s], lambda: f.s3.delete_object(Bucket=bucket, Key=key))

    def delete_many(self, f, bucket, keys):
        states = [dict(self.state)]
        for k in keys:  # each of them may be gone or not
            for s in list(states):
                t = dict(s)
                t.pop((bucket, k), None)
                states.append(t)
        r = self._do(
            f, f"DeleteObjects {bucket} {keys}", states,
            lambda: f.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in keys]}),
        )
        assert not r.get("Errors"), r["Errors"]

    def copy(self, f, bucket, src, dst):
        s = dict(self.state)
        s[bucket, dst] = s[bucket, src]
        self._do(
            f, f"COPY {bucket}/{src} {dst}", [s],
            lambda: f.s3.copy_object(Bucket=bucket, Key=dst, CopySource={"Bucket": bucket, "Key": src}),
        )

    def _cli(self, f, what, after, *args):
        def run():
            r = f.cli(*args, check=False)
            if r.code:
                if f.p is not None and not f.alive():
                    raise ConnectionError(r.err)
                # The process may be dying at this moment.
                try:
                    f.rest("GET", "/metrics")
                except OSError as e:
                    raise ConnectionError(r.err) from e
                raise AssertionError(f"{what}: {r!r}")

        self._do(f, what, after, run)

    def rename(self, f, bucket, src, dst):
        """A file, or a directory when src ends in '/'."""
        s = dict(self.state)
        if src.endswith("/"):
            for b, k in list(s):
                if b == bucket and k.startswith(src):
                    s[b, dst + k[len(src):]] = s.pop((b, k))
        else:
            s[bucket, dst] = s.pop((bucket, src))
        self._cli(f, f"mv {bucket}/{src} {dst}", [s], "fs", "mv", f"/{bucket}/{src}", f"/{bucket}/{dst}")

    def remove_tree(self, f, bucket, prefix):
        s = {(b, k): v for (b, k), v in self.state.items() if not (b == bucket and k.startswith(prefix))}
        self._cli(f, f"rm -R {bucket}/{prefix}", [s], "fs", "rm", "-R", f"/{bucket}/{prefix}")

    # ---- uploads ----

    def upload(self, f, bucket, key):
        r = self._do(f, f"CreateMultipartUpload {bucket}/{key}", [], lambda: f.s3.create_multipart_upload(Bucket=bucket, Key=key))
        self.uploads[r["UploadId"]] = ((bucket, key), {})
        return r["UploadId"]

    def part(self, f, uid, number, body):
        (bucket, key), parts = self.uploads[uid]
        r = self._do(
            f, f"UploadPart {bucket}/{key} {number} {len(body)}", [],
            lambda: f.s3.upload_part(Bucket=bucket, Key=key, UploadId=uid, PartNumber=number, Body=body),
        )
        assert r["ETag"].strip('"') == proc.md5(body)
        parts[number] = (r["ETag"], body)

    def abort(self, f, uid):
        (bucket, key), parts = self.uploads.pop(uid)
        self._do(
            f, f"Abort {bucket}/{key}", [],
            lambda: f.s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=uid),
        )

    def complete(self, f, uid):
        (bucket, key), parts = self.uploads[uid]
        s = dict(self.state)
        s[bucket, key] = b"".join(parts[n][1] for n in sorted(parts))
        listed = [{"PartNumber": n, "ETag": parts[n][0]} for n in sorted(parts)]
        self.completing = uid
        r = self._do(
            f, f"Complete {bucket}/{key}", [s],
            lambda: f.s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=uid, MultipartUpload={"Parts": listed}),
        )
        assert r["ETag"].strip('"') == mpu_etag([parts[n][1] for n in sorted(parts)]), r["ETag"]
        self.completing = None
        del self.uploads[uid]

    # ---- checking ----

    def check(self, f, buckets=None):
        """The namespace equals the acknowledged state, or one the operation under way may have led to; what is seen
        becomes the acknowledged state."""
        buckets = buckets or sorted({b for s in [self.state, *self.maybe] for b, _ in s})
        keys = {k for s in [self.state, *self.maybe] for k in s}
        seen = {}
        for b in buckets:
            for k, v in f.namespace(b).items():
                seen[b, k] = v
        self.match(seen, keys)

    def match(self, seen, keys=None):
        candidates = [self.state, *self.maybe]
        for i, s in enumerate(candidates):
            if seen == s:
                self.state = s
                if i:  # it happened; it cannot un-happen
                    self.maybe = [c for c in candidates[i + 1 :]] if i < len(candidates) - 1 else []
                return
        best = min(candidates, key=lambda s: sum(s.get(k) != seen.get(k) for k in set(s) | set(seen)))
        raise AssertionError(
            f"after {self.what!r}: {len(candidates)} states are allowed, the namespace is none of them; nearest:\n"
            + diff(_flat(best), _flat(seen))
        )

    def check_uploads(self, f):
        """Every acknowledged part is still there; a Complete without answer is repeated and must succeed."""
        if self.completing:
            uid, self.completing = self.completing, None
            (bucket, key), parts = self.uploads[uid]
            done = bytes().join(parts[n][1] for n in sorted(parts))
            r = f.s3.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=uid,
                MultipartUpload={"Parts": [{"PartNumber": n, "ETag": parts[n][0]} for n in sorted(parts)]},
            )
            assert r["ETag"].strip('"') == mpu_etag([parts[n][1] for n in sorted(parts)])
            del self.uploads[uid]
            self.state = dict(self.state)
            self.state[bucket, key] = done
            self.maybe = []
        for uid, ((bucket, key), parts) in self.uploads.items():
            r = f.s3.list_parts(Bucket=bucket, Key=key, UploadId=uid)
            have = {p["PartNumber"]: p["ETag"].strip('"') for p in r.get("Parts", [])}
            for n, (etag, _) in parts.items():
                assert have.get(n) == etag.strip('"'), f"part {n} of {bucket}/{key} was acknowledged: {have}"

    def bucket(self, name):
        """{key: bytes} of one bucket."""
        return {k: v for (b, k), v in self.state.items() if b == name}


def _flat(s):
    return {f"{b}/{k}": v for (b, k), v in s.items()}


def mpu_etag(parts):
    import hashlib

    return hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest() + f"-{len(parts)}"


def crc32(b):
    import zlib

    return base64.b64encode(zlib.crc32(b).to_bytes(4, "big")).decode()


def seed():
    return int(os.environ.get("FOREBAY_SEED", "1"))


__all__ = ["World", "Died", "Refused", "NO_ANSWER", "mpu_etag", "crc32", "seed", "brief"]

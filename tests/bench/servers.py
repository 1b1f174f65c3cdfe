# SPDX-License-Identifier: Apache-2.0
"""What is measured: Forebay, and the peers beside it. Each is started by us, on a real disk, and ended by pid.

All have endpoint, access, secret, pids(), and begin empty. A peer that is not installed says so by available().
"""
import os
import shutil
import subprocess

from lib import proc
from lib.forebay import Forebay
from lib.ufs import VersityGw, s3_client

KEY, SECRET = "benchaccess", "benchsecret123"


class Ours:
    """A standalone with one WRITE_BACK bucket over a directory, or over what `ufs` names."""

    name = "forebay"
    remove = "multi-delete"  # how many objects are deleted
    instance = Forebay

    def __init__(self, work, store, ufs=None, ufs_properties=None):
        self.work = work
        os.makedirs(os.path.join(work, "ufs"), exist_ok=True)
        props = {
            "alluxio.worker.page.store.sizes": store,
            "alluxio.worker.page.store.pinned.file.capacity.limit.ratio": "0.9",
            "forebay.page.keep.free": "1GB",
            "alluxio.worker.write.cache.async.persist.retry.initial.interval": "1s",
            "forebay.ufs.request.deadline": "60s",
            "alluxio.worker.s3.access.logging.enabled": "false",
        }
        props.update(ufs_properties or {})
        ufs = ufs or "file://" + os.path.join(work, "ufs")
        self.f = self.instance(work, {"/bench": ufs}, {"/bench/**": "WRITE_BACK"}, props)

    access, secret = KEY, SECRET

    @property
    def endpoint(self):
        return self.f.endpoint

    def pids(self):
        return [self.f.p.pid]

    def pause(self):
        self.f.cli("async-persist", "pause")

    def resume(self):
        self.f.cli("async-persist", "resume")

    def drain(self):
        """Until everything is in the under file system."""
        self.f.cli("async-persist", "wait", timeout=3600)

    def make_bucket(self):
        pass

    def close(self):
        self.f.close()
        shutil.rmtree(self.work, ignore_errors=True)


class Peer:
    """One process on a port of its own; subclasses say how it is started."""

    binary = None
    only = None  # steps it can do; None: all
    remove = "multi-delete"
    access, secret = KEY, SECRET

    def __init__(self, work):
        self.work, self.port = work, proc.free_port()
        self.data = os.path.join(work, "data")
        os.makedirs(self.data)
        self.p = proc.spawn(self.argv(), os.path.join(work, "log"), env=dict(os.environ, **self.env()))
        proc.wait_listening(self.port, self.p)

    @classmethod
    def path(cls):
        """Where `make bench-peers` puts it; a distribution's may be too old."""
        return os.path.join(proc.BUILD, "peers", cls.binary)

    @classmethod
    def available(cls):
        return shutil.which(cls.path()) is not None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def env(self):
        return {}

    def pids(self):
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.p.pid)], capture_output=True, text=True)
        return [self.p.pid] + [int(x) for x in children.stdout.split()]

    def make_bucket(self):
        s3_client(self.endpoint, KEY, SECRET, retries=5).create_bucket(Bucket="bench")

    def close(self):
        proc.end(self.p)
        shutil.rmtree(self.work, ignore_errors=True)


class Nginx(Peer):
    """The plain-HTTP ceiling: no signature, no checksum, no sync."""

    name, binary = "nginx", "nginx"
    only = {"put1", "put16", "get1", "get16", "head16", "putbig", "getbig", "mixed"}
    remove = "delete"

    @classmethod
    def path(cls):
        return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or "nginx"

    def argv(self):
        conf = os.path.join(self.work, "nginx.conf")
        with open(conf, "w") as f:
            f.write(
                f"daemon off; master_process on; worker_processes 2; pid {self.work}/pid; error_log {self.work}/error.log;\n"
                + ("user root;\n" if os.geteuid() == 0 else "")
                + "events { worker_connections 1024; }\n"
                "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600;\n"
                f"  client_max_body_size 0; client_body_buffer_size 16k; client_body_temp_path {self.work}/tmp;\n"
                f"  server {{ listen 127.0.0.1:{self.port}; root {self.data}; dav_methods PUT DELETE;\n"
                "    create_full_put_path on; } }\n"
            )
        return [self.path(), "-p", self.work, "-c", conf]

    def make_bucket(self):
        os.makedirs(os.path.join(self.data, "bench"))


class Versity(Peer):
    name, binary = "versitygw", "versitygw"

    @classmethod
    def path(cls):
        return VersityGw.binary  # the tests have it, too

    def argv(self):
        return [self.path(), "--port", f"127.0.0.1:{self.port}", "--keep-alive", "--quiet", "-a", KEY, "-s", SECRET, "posix",
                self.data]


class Minio(Peer):
    name, binary = "minio", "minio"

    def argv(self):
        return [self.path(), "server", "--address", f"127.0.0.1:{self.port}", "--console-address",
                f"127.0.0.1:{proc.free_port()}", self.data]

    def env(self):
        return {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}


class Rclone(Peer):
    name, binary = "rclone", "rclone"

    def argv(self):
        return [self.path(), "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}", self.data]


PEERS = [Nginx, Versity, Minio, Rclone]


class KeptAlive(VersityGw):
    """The S3 server that Forebay persists into; connections are kept, as stores do."""

    def argv(self):
        a = super().argv()
        return [a[0], "--keep-alive", *a[1:]]

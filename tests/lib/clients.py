# SPDX-License-Identifier: Apache-2.0
"""What the suites of real clients share: where they work, and files to send."""
import os
import subprocess
import sys

from . import proc
from .forebay import Forebay
from .ufs import Prefix

MIB = 1 << 20
BUCKETS = {"back": "WRITE_BACK", "thru": "WRITE_THROUGH"}

# Keys that clients, shells and XML treat in ways of their own; the store below keeps them as they are.
ODD = ["plain", "sp ace", "plus+", "per%cent", "%41", "q?x=1&y", "am&p;<tag>", "quote'\"", "[b]racket", "{c}urly", "star*", "ü/ñ", "😀", "a//b",
       "tilde~", "hash#", "semi;colon", "at@:eq=", "comma,", "dollar$", "(paren)", "x" * 200 + "/" + "y" * 200, "UPPER", "-dash"]


def server(work, store):
    """/back WRITE_BACK and /thru WRITE_THROUGH over parts of a store that keeps keys verbatim."""
    ufs = {b: Prefix(store, f"clients-{os.path.basename(work)}-{b}") for b in BUCKETS}
    f = Forebay(work, {"/" + b: u.uri() for b, u in ufs.items()}, {f"/{b}/**": p for b, p in BUCKETS.items()}, store.properties())
    f.there = ufs
    return f


def environment(f, **more):
    """For clients that read their configuration from the environment; nothing of this machine's counts."""
    e = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_"))}
    e.update(AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_DEFAULT_REGION="us-east-1", AWS_REGION="us-east-1",
             AWS_EC2_METADATA_DISABLED="true", AWS_ACCESS_KEY_ID="tester", AWS_SECRET_ACCESS_KEY="any-secret",
             AWS_ENDPOINT_URL=f.endpoint, HOME=f.work, **more)
    return e


def run(argv, env, check=True, input=None):
    p = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120 * proc.SLOW, input=input)
    assert not check or p.returncode == 0, f"{argv}: {p.returncode}\n{p.stdout}\n{p.stderr}"
    return p


def venv_tool(name):
    return os.path.join(os.path.dirname(sys.executable), name)


def file_with(work, name, body):
    path = os.path.join(work, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as o:
        o.write(body)
    return path


def read(path):
    with open(path, "rb") as i:
        return i.read()

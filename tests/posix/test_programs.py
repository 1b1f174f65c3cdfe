# SPDX-License-Identifier: Apache-2.0
"""Programs people run, on the mount."""
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys

import pytest
from sys_calls import put


def run(*argv, **kw):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=kw.pop("timeout", 240), **kw)
    assert r.returncode == 0, f"{argv}: {r.returncode}\n{r.stdout[-2000:]}\n{r.stderr[-2000:]}"
    return r.stdout


def need(program):
    where = shutil.which(program) or shutil.which(f"/usr/sbin/{program}")
    if not where:
        pytest.skip(f"{program} is not installed")
    return where


@pytest.fixture
def sources(tmp_path):
    """A tree of a few hundred files, of text and of noise."""
    for i in range(12):
        d = tmp_path / "src" / f"d{i}"
        d.mkdir(parents=True)
        for j in range(25):
            (d / f"f{j}.c").write_text(f"int v_{i}_{j}(void);\nint v_{i}_{j}(void)\n{{\n    return {i * 25 + j};\n}}\n" + "/* text */\n" * (j % 7 * 500))
        (d / "noise").write_bytes(os.urandom(50_000))
        (d / "run.sh").write_text("#!/bin/sh\necho hello\n")
        (d / "run.sh").chmod(0o755)
        (d / "link").symlink_to("f0.c")
    return tmp_path / "src"


def same_tree(a, b):
    run("diff", "-r", "--no-dereference", str(a), str(b))


def test_git(mnt, sources):
    need("git")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
           "GIT_CONFIG_VALUE_0": "*"}
    repo = f"{mnt}/repo"
    shutil.copytree(sources, repo, symlinks=True)
    run("git", "init", "-q", ".", cwd=repo, env=env)
    run("git", "add", "-A", cwd=repo, env=env)
    run("git", "commit", "-qm", "one", cwd=repo, env=env)
    run("git", "clone", "-q", repo, f"{mnt}/clone", env=env)
    assert run("git", "status", "--porcelain", cwd=f"{mnt}/clone", env=env) == ""
    same_tree(sources / "d3", f"{mnt}/clone/d3")
    put(f"{mnt}/clone/d0/f0.c", b"changed\n")
    assert run("git", "status", "--porcelain", cwd=f"{mnt}/clone", env=env) == " M d0/f0.c\n"
    run("git", "commit", "-qam", "two", cwd=f"{mnt}/clone", env=env)
    run("git", "gc", "-q", cwd=f"{mnt}/clone", env=env)
    run("git", "fsck", "--full", "--strict", cwd=f"{mnt}/clone", env=env)


def test_tar_and_rsync(mnt, sources):
    need("rsync")
    run("tar", "cf", f"{mnt}/t.tar", "-C", str(sources.parent), "src")
    run("tar", "xf", f"{mnt}/t.tar", "-C", mnt)
    same_tree(sources, f"{mnt}/src")
    run("rsync", "-aH", f"{sources}/", f"{mnt}/copy/")
    same_tree(sources, f"{mnt}/copy")
    assert run("rsync", "-aHi", f"{sources}/", f"{mnt}/copy/") == ""  # times and modes were kept: nothing to do
    put(f"{mnt}/copy/d0/f0.c", b"x")
    run("rsync", "-a", "--inplace", "--checksum", f"{sources}/", f"{mnt}/copy/")
    same_tree(sources, f"{mnt}/copy")


def test_editors_and_shell(mnt):
    put(f"{mnt}/f", b"one\ntwo\n")
    run("sed", "-i", "s/one/ONE/", f"{mnt}/f")
    run("sh", "-c", "echo three >> f; cp f g; mv g h; cat f h | sort | uniq -c > counts; rm f", cwd=mnt)
    assert sorted(os.listdir(mnt)) == ["counts", "h"]
    run("sh", "-c", "test $(wc -l < counts) = 3", cwd=mnt)
    if shutil.which("vim"):
        run("vim", "-u", "NONE", "-es", "-c", "%s/ONE/1/", "-c", "wq", f"{mnt}/h")
        run("grep", "-q", "^1$", f"{mnt}/h")


def test_compiler(mnt, sources):
    shutil.copytree(sources, f"{mnt}/b", symlinks=True)
    put(f"{mnt}/b/Makefile", b"O := $(patsubst %.c,%.o,$(wildcard d[0-3]/f*.c))\nlib.a: $(O)\n\tar rcs $@ $^\n%.o: %.c\n\tcc -c -o $@ $<\n")
    run("make", "-j2", cwd=f"{mnt}/b")
    assert len(run("ar", "t", "lib.a", cwd=f"{mnt}/b").split()) == 100
    assert "up to date" in run("make", cwd=f"{mnt}/b")


@pytest.mark.parametrize("mode", ["DELETE", "WAL", "TRUNCATE"])
def test_sqlite(mnt, mode):
    path = f"{mnt}/db"
    db = sqlite3.connect(path, isolation_level=None)
    assert db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0].upper() == mode
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t(k INTEGER PRIMARY KEY, v BLOB)")
    for i in range(60):
        db.execute("INSERT INTO t VALUES(?,?)", (i, bytes([i]) * 3000))
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM t").fetchone()[0] == 60
    db.execute("BEGIN")
    db.execute("DELETE FROM t WHERE k % 2")
    db.execute("ROLLBACK")
    db.execute("DELETE FROM t WHERE k < 10")
    db.execute("VACUUM")
    other.close()
    db.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("SELECT count(*), sum(k) FROM t").fetchone() == (50, sum(range(10, 60)))
    db.close()


@pytest.mark.root
def test_postgres(mnt):
    """initdb, load, pgbench, an immediate stop, recovery."""
    bins = sorted(os.path.join("/usr/lib/postgresql", v, "bin") for v in os.listdir("/usr/lib/postgresql")) if os.path.isdir("/usr/lib/postgresql") else []
    if not bins or not os.path.exists(f"{bins[-1]}/initdb") or not os.path.exists(f"{bins[-1]}/pgbench"):
        pytest.skip("PostgreSQL's server is not installed")
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres")
    b, data = bins[-1], f"{mnt}/pg"
    os.mkdir(data, 0o700)
    os.chown(data, user.pw_uid, user.pw_gid)

    def pg(*argv):
        return run(*argv, user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", env={**os.environ, "LC_ALL": "C.UTF-8", "PGHOST": "/tmp"})

    pg(f"{b}/initdb", "-D", data, "-A", "trust")
    port = "5" + str(os.getpid() % 10000).zfill(4)[:4]
    opts = f"-p {port} -c listen_addresses= -c unix_socket_directories=/tmp"
    try:
        pg(f"{b}/pg_ctl", "-D", data, "-w", "-o", opts, "-l", f"{data}/log", "start")
        pg(f"{b}/pgbench", "-p", port, "-i", "-q", "-s", "1", "postgres")
        pg(f"{b}/pgbench", "-p", port, "-c", "2", "-t", "100", "postgres")
        pg(f"{b}/pg_ctl", "-D", data, "-m", "immediate", "stop")
        pg(f"{b}/pg_ctl", "-D", data, "-w", "-o", opts, "-l", f"{data}/log", "start")
        out = pg(f"{b}/psql", "-p", port, "-Atc", "select count(*) from pgbench_history", "postgres")
        assert out.strip() == "200"
    finally:
        subprocess.run([f"{b}/pg_ctl", "-D", data, "-m", "immediate", "stop"], user=user.pw_uid, group=user.pw_gid, extra_groups=[],
                       capture_output=True, check=False)


CHECKPOINT = """
import os, pickle, sys
d = sys.argv[1]
for step in range(5):
    tmp = f"{d}/ckpt.tmp"
    os.makedirs(tmp, exist_ok=True)
    for r in range(4):
        with open(f"{tmp}/shard-{r}.distcp", "wb") as f:
            pickle.dump({"step": step, "rank": r, "w": os.urandom(1_000_000)}, f)
            f.flush()
            os.fsync(f.fileno())
    with open(f"{tmp}/.metadata.tmp", "wb") as f:
        pickle.dump({"step": step}, f)
        os.fsync(f.fileno())
    os.rename(f"{tmp}/.metadata.tmp", f"{tmp}/.metadata")
    os.rename(tmp, f"{d}/step-{step}")
    fd = os.open(d, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


def test_checkpoint_pattern(mnt):
    """As torch.distributed.checkpoint writes: shards, fsync, metadata by rename, the directory by rename."""
    import pickle

    run(sys.executable, "-c", CHECKPOINT, mnt)
    for step in range(5):
        with open(f"{mnt}/step-{step}/.metadata", "rb") as f:
            assert pickle.load(f) == {"step": step}
        for r in range(4):
            with open(f"{mnt}/step-{step}/shard-{r}.distcp", "rb") as f:
                assert pickle.load(f)["step"] == step

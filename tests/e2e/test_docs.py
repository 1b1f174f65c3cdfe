# SPDX-License-Identifier: Apache-2.0
"""Pages whose commands are run: every ```console block is typed as it stands and must print what is shown below it.

A line "$ COMMAND" (continued by "> " lines) is run by bash in one directory for the whole page; "..." in what is shown
stands for anything, also for several lines. The page's standard addresses are replaced by those of the instance under test.
"""
import os
import re
import subprocess
import sys

import pytest

from lib import proc
from lib.forebay import BIN, Forebay
from lib.ufs import DirUfs

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs")


def steps(page):
    """[(line number, command, expected output)]; the command of <!-- test: WORDS --> is "#WORDS"."""
    out, inside = [], False
    with open(os.path.join(DOCS, page)) as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            hook = re.fullmatch("<!-- test: (.*) -->", line)
            if hook:
                out.append([number, "#" + hook[1], []])
            elif line.startswith("```"):
                inside = line == "```console"
            elif not inside:
                continue
            elif line.startswith("$ "):
                out.append([number, line[2:], []])
            elif line.startswith("> ") and not out[-1][2]:
                out[-1][1] += "\n" + line[2:]
            else:
                out[-1][2].append(line)
    return [(n, c, "\n".join(o)) for n, c, o in out]


def fits(shown, printed):
    """Blanks are compared as one: columns may move, words may not."""
    squeeze = lambda s: re.sub(r"[ \t]+", " ", s.strip())
    pattern = ".*".join(re.escape(p) for p in squeeze(shown).split("..."))
    return re.fullmatch(pattern, squeeze(printed), re.S) is not None


class Page:
    """Types a page. What the page calls by standard names is something else in a test: replace says what."""

    def __init__(self, page, work, replace):
        self.page, self.replace = page, dict(replace)
        self.here = os.path.join(work, "here")
        os.mkdir(self.here)
        self.env = dict(os.environ, AWS_EC2_METADATA_DISABLED="true", AWS_DEFAULT_REGION="us-east-1")
        self.env["PATH"] = os.pathsep.join([os.path.dirname(os.path.abspath(BIN)), os.path.dirname(sys.executable), self.env["PATH"]])

    def here_and_now(self, text):
        for name, stands_for in self.replace.items():
            text = text.replace(name, stands_for)
        return text

    def type(self, number, command, shown):
        p = subprocess.run(["bash", "-c", self.here_and_now(command)], cwd=self.here, env=self.env, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=120 * proc.SLOW)
        self.compare(number, command, shown, p.stdout)

    def compare(self, number, command, shown, printed):
        shown = self.here_and_now(shown)
        assert fits(shown, printed), f"{self.page}:{number}: {command}\n--- shown\n{shown}\n--- printed\n{printed}"


def serves(page, f):
    page.replace |= {"127.0.0.1:29998": f.s3_addr, "127.0.0.1:19999": f.admin_addr}
    page.env["FOREBAY_ADMIN"] = f.admin_addr


@pytest.mark.quick
def test_quickstart(make, work):
    rules = {"/demo/**": "WRITE_BACK"}
    f = make({"/demo": DirUfs(os.path.join(work, "ufs")).uri()}, rules, {"alluxio.worker.page.store.sizes": "256MB"})
    page = Page("quickstart.md", work, {})
    serves(page, f)
    for step in steps("quickstart.md"):
        page.type(*step)
    assert f.stop() == 0
    f.assert_fsck_clean()


def test_readme(make, work):
    """The commands of README.md that are for another terminal."""
    f = make({"/demo": DirUfs(os.path.join(work, "ufs")).uri()}, {"/demo/**": "WRITE_BACK"})
    page = Page("README.md", work, {"build/forebay": BIN})
    serves(page, f)
    top = os.path.join(DOCS, "..")
    os.symlink(os.path.join(top, "README.md"), os.path.join(page.here, "README.md"))
    with open(os.path.join(top, "README.md")) as r:
        typed = [line.strip() for line in r if line.startswith(("    aws ", "    build/forebay "))]
    assert len(typed) >= 3
    for number, command in enumerate(typed):
        page.type(number, command + " && echo done", "...done")
    f.wait_all_persisted()
    assert os.path.exists(os.path.join(work, "ufs", "README.md"))


class Operator:
    """Somebody who follows operations.md."""

    def __init__(self, page, work, proxy):
        self.page, self.proxy, self.f = page, proxy, None
        self.work = work

    def start(self, number, shown):
        """The page's own start, with ports and short waits for a test."""
        self.f = Forebay(self.work, data=os.path.join(self.work, "lib"), start=False)
        self.f.argv = lambda: [BIN, "standalone", "--conf", "alluxio-site.properties", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                               *[w for k, v in self.f.props.items() for w in ("-D", f"{k}={v}")]]
        old = os.getcwd()
        os.chdir(self.page.here)
        try:
            self.f.start()
        finally:
            os.chdir(old)
        serves(self.page, self.f)
        printed = f"ready s3={self.f.s3_addr} admin={self.f.admin_addr} data={self.f.data}"
        self.page.compare(number, "forebay standalone", shown or printed, printed)

    def hook(self, words):
        {"ufs down": self.proxy.down, "ufs up": self.proxy.up, "kill": lambda: self.f.kill9(), "stop": lambda: self.f.stop(),
         "start": lambda: self.start(0, "")}[words]()


def test_operations(versity, proxy_to, work):
    proxy = proxy_to(versity)
    srv = os.path.join(work, "srv")
    os.makedirs(os.path.join(srv, "demo"))
    page = Page("operations.md", work, {
        "/var/lib/forebay": os.path.join(work, "lib"), "/srv": srv, "s3://bucket/prefix": versity.uri("ops"),
        "http://127.0.0.1:17070": versity.via, "ACCESSKEY": versity.key, "SECRETKEY": versity.secret})
    page.env["FOREBAY_ADMIN"] = f"127.0.0.1:{proc.free_port()}"
    op = Operator(page, work, proxy)
    try:
        for number, command, shown in steps("operations.md"):
            if command.startswith("#"):
                op.hook(command[1:])
            elif command.startswith("forebay standalone"):
                op.start(number, shown)
            else:
                page.type(number, command, shown)
        assert op.f.stop() == 0
        op.f.assert_fsck_clean()
    finally:
        if op.f:
            op.f.close()


def test_rest_page_knows_every_call():
    with open(os.path.join(DOCS, "..", "src", "admin", "routes.tbl")) as t:
        routes = set(re.findall(r'^ROUTE\("(\w+)",\s*"([^"]+)"', t.read(), re.M))
    with open(os.path.join(DOCS, "rest.md")) as d:
        shown = set(re.findall(r"^\| `(\w+) (/[^`]*)` \|", d.read(), re.M))
    assert len(routes) > 40 and shown == routes


def test_metrics_page_knows_every_metric(wb):
    _, text = wb.rest("GET", "/metrics")
    served = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    with open(os.path.join(DOCS, "metrics.md")) as d:
        shown = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", d.read(), re.M))
    shown = {k: v for k, v in shown.items() if not k.startswith("forebay_fuse_")}  # tests/posix/test_metrics.py has a mount
    assert len(served) > 60 and shown == served

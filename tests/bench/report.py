# SPDX-License-Identifier: Apache-2.0
"""Tables from build/bench/*.json: {"server", "mode", "steps": {step: [figures of a run, ...]}}."""
import glob
import json
import os
import statistics

# step: (title, target, [(figure, unit, digits)])
ROWS = {
    "put1": ("PUT 10 KiB, 1 client", "p50 <= 0.35 ms, p99 <= 1 ms", "ops_s p50 p99 cpu_1000"),
    "put16": ("PUT 10 KiB, 16 clients", ">= 10,000/s, CPU <= 0.12 s per 1,000", "ops_s p99 p999 cpu_1000"),
    "get1": ("GET 10 KiB, 1 client", "p50 <= 0.10 ms", "ops_s p50 p99 cpu_1000"),
    "get16": ("GET 10 KiB, 16 clients", ">= 30,000/s, CPU <= 0.04 s per 1,000", "ops_s p99 cpu_1000"),
    "head16": ("HEAD, 16 clients", ">= 50,000/s", "ops_s p99 cpu_1000"),
    "putbig": ("PUT 10 MiB, 4 clients", "CPU <= 2.4 s/GiB; MiB/s: 0.95 of the disk or what that CPU allows", "mib_s cpu_gib p99"),
    "disk": ("durable writes of 10 MiB by fio, 4 jobs", "", "mib_s"),
    "getbig": ("GET 10 MiB, 4 clients, verified once", ">= 0.95 of nginx, CPU <= 1.15 of nginx", "mib_s cpu_gib p99"),
    "multipart": ("multipart 64 MiB in 8 MiB parts, 4 clients", "as PUT 10 MiB", "mib_s cpu_gib"),
    "complete": ("Complete of 10,000 parts beside PUTs", "< 100 ms, PUTs keep their p99", "complete_ms put_p99_alone put_p99_beside"),
    "list": ("LIST 10,000 keys, 1,000 a page", ">= 300,000 keys/s", "units_s p50"),
    "mdel": ("DELETE multi, 100 a request, 4 clients", ">= 50,000 keys/s", "units_s p99 cpu_1000"),
    "mixed": ("mixed 45/30/15/10, 16 clients", ">= 20,000/s, p99 <= 5 ms", "ops_s p99 cpu_1000"),
    "million": ("a million keys in the bucket", "PUT, GET >= 0.8 of the rows above; last page as the first; ready < 2 s; "
                "RSS <= 600 MiB with ten million", "put16_ops_s get16_ops_s first_page_ms last_page_ms ready_ms rss rss_after_start"),
    "evict": ("cache full and evicting", ">= 0.8 of the rows above", "put16_ops_s put16_p99 get16_ops_s"),
    "persist-dir": ("persistence of 20,000 objects of 10 KiB, directory", ">= 5,000/s", "ops_s cpu_1000"),
    "persist-s3": ("the same, S3", ">= 0.8 of the load tool alone", "ops_s direct_ops_s share cpu_1000"),
    "first-dir": ("acknowledged to visible in the UFS, idle, directory", "< 10 ms", "visible_p50 visible_max"),
    "first-s3": ("the same, S3", "< 10 ms", "visible_p50 visible_max"),
    "start": ("start with 10,000 objects", "ready < 0.2 s", "ready_ms rss"),
}
# Rows of the mount: step: (title, target, figure).
MOUNT_ROWS = {
    "fuse-create": ("create 2,000 x 10 KiB, close", ">= 0.8", "ops_s"),
    "fuse-create-sync": ("the same with fsync each", ">= 0.75", "ops_s"),
    "fuse-empty": ("create 10,000 empty", ">= 0.8", "ops_s"),
    "fuse-unlink": ("unlink them", ">= 0.8", "ops_s"),
    "fuse-list": ("ls -l of 10,000, cold", ">= 0.8", "ops_s"),
    "fuse-tar": ("tar xf of 3,000 small files", "<= 1.25", "s"),
    "fuse-clone": ("git clone of them", "<= 1.25", "s"),
    "fuse-status": ("git status", "<= 1.25", "s"),
    "fuse-write": ("write 1 GiB, close", ">= 1.0", "mib_s"),
    "fuse-write-sync": ("write 1 GiB, fsync, close", ">= 1.0", "mib_s"),
    "fuse-read": ("read 1 GiB, cold", ">= 0.9 of kernel passthrough", "mib_s"),
    "fuse-reread": ("read 1 GiB again", ">= 6 GiB/s", "mib_s"),
    "fuse-rand-read-1": ("random read 4 KiB, 1 job", ">= 1.0", "ops_s"),
    "fuse-rand-read-4": ("random read 4 KiB, 4 jobs", ">= 1.0", "ops_s"),
    "fuse-rand-write": ("random write 4 KiB, fsync at the end", ">= 60,000/s", "ops_s"),
    "fuse-rand-sync": ("random write 4 KiB, fdatasync each", ">= 0.7", "ops_s"),
    "fuse-rename": ("rename of a directory of 500 files", "<= 1.5", "us"),
    "fuse-sqlite": ("SQLite, 100 inserts, a transaction each", "<= 1.6", "s"),
    "fuse-visible": ("close() to the object in the bucket, idle", "<= 20 ms", "visible_p50"),
}
MOUNTS = {"native": "native", "passthrough": "passthrough", "standalone": "`standalone --mount`", "fuse": "`forebay fuse`"}
UNITS = {
    "s": (" s", 2), "us": (" us", 0), "cpu_us": (" us", 0), "ratio": ("", 2),
    "ops_s": ("/s", 0), "units_s": (" keys/s", 0), "mib_s": (" MiB/s", 0), "p50": (" ms p50", 2), "p99": (" ms p99", 2),
    "p999": (" ms p99.9", 1), "cpu_1000": (" s per 1,000", 3), "cpu_gib": (" s/GiB", 2), "complete_ms": (" ms", 0),
    "put_p99_alone": (" ms PUT p99 alone", 2), "put_p99_beside": (" ms PUT p99 beside it", 2), "put16_ops_s": (" PUT/s", 0),
    "put16_p99": (" ms PUT p99", 1), "get16_ops_s": (" GET/s", 0), "first_page_ms": (" ms first page", 2),
    "last_page_ms": (" ms last page", 2), "ready_ms": (" ms to ready", 0), "rss": (" MiB RSS", 0),
    "rss_after_start": (" MiB RSS after a start", 0), "direct_ops_s": ("/s by the load tool", 0), "share": (" of it", 2),
    "visible_p50": (" ms median", 1), "visible_max": (" ms at most", 1),
}


def number(v, digits):
    return f"{v:,.{digits}f}"


def cell(runs, figure):
    """Median, and the span when there were several runs."""
    unit, digits = UNITS[figure]
    v = [r[figure] for r in runs if figure in r]
    if not v:
        return None
    text = number(statistics.median(v), digits)
    if len(v) > 1:
        text += f" ({number(min(v), digits)} to {number(max(v), digits)})"
    return text + unit


def result(step, runs):
    cells = [cell(runs, f) for f in ROWS[step][2].split()]
    errors = sum(r.get("errors", 0) for r in runs)
    what = next((r["what"] for r in runs if r.get("what")), "")
    return "; ".join(c for c in cells if c) + (f"; **{errors:.0f} errors** {what}" if errors else "")


def mount_result(step, runs):
    return cell(runs, MOUNT_ROWS[step][2]) or ""


def read(where):
    found = {}
    for name in sorted(glob.glob(os.path.join(where, "*.json"))):
        with open(name) as f:
            j = json.load(f)
        found[j["server"], j["mode"]] = j["steps"]
    return found


def ours_table(found):
    paused, running = found.get(("forebay", "paused"), {}), found.get(("forebay", "running"), {})
    out = ["| step | target | result | with persistence running |", "|---|---|---|---|"]
    for step, (title, target, _) in ROWS.items():
        if paused.get(step) or running.get(step):
            a, b = (result(step, m[step]) if m.get(step) else "" for m in (paused, running))
            out.append(f"| {title} | {target} | {a} | {b} |")
    rss = [r["rss"] for s, runs in paused.items() if s not in ("million",) for r in runs if r.get("rss")]
    if rss:
        out.append(f"| memory, the most of all rows but the million keys | RSS <= 150 MiB | {max(rss):,.0f} MiB | |")
    return out


def peers_table(found):
    servers = [s for (s, m) in found if m == "peer"]
    if not servers:
        return []
    ours = found.get(("forebay", "paused"), {})
    out = ["", f"| step | forebay | {' | '.join(servers)} |", "|---" * (len(servers) + 2) + "|"]
    for step, (title, _, _) in ROWS.items():
        row = [found[s, "peer"].get(step) for s in servers]
        if any(row):
            cells = [result(step, r) if r else "" for r in [ours.get(step), *row]]
            out.append(f"| {title} | {' | '.join(cells)} |")
    return out


def ratios(step, runs, base):
    """Run by run: what both did in the same minute."""
    f = MOUNT_ROWS[step][2]
    return cell([{"ratio": a[f] / b[f]} for a, b in zip(runs, base) if a.get(f) and b.get(f)], "ratio") or ""


def mount_cells(step, found, mode):
    """A row's columns behind the target, or None."""
    runs = {m: found.get((m, mode), {}).get(step, []) for m in MOUNTS}
    if not runs["standalone"] and not runs["fuse"]:
        return None
    cells = [mount_result(step, runs["native"]), mount_result(step, runs["passthrough"])]
    for ours in ("standalone", "fuse"):
        cells += [mount_result(step, runs[ours]), ratios(step, runs[ours], runs["passthrough"])]
    cpu = [cell([r for r in runs[m] if r.get("cpu_us")], "cpu_us") for m in ("passthrough", "standalone")]
    return cells + [" / ".join(c.split(" ")[0] for c in cpu if c)]


def mount_table(where):
    found, out = read(where), []
    for mode, heading in (("paused", "Persistence paused:"), ("running", "Persistence running:")):
        rows = {s: mount_cells(s, found, mode) for s in MOUNT_ROWS}
        if not any(rows.values()):
            continue
        out += [heading, "", "| step | target | " + " | ".join(
            [MOUNTS["native"], MOUNTS["passthrough"], MOUNTS["standalone"], "ratio", MOUNTS["fuse"], "ratio",
             "CPU us a unit: passthrough / `--mount`"]) + " |", "|---" * 9 + "|"]
        out += [f"| {MOUNT_ROWS[s][0]} | {MOUNT_ROWS[s][1]} | {' | '.join(c)} |" for s, c in rows.items() if c]
        out.append("")
    return "\n".join(out).rstrip("\n")


# Column of the table of profiles: how perf names what belongs to it.
PARTS = {"kernel": ("[kernel",), "RocksDB": ("librocksdb", "liblz4", "libsnappy", "libzstd"), "OpenSSL": ("libcrypto", "libssl"),
         "C library": ("libc.so", "ld-linux", "libstdc++", "[vdso]", "libm.so"), "Forebay": ("forebay",)}


def shares(name):
    """{part: percent} of a profile; its first paragraph is by library."""
    out = dict.fromkeys(list(PARTS) + ["other"], 0.0)
    with open(name) as f:
        for line in f.read().split("\n\n")[0].splitlines():
            percent, library = line.split(None, 1)
            part = next((p for p, names in PARTS.items() if library.strip().startswith(names)), "other")
            out[part] += float(percent.rstrip("%"))
    return out


def profiles(where):
    out = []
    for step, (title, _, _) in ROWS.items():
        name = os.path.join(where, f"profile-forebay-{step}.txt")
        s = shares(name) if os.path.exists(name) else {}
        if any(s.values()):
            if not out:
                out = [f"| step | {' | '.join(s)} |", "|---" * (len(s) + 1) + "|"]
            out.append(f"| {title} | {' | '.join(f'{v:.0f}%' for v in s.values())} |")
    return "\n".join(out)


def table(where):
    found = read(where)
    return "\n".join(ours_table(found) + peers_table(found))

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Says where a daemon's CPU time goes while it moves bytes: `make profile`. Needs root and perf.

usage: profile.py VMCHANNEL [SUBJECT [send|receive]] [--seconds N] [--write MARKDOWN]

SUBJECT is a name of `bench.py --list`; without it, ours that matter, both ways. The samples of all
its processes are put together by phase: our own functions by the folder that they are in, the
kernel's by what they are for. Shares become nanoseconds for 64 KiB by the CPU time for each byte,
from /proc, over the same seconds. Where the machine has no performance counters, as in most virtual
ones, samples taken while the kernel has interrupts off count where it switches them on again: after
wake-ups mostly.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench  # noqa: E402
import report  # noqa: E402
from world import Failed, World, cpu_seconds  # noqa: E402

SRC = bench.HERE.parent.parent / "src"
OURS = ("vmchannel tap", "vmchannel netns", "vmchannel vhost-user", "vmchannel stream")
MARKERS = ("<!-- phases: from here on written by tests/bench/profile.py -->",
           "<!-- end of phases -->")
WARM_S = 1.0
SEGMENT = 65536
# In this order: the first that fits.
KERNEL_PHASES = [
    ("kernel: copies", r"copy_(to|from)_(iter|user)|_copy_|rep_movs|memcpy|memset|csum"),
    ("kernel: switches and wake-ups",
     r"switch|sched|wake|spin_(un)?lock_irq|ttwu|enqueue|dequeue|ep_|epoll|poll|eventfd|_rq|"
     r"load_avg|pick_|update_curr|hrtimer|idle|rcu_note|futex"),
    ("kernel: memory", r"alloc|free|page|slab|kmem|charge|cgroup|folio|memcg|object|kfence|zone"),
    ("kernel: sockets, tap, TCP", r"sock|skb|unix|tcp|ip_|inet|net|tun|tap|qdisc|xmit|neigh|gso|"
                                  r"gro|nf_|pipe|splice|datagram|iov|readv|writev|sendmsg|recvmsg"),
]


def files_of_functions():
    """name -> layer/file, for every function of ours: each stands at the start of a line."""
    found = {}
    for path in SRC.glob("*/*.c"):
        for name in re.findall(r"^(\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = f"{path.parent.name}/{path.stem}"
    return found


def phase_of(symbol, in_kernel, ours):
    base = re.sub(r"\.(isra|part|constprop|cold).*", "", symbol)
    if in_kernel:
        return next((phase for phase, pattern in KERNEL_PHASES if re.search(pattern, base)),
                    "kernel: the rest")
    if base in ours:
        return "ours: " + ours[base].split("/")[0]
    return "copies by us" if re.search("mem(cpy|move|set)", base) else "C library"


def read_report(data):
    """[(share, symbol, whether the kernel's)]"""
    text = subprocess.run(
        ["perf", "report", "-i", data, "--no-children", "-g", "none", "--stdio", "-F",
         "overhead,sym", "-w", "0,0"], capture_output=True, text=True, timeout=60).stdout
    lines = re.findall(r"^\s*([\d.]+)%\s+\[([k.])\]\s+(\S+)", text, re.MULTILINE)
    return [(float(share) / 100, symbol, kind == "k") for share, kind, symbol in lines]


def sample(subject, way, seconds, data):
    """Runs the load and perf beside it. CPU seconds of the daemon for each byte."""
    kind, counter = ("sink", "sunk") if way == "send" else ("source", "sourced")
    load = subject.load(kind, way, 1, int(WARM_S * 1000), int((seconds + 1) * 1000))
    try:
        time.sleep(WARM_S)
        if load.poll() is not None:
            raise Failed(f"{subject.name}: the load program ended: {load.stdout.read()!r}")
        pids = subject.pids()
        bytes_before = subject.world.counters.read()[counter]
        cpu_before = cpu_seconds(pids)
        subprocess.run(["perf", "record", "-q", "-F", "5000", "-o", data, "-p",
                        ",".join(map(str, pids)), "--", "sleep", str(seconds)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=seconds + 20)
        cpu = cpu_seconds(pids) - cpu_before
        moved = subject.world.counters.read()[counter] - bytes_before
    finally:
        load.kill()
        subject.end_load(load)
    if not moved:
        raise Failed(f"{subject.name}: nothing was moved")
    return cpu / moved


def phases_as_table(rows, per_byte, ours):
    phases, within = Counter(), {}
    for share, symbol, in_kernel in rows:
        phase = phase_of(symbol, in_kernel, ours)
        phases[phase] += share
        within.setdefault(phase, []).append((share, symbol))
    whole = sum(phases.values()) or 1
    cells = [["phase", "ns for 64 KiB", "share", "most of it"]]
    for phase, share in phases.most_common():
        share /= whole
        if share < 0.005:
            continue
        names = ", ".join(f"`{symbol}`" for _, symbol in sorted(within[phase])[:-4:-1])
        cells.append([phase, f"{share * per_byte * SEGMENT * 1e9:.0f}", f"{share:.0%}", names])
    return report.as_table(cells)


def profile(cls, way, seconds, tools, directory):
    """Lines of text about one subject."""
    data = f"{directory}/perf.data"
    with World(tools) as world:
        subject = cls(world)
        subject.start()
        per_byte = sample(subject, way, seconds, data)
        subject.stop()
    # Not before: as long as the worker lives, perf looks for its symbols in its empty root.
    words = "guest to host" if way == "send" else "host to guest"
    return [f"{cls.name}, {words}, 1 connection: {per_byte * 1e9:.3f} s of CPU time for a GB, "
            f"{per_byte * SEGMENT * 1e9:.0f} ns for 64 KiB.", "",
            *phases_as_table(read_report(data), per_byte, files_of_functions())]


def main(argv):
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    p.add_argument("vmchannel", type=Path)
    p.add_argument("subject", nargs="?")
    p.add_argument("way", nargs="?", choices=("send", "receive"))
    p.add_argument("--seconds", type=float, default=3.0)
    p.add_argument("--write", type=Path)
    options = p.parse_args(argv)
    names = [options.subject] if options.subject else OURS
    unknown = [n for n in names if all(c.name != n for c in bench.ALL)]
    if unknown:
        print(f"profile.py: no subject {unknown[0]!r}; see bench.py --list", file=sys.stderr)
        return 2
    lines = [f"{time.strftime('%Y-%m-%d %H:%M')}, Linux {platform.release()}, {os.cpu_count()} "
             f"CPUs, load average {os.getloadavg()[0]:.1f} at the start.", ""]
    with tempfile.TemporaryDirectory(prefix="vmcbench-tools-") as directory:
        Path(directory).chmod(0o755)
        tools = bench.build_tools(Path(directory), options.vmchannel)
        for name in names:
            cls = next(c for c in bench.ALL if c.name == name)
            for way in [options.way] if options.way else ("send", "receive"):
                lines += profile(cls, way, options.seconds, tools, directory)
    text = "\n".join(lines)
    if options.write:
        report.put_between(options.write, MARKERS, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failed, subprocess.SubprocessError, OSError) as e:
        sys.exit(f"profile.py: {e}")

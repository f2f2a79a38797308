#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Measures vmchannel beside its peers: `make bench`. Needs root, for network namespaces.

usage: bench.py VMCHANNEL [--out DIR] [--rounds N] [--quick] [--only NAME]... [--measure NAME]...

  --out DIR       where results.json and bench.svg go (build/bench)
  --rounds N      interleaved rounds (5)
  --quick         one round, shorter measurements, fewer connections
  --only NAME     only subjects with NAME in their name; may be given many times
  --measure NAME  only this measurement; may be given many times
  --list          says what there is, and ends

In each round everything is set up anew, and each measurement goes over all subjects before the next
one begins, so that what else the machine does meets all of them. What is not installed is left out.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import limit_subjects  # noqa: E402
import machine_subjects  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
from measures import MANY, MEASURES, ROUNDS_MOST, Effort  # noqa: E402
from subjects import SUBJECTS  # noqa: E402
from world import Failed, World, result_of  # noqa: E402

HERE = Path(__file__).resolve().parent
CFLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-static"]
SOURCES = {"load": HERE / "load.c", "service": HERE / "service.c",
           "tap_pump": HERE / "tap_pump.c", "splice_pump": HERE / "splice_pump.c",
           "bridge": HERE.parent / "e2e/bridge.c"}
PACKAGE_OF = {"pasta": "passt", machine_subjects.QEMU: "qemu-system-x86"}  # Debian's
ALL = SUBJECTS + limit_subjects.SUBJECTS + machine_subjects.SUBJECTS


def parse(argv):
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    p.add_argument("vmchannel", type=Path)
    p.add_argument("--out", type=Path, default=Path("build/bench"))
    p.add_argument("--rounds", type=int)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", action="append", default=[])
    p.add_argument("--measure", action="append", default=[], choices=list(MEASURES))
    p.add_argument("--list", action="store_true")
    options = p.parse_args(argv)
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def chosen(options):
    """(those to measure, those that are not installed)"""
    wanted = [s for s in ALL if not options.only or any(o in s.name for o in options.only)]
    built = {name: built_beside(options.vmchannel, name) for s in wanted for name in s.built}
    there = [s for s in wanted if s.is_installed() and all(built[n].exists() for n in s.built)]
    return there, [s for s in wanted if s not in there]


def built_beside(vmchannel, name):
    """A program of the tests in vmchannel's build directory."""
    return vmchannel.resolve().parent.parent.parent / name


def build_tools(directory, vmchannel):
    tools = {"vmchannel": vmchannel.resolve(),
             "vhost-guest": built_beside(vmchannel, "tests/vhost_guest/vhost-guest")}
    for name, source in SOURCES.items():
        tools[name] = directory / name
        subprocess.run(["gcc", *CFLAGS, "-o", tools[name], source], check=True, timeout=60)
    return tools


def spin(world):
    return result_of(world.load("-", "spin"), 20)["ms"]


def start_all(classes, world, note):
    started = []
    for cls in classes:
        subject = cls(world)
        try:
            subject.start()
            started.append(subject)
        except (Failed, OSError, subprocess.SubprocessError) as e:
            note(cls.name, "start", f"{e}; {world.log_tail()}")
    return started


def measure(subject, name, effort, note):
    try:
        return MEASURES[name](subject, effort)
    except (Failed, OSError, StopIteration) as e:
        note(subject.name, name, str(e))
        return {}


class Progress:
    """Says what is measured, and when it will be over."""

    def __init__(self, rounds):
        self.rounds, self.round, self.began = rounds, 0, time.monotonic()
        self.left_s = None

    def begin_round(self):
        gone = time.monotonic() - self.began
        if self.round:
            self.left_s = gone / self.round * (self.rounds - self.round)
            self.left_since = time.monotonic()
        self.round += 1

    def say(self, words):
        gone = time.monotonic() - self.began
        text = f"bench: {gone / 60:4.1f} min"
        if self.left_s is not None:
            left = max(0, self.left_s - (time.monotonic() - self.left_since))
            text += f", some {left / 60:.0f} left"
        print(f"{text}: round {self.round} of {self.rounds}: {words}", flush=True)


def run_part(classes, names, tools, options, results, note, progress):
    """Measures with daemons of its own."""
    effort = Effort(options.quick)
    with World(tools) as world:
        subjects = start_all(classes, world, note)
        for name in names:
            takers = [s for s in subjects if name in s.measures]
            if takers:
                progress.say(f"{name}, {len(takers)} of {subjects[0].group}")
            for subject in takers:
                results.add_noise(spin(world), os.getloadavg()[0])
                results.add(subject.name, name, measure(subject, name, effort, note))
        for subject in subjects:
            subject.stop()


def run_round(classes, tools, options, results, note, progress):
    progress.begin_round()
    wanted = [n for n in options.measure or MEASURES
              if progress.round <= ROUNDS_MOST.get(n, progress.round)]
    for group in report.GROUPS:
        # Many connections last, with fresh daemons: not all of them recover from those.
        for part in ([n for n in wanted if n not in MANY], [n for n in wanted if n in MANY]):
            members = [c for c in classes if c.group == group and set(part) & set(c.measures)]
            if members:
                run_part(members, part, tools, options, results, note, progress)


def describe(classes, options):
    def first_line(argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
        return (done.stdout or done.stderr).split("\n")[0]

    versions = {"vmchannel": first_line([options.vmchannel, "--version"])}
    for program in sorted({n for c in classes for n in c.needs}):
        package = PACKAGE_OF.get(program, program)
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True,
                              capture_output=True, timeout=10)
        versions[program] = done.stdout or first_line([program, "--version"])
    return {"when": time.strftime("%Y-%m-%d %H:%M:%S"), "kernel": platform.release(),
            "cpus": os.cpu_count(), "rounds": options.rounds, "quick": options.quick,
            "versions": versions, "subjects": {c.name: c.about for c in classes},
            "groups": {c.name: c.group for c in classes},
            "ours": [c.name for c in classes if c.is_ours]}


def main(argv):
    options = parse(argv)
    classes, missing = chosen(options)
    if options.list:
        for cls in ALL:
            print(f"{cls.name:22} {cls.about}")
        return 0
    if os.geteuid() != 0:
        print("bench.py: it makes network namespaces: run it as root", file=sys.stderr)
        return 2
    if not classes:
        print("bench.py: nothing to measure; see --list", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    results = report.Results(describe(classes, options))

    def note(*failure):
        results.failures.append(failure)
        print(f"bench: {': '.join(failure)}", file=sys.stderr, flush=True)

    for cls in missing:
        print(f"bench: {cls.name}: not installed, left out")
    with tempfile.TemporaryDirectory(prefix="vmcbench-tools-") as directory:
        Path(directory).chmod(0o755)
        tools = build_tools(Path(directory), options.vmchannel)
        progress = Progress(options.rounds)
        for _ in range(options.rounds):
            results.begin_round()
            run_round(classes, tools, options, results, note, progress)
            (options.out / "results.json").write_text(json.dumps(results.as_json(), indent=1))
    text = report.as_text(results)
    (options.out / "results.md").write_text(text)
    (options.out / "bench.svg").write_text(plot.as_svg(results))
    print(text)
    print(f"bench: see also {options.out}/results.json and {options.out}/bench.svg")
    ours = {cls.name for cls in classes if cls.is_ours}
    return 1 if any(name in ours for name, *_ in results.failures) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("bench.py: interrupted")

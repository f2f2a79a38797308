#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Branch coverage of src/, the share of ways taken in the layers that face somebody, and why the
others are not: `make coverage`, as root.

usage: coverage.py OUT [E2E-TEST-FILE...]

Builds below OUT with clang, whose counters live in a mapped file: a worker without file system and
system calls counts on, and what is killed has counted. Counted are the unit tests, the corpora,
hostile segments, the end-to-end tests given (else those of E2E below) and the fault injection,
whose program is built from the same sources. Not the simulation: its stack is a library of its own,
and two images cannot share mapped counters.

A branch has two ways. tests/coverage/explained/LAYER.txt has each way of that layer that no test
takes, and the reason:

    starter.c: starter_start: never true: pid < 0
        why, in some words; several ways above it may share it

"seldom" instead of "never" is for one that chance decides about. The name of the function and the
text of the condition make the key, so lines may move. Fails when a way is taken by nobody and not
explained, when an explanation matches nothing any more, when a layer of LAYERS is below GOAL, and
when a test fails. OUT/unexplained/LAYER.txt has what is missing, in that format; OUT/uncovered.txt
each way of src/ that was never taken, with its line.

Left out are ways that end in a failed assert, and the value that a switch over all of an enum does
not name: there are no such ways.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = ROOT / "tests/coverage/explained"
LAYERS = ["broker", "host", "link", "stack", "wire"]  # where GOAL is wanted
GOAL = 95.0
E2E = [f"tests/e2e/test_{name}.py" for name in (
    "control", "devices", "devices_faults", "devices_peers", "ends", "frames", "inward", "ipv6",
    "link", "links", "names", "proxy", "refusal", "rendezvous", "run", "sandbox", "sandbox_broker",
    "sandbox_broker_reach", "user", "varlink", "vhost_user", "watching", "worker")]
COUNTERS = "-fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation=true"
# All of src/ is in these two: the one has what a daemon needs, the other what only embedders do.
PROGRAMS = ["src/cli/vmchannel", "tests/unit/test_lib_vmchannel"]
FAULTS = "tests/fault/vmchannel-faults"
PYTEST = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
SHOWN_MOST = 20  # lines about one layer
KEY = re.compile(r"(\S+): (\w+): (never|seldom) (true|false): (.+)")


class Way(NamedTuple):
    """One way of a branch; its text is the condition, with each run of blanks as one."""
    file: str  # below src/
    function: str
    way: str
    text: str

    def __str__(self):
        return f"{self.file.split('/')[-1]}: {self.function}: never {self.way}: {self.text}"


# --- running -------------------------------------------------------------------------------------

def run(argv, log, **env):
    """False if it failed: a test that does is told, and what it covered counts all the same."""
    print("  " + " ".join(map(str, argv))[:150], flush=True)
    with open(log, "ab") as f:
        done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                              env={**os.environ, **env}, check=False)
    if done.returncode != 0:
        print(f"  FAILED ({done.returncode}), see {log}")
    return done.returncode == 0


def build(out, log):
    directory = out / "build"
    env = {"LLVM_PROFILE_FILE": str(out / "build.profraw")}  # of what is run to build
    if not (directory / "build.ninja").exists():
        run(["meson", "setup", "--buildtype=debugoptimized", f"-Dc_args={COUNTERS}",
             "-Dc_link_args=-fprofile-instr-generate", directory], log,
            CC=os.environ.get("CC", "clang"), **env)
    if not run(["ninja", "-C", directory, "all", FAULTS], log, **env):
        sys.exit(1)
    return directory


def make_counters(directory, counters):
    """Each program has one file for all its processes; those of other users count too."""
    counters.mkdir(parents=True, exist_ok=True)
    for old in counters.iterdir():
        old.unlink()
    pattern = f"{counters}/%m%c.profraw"
    for program in (PROGRAMS[0], FAULTS):
        subprocess.run([directory / program, "--version"], stdout=subprocess.DEVNULL, check=True,
                       env={**os.environ, "LLVM_PROFILE_FILE": pattern})
    for made in counters.iterdir():
        made.chmod(0o666)
    return pattern


def run_tests(directory, e2e, pattern, log):
    env = {"LLVM_PROFILE_FILE": pattern, "VMCHANNEL": str(directory / PROGRAMS[0]),
           "VMCHANNEL_WITH_FAULTS": str(directory / FAULTS), "PYTHONDONTWRITEBYTECODE": "1"}
    good = run(["meson", "test", "-C", directory, "--no-rebuild", "--timeout-multiplier", "3",
                "--suite", "unit"], log, **env)
    good &= run([directory / "tests/sim/segments"], log, **env)
    good &= run([*PYTEST, *e2e], log, **env)
    good &= run([*PYTEST, "tests/fault"], log, **env)
    return good


# --- counting ------------------------------------------------------------------------------------

def exported(directory, counters, out, log):
    merged = out / "all.profdata"
    files = out / "files"
    files.write_text("\n".join(str(p) for p in counters.glob("*.profraw")))
    run(["llvm-profdata", "merge", "-failure-mode=all", "-o", merged, f"-input-files={files}"], log)
    first, *rest = [directory / p for p in PROGRAMS]
    objects = [arg for p in rest for arg in ("-object", p)]
    text = subprocess.run(["llvm-cov", "export", first, *objects, f"-instr-profile={merged}"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return json.loads(text)["data"][0]


def assert_spans(text):
    """[(start, end)] of what is between the parentheses of asserts."""
    spans = []
    for found in re.finditer(r"\b(?:static_)?assert\(", text):
        depth, at = 1, found.end()
        while depth > 0:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        spans.append((found.end(), at))
    return spans


class Source:
    """A file's text, by the lines and columns of llvm-cov."""

    def __init__(self, path):
        self.text = path.read_text(encoding="ascii")
        self.starts = [0] + [m.end() for m in re.finditer("\n", self.text)]
        self.asserts = assert_spans(self.text)

    def at(self, line, column):
        return self.starts[line - 1] + column - 1

    def line(self, number):
        return self.text[self.starts[number - 1]:].split("\n", 1)[0].strip()

    def is_no_way(self, start, way):
        if way == "false":
            return any(a <= start < b for a, b in self.asserts)
        return self.text[:start].endswith("switch (")


def functions_of(data, directory):
    """path -> [(first line, last line, name)]."""
    found = defaultdict(set)
    for function in data["functions"]:
        first = function["regions"][0]
        path = Path(os.path.normpath(directory / function["filenames"][0]))
        found[path].add((first[0], first[2], function["name"].split(":")[-1]))
    return found


def ways(data, directory):
    """Yields (Way, layer, line, text of the line, count) for both ways of each branch in src/."""
    functions = functions_of(data, directory)
    for file in data["files"]:
        path = Path(os.path.normpath(directory / file["filename"]))
        if ROOT / "src" not in path.parents:
            continue
        source, name = Source(path), path.relative_to(ROOT / "src")
        for line, column, end_line, end_column, on_true, on_false, *_ in file.get("branches", []):
            start = source.at(line, column)
            text = " ".join(source.text[start:source.at(end_line, end_column)].split())
            function = next((n for a, b, n in functions[path] if a <= line <= b), "none")
            for way, count in (("true", on_true), ("false", on_false)):
                if not source.is_no_way(start, way):
                    yield (Way(str(name), function, way, text), name.parts[0],
                           f"{name}:{line}:{column}", source.line(line), count)


# --- judging -------------------------------------------------------------------------------------

def read_explained(layer):
    """({Way: never or seldom}, [what is wrong with the file])."""
    path = EXPLAINED / f"{layer}.txt"
    found, wrong, bare = {}, [], []
    for line in path.read_text(encoding="ascii").splitlines() if path.exists() else []:
        match = KEY.fullmatch(line)
        if match:
            file, function, how, way, text = match.groups()
            bare.append(Way(f"{layer}/{file}", function, way, text))
            found[bare[-1]] = how
        elif line.startswith("    "):
            bare = []
        elif line and not line.startswith("#"):
            wrong.append(f"{path.name}: not understood: {line}")
    return found, wrong + [f"{path.name}: no reason: {way}" for way in bare]


def judge(layer, all_ways, missed, out):
    """Prints what has no reason, and reasons that explain nothing; returns how many."""
    explained, wrong = read_explained(layer)
    missing = sorted(set(missed) - set(explained))
    wrong += [f"not explained: {way.file}: {way}" for way in missing]
    for way, how in explained.items():
        if way not in all_ways or (how == "never" and way not in missed):
            wrong.append(f"{layer}.txt: " + ("taken: " if way in all_ways else "no such: ")
                         + str(way))
    (out / f"{layer}.txt").write_text("".join(f"{way}\n    ?\n" for way in missing))
    for line in wrong[:SHOWN_MOST]:
        print(line)
    if len(wrong) > SHOWN_MOST:
        print(f"{layer}: and {len(wrong) - SHOWN_MOST} more, see {out}/{layer}.txt")
    return len(wrong)


def summary(found, out):
    """Prints the tables. False when something is wrong."""
    total, missed = defaultdict(int), defaultdict(int)
    known, never = defaultdict(set), defaultdict(set)
    uncovered = []
    for way, layer, where, line, count in found:
        known[layer].add(way)
        for key in (layer, way.file):
            total[key] += 1
            missed[key] += count == 0
        if count == 0:
            never[layer].add(way)
            uncovered.append(f"{where}: never {way.way}: {way.text}   in: {line}")
    (out / "uncovered.txt").write_text("\n".join(sorted(set(uncovered))) + "\n")
    (out / "unexplained").mkdir(exist_ok=True)
    wrong = sum(judge(layer, known[layer], never[layer], out / "unexplained") for layer in LAYERS)

    def row(key):
        return f"{total[key]:5} {missed[key]:6} {100 * (1 - missed[key] / total[key]):7.1f} %"

    low = [key for key in LAYERS if 100 * (1 - missed[key] / total[key]) < GOAL]
    print(f"{'':28}  ways   never  covered")
    for key in sorted(k for k in total if "/" not in k):
        print(f"{key:28} {row(key)}{f'  below {GOAL:.0f} %' if key in low else ''}")
    with open(out / "files.txt", "w", encoding="ascii") as f:
        f.writelines(f"{key:40} {row(key)}\n" for key in sorted(k for k in total if "/" in k))
    print(f"by file: {out}/files.txt; each way never taken: {out}/uncovered.txt; "
          f"{wrong} without a reason, or reasons for nothing")
    return not low and wrong == 0


def main(argv):
    if len(argv) < 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    # Begun in the background it would be ignored, and so by what the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = Path(argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log"
    log.unlink(missing_ok=True)
    directory = build(out, log)
    pattern = make_counters(directory, out / "counters")
    good = run_tests(directory, argv[2:] or E2E, pattern, log)
    found = list(ways(exported(directory, out / "counters", out, log), directory))
    return 0 if summary(found, out) and good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))

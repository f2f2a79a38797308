#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Branch coverage of src/ by the unit tests, the corpora, hostile segments and end-to-end tests.

usage: coverage.py OUT [E2E-TEST-FILE...]

Builds below OUT with clang, whose counters live in a mapped file: a worker without file system and
system calls counts on, and what is killed has counted. OUT/uncovered.txt lists each way of a branch
that was never taken. Ways that end in a failed assert are left out: there is no such way.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = {"wire", "stack", "link", "host", "broker"}  # where 95 % are wanted
GOAL = 95.0
COUNTERS = "-fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation=true"
# All of src/ is in these two: the one has what a daemon needs, the other what only embedders do.
PROGRAMS = ["src/cli/vmchannel", "tests/unit/test_lib_vmchannel"]


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
    if not (directory / "build.ninja").exists():
        run(["meson", "setup", "--buildtype=debugoptimized", f"-Dc_args={COUNTERS}",
             "-Dc_link_args=-fprofile-instr-generate", directory], log, CC="clang")
    if not run(["ninja", "-C", directory], log, LLVM_PROFILE_FILE=str(out / "build.profraw")):
        sys.exit(1)
    return directory


def run_tests(directory, e2e, counters, log):
    """Not sim: its stack is a library of its own, and two images cannot share mapped counters."""
    env = {"LLVM_PROFILE_FILE": f"{counters}/%p%c.profraw"}
    good = run(["meson", "test", "-C", directory, "--no-rebuild", "--timeout-multiplier", "3",
                "--suite", "unit"], log, **env)
    good &= run([directory / "tests/sim/segments"], log, **env)
    if e2e:
        good &= run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", *e2e], log,
                    VMCHANNEL=str(directory / "src/cli/vmchannel"), **env)
    return good


def never_taken(directory, counters, out, log):
    """Yields (file, line, column, way, count) for both ways of each branch in src/."""
    merged = out / "all.profdata"
    files = out / "files"
    files.write_text("\n".join(str(p) for p in counters.glob("*.profraw")))
    run(["llvm-profdata", "merge", "-failure-mode=all", "-o", merged, f"-input-files={files}"], log)
    first, *rest = [directory / p for p in PROGRAMS]
    objects = [arg for p in rest for arg in ("-object", p)]
    text = subprocess.run(["llvm-cov", "export", first, *objects, f"-instr-profile={merged}"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    for file in json.loads(text)["data"][0]["files"]:
        path = Path(os.path.normpath(directory / file["filename"]))
        if ROOT / "src" not in path.parents:
            continue
        for branch in file.get("branches", []):
            line, column, true_count, false_count = branch[0], branch[1], branch[4], branch[5]
            yield path, line, column, "true", true_count
            yield path, line, column, "false", false_count


def summary(ways, out):
    lines = {}
    total, missed = defaultdict(int), defaultdict(int)
    uncovered = []
    for path, line, column, way, count in ways:
        text = lines.setdefault(path, path.read_text().splitlines())[line - 1].strip()
        if text.startswith(("assert(", "static_assert(")) and way == "false":
            continue
        name = path.relative_to(ROOT)
        for key in (name.parts[1], str(name)):
            total[key] += 1
            missed[key] += count == 0
        if count == 0:
            uncovered.append(f"{name}:{line}:{column}: never {way}: {text}")
    (out / "uncovered.txt").write_text("\n".join(sorted(set(uncovered))) + "\n")
    print(f"{'':28}  ways   never  covered")
    for key in sorted(total):
        part = 100 * (1 - missed[key] / total[key])
        note = f"  below {GOAL:.0f} %" if key in WANTED and part < GOAL else ""
        if "/" not in key:
            print(f"{key:28} {total[key]:5} {missed[key]:6} {part:7.1f} %{note}")
    with open(out / "files.txt", "w", encoding="ascii") as f:
        for key in sorted(k for k in total if "/" in k):
            f.write(f"{key:40} {total[key]:5} {missed[key]:6} "
                    f"{100 * (1 - missed[key] / total[key]):7.1f} %\n")
    print(f"by file: {out}/files.txt; each way never taken: {out}/uncovered.txt")


def main(argv):
    if len(argv) < 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    out = Path(argv[1]).resolve()
    counters = out / "counters"
    counters.mkdir(parents=True, exist_ok=True)
    for old in counters.iterdir():
        old.unlink()
    log = out / "log"
    log.unlink(missing_ok=True)
    directory = build(out, log)
    good = run_tests(directory, argv[2:], counters, log)
    summary(never_taken(directory, counters, out, log), out)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))

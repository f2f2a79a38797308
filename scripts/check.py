#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs every test of the project and ends with one line that counts them: `make check`.

usage: check.py OUT [PHASE...]

Builds twice below OUT: with gcc as released, and with clang under ASan and UBSan; warnings are
errors in both. Then runs the unit tests and the simulation in both, and last, with the machine to
themselves because they measure latencies, the end-to-end tests. Given phases, runs only those.
"""

import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"  # Debian's own: pytest and scapy are its packages
PROGRESS_S = 15              # how often a phase that takes its time says so
REPORT_LINES = 120           # of a failed phase's log

SANITIZER_ENV = {
    "ASAN_OPTIONS": "halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
}
SETUP = {
    "gcc": ["--buildtype=debugoptimized", "-Dwerror=true"],
    "asan": ["--buildtype=debugoptimized", "-Dwerror=true", "-Db_sanitize=address,undefined",
             "-Db_lundef=false"],
}
COMPILER = {"gcc": "gcc", "asan": "clang"}


class Run:
    """Where things go, and what was counted so far."""

    def __init__(self, out):
        self.out = out
        self.count = Counter()
        self.failed_phases = []

    def build(self, kind):
        return self.out / kind

    def log(self, phase):
        return self.out / f"{phase}.log"


def last_line(path):
    with open(path, "rb") as f:
        f.seek(max(0, path.stat().st_size - 500))
        lines = f.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def command(run, phase, argv, env=None):
    """Runs argv into the phase's log, saying now and then how far it is. True if it succeeded."""
    log = run.log(phase)
    start = said = time.monotonic()
    with open(log, "ab") as f:
        f.write(("$ " + " ".join(map(str, argv)) + "\n").encode())
        f.flush()
        p = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **(env or {})},
                             stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT)
        while True:
            try:
                return p.wait(timeout=0.5) == 0
            except subprocess.TimeoutExpired:
                if time.monotonic() - said >= PROGRESS_S:
                    said = time.monotonic()
                    print(f"    {said - start:4.0f} s: {last_line(log):.90}", flush=True)


def count_meson(testlog):
    """Counts a meson testlog.json: cases where a program wrote TAP, else programs."""
    count = Counter()
    for line in testlog.read_text().splitlines():
        test = json.loads(line)
        tap = re.findall(r"^(ok|not ok) \d+( # SKIP)?", test.get("stdout") or "", re.MULTILINE)
        cases = Counter("skipped" if skip else "passed" if ok == "ok" else "failed"
                        for ok, skip in tap)
        if test["result"] == "SKIP":
            cases["skipped"] += 1
        elif test["result"] not in ("OK", "EXPECTEDFAIL"):
            cases["failed"] = max(1, cases["failed"])
        elif not cases:
            cases["passed"] = 1
        count += cases
    return count


def count_junit(path):
    count = Counter()
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        n = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        count["failed"] += n["failures"] + n["errors"]
        count["skipped"] += n["skipped"]
        count["passed"] += n["tests"] - n["failures"] - n["errors"] - n["skipped"]
    return count


def build(kind):
    def phase(run, name):
        directory = run.build(kind)
        if not (directory / "build.ninja").exists():
            if not command(run, name, ["meson", "setup", directory, *SETUP[kind]],
                           {"CC": COMPILER[kind]}):
                return None
        return Counter() if command(run, name, ["ninja", "-k0", "-C", directory]) else None
    return phase


def meson_tests(kind, suites):
    def phase(run, name):
        directory = run.build(kind)
        testlog = directory / "meson-logs/testlog.json"
        testlog.unlink(missing_ok=True)
        ok = command(run, name, ["meson", "test", "-C", directory, "--no-rebuild",
                                 "--print-errorlogs",
                                 *(arg for s in suites for arg in ("--suite", s))],
                     SANITIZER_ENV if kind == "asan" else None)
        count = count_meson(testlog) if testlog.exists() else Counter()
        if not ok or not count:
            count["failed"] = max(1, count["failed"])
        return count
    return phase


def pytests(folder):
    def phase(run, name):
        junit = run.out / f"{name}.xml"
        junit.unlink(missing_ok=True)
        build = run.build("gcc")
        ok = command(run, name, [PYTHON, "-m", "pytest", "-v", "-p", "no:cacheprovider",
                                 f"--junitxml={junit}", folder],
                     {"VMCHANNEL": str(build / "src/cli/vmchannel"),
                      "VMCHANNEL_WITH_FAULTS": str(build / "tests/fault/vmchannel-faults"),
                      "PYTHONDONTWRITEBYTECODE": "1"})
        count = count_junit(junit) if junit.exists() else Counter()
        if not ok or not count:
            count["failed"] = max(1, count["failed"])
        return count
    return phase


def faults(run, name):
    if not command(run, name, ["ninja", "-C", run.build("gcc"), "tests/fault/vmchannel-faults"]):
        return None
    return pytests("tests/fault")(run, name)


# name, what it is, the phase it needs, what runs it
PHASES = [
    ("build-gcc", "build with gcc, warnings are errors", None, build("gcc")),
    ("unit-gcc", "unit tests and house rules", "build-gcc", meson_tests("gcc", ["unit", "house"])),
    ("build-asan", "build with clang, ASan and UBSan", None, build("asan")),
    ("unit-asan", "unit tests under ASan and UBSan", "build-asan", meson_tests("asan", ["unit"])),
    ("sim-gcc", "simulation", "build-gcc", meson_tests("gcc", ["sim"])),
    ("sim-asan", "simulation under ASan and UBSan", "build-asan", meson_tests("asan", ["sim"])),
    ("e2e", "end to end: real kernels, real guests", "build-gcc", pytests("tests/e2e")),
    ("faults", "every call of ours fails once", "build-gcc", faults),
    ("soak", "everything goes wrong for a while", "build-gcc", pytests("tests/soak")),
]


def run_phase(run, name, what, needs, function):
    print(f"{name}: {what}", flush=True)
    run.log(name).unlink(missing_ok=True)
    if needs in run.failed_phases:
        count = None
        reason = f"not run, {needs} failed"
    else:
        start = time.monotonic()
        count = function(run, name)
        reason = f"{time.monotonic() - start:.0f} s"
    if count is None:
        count = Counter(failed=1)
    run.count += count
    if count["failed"]:
        run.failed_phases.append(name)
        if run.log(name).exists():
            print(f"---- end of {run.log(name)}")
            lines = run.log(name).read_text(errors="replace").splitlines()
            lines = [line for line in lines if not re.match(r"\[\d+/\d+\] ", line)]
            print("\n".join(lines[-REPORT_LINES:]))
            print("----")
    verdict = "FAILED" if count["failed"] else "ok"
    print(f"{name}: {verdict} ({closing_line(count) if count else 'built'}; {reason})", flush=True)


def closing_line(count):
    line = f"{count['passed']} passed, {count['failed']} failed"
    return line + (f", {count['skipped']} skipped" if count["skipped"] else "")


def main(argv):
    known = [phase[0] for phase in PHASES]
    wanted = argv[2:] or known
    if len(argv) < 2 or not set(wanted) <= set(known):
        print(f"usage: check.py OUT [PHASE...]\nphases: {' '.join(known)}", file=sys.stderr)
        return 2
    run = Run(Path(argv[1]).resolve())
    run.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for phase in PHASES:
        if phase[0] in wanted:
            run_phase(run, *phase)
    print(f"{time.monotonic() - start:.0f} s in all; logs in {run.out}")
    for name in run.failed_phases:
        print(f"failed: {name}")
    print(closing_line(run.count))
    (run.out / "summary").write_text(closing_line(run.count) + "\n")
    return 1 if run.failed_phases else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs every test of the project and ends with one line that counts them: `make check`.

usage: check.py OUT [PHASE...]

Builds below OUT: with gcc as released, with clang under ASan and UBSan (warnings are errors in
both), and the fuzzers. Runs the unit tests and the simulation in the first two, the fuzzers, fault
injection and a short soak, then the end-to-end tests. What computes runs beside what mostly waits;
the end-to-end tests have the machine to themselves where they measure latencies, but for those
that boot guests under emulation, which come last and in two halves, as one guest keeps one
processor busy. Given phases, runs only those.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Callable, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"  # Debian's own: pytest and scapy are its packages
PROGRESS_S = 15              # how often a phase that takes its time says so
REPORT_LINES = 120           # of a failed phase's log
CLOSING_LINES = 60           # of a failed test, once more at the end
FUZZ_S = int(os.environ.get("FUZZ_S", "10"))  # for each fuzzer; CI takes longer
WAITERS = 3 * (os.cpu_count() or 1)  # unit tests at once: they wait, most of their time

SANITIZER_ENV = {
    "ASAN_OPTIONS": "halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
}
SETUP = {
    "gcc": ["--buildtype=debugoptimized", "-Dwerror=true"],
    "asan": ["--buildtype=debugoptimized", "-Dwerror=true", "-Db_sanitize=address,undefined",
             "-Db_lundef=false"],
    "fuzz": ["-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false"],
}
COMPILER = {"gcc": "gcc", "asan": "clang", "fuzz": "clang"}


class Run:
    """Where things go, and what was counted so far."""

    def __init__(self, out):
        self.out = out
        self.count = Counter()
        self.failed_phases = []
        self.failures = []  # name and output of each test that failed
        self.running = []
        self.fuzzers = None  # names of those still to be run
        self.changed = threading.Condition()  # and the lock of all of these

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
                    print(f"    {phase}, {said - start:.0f} s: {last_line(log):.80}", flush=True)


def count_meson(run, testlog):
    """Counts a meson testlog.json: cases where a program wrote TAP, else programs."""
    count = Counter()
    for line in testlog.read_text().splitlines():
        test = json.loads(line)
        output = test.get("stdout") or ""
        tap = re.findall(r"^(ok|not ok) \d+( # SKIP)?", output, re.MULTILINE)
        cases = Counter("skipped" if skip else "passed" if ok == "ok" else "failed"
                        for ok, skip in tap)
        if test["result"] == "SKIP":
            cases["skipped"] += 1
        elif test["result"] not in ("OK", "EXPECTEDFAIL"):
            cases["failed"] = max(1, cases["failed"])
            run.failures.append((f"{test['name']} ({test['result']})",
                                 output + (test.get("stderr") or "")))
        elif not cases:
            cases["passed"] = 1
        count += cases
    return count


def count_junit(run, path):
    count = Counter()
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        n = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        count["failed"] += n["failures"] + n["errors"]
        count["skipped"] += n["skipped"]
        count["passed"] += n["tests"] - n["failures"] - n["errors"] - n["skipped"]
        for case in suite.iter("testcase"):
            for failure in [*case.iter("failure"), *case.iter("error")]:
                run.failures.append((f"{case.get('classname')}::{case.get('name')}",
                                     failure.text or failure.get("message") or ""))
    return count


def build(kind, target="all"):
    def phase(run, name):
        directory = run.build(kind)
        if not (directory / "build.ninja").exists():
            if not command(run, name, ["meson", "setup", directory, *SETUP[kind]],
                           {"CC": COMPILER[kind]}):
                return None
        return Counter() if command(run, name, ["ninja", "-k0", "-C", directory, target]) else None
    return phase


def meson_test(kind, log, which, env):
    def phase(run, name):
        directory = run.build(kind)
        testlog = directory / f"meson-logs/testlog-{log}.json"
        testlog.unlink(missing_ok=True)
        ok = command(run, name, ["meson", "test", "-C", directory, "--no-rebuild",
                                 "--print-errorlogs", "--logbase", f"testlog-{log}", *which],
                     {**env, **(SANITIZER_ENV if kind != "gcc" else {})})
        count = count_meson(run, testlog) if testlog.exists() else Counter()
        if not ok or not count:
            count["failed"] = max(1, count["failed"])
        return count
    return phase


def meson_tests(kind, suites):
    env = {"MESON_TESTTHREADS": str(WAITERS)} if "unit" in suites else {}
    return lambda run, name: meson_test(
        kind, name, [arg for s in suites for arg in ("--suite", s)], env)(run, name)


# Tests that boot guests under emulation, in two halves that take about as long. Each file has its
# own resources: this machine's only libvirtd is test_libvirt's.
GUESTS = {
    "guests-1": ["test_qemu.py", "test_libvirt.py", "test_systemd.py"],
    "guests-2": ["test_links_qemu.py", "test_vhost_user.py", "test_hypervisors.py",
                 "test_vsock.py", "test_vhost_user_dpdk.py", "test_migration.py"],
}
E2E = Path("tests/e2e")
# Other end-to-end tests that measure no latency, and may run beside what computes.
PATIENT = ["test_rate.py", "test_domain_xml.py", "test_names.py", "test_grammar.py"]
# Minutes of waiting for retransmission timers.
LOSSY = E2E / "test_transfer.py::test_64_times_16_mib_through_an_impaired_stream"


def fuzzers(run, name):
    """One after the other of those that are left, beside another phase that does the same."""
    count = Counter()
    with run.changed:
        if run.fuzzers is None:
            listing = subprocess.run(["meson", "introspect", "--tests", run.build("fuzz")],
                                     capture_output=True, text=True, check=True).stdout
            run.fuzzers = [t["name"] for t in json.loads(listing) if "vmchannel:fuzz" in t["suite"]]
    while True:
        with run.changed:
            if not run.fuzzers:
                return count
            fuzzer = run.fuzzers.pop(0)
        count += meson_test("fuzz", f"{name}-{fuzzer}", [fuzzer],
                            {"FUZZ_S": str(FUZZ_S), "FUZZ_SEED": "1"})(run, name)


def pytests(select):
    def phase(run, name):
        junit = run.out / f"{name}.xml"
        junit.unlink(missing_ok=True)
        ok = command(run, name, [PYTHON, "-m", "pytest", "-v", "-p", "no:cacheprovider",
                                 f"--junitxml={junit}", *select],
                     {"VMCHANNEL": str(run.build("gcc") / "src/cli/vmchannel"),
                      "VMCHANNEL_WITH_FAULTS": str(run.build("gcc") /
                                                   "tests/fault/vmchannel-faults"),
                      "PYTHONDONTWRITEBYTECODE": "1"})
        count = count_junit(run, junit) if junit.exists() else Counter()
        if not ok or not count:
            count["failed"] = max(1, count["failed"])
        return count
    return phase


def faults(run, name):
    if not command(run, name, ["ninja", "-C", run.build("gcc"), "tests/fault/vmchannel-faults"]):
        return None
    return pytests(["tests/fault"])(run, name)


def without_guests():
    ignored = (f"--ignore={E2E / name}" for names in (PATIENT, *GUESTS.values()) for name in names)
    return [E2E, f"--deselect={LOSSY}", *ignored]


def with_guests(half):
    return [E2E / name for name in GUESTS[half]]


# What a phase does most. One of each kind runs at a time; nothing runs beside an ALONE.
COMPUTES, WAITS, ALONE = "computes", "waits", "alone"


class Phase(NamedTuple):
    name: str
    what: str
    needs: str  # the phase whose success it depends on, or ""
    kind: str
    function: Callable  # (run, name) -> what it counted, None if it could not


PHASES = [
    Phase("build-gcc", "build with gcc, warnings are errors", "", COMPUTES, build("gcc")),
    Phase("unit-gcc", "unit tests and house rules", "build-gcc", WAITS,
          meson_tests("gcc", ["unit", "house"])),
    Phase("build-asan", "build with clang, ASan and UBSan", "", COMPUTES, build("asan")),
    Phase("unit-asan", "unit tests under ASan and UBSan", "build-asan", WAITS,
          meson_tests("asan", ["unit"])),
    Phase("sim-asan", "simulation under ASan and UBSan", "build-asan", COMPUTES,
          meson_tests("asan", ["sim"])),
    Phase("sim-gcc", "simulation", "build-gcc", COMPUTES, meson_tests("gcc", ["sim"])),
    Phase("build-fuzz", "build of the fuzzers", "", COMPUTES, build("fuzz", "fuzz")),
    Phase("fuzz", f"fuzzers, {FUZZ_S} s each", "build-fuzz", COMPUTES, fuzzers),
    Phase("patient", "end to end: what may take its time", "build-gcc", COMPUTES,
          pytests([E2E / name for name in PATIENT])),
    Phase("lossy", "end to end: a link that spoils frames", "build-gcc", WAITS, pytests([LOSSY])),
    Phase("faults", "each call of ours fails", "build-gcc", WAITS, faults),
    Phase("soak", "everything goes wrong for a while", "build-gcc", WAITS,
          pytests(["tests/soak"])),
    Phase("fuzz-beside", "fuzzers that are left, beside the others", "build-fuzz", WAITS, fuzzers),
    Phase("e2e", "end to end: real kernels", "build-gcc", ALONE, pytests(without_guests())),
    Phase("guests-1", "end to end: real guests", "build-gcc", COMPUTES,
          pytests(with_guests("guests-1"))),
    Phase("guests-2", "end to end: real guests", "build-gcc", WAITS,
          pytests(with_guests("guests-2"))),
]


def report(run, phase, count, reason):
    """Under the lock, as are all things that phases share."""
    run.count += count
    if count["failed"]:
        run.failed_phases.append(phase.name)
        log = run.log(phase.name)
        if log.exists():
            print(f"---- end of {log}")
            lines = log.read_text(errors="replace").splitlines()
            lines = [line for line in lines if not re.match(r"\[\d+/\d+\] ", line)]
            print("\n".join(lines[-REPORT_LINES:]))
            print("----")
    verdict = "FAILED" if count["failed"] else "ok"
    what = closing_line(count) if count else "built"
    print(f"{phase.name}: {verdict} ({what}; {reason})", flush=True)


def run_phase(run, phase):
    print(f"{phase.name}: {phase.what}", flush=True)
    run.log(phase.name).unlink(missing_ok=True)
    if phase.needs in run.failed_phases:
        count = None
        reason = f"not run, {phase.needs} failed"
    else:
        start = time.monotonic()
        count = phase.function(run, phase.name)
        reason = f"{time.monotonic() - start:.0f} s"
    with run.changed:
        report(run, phase, Counter(failed=1) if count is None else count, reason)
        run.running.remove(phase)
        run.changed.notify()


def may_start(phase, waiting, running):
    if phase.needs in {p.name for p in [*waiting, *running]}:
        return False
    kinds = {p.kind for p in running}
    return not kinds if phase.kind == ALONE else not kinds & {phase.kind, ALONE}


def next_phase(waiting, running):
    """The first that may start, or None. None is overtaken that wants to be alone."""
    for phase in waiting:
        if may_start(phase, waiting, running):
            return phase
        if phase.kind == ALONE:
            return None
    return None


def run_phases(run, phases):
    waiting = list(phases)
    with run.changed:
        while waiting or run.running:
            phase = next_phase(waiting, run.running)
            if phase is None:
                run.changed.wait()
                continue
            waiting.remove(phase)
            run.running.append(phase)
            threading.Thread(target=run_phase, args=(run, phase), daemon=True).start()


def closing_line(count):
    line = f"{count['passed']} passed, {count['failed']} failed"
    return line + (f", {count['skipped']} skipped" if count["skipped"] else "")


def print_failures(run):
    """Once more at the end, where a log that was cut still has it."""
    for name, output in run.failures:
        print(f"---- failed: {name}")
        print("\n".join(output.splitlines()[-CLOSING_LINES:]))
    for name in run.failed_phases:
        print(f"failed: {name}")


def main(argv):
    known = [phase.name for phase in PHASES]
    wanted = argv[2:] or known
    if len(argv) < 2 or not set(wanted) <= set(known):
        print(f"usage: check.py OUT [PHASE...]\nphases: {' '.join(known)}", file=sys.stderr)
        return 2
    run = Run(Path(argv[1]).resolve())
    run.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    run_phases(run, [phase for phase in PHASES if phase.name in wanted])
    print(f"{time.monotonic() - start:.0f} s in all; logs in {run.out}")
    print_failures(run)
    print(closing_line(run.count))
    (run.out / "summary").write_text(closing_line(run.count) + "\n")
    return 1 if run.failed_phases else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

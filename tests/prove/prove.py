#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Proves by Frama-C's Eva that the pure layers have no undefined behaviour: `make prove`.

usage: prove.py OUT [DRIVER...]        every driver of this folder, or some; logs go to OUT
       prove.py --self-test OUT        plants faults, each of which must raise an alarm

A driver is a prove_NAME.c here. Lines of comment at its head say what it proves:
    // prove: the functions under proof. Each statement of them must be reached, or
    // unreached: FUNCTION COUNT says how many are not, and behind it why
    // over: which lengths and contents
    // options: what else Eva is told
Each alarm must be in unsettled.txt, with a reason and the fuzz target that has it; an entry that no
alarm needs is an error too. Eva reads a copy of the sources, in which EDITS were made for what it
does not know.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 400
JOBS = 2
EVA = ["-machdep", "gcc_x86_64", "-eva", "-eva-precision", "0", "-eva-split-limit", "5000",
       "-eva-split-return", "full", "-eva-msg-key=-final-states,-initial-state"]
COVERAGE = ["-then", "-metrics", "-metrics-eva-cover"]

# file: what is put in place of what. Eva has no vectors; and where two values belong together,
# such as an offset and what is left behind it, one is looked at value by value (split).
EDITS = {
    "wire/checksum.c": [
        ("typedef uint64_t vec __attribute__((vector_size(16)));", "typedef uint64_t vec;"),
        ("low[0] + low[1] + high[0] + high[1]", "low + high"),
    ],
    "wire/ipv6.c": [
        ("        if (len > out->payload_len)",
         "        //@ split skipped;\n        if (len > out->payload_len)"),
    ],
    "base/ring.c": [
        ("    uint32_t first = pool->slot_bytes - start;",
         "    uint32_t first;\n    //@ split start;\n    first = pool->slot_bytes - start;"),
    ],
    "link/virtqueue.h": [
        ("#define VIRTQUEUE_CHAIN_MAX 1024", "#define VIRTQUEUE_CHAIN_MAX 8"),
    ],
    "link/virtqueue.c": [
        ("    int n = guest_memory_slice(",
         "    int n;\n    //@ split out->iovcnt;\n    n = guest_memory_slice("),
        ("    out->base = guest_memory_at(q->memory, d->addr, d->len);",
         "    if (count > 2)\n        count = VIRTQUEUE_SIZE_MAX;\n"
         "    //@ split count;\n"
         "    out->base = guest_memory_at(q->memory, d->addr, (uint64_t)count * DESC_BYTES);"),
        ("    out->count = count;\n", ""),
        ("    return out->base;",
         "    if (!out->base)\n        count = 0;\n"
         "    //@ split count;\n    out->count = count;\n    return out->base;"),
    ],
}

# driver, file, what is there, and a fault in its place that must raise an alarm.
FAULTS = [
    ("cursor", "base/cursor.c", "if (len > c->left) {", "if (len > c->left + 1) {"),
    ("writer", "base/cursor.c", "if (len > w->left) {", "if (len > w->left + 1) {"),
    ("headers", "wire/ipv4.c", "start, out->header_len)", "start, out->header_len + 4u)"),
    ("ipv6", "wire/ipv6.c", "> IPV6_EXTENSIONS_MAX -", "> IPV6_EXTENSIONS_MAX + 8 -"),
    ("ipv6", "wire/ipv6.c", "a->octet + 13, 3)", "a->octet + 13, 4)"),
    ("ndp", "wire/ndp.c", "    *out = (struct ndp_solicit){.has_source_mac = false};\n"
     "    cursor_skip(c, 4);\n    return", "    cursor_skip(c, 4);\n    return"),
    ("ndp", "wire/ndp.c", "writer_bytes(w, mac, sizeof(*mac));", "writer_bytes(w, mac, 8);"),
    ("tcp", "wire/tcp.c", "body->left == 0 || body->left % 8 != 0", "body->left == 0"),
    ("emit", "wire/tcp.c", "return h->sack_count < TCP_SACK_MAX ? h->sack_count : TCP_SACK_MAX;",
     "return h->sack_count;"),
    ("checksum", "wire/checksum.c", "for (; len >= 8; p", "for (; len >= 7; p"),
    ("checksum", "wire/checksum.c", "(sum, dst, sizeof(*dst))", "(sum, dst, sizeof(*dst) + 1)"),
    ("vnet_hdr", "link/vnet_hdr.c", "AT_CSUM_OFFSET = 8,", "AT_CSUM_OFFSET = 9,"),
    ("seq", "stack/seq_ranges.c", "r->count == TCP_RANGES_MAX", "r->count > TCP_RANGES_MAX"),
    ("ring", "base/ring.c", "if (len <= first) {", "if (len <= first + 1) {"),
    ("virtqueue", "link/virtqueue_packed.c", "if (at >= q->size) {", "if (at > q->size) {"),
    ("dhcp", "wire/dhcp.c", "body->left != 1 || body->at[0] < DHCP", "body->at[0] < DHCP"),
]


class Proof(NamedTuple):
    name: str
    functions: list
    over: str
    options: list
    unreached: dict  # function: how many statements


class Result(NamedTuple):
    alarms: list     # "FILE: TEXT", without line numbers
    problems: list
    reached: int
    statements: int
    seconds: float


def words(text, key):
    return " ".join(re.findall(rf"^// {key}: (.*)$", text, re.MULTILINE))


def proof_of(path):
    text = path.read_text()
    unreached = {function: int(count) for function, count in
                 re.findall(r"^// unreached: (\w+) (\d+)", text, re.MULTILINE)}
    return Proof(path.stem.removeprefix("prove_"), words(text, "prove").split(),
                 words(text, "over"), words(text, "options").split(), unreached)


def copy_sources(to, fault=None):
    """A copy of src/ with EDITS and a fault; each must fit in one place."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(ROOT / "src", to)
    for path in to.rglob("*.c"):
        path.write_text(path.read_text().replace("<assert.h>", '"prove_assert.h"'))
    edits = [(file, old, new) for file, pairs in EDITS.items() for old, new in pairs]
    for file, old, new in edits + ([fault] if fault else []):
        text = (to / file).read_text()
        if text.count(old) != 1:
            sys.exit(f"prove: src/{file}: to be edited, and not there once: {old!r}")
        (to / file).write_text(text.replace(old, new))


def run_eva(proof, sources, log):
    cpp = f"-I{HERE} -I{sources} -D_GNU_SOURCE"
    argv = ["frama-c", "-cpp-extra-args=" + cpp, *EVA, *proof.options,
            str(HERE / f"prove_{proof.name}.c"), *COVERAGE]
    with open(log, "wb") as f:
        try:
            return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=f,
                                  stderr=subprocess.STDOUT, timeout=TIMEOUT_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def is_source(file, sources):
    return Path(os.path.abspath(file)).is_relative_to(sources)


def read_alarms(text, sources):
    """What Eva could not show: alarms, and preconditions and assertions of unknown status."""
    found = set()
    for file, message in re.findall(r"^\[eva:alarm\] ([^:]+):\d+: Warning:((?:.*\n  .*)+|.*)", text,
                                    re.MULTILINE):
        start = sources if is_source(file, sources) else ROOT
        short = os.path.relpath(os.path.abspath(file), start)
        found.add(f"{short}: {' '.join(message.split())}")
    return sorted(found)


def read_problems(proof, text, alarms):
    """What would make the alarms worth nothing: no end, or functions that were not gone through."""
    problems = []
    if "ANALYSIS SUMMARY" not in text:
        return ["Eva did not finish"]
    if "NON TERMINATING FUNCTION" in text:
        problems.append("a function never returns")
    unknown = sum(map(int, re.findall(r"(\d+) unknown +\d+ invalid", text)))
    unknown += sum(map(int, re.findall(r"\d+ unknown +(\d+) invalid", text)))
    unknown += int(re.search(r"^  (\d+) alarms? generated", text, re.MULTILINE)[1])
    if unknown and not alarms:
        problems.append(f"{unknown} alarms counted and none read")
    if proof.unreached.keys() - set(proof.functions):
        problems.append("// unreached: names a function that is not under proof")
    counts = read_coverage(text)
    for function in proof.functions:
        reached, total = counts.get(function, (0, 1))
        if total - reached != proof.unreached.get(function, 0):
            problems.append(f"{function}: {total - reached} of {total} statements not reached, "
                            f"{proof.unreached.get(function, 0)} expected")
    return problems


def read_coverage(text):
    return {f: (int(n), int(of)) for f, n, of in
            re.findall(r"^  (\w+): (\d+) stmts out of (\d+)", text, re.MULTILINE)}


def prove(proof, sources, log):
    start = time.monotonic()
    finished = run_eva(proof, sources, log)
    text = log.read_text(errors="replace")
    alarms = read_alarms(text, sources)
    problems = read_problems(proof, text, alarms)
    if not finished and not problems:
        problems = [f"frama-c failed, see {log}"]
    counts = read_coverage(text)
    reached, statements = (sum(counts.get(f, (0, 0))[i] for f in proof.functions) for i in (0, 1))
    return Result(alarms, problems, reached, statements, time.monotonic() - start)


def read_unsettled():
    """DRIVER: ALARM | REASON | fuzz TARGET, one a line."""
    entries = {}
    for line in (HERE / "unsettled.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        alarm, reason, target = (part.strip() for part in line.split(" | "))
        driver, alarm = alarm.split(": ", 1)
        if not reason or not (ROOT / f"tests/fuzz/fuzz_{target.removeprefix('fuzz ')}.c").exists():
            sys.exit(f"prove: unsettled.txt: no reason or no such fuzz target: {line}")
        entries[driver, alarm] = reason
    return entries


def report(proof, result, unsettled):
    """Prints it; how many things are wrong."""
    names = ", ".join(proof.functions)
    print(f"{proof.name}: {len(proof.functions)} functions, {result.reached} of "
          f"{result.statements} statements reached, {len(result.alarms)} alarms, "
          f"{result.seconds:.0f} s")
    print(f"    proved: {names}")
    print(f"    over:   {proof.over}")
    for function, count in proof.unreached.items():
        print(f"    not reached: {count} in {function}")
    wrong = list(result.problems)
    for alarm in result.alarms:
        if (proof.name, alarm) in unsettled:
            print(f"    unsettled: {alarm}: {unsettled[proof.name, alarm]}")
        else:
            wrong.append(f"alarm: {alarm}")
    wrong += [f"unsettled.txt: not needed: {alarm}" for name, alarm in unsettled
              if name == proof.name and alarm not in result.alarms]
    for what in wrong:
        print(f"    FAILED: {what}")
    sys.stdout.flush()
    return len(wrong)


def prove_all(out, names):
    start = time.monotonic()
    proofs = [proof_of(p) for p in sorted(HERE.glob("prove_*.c"))]
    known = [p.name for p in proofs]
    if set(names) - set(known):
        sys.exit(f"prove: no such driver (there are {' '.join(known)})")
    proofs = [p for p in proofs if not names or p.name in names]
    unsettled = read_unsettled()
    wrong = sum(driver not in known for driver, _ in unsettled)
    copy_sources(out / "src")
    results = []
    with ThreadPoolExecutor(JOBS) as pool:
        for proof, result in zip(proofs, pool.map(
                lambda p: prove(p, out / "src", out / f"{p.name}.log"), proofs)):
            wrong += report(proof, result, unsettled)
            results.append(result)
    print(f"prove: {len(proofs)} drivers, {sum(len(p.functions) for p in proofs)} functions, "
          f"{sum(r.reached for r in results)} of {sum(r.statements for r in results)} statements, "
          f"{sum(len(r.alarms) for r in results)} alarms, {len(unsettled)} of them unsettled, "
          f"{wrong} failures, {time.monotonic() - start:.0f} s")
    return wrong


def self_test(out):
    def seen(numbered):
        number, (driver, file, old, new) = numbered
        sources = out / f"fault-{number}"
        copy_sources(sources, (file, old, new))
        result = prove(proof_of(HERE / f"prove_{driver}.c"), sources, out / f"fault-{number}.log")
        return [a for a in result.alarms if (driver, a) not in unsettled]

    unsettled = read_unsettled()
    missed = 0
    with ThreadPoolExecutor(JOBS) as pool:
        for fault, alarms in zip(FAULTS, pool.map(seen, enumerate(FAULTS))):
            missed += not alarms
            print(f"{fault[0]}: {fault[1]}: {' '.join(fault[3].split())}: "
                  + (f"seen: {alarms[0]}" if alarms else "MISSED"), flush=True)
    print(f"prove: self-test: {len(FAULTS)} faults, {missed} missed")
    return missed


def main(argv):
    is_self_test = argv[1:2] == ["--self-test"]
    rest = argv[2:] if is_self_test else argv[1:]
    if not rest:
        sys.exit(__doc__)
    out = Path(rest[0]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    return 1 if (self_test(out) if is_self_test else prove_all(out, rest[1:])) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

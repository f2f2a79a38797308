#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs one libFuzzer program for FUZZ_S seconds (60): its corpus first, then what it makes up.

usage: run.py PROGRAM CORPUS [LIBFUZZER-OPTION...]

New inputs that reach new code are kept beside the program, in PROGRAM.found, for the next run.
Ends with a line that counts the executions; after a crash, says how to see it again. What was run
is noted beside the programs, in ledger.jsonl, which ledger.py sums up. With FUZZ_SEED the fuzzer
makes the same up each time and on each machine, as far as it has one thread, the kernel has no say
and PROGRAM.found is as it was.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

SPARE_S = 300       # beyond its time: the corpus, start and end, beside others that compute
LIMITS = ["-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1",
          "-entropic=0"]  # its bookkeeping took half of the time
ENV = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1:handle_segv=1:"
                    "allow_user_segv_handler=1:handle_abort=1:"
                    # What an input frees and a few before it; this much stays in the cache. A
                    # crash that is run again by hand tells where memory was made and freed.
                    "quarantine_size_mb=4:thread_local_quarantine_size_kb=64:"
                    "malloc_context_size=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
}


def crashes(folder):
    return set(folder.glob("crash-*")) | set(folder.glob("timeout-*")) | \
        set(folder.glob("oom-*")) | set(folder.glob("leak-*"))


def list_seeds(program, corpus):
    """Writes the corpus's list, by name: of a folder libFuzzer takes them as the disk has them, and
    makes something else up after each order."""
    listing = program.with_name(program.name + ".seeds")
    listing.write_text(",".join(str(path) for path in sorted(corpus.iterdir())))
    return f"-seed_inputs=@{listing}"


def note(program, started, output, crashed):
    """One line for one run; short enough that two that end at once do not mix."""
    count = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", output)
    entry = {"target": program.name.removeprefix("fuzz-"), "at": int(time.time()),
             "seconds": round(time.monotonic() - started, 1),
             "executions": int(count[1]) if count else 0,
             "edges": int(covered[-1][0]) if covered else 0,
             "features": int(covered[-1][1]) if covered else 0, "crashed": crashed}
    with open(program.with_name("ledger.jsonl"), "a") as f:
        f.write(json.dumps(entry) + "\n")
    return entry


def main(program, corpus, *options):
    program, corpus = Path(program).resolve(), Path(corpus).resolve()
    seconds = int(os.environ.get("FUZZ_S", "60"))
    found = program.with_name(program.name + ".found")
    artifacts = program.with_name(program.name + ".crashes")
    found.mkdir(exist_ok=True)
    artifacts.mkdir(exist_ok=True)
    before = crashes(artifacts)
    argv = [program, found, list_seeds(program, corpus), f"-max_total_time={seconds}",
            f"-artifact_prefix={artifacts}/", f"-seed={os.environ.get('FUZZ_SEED', '0')}",
            *LIMITS, *options]
    started = time.monotonic()
    try:
        done = subprocess.run(argv, env={**os.environ, **ENV}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=seconds + SPARE_S)
    except subprocess.TimeoutExpired as e:
        print((e.stdout or b"").decode(errors="replace")[-4000:])
        print(f"{program.name}: did not end {SPARE_S} s after its time")
        return 1
    entry = note(program, started, done.stdout, done.returncode != 0)
    if done.returncode == 0 and entry["executions"] > 0:
        print(f"{program.name}: {entry['executions']} executions in {entry['seconds']:.0f} s, "
              f"none failed (edges {entry['edges']})")
        return 0
    print(done.stdout[-12000:])
    for path in sorted(crashes(artifacts) - before) or ["(no input was written)"]:
        print(f"{program.name}: FAILED. To see it again:\n    {program} {path}\n"
              f"When it is mended, keep the input:\n    cp {path} {corpus}/")
    return 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))

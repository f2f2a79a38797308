#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fuzzes for long, one program at a time, each for a minute: by turns the target that has made the
fewest executions so far, and the one that makes most per second.

usage: turns.py BUILD SECONDS

BUILD is a build directory of `make fuzz`. What was done is noted as run.py does, for ledger.py; a
target that failed has no more turns.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

LEDGER = Path(__file__).resolve().with_name("ledger.json")
TURN_S = 60
PATIENCE = "-timeout=600"  # at the lowest priority an input may wait for long


def introspect(build):
    """Targets and the arguments of their runs, as the build has them."""
    listing = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                             capture_output=True, text=True).stdout
    return {t["name"].removeprefix("fuzz-"): t["cmd"] for t in json.loads(listing)
            if "vmchannel:fuzz" in t["suite"]}


def done_so_far(notes):
    known = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    made = {name: [of["executions"], of["seconds"]] for name, of in known.items()}
    for line in notes.read_text().splitlines() if notes.exists() else []:
        run = json.loads(line)
        of = made.setdefault(run["target"], [0, 0])
        of[0] += run["executions"]
        of[1] += run["seconds"]
    return made


def choose(targets, made, turn):
    rate = {name: made[name][0] / max(1, made[name][1]) if name in made else 0 for name in targets}
    if turn % 2:
        return max(targets, key=rate.get)
    return min(targets, key=lambda name: made.get(name, [0, 0])[0])


def main(build, seconds):
    end = time.monotonic() + float(seconds)
    notes = Path(build) / "tests/fuzz/ledger.jsonl"
    targets = introspect(build)
    turn = 0
    while targets and time.monotonic() < end:
        name = choose(targets, done_so_far(notes), turn)
        turn += 1
        left = max(1, min(TURN_S, int(end - time.monotonic())))
        env = {**os.environ, "FUZZ_S": str(left)}
        done = subprocess.run([*targets[name], PATIENCE], cwd=build, env=env,
                              stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            del targets[name]
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))

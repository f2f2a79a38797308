#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fuzzes for long, each target for a minute: the one that has made the fewest executions so far,
and every fourth time the one that makes most per second.

usage: turns.py BUILD SECONDS [JOBS [TARGET...]]

BUILD is a build directory of `make fuzz`. JOBS targets run at a time (1), of those named or of all.
What was done is noted as run.py does, for ledger.py; a target that failed has no more turns.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

LEDGER = Path(__file__).resolve().with_name("ledger.json")
TURN_S = 60
FASTEST_EVERY = 4  # turns
PATIENCE = "-timeout=600"  # at the lowest priority an input may wait for long


def introspect(build):
    """Targets and the arguments of their runs, as the build has them."""
    listing = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                             capture_output=True, text=True).stdout
    return {t["name"].removeprefix("fuzz-"): t["cmd"] for t in json.loads(listing)
            if "vmchannel:fuzz" in t["suite"]}


def done_so_far(notes):
    """Executions of each target, and how many a second it made when it ran last."""
    known = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    made = {name: [of["executions"], of["executions"] / max(1, of["seconds"])]
            for name, of in known.items()}
    for line in notes.read_text().splitlines() if notes.exists() else []:
        run = json.loads(line)
        of = made.setdefault(run["target"], [0, 0])
        of[0] += run["executions"]
        of[1] = run["executions"] / max(1, run["seconds"])
    return made


class Turns:
    def __init__(self, build, seconds, names):
        self.build, self.end = build, time.monotonic() + seconds
        self.notes = Path(build) / "tests/fuzz/ledger.jsonl"
        known = introspect(build)
        self.waiting = {name: known[name] for name in names or known}
        self.count = 0
        self.lock = threading.Lock()

    def take(self):
        """Who is next; it waits no more, so that no target runs twice at a time."""
        with self.lock:
            if not self.waiting:
                return None, None
            made = done_so_far(self.notes)
            self.count += 1
            if self.count % FASTEST_EVERY:
                name = min(self.waiting, key=lambda n: made.get(n, [0, 0])[0])
            else:
                name = max(self.waiting, key=lambda n: made.get(n, [0, 0])[1])
            return name, self.waiting.pop(name)

    def job(self):
        while (left := int(self.end - time.monotonic())) > 0:
            name, command = self.take()
            if not name:
                return
            env = {**os.environ, "FUZZ_S": str(min(TURN_S, left))}
            done = subprocess.run([*command, PATIENCE], cwd=self.build, env=env,
                                  stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                with self.lock:
                    self.waiting[name] = command


def main(build, seconds, jobs="1", *names):
    turns = Turns(build, float(seconds), names)
    threads = [threading.Thread(target=turns.job) for _ in range(int(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))

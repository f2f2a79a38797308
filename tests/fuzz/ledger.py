#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the fuzzers have done so far: ledger.json beside this file, and the table in
docs/security.md that is made from it.

usage: ledger.py            prints the table
       ledger.py add NOTES  adds what run.py has noted (ledger.jsonl in a build), and empties it
       ledger.py check      whether the document has the table of the ledger
"""

import json
import sys
from pathlib import Path

LEDGER = Path(__file__).with_name("ledger.json")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/security.md"
HEAD = "| target | executions | hours | edges | features |\n|---|--:|--:|--:|--:|\n"


def add(ledger, notes):
    for line in notes.read_text().splitlines():
        run = json.loads(line)
        sum_of = ledger.setdefault(run["target"], {"executions": 0, "seconds": 0, "edges": 0,
                                                   "features": 0})
        sum_of["executions"] += run["executions"]
        sum_of["seconds"] = round(sum_of["seconds"] + run["seconds"])
        for most in ("edges", "features"):
            sum_of[most] = max(sum_of[most], run[most])


def spaced(n):
    return f"{n:,}".replace(",", " ")


def row(name, executions, seconds, edges, features):
    return f"| {name} | {spaced(executions)} | {seconds / 3600:.2f} | {edges} | {features} |\n"


def table(ledger):
    rows = [row(f"`{name}`", of["executions"], of["seconds"], spaced(of["edges"]),
                spaced(of["features"])) for name, of in sorted(ledger.items())]
    total = row("all", sum(of["executions"] for of in ledger.values()),
                sum(of["seconds"] for of in ledger.values()), "", "")
    return HEAD + "".join(rows) + total


def with_table(text, new):
    before, _, rest = text.partition(HEAD)
    while rest.startswith("|"):
        rest = rest.partition("\n")[2]
    return before + new + rest


def main(argv):
    ledger = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    document = DOCUMENT.read_text()
    if argv[1:2] == ["add"] and len(argv) == 3:
        add(ledger, Path(argv[2]))
        LEDGER.write_text(json.dumps(ledger, indent=1, sort_keys=True) + "\n")
        DOCUMENT.write_text(with_table(document, table(ledger)))
        Path(argv[2]).unlink()
    elif argv[1:] == ["check"]:
        if with_table(document, table(ledger)) != document:
            print(f"{DOCUMENT.name} is not of the ledger: tests/fuzz/ledger.py add NOTES")
            return 1
    elif argv[1:]:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    print(table(ledger), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Puts a run of the benchmark into a text: its tables between two lines, its plot beside.

usage: publish.py RESULTS.json MARKDOWN     the plot is MARKDOWN with .svg at its end
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import plot  # noqa: E402
import report  # noqa: E402

MARKERS = ("<!-- figures: from here on written by tests/bench/publish.py -->",
           "<!-- end of figures -->")


def main(argv):
    if len(argv) != 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    text, picture = Path(argv[1]), Path(argv[1]).with_suffix(".svg")
    results = report.Results.of_json(json.loads(Path(argv[0]).read_text(encoding="utf-8")))
    report.put_between(text, MARKERS, f"![The figures as bars and lines]({picture.name})\n\n"
                                      f"{report.as_text(results)}")
    picture.write_text(plot.as_svg(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as e:
        sys.exit(f"publish.py: {e}")

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Holds the cases of docs/security.md against the tests: all 47 are there, each names at least one
test or fuzzer's seed, and each that is named exists.

usage: check_cases.py ROOT
"""

import re
import sys
from pathlib import Path

CASES = 47
C_TEST = r"^(?:TEST|ON_BOTH_LINKS)\({name}\)"
PYTHON_TEST = r"^def {name}\("


def has(path, pattern, name):
    return path.is_file() and re.search(pattern.format(name=re.escape(name)), path.read_text(),
                                        re.MULTILINE)


def exists(tests, reference):
    """reference: "KIND/...: NAME", as docs/security.md explains it."""
    match = re.fullmatch(r"(unit/\w+|sim|e2e|fuzz)/(\w+): ([\w.*-]+)", reference)
    if not match:
        return False
    where, file, name = match.groups()
    if where == "fuzz":
        return any((tests / "fuzz/corpus" / file).glob(name))
    if where == "e2e":
        return has(tests / f"e2e/{file}.py", PYTHON_TEST, name)
    if where == "sim":
        return has(tests / f"sim/{file}.c", C_TEST, name)
    return has(tests / where / f"test_{file}.c", C_TEST, name)


def check(root):
    """Yields what is wrong."""
    text = (root / "docs/security.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\| (`\w+/.*: .*`) \|$", text, re.MULTILINE)
    seen = [int(number) for number, _ in rows]
    if seen != list(range(1, CASES + 1)):
        yield f"cases {seen}, not 1 to {CASES}"
    for number, references in rows:
        for reference in re.findall(r"`([^`]*)`", references):
            if not exists(root / "tests", reference):
                yield f"case {number}: no {reference}"


def main(argv):
    if len(argv) != 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    wrong = list(check(Path(argv[1])))
    for line in wrong:
        print(f"docs/security.md: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

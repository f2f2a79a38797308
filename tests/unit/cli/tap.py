# SPDX-License-Identifier: BSD-3-Clause
"""Runs a list of functions as test cases and reports them as TAP."""

import traceback


def run(tests, *args):
    """Calls each test with args. The program's exit status."""
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        try:
            test(*args)
            print(f"ok {number} - {test.__name__}", flush=True)
        except Exception:  # a case that breaks has failed
            failed += 1
            why = traceback.format_exc().strip().replace("\n", "\n# ")
            print(f"not ok {number} - {test.__name__}\n# {why}", flush=True)
    return 1 if failed else 0

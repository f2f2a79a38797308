#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The calls that wrap.c wraps, for the linker: calls.py WRAP.C"""

import re
import sys

print(*re.findall(r"^    X\((\w+),", open(sys.argv[1], encoding="utf-8").read(), re.MULTILINE))

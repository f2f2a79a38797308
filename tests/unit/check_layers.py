#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Checks what a tool can see of the house rules: which layer includes which, who may call what, and
the look of the files. Knows no C beyond comments, strings, includes and calls.

usage: check_layers.py [ROOT]        check the tree (default: this repository)
       check_layers.py --self-test   check that each rule is enforced, on made-up trees
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

# An arrow of docs/architecture.md: a layer may include what it names, and what that may include.
ARROWS = {
    "cli": ["broker", "control", "config"],
    "broker": ["lib", "host", "control", "config", "loop"],
    "lib": ["channel", "link"],
    "channel": ["stack", "link", "host", "loop"],
    "stack": ["wire"],
    "wire": ["base"],
    "link": ["loop"],
    "loop": ["base"],
    "host": ["loop"],
    "config": ["host"],
    "control": ["base"],
    "base": [],
}

# System headers and libraries with one home.
HEADERS = [
    (r"sys/epoll\.h", ["loop/"], "only loop/ sees epoll"),
    (r"libxml2?/.*", ["config/domain_xml.c"], "only config/domain_xml.c sees libxml2"),
    (r"jansson.*", ["control/"], "only control/ sees jansson"),
    (r"seccomp\.h", ["broker/sandbox_seccomp.c", "broker/sandbox_rules.h"],
     "only broker/sandbox_seccomp.c and sandbox_rules.h see libseccomp"),
    (r"nettle/.*", ["host/http_upgrade.c"], "only host/http_upgrade.c sees nettle"),
]

# Calls with few homes. A home is a folder, or a file with the reason why it is one.
CALLS = [
    (["exit", "_exit", "_Exit", "quick_exit", "abort", "err", "errx"], "only cli/ exits", [
        "cli/",
    ]),
    (["socket", "connect", "bind", "open", "openat", "open64", "creat", "fopen"],
     "the worker opens nothing", [
        "cli/",                  # above the broker; never in the worker
        "broker/",               # the process that opens
        "host/",                 # host ends, on the broker's behalf
        "link/open.c",           # what a link needs, on the broker's behalf
        "link/datagram.c",       # part of it
        "link/socket_links.c",   # part of it
        "link/netns.c",          # interfaces and sockets in namespaces, likewise
        "link/netns_iface.c",    # part of it
        "link/netns_socket.c",   # part of it
        "base/unix_listener.c",  # listening sockets, likewise
        "control/client.c",      # in the process of a command
    ]),
]

# (file, call): why this one may.
EXCEPTIONS = {
    ("link/netns.c", "_exit"): "ends the forked helper inside the namespace",
    ("host/command.c", "_exit"): "ends the forked child when there is no command to become",
    ("broker/", "_exit"): "ends the forked worker without the parent's exit handlers",
}

LINES_MAX, LINES_WARN, COLUMNS_MAX, FUNCTION_LINES_MAX = 800, 500, 100, 100
STYLED = (".c", ".h", ".py", ".sh")
SPDX = "SPDX-License-Identifier: BSD-3-Clause"


def closure(layer):
    """All layers that `layer` may include, itself too."""
    seen, todo = set(), [layer]
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            todo += ARROWS[at]
    return seen


def without_comments_and_strings(text):
    """C source with comments and the insides of literals blanked; lines stay where they are."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
    return token.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def at_home(path, homes):
    return any(path == h or (h.endswith("/") and path.startswith(h)) for h in homes)


def check_include(path, number, name, is_system):
    layer = path.split("/")[0]
    for pattern, homes, rule in HEADERS:
        if re.fullmatch(pattern, name) and not at_home(path, homes):
            yield f"src/{path}:{number}: includes {name}: {rule}"
    if is_system:
        return
    target = name.split("/")[0]
    if "/" not in name:
        yield f'src/{path}:{number}: includes "{name}": write "{layer}/{name}"'
    elif target not in ARROWS:
        yield f'src/{path}:{number}: includes "{name}": {target}/ is no layer'
    elif target not in closure(layer):
        yield f'src/{path}:{number}: includes "{name}": {layer}/ may not know {target}/'


def check_calls(path, code):
    for names, rule, homes in CALLS:
        if at_home(path, homes):
            continue
        # Not a member (x.open, x->open), not part of a longer name.
        for call in re.finditer(r"(?<![\w.>])(%s)\s*\(" % "|".join(names), code):
            excused = any(call[1] == c and at_home(path, [f]) for f, c in EXCEPTIONS)
            if not excused:
                number = code.count("\n", 0, call.start()) + 1
                yield f"src/{path}:{number}: calls {call[1]}: {rule}"


def check_functions(path, code):
    """Bodies, which start and end with a brace in the first column."""
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > FUNCTION_LINES_MAX:
                yield f"{path}:{start}: a function of {number - start - 1} lines, over " \
                      f"{FUNCTION_LINES_MAX}"
            start = None


def check_source(path, text):
    """One file of src/; path is below src/."""
    layer = path.split("/")[0]
    if layer not in ARROWS:
        yield f"src/{path}: {layer}/ is no layer"
        return
    for number, line in enumerate(text.split("\n"), 1):
        include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if include:
            yield from check_include(path, number, include[2], include[1] == "<")
    yield from check_calls(path, without_comments_and_strings(text))
    if path.endswith(".h") and "#pragma once" not in text:
        yield f"src/{path}: a header without #pragma once"


def check_look(path, text, warn):
    lines = text.split("\n")
    first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
    if SPDX not in first:
        yield f"{path}:1: does not begin with {SPDX}"
    if len(lines) - 1 > LINES_MAX:
        yield f"{path}: {len(lines) - 1} lines, over {LINES_MAX}"
    elif len(lines) - 1 > LINES_WARN:
        warn(f"{path}: {len(lines) - 1} lines: why over {LINES_WARN}?")
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield f"{path}:{number}: a tab"
        if len(line) > COLUMNS_MAX:
            yield f"{path}:{number}: {len(line)} columns, over {COLUMNS_MAX}"
        if line != line.rstrip():
            yield f"{path}:{number}: white space at the end"
    if path.endswith((".c", ".h")):
        yield from check_functions(path, without_comments_and_strings(text))


def files_of(root):
    """What git tracks or would; without git all there is but for build and hidden folders."""
    git = subprocess.run(["git", "-C", str(root), "ls-files", "-zco", "--exclude-standard"],
                         capture_output=True)
    if git.returncode == 0:
        names = git.stdout.decode().split("\0")
    else:
        names = [str(p.relative_to(root)) for p in root.rglob("*")]
        names = [n for n in names if not re.search(r"(^|/)(\.|build|__pycache__)", n)]
    return sorted(n for n in names if n and (root / n).is_file())


def check_tree(root, warn=lambda message: None):
    """All that is wrong below root, as lines to print."""
    problems = []
    for name in files_of(root):
        if not name.endswith(STYLED):
            continue
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        problems += check_look(name, text, warn)
        if name.startswith("src/") and name.endswith((".c", ".h")):
            problems += check_source(name[len("src/"):], text)
    return problems


# Self-test: one made-up file each, and a piece of the only complaint about it (None: no complaint).
SELF_TEST = [
    ("src/base/a.c", '#include "stack/stack.h"', "base/ may not know stack/"),
    ("src/stack/a.c", '#include "loop/loop.h"', "stack/ may not know loop/"),
    ("src/link/a.c", '#include "wire/tcp.h"', "link/ may not know wire/"),
    ("src/lib/a.c", '#include "broker/broker.h"', "lib/ may not know broker/"),
    ("src/cli/a.c", '#include "stack/stack.h"', None),
    ("src/stack/a.c", '#include "base/ring.h"', None),
    ("src/base/a.c", '#include "ring.h"', 'write "base/ring.h"'),
    ("src/extra/a.c", "", "extra/ is no layer"),
    ("src/link/a.c", "#include <sys/epoll.h>", "only loop/ sees epoll"),
    ("src/loop/a.c", "#include <sys/epoll.h>", None),
    ("src/config/a.c", "#include <libxml/tree.h>", "only config/domain_xml.c"),
    ("src/broker/a.c", "#include <jansson.h>", "only control/ sees jansson"),
    ("src/host/a.c", "#include <nettle/sha1.h>", "only host/http_upgrade.c sees nettle"),
    ("src/host/a.c", "int f(void) { exit(1); }", "calls exit: only cli/ exits"),
    ("src/broker/a.c", "int f(void) { _exit(1); }", None),
    ("src/broker/a.c", "int f(void) { abort(); }", "calls abort"),
    ("src/link/netns.c", "int f(void) { _exit(1); }", None),
    ("src/link/tap.c", "int f(void) { return open(p, 0); }", "the worker opens nothing"),
    ("src/link/open.c", "int f(void) { return open(p, 0); }", None),
    ("src/channel/a.c", "int f(void) { return socket(1, 2, 3); }", "calls socket"),
    ("src/channel/a.c", "int f(void) { h->opener.open(h); my_open(h); }", None),
    ("src/channel/a.c", '// exit(1) and open() and\nint f(char *s) { s = "exit(1)"; }', None),
    ("src/base/a.h", "int a;", "without #pragma once"),
    ("src/base/a.c", "\tint a;", "a tab"),
    ("src/base/a.c", "// " + "x" * 98, "101 columns"),
    ("src/base/a.c", "int a; ", "white space"),
    ("src/base/a.c", "int a;\n" * 799 + "int b;", "801 lines"),
    ("src/base/a.c", "int\nf(void)\n{\n" + "    g();\n" * 101 + "}", "a function of 101 lines"),
    ("src/base/a.c", "int\nf(void)\n{\n" + "    g();\n" * 100 + "}", None),
]


def self_test():
    failed = 0
    for path, body, wanted in SELF_TEST + [("src/base/a.c", None, "does not begin with")]:
        with tempfile.TemporaryDirectory() as d:
            file = Path(d) / path
            file.parent.mkdir(parents=True)
            file.write_text("int a;\n" if body is None else f"// {SPDX}\n{body}\n")
            problems = check_tree(Path(d))
        good = len(problems) == 1 and wanted in problems[0] if wanted else not problems
        if not good:
            failed += 1
            print(f"self-test: {path}: {body!r:.60}: wanted {wanted!r}, got {problems}")
    return failed


def main(argv):
    if argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    root = Path(argv[1]) if len(argv) > 1 else Path(__file__).resolve().parents[2]
    problems = check_tree(root, warn=lambda message: print("warning: " + message))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

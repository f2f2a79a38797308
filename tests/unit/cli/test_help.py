#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The help texts and the man page tell the same: commands, options and their values, NIC models,
synopses. Reads the page's scdoc source.

usage: test_help.py VMCHANNEL VMCHANNEL.1.SCD
"""

import re
import subprocess
import sys

import tap

COMMANDS = ["run", "qemu", "serve", "xml", "define", "create", "edit", "dumpxml", "undefine",
            "install-hook", "hook", "kubevirt-hook", "list", "add", "del", "stats",
            "metrics", "top", "pcap"]


def output(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not done.stderr, f"{argv}: {done}"
    return done.stdout


def plain(line):
    """A line of scdoc without its marks."""
    return re.sub(r"(?<!\w)_|_(?!\w)", "", line.replace("*", "")).replace("\\", "")


def section(page, name):
    return re.search(rf"^# {name}\n(.*?)(?=^# |\Z)", page, re.DOTALL | re.MULTILINE).group(1)


def page_options(page):
    """{option and its value as shown} of the OPTIONS section."""
    heads = re.findall(r"^\*-.*$", section(page, "OPTIONS"), re.MULTILINE)
    return {plain(head) for head in heads}


def help_options(text):
    return {m.strip() for m in re.findall(r"^  (-\S.*?)(?:  |$)", text, re.MULTILINE)}


def same_options(program, page):
    told = {"--version"}
    for command in COMMANDS:
        told |= help_options(output(program, command, "--help"))
    shown = page_options(page)
    assert told == shown, f"only in --help: {told - shown}; only in the page: {shown - told}"
    assert len(told) > 8


def same_commands(program, page):
    told = re.findall(r"^  (\w[\w-]*)  ", output(program, "--help"), re.MULTILINE)
    shown = re.findall(r"^\*vmchannel ([\w-]+)\*$", section(page, "DESCRIPTION"), re.MULTILINE)
    assert sorted(told) == sorted(shown) == sorted(COMMANDS), (told, shown)


def same_synopses(program, page):
    shown = {plain(line) for line in section(page, "SYNOPSIS").splitlines()}
    for command in COMMANDS:
        usage = output(program, command, "--help").splitlines()[0].removeprefix("usage: ")
        assert usage in shown, f"'{usage}' is not in the page's synopsis: {shown}"


def same_nics(program, page):
    told = re.findall(r"^(\S+)  ", output(program, "qemu", "--nic", "help"), re.MULTILINE)
    paragraph = re.search(r"^\*--nic\*.*?\n\n", page, re.DOTALL | re.MULTILINE).group(0)
    shown = re.findall(r"\*([^*]+)\*", paragraph.split("one of")[1].split("These")[0])
    shown = [model.strip() for model in shown]
    assert sorted(told) == sorted(shown), (told, shown)


def same_links(program, page):
    text = output(program, "serve", "--help")
    kinds = "stream|message|tap|packet|netns|hybrid|vsock|vhost-user"
    told = set(re.findall(rf"^ {{20,}}((?:{kinds}),\S+)$", text, re.MULTILINE))
    shown = {plain(line) for line in section(page, "LINKS").splitlines() if line.startswith("*")}
    assert told == shown and len(told) == 11, (told, shown)


def unknown_options_name_all(program, page):
    """The error of an unknown option lists what --help lists."""
    for command in COMMANDS:
        done = subprocess.run([program, command, "--nonsense"], capture_output=True, text=True,
                              timeout=20)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done
        listed = set(re.findall(r"(-\S+?)[,)]", done.stderr.split("accepted: ")[1]))
        told = {re.search(r"(-[-\w]{2,})", option).group(1)
                for option in help_options(output(program, command, "--help"))}
        assert listed == told, (listed, told)


def main(argv):
    program, page = argv[1], open(argv[2], encoding="utf-8").read()
    tests = [same_options, same_commands, same_synopses, same_nics, same_links,
             unknown_options_name_all]
    return tap.run(tests, program, page)


if __name__ == "__main__":
    sys.exit(main(sys.argv))

# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark itself still runs: one subject, one measurement, and nothing is left behind."""

import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from harness.programs import ROOT


def bench(vmchannel, *options):
    return subprocess.run(["/usr/bin/python3", ROOT / "tests/bench/bench.py", vmchannel, *options],
                          capture_output=True, text=True, timeout=40)


def left_behind():
    """Namespaces whose benchmark, told by the name, has ended."""
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return [n for n in names
            if n.startswith("vmcbench-") and not os.path.exists(f"/proc/{n.split('-')[1]}")]


@pytest.mark.timeout(45)
def test_one_subject_is_measured_and_nothing_is_left(vmchannel, directory):
    done = bench(vmchannel, "--quick", "--only", "vmchannel tap", "--only", "raw Unix", "--measure",
                 "send", "--measure", "trip1", "--out", directory)

    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((directory / "results.json").read_text())
    tap = results["rounds"][0]["vmchannel tap"]
    assert tap["send"]["gbit"] > 0.01
    assert tap["trip1"]["p50"] > 0
    assert results["rounds"][0]["raw Unix socket"]["send"]["gbit"] > 0.01
    assert ElementTree.parse(directory / "bench.svg").getroot().tag.endswith("svg")
    assert "guest to host, 1 connection" in done.stdout
    assert left_behind() == []


def test_an_unknown_subject_is_an_error(vmchannel, directory):
    done = bench(vmchannel, "--only", "no such peer", "--out", directory)

    assert done.returncode == 2
    assert "--list" in done.stderr

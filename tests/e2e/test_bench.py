# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark itself still runs: one subject, one measurement, and nothing is left behind."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from harness.programs import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))
import publish  # noqa: E402
import report  # noqa: E402
import verdicts  # noqa: E402


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
    assert "tap, guest to host: of a raw Unix stream" in done.stdout
    assert left_behind() == []

    text = directory / "text.md"
    text.write_text(f"before\n{publish.MARKERS[0]}\nold\n{publish.MARKERS[1]}\nafter\n")
    for _ in range(2):
        subprocess.run(["/usr/bin/python3", ROOT / "tests/bench/publish.py",
                        directory / "results.json", text], check=True, timeout=20)
    written = text.read_text()
    assert written.startswith(f"before\n{publish.MARKERS[0]}\n") and "\nold\n" not in written
    assert written.endswith(f"{publish.MARKERS[1]}\nafter\n")
    assert ElementTree.parse(directory / "text.svg").getroot().tag.endswith("svg")
    assert f"{tap['send']['gbit']:.2f}" in written


@pytest.mark.timeout(45)
def test_vhost_user_is_measured(vmchannel, directory):
    if not (vmchannel.parents[2] / "tests/vhost_guest/vhost-guest").exists():
        pytest.skip("vmchannel is not in its build directory")
    done = bench(vmchannel, "--quick", "--only", "vmchannel vhost-user", "--only", "1 channel",
                 *(f"--measure={name}" for name in ("receive", "first", "rotate100", "beside")),
                 "--out", directory)

    assert done.returncode == 0, done.stdout + done.stderr
    of = json.loads((directory / "results.json").read_text())["rounds"][0]
    assert of["vmchannel vhost-user"]["receive"]["gbit"] > 0.01
    assert 0 < of["vmchannel vhost-user"]["first"]["ms"] < 5000
    assert of["1 channel"]["rotate100"]["cpu"] > 0
    assert of["1 channel"]["beside"]["gbit1000"] > 0.01
    assert "<polyline" in (directory / "bench.svg").read_text()
    assert left_behind() == []


@pytest.mark.parametrize("value,must,words", [
    (1.6, verdicts.at_least(1.5), ("≥ 1.5", "met")),
    (1.4, verdicts.at_least(1.5), ("≥ 1.5", "**not met**")),
    (3.0, verdicts.at_most(3), ("≤ 3", "met")), (3.1, verdicts.at_most(3), ("≤ 3", "**not met**")),
    (None, verdicts.at_most(3), ("≤ 3", "not measured")), (1.0, None, ("", ""))])
def test_a_promise_is_kept_or_not(value, must, words):
    assert verdicts.verdict(must, value) == words


def test_promises_are_medians_over_the_rounds():
    results = report.Results({})
    for ours, theirs in ((10, 5), (40, 10), (90, 30)):
        results.begin_round()
        results.add("vmchannel tap", "send", {"gbit": ours, "daemon": 0.1})
        results.add("pasta", "send", {"gbit": theirs})
    rows = {row[0]: row[1:] for row in verdicts.table(results)}
    assert rows["tap, guest to host: times pasta"] == ["3.00×", "≥ 1.5", "met", "", ""]
    assert rows["tap, guest to host: CPU"] == ["0.100 s/GB", "≤ 0.24", "met", "≤ 0.2", "met"]
    assert rows["netns, guest to host: CPU"][0:3] == ["–", "≤ 0.14", "not measured"]


def test_an_unknown_subject_is_an_error(vmchannel, directory):
    done = bench(vmchannel, "--only", "no such peer", "--out", directory)

    assert done.returncode == 2
    assert "--list" in done.stderr

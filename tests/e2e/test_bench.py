# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark itself still runs: one subject, one measurement, and nothing is left behind."""

import json
import os
import shutil
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
    raw = results["rounds"][0]["raw Unix socket"]["send"]
    assert raw["gbit"] > 0.01
    assert raw["writer"] + raw["reader"] == pytest.approx(raw["path"])
    assert "raw Unix socket: guest to host, writer" in done.stdout
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


@pytest.mark.timeout(60)
def test_the_limits_are_measured(vmchannel, directory):
    done = bench(vmchannel, "--quick", "--only", "raw", "--out", directory,
                 *(f"--measure={name}" for name in ("send", "receive", "trip1", "connect")))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "bench: raw" not in done.stderr  # a failure
    of = json.loads((directory / "results.json").read_text())["rounds"][0]
    for name in ("raw tap", "raw tap and Unix socket", "raw splice"):
        for way in ("send", "receive"):
            assert of[name][way]["gbit"] > 0.01
            assert 0 < of[name][way]["daemon"] < of[name][way]["path"]
    for name in ("raw tap", "raw tap and Unix socket"):
        assert of[name]["trip1"]["p50"] > 0
        assert of[name]["trip1"]["cpu"] > 0
    assert of["raw tap"]["connect"]["rate"] > 1
    rate = of["raw loopback TCP"]["connect"]["rate"]
    assert f"{rate:.0f} 1/s (raw loopback TCP)" in done.stdout
    assert left_behind() == []


@pytest.mark.timeout(60)
@pytest.mark.skipif(not shutil.which("perf"), reason="perf is not installed")
def test_a_profile_is_written_of_a_daemon_that_starts_slowly(vmchannel, directory):
    text, slow = directory / "performance.md", directory / "slow"
    shutil.copy(ROOT / "docs/performance.md", text)
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {vmchannel} "$@"\n')
    slow.chmod(0o755)
    done = subprocess.run(["/usr/bin/python3", ROOT / "tests/bench/profile.py", slow,
                           "vmchannel netns", "send", "--seconds", "0.5", "--write", text],
                          capture_output=True, text=True, timeout=50)

    assert done.returncode == 0, done.stderr
    written = text.read_text()
    assert written.count("1 connection: ") == 1
    assert "vmchannel netns, guest to host, 1 connection: " in written
    assert "kernel: sockets, tap, TCP" in written
    assert left_behind() == []


@pytest.mark.parametrize("value,must,words", [
    (1.6, verdicts.at_least(1.5), ("≥ 1.5", "met")),
    (1.4, verdicts.at_least(1.5), ("≥ 1.5", "**not met**")),
    (3.0, verdicts.at_most(3), ("≤ 3", "met")), (3.1, verdicts.at_most(3), ("≤ 3", "**not met**")),
    (None, verdicts.at_most(3), ("≤ 3", "not measured")), (1.0, None, ("", ""))])
def test_a_promise_is_kept_or_not(value, must, words):
    assert verdicts.verdict(must, value) == words


@pytest.mark.parametrize("value,limits,words", [
    (1.4, (1.45,), "not met, nor by the limit"), (1.4, (1.6,), "**not met**"),
    (1.4, (1.6, 1.2), "not met, nor by the limit"), (1.6, (1.2,), "met")])
def test_a_promise_that_the_limit_does_not_reach(value, limits, words):
    assert verdicts.verdict(verdicts.at_least(1.5), value, limits)[1] == words


def test_promises_are_medians_over_the_rounds():
    results = report.Results({})
    for ours, theirs in ((10, 5), (40, 10), (90, 30)):
        results.begin_round()
        results.add("vmchannel tap", "send", {"gbit": ours, "daemon": 0.1})
        results.add("pasta", "send", {"gbit": theirs})
        results.add("raw Unix socket", "send", {"gbit": 2 * ours, "writer": 0.2})
    rows = {row[0]: row[1:] for row in verdicts.table(results)}
    assert rows["tap, guest to host: times pasta"] == ["3.00×", "≥ 1.5", "met", "", "",
                                                       "6.00× (raw Unix socket)"]
    assert rows["tap, guest to host: CPU"] == ["0.100 s/GB", "≤ 0.24", "met", "≤ 0.2", "met",
                                               ""]
    assert rows["vhost-user, guest to host: CPU"][-1] == "0.200 s/GB (raw Unix socket's writer)"
    assert rows["netns, guest to host: CPU"][0:3] == ["–", "≤ 0.14", "not measured"]


def test_an_unknown_subject_is_an_error(vmchannel, directory):
    done = bench(vmchannel, "--only", "no such peer", "--out", directory)

    assert done.returncode == 2
    assert "--list" in done.stderr

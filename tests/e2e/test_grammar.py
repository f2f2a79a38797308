# SPDX-License-Identifier: BSD-3-Clause
"""The device grammar beside QEMU's own: each string goes through `vmchannel serve --dry-run` and
through `qemu-system-x86_64 -serial`. What QEMU 7.2 accepts, we accept; where not, it is in the list
DEVIATIONS here and under "Differences from QEMU" in the man page. What QEMU needs to be there
(listeners, pipes, a terminal) is there. The strings are in grammar_rows.py."""

import itertools
import os
import re
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grammar_rows import (
    ACCEPTED, CHARDEV_ACCEPTED, CHARDEV_DEVIATIONS, CHARDEV_REFUSED, DEVIATIONS, OURS, REFUSED)
from harness.processes import Processes
from harness.programs import ROOT

LINK = ["--link", "stream,path=/nonexistent/link.sock"]
QEMU = ["qemu-system-x86_64", "-accel", "tcg", "-M", "none", "-display", "none", "-S",
        "-nodefaults"]
WAITS = b"QEMU waiting for connection on"

class Places:
    """What the strings name, and the free ones, new for each string."""

    def __init__(self, directory):
        self.directory = directory
        self.fresh = itertools.count()
        self.closers = []
        self.unix = f"{directory}/listener"
        self.abstract = f"vmce2e-{os.getpid()}-grammar"
        self._listen_unix(self.unix)
        self._listen_unix(f"\0{self.abstract}")
        self._listen_unix(f"\0{self.abstract}-padded".ljust(108, "\0"))
        tcp = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.closers.append(tcp.close)
        self.port = tcp.getsockname()[1]
        for name in ("both", "two.in", "two.out"):
            os.mkfifo(f"{directory}/{name}")
        host, user = os.openpty()
        self.terminal = os.ttyname(user)
        self.closers += [lambda: os.close(host), lambda: os.close(user)]
        self.held = []  # free ports: held until used, so that each is another one

    def _listen_unix(self, address):
        s = socket.socket(socket.AF_UNIX)
        s.bind(address)
        s.listen(1000)
        self.closers.append(s.close)

    def _free_port(self, over=0):
        s = socket.create_server(("127.0.0.1", 0))
        self.held.append(s)
        return s.getsockname()[1] + over

    def of(self, text):
        """What stands for each name in one string."""
        number = next(self.fresh)
        return {
            "u": self.unix, "d": self.directory, "n": f"{self.directory}/new{number}",
            "p": self.port, "t": self.terminal, "a": self.abstract,
            "f": self._free_port() if "{f}" in text else None,
            "big": self._free_port(65536) if "{big}" in text else None,
            "long": f"{self.directory}/{number}-".ljust(108, "x"),
        }

    def let_go(self):
        for s in self.held:
            s.close()

    def close(self):
        self.let_go()
        for close in self.closers:
            close()


class Verdict:
    """What both programs said of one string."""

    def __init__(self, names, qemu_error, ours):
        self.names, self.qemu_error, self.ours = names, qemu_error, ours

    def expect_understood(self, part):
        assert self.ours.returncode == 0, self.ours.stderr
        [line] = [l for l in self.ours.stdout.splitlines() if l.startswith("channel: ")]
        assert part.format(**self.names) in line
        assert re.search(r"^memory: +at most \d+ MiB", self.ours.stdout, re.MULTILINE)

    def expect_refused(self, words):
        assert self.ours.returncode == 2 and self.ours.stdout == ""
        [line] = self.ours.stderr.splitlines()
        assert line.startswith("vmchannel: ")
        for word in words:
            assert word.format(**self.names) in line


def ask_qemu(processes, directory, number, options):
    """"" when QEMU starts, or its message."""
    monitor = f"{directory}/monitor{number}"
    done = threading.Event()
    process = processes.start(
        ["timeout", "-k", "2", "20", *QEMU, "-monitor", f"unix:{monitor},server=on,wait=off",
         *options],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def quit_it():
        while not done.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(monitor)
                    s.sendall(b"quit\n")
                    while s.recv(4096):
                        pass
                return
            except OSError:
                done.wait(0.01)

    thread = threading.Thread(target=quit_it)
    thread.start()
    said = b""
    try:
        while chunk := os.read(process.stderr.fileno(), 4096):
            said += chunk
            if WAITS in said:  # understood, and now it is somebody else's turn
                process.terminate()
                return ""
        code = process.wait()
        assert code != 124, f"QEMU hangs: {options}"
        return "" if code == 0 else said.decode() or f"exit status {code}"
    finally:
        done.set()
        thread.join()
        process.wait()
        process.stdin.close()
        process.stderr.close()


SERIAL = ["-serial"], ["-vmchannel"], "600:"
CHARDEV = (["-serial", "chardev:a", "-chardev"], ["-vmchannel", "600:chardev:a", "-chardev"], "")


def rows(serial, chardev=()):
    """Parameters (how, row)."""
    both = [(SERIAL, r) for r in serial] + [(CHARDEV, r) for r in chardev]
    ids = [f"{how[0][-1][1:]} {r[0][:60]}" for how, r in both]
    return pytest.mark.parametrize("how, row", both, ids=ids)


@pytest.fixture(scope="module")
def verdict(vmchannel):
    """verdict(how, string) -> Verdict. All were asked for at once, two at a time."""
    version = subprocess.run([QEMU[0], "--version"], capture_output=True, text=True, timeout=20)
    assert " 7.2" in version.stdout, "the lists are of QEMU 7.2"
    with tempfile.TemporaryDirectory(prefix="vmce2e-") as d:
        places, processes = Places(d), Processes(Path(d))
        texts = [(SERIAL, r[0]) for r in ACCEPTED + REFUSED + OURS + DEVIATIONS]
        texts += [(CHARDEV, r[0]) for r in CHARDEV_ACCEPTED + CHARDEV_REFUSED + CHARDEV_DEVIATIONS]
        asked = [(how, text, places.of(text)) for how, text in texts]
        places.let_go()

        def ask(item):
            number, ((to_qemu, to_us, prefix), text, names) = item
            filled = text.format(**names)
            ours = processes.run([vmchannel, "serve", *LINK, "--dry-run", *to_us, prefix + filled])
            return Verdict(names, ask_qemu(processes, d, number, [*to_qemu, filled]), ours)

        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(ask, enumerate(asked)))
        places.close()
        assert processes.end_all() == [] and processes.left_behind() == []
    answers = {(how[2], text): v for (how, text), v in zip(texts, told)}
    yield lambda how, text: answers[how[2], text]


def differences():
    """That section of the man page, as it reads."""
    page = (ROOT / "docs/vmchannel.1.scd").read_text()
    section = re.search(r"^## Differences from QEMU\n(.*?)(?=^#)", page, re.DOTALL | re.MULTILINE)
    plain = re.sub(r"(?<!\w)_|_(?!\w)", "", section.group(1).replace("*", "")).replace("\\", "")
    return " ".join(plain.split())


FIRST_MAY_TAKE = pytest.mark.timeout(120)  # it asks all the questions


@FIRST_MAY_TAKE
@rows(ACCEPTED, CHARDEV_ACCEPTED)
def test_what_qemu_accepts_is_accepted(verdict, how, row):
    text, part = row
    assert verdict(how, text).qemu_error == ""
    verdict(how, text).expect_understood(part)


@FIRST_MAY_TAKE
@rows(REFUSED, CHARDEV_REFUSED)
def test_what_qemu_refuses_is_refused_with_the_reason(verdict, how, row):
    text, words = row
    assert verdict(how, text).qemu_error != ""
    verdict(how, text).expect_refused(words)


@FIRST_MAY_TAKE
@rows(OURS)
def test_what_only_we_accept(verdict, how, row):
    text, part = row
    assert verdict(how, text).qemu_error != ""
    verdict(how, text).expect_understood(part)


@FIRST_MAY_TAKE
@rows(DEVIATIONS, CHARDEV_DEVIATIONS)
def test_what_only_qemu_accepts_is_told_in_the_man_page(verdict, how, row):
    text, words, reason = row
    assert verdict(how, text).qemu_error == ""
    verdict(how, text).expect_refused(words)
    assert reason in differences()


def dry_run(processes, vmchannel, *argv):
    done = processes.run([vmchannel, "serve", *LINK, "--dry-run", *argv], timeout=10)
    assert done.returncode == 0, done.stderr
    return [l for l in done.stdout.splitlines() if l.startswith("channel: ")]


def expect_usage_error(processes, vmchannel, argv, words):
    done = processes.run([vmchannel, "serve", *LINK, "--dry-run", *argv], timeout=10)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_range_makes_a_channel_for_each_port(processes, vmchannel):
    lines = dry_run(processes, vmchannel, "-vmchannel", "1000-1999:unix:/run/svc/%p.sock,max=1",
                    "-vmchannel", "600:unix:/100%p")
    assert len(lines) == 1001
    assert lines[0] == ("channel:  1000 is unix:/run/svc/1000.sock,max=1 (unix socket /run/svc/"
                        "1000.sock, connected to for each guest connection, at most 1 at once)")
    assert lines[999].startswith("channel:  1999 is unix:/run/svc/1999.sock,max=1 (")
    assert lines[1000].startswith("channel:  600 is unix:/100%p (unix socket /100%p,")


BAD_RANGES = [
    ("1999-1000:unix:/%p", ["1999-1000", "the first is above the last", "1000-1999:unix:/run/%p"]),
    ("0-5:unix:/%p", ["0-5", "1 to 65535"]),
    ("1-1025:unix:/%p", ["1025", "at most 1024"]),
    ("1-65535:null", ["65535 channels", "at most 1024"]),
    ("1-9:unix:/p,server", ["each port needs a device of its own", "%p"]),
    ("1-9:file:/f", ["each port needs a device of its own", "%p"]),
    ("1-9:null,logfile=/l", ["a logfile of its own", "%p"]),
    ("1-9:unix:/%x", ["'%x' means nothing", "%p for the port"]),
    ("1-9:chardev:x", ["a -chardev is one device"]),
]


@pytest.mark.parametrize("channel, words", BAD_RANGES, ids=[r[0] for r in BAD_RANGES])
def test_bad_ranges(processes, vmchannel, channel, words):
    expect_usage_error(processes, vmchannel, ["-vmchannel", channel], words)


BAD_PAIRS = [
    (["-vmchannel", "600:chardev:a"], ["there is no such -chardev"]),
    (["-vmchannel", "600:unix:/p", "-chardev", "null,id=a"], ["no channel refers to it"]),
    (["-vmchannel", "600:chardev:a", "-vmchannel", "601:chardev:a", "-chardev", "null,id=a"],
     ["chardev a is channel 600's already"]),
    (["-vmchannel", "600:chardev:a", "-chardev", "null,id=a", "-chardev", "pty,id=a"],
     ["chardev a: id given twice"]),
    (["-vmchannel", "600:stdio", "-vmchannel", "601:stdio"], ["stdio is channel 600's already"]),
]


@pytest.mark.parametrize("argv, words", BAD_PAIRS, ids=[" ".join(r[0]) for r in BAD_PAIRS])
def test_what_does_not_fit_together(processes, vmchannel, argv, words):
    expect_usage_error(processes, vmchannel, argv, words)


def test_qemus_own_chardevs_stay_qemus(processes, vmchannel, directory):
    stand_in = directory / "qemu-system-standin"
    stand_in.write_text('#!/bin/sh\nfor a; do echo "$a"; done\n')
    stand_in.chmod(0o755)
    done = processes.run(
        [vmchannel, "qemu", stand_in, "-chardev", "pty,id=qemus", "-chardev",
         "socket,id=ours,path=/nonexistent", "-device", "isa-serial,chardev=qemus",
         "-vmchannel", "600:chardev:ours", "-chardev", "help", "--chardev", "null,id=other",
         "-name", "-chardev"], timeout=20)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    assert words[:words.index("-netdev")] == [
        "-chardev", "pty,id=qemus", "-device", "isa-serial,chardev=qemus", "-chardev", "help",
        "--chardev", "null,id=other", "-name", "-chardev"]


def test_a_chardev_carries_bytes(make_guest, listen, socket_path):
    service = listen(socket_path)
    guest = make_guest("netns").start(
        "600:chardev:a", options=["-chardev", f"socket,id=a,path={socket_path}"])
    g = guest.connect()
    service.accept().sendall(b"!")
    assert g.recv(1) == b"!"

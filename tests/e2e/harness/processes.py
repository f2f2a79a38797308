# SPDX-License-Identifier: BSD-3-Clause
"""Starts processes and sees to it that they end. Each carries a mark in its environment, which its
descendants inherit, so that one that was left behind is found even when it changed its parent."""

import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

MARK = "VMCHANNEL_E2E"
STARTER = "vmc-starter"
WORKER = "vmc-worker"
RUN = uuid.uuid4().hex  # two test runs on one machine do not see each other's processes


class Processes:
    """The processes of one test, or of a fixture that lives longer."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.mark = f"{RUN}-{uuid.uuid4().hex}"
        self.started: list[subprocess.Popen] = []
        self.forbidden: list[str] = []  # what a filter of system calls ended

    def start(self, argv, **kwargs) -> subprocess.Popen:
        env = dict(kwargs.pop("env", os.environ), **{MARK: self.mark})
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen([str(a) for a in argv], env=env, **kwargs)
        self.started.append(process)
        return process

    def run(self, argv, timeout=20, **kwargs) -> subprocess.CompletedProcess:
        """Runs to the end; output as text, exit code unchecked."""
        process = self.start(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def end_all(self) -> list[str]:
        """Ends them in the reverse order of starting; names those that needed SIGKILL."""
        stubborn = [p for p in reversed(self.started) if not end(p)]
        self.forbidden += [f"{p.pid} {p.args}" for p in self.started
                           if p.returncode == -signal.SIGSYS]
        self.started = []
        return [f"{p.pid} {p.args}" for p in stubborn]

    def left_behind(self, patience_s=2.0) -> list[str]:
        """Waits until no process bears the mark; kills and names those that stay."""
        deadline = time.monotonic() + patience_s
        while (pids := self.marked()) and time.monotonic() < deadline:
            time.sleep(0.02)
        names = []
        for pid in pids:
            names.append(f"{pid} {command_line(pid)}")
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return names

    def marked(self) -> list[int]:
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and wanted in read_environ(entry):
                found.append(int(entry.name))
        return found


def read_environ(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or a zombie
        return []


def command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b" ".join(words).decode(errors="replace")
    except OSError:
        return "(gone)"


def end(process: subprocess.Popen, timeout=3.0) -> bool:
    """Ends one process as an operator would; false if it took force."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    return True


def children_of(pid: int) -> list[int]:
    """Direct children, of any thread of the process; not the broker's starter of workers, which is
    there all the time."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(p) for p in (task / "children").read_text().split()]
    return [p for p in found if name_of(p) != STARTER]


def starters_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(p) for p in (task / "children").read_text().split()]
    return [p for p in found if name_of(p) == STARTER]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # ended meanwhile
        return ""


def wait_until(condition, timeout=5.0, what="condition"):
    """Polls until condition() gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.005)
    return value

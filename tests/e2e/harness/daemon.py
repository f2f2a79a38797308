# SPDX-License-Identifier: BSD-3-Clause
"""`vmchannel serve` as a process of the test: its log in a file, its worker by pid."""

import signal
import subprocess

from harness.processes import WORKER, Processes, children_of, name_of, wait_until


class Daemon:
    _count = 0

    def __init__(self, processes: Processes, vmchannel, args, prefix=(), **streams):
        """streams: stdin=, stdout= as subprocess.Popen has them."""
        Daemon._count += 1
        self.log_path = processes.directory / f"serve-{Daemon._count}.log"
        argv = [*prefix, vmchannel, "serve", *args]
        with open(self.log_path, "wb") as log:
            streams.setdefault("stdout", subprocess.DEVNULL)
            self.process = processes.start(argv, stderr=log, **streams)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, *words, timeout=5.0) -> str:
        """The first line that has all the words."""

        def line():
            return next((l for l in self.log().splitlines() if all(w in l for w in words)), None)

        return wait_until(line, timeout, f"a log line with {words}; the log: {self.log()}")

    def wait_until_up(self, condition, what):
        def up():
            if self.process.poll() is not None:
                raise AssertionError(f"serve exited {self.process.returncode}: {self.log()}")
            return condition()

        wait_until(up, what=what)

    def worker(self) -> int:
        """Once it is there and has its name: what was just forked has the broker's."""

        def workers():
            return [p for p in children_of(self.process.pid) if name_of(p) == WORKER]

        found = wait_until(workers, what="a worker process")
        assert len(found) == 1, f"one worker expected, there are {found}"
        return found[0]

    def stop(self, signal_number=signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(5)

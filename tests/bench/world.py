# SPDX-License-Identifier: BSD-3-Clause
"""Where the benchmark happens: a network namespace that plays the host, with the services in it,
and one for each guest. Starts processes, reads their CPU time and memory, and ends them all. What
is measured is left to measures.py."""

import ctypes
import json
import mmap
import os
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000
PORT = 6000
HOST_GATEWAY = "192.0.2.1"
DESCRIPTORS = 65536
# The kernel's own TCP buffers: with the larger ones that passt's benchmark sets, pasta is slower.
# Ports for all the idle connections. The ends of those before shall not keep theirs for a minute.
GUEST_SYSCTLS = {"net/ipv4/ip_local_port_range": "10000 65535",
                 "net/ipv4/tcp_max_tw_buckets": "1024"}
MARK = "VMCHANNEL_BENCH"  # in the environment of all that a round starts
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A measurement that could not be made, and why."""


def ip(*args):
    done = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise Failed(f"ip {' '.join(args)}: {done.stderr.strip()}")


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def raise_descriptor_limit():
    """As far as we may; where it is not enough, the many idle connections fail and say so."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, DESCRIPTORS),) * 2)
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Namespace:
    """A network namespace."""

    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"
        ip("netns", "add", name)

    def set_up(self, sysctls):
        """Loopback up, and the settings written below /proc/sys."""
        self.ip("link", "set", "lo", "up")
        for key, value in sysctls.items():
            self.run(["sh", "-c", f"echo {value} >/proc/sys/{key}"])
        # Pacing (BBR) would measure timers. cubic is the usual; reno may be set by any namespace.
        self.run(["sh", "-c", " || ".join(
            f"echo {name} >/proc/sys/net/ipv4/tcp_congestion_control" for name in
            ("cubic", "reno"))])

    def ip(self, *args):
        ip("-n", self.name, *args)

    def enter(self):
        """For a child before it executes anything."""
        with open(self.path) as f:
            if _libc.setns(f.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def run(self, argv):
        subprocess.run(argv, preexec_fn=self.enter, check=True, timeout=10,
                       stderr=subprocess.DEVNULL)

    def has_link(self, name):
        done = subprocess.run(["ip", "-n", self.name, "link", "show", name], timeout=10,
                              capture_output=True)
        return done.returncode == 0

    def listens(self, port):
        done = subprocess.run(["ss", "-N", self.name, "-Hltn", f"sport = :{port}"], timeout=10,
                              capture_output=True, text=True)
        return "LISTEN" in done.stdout

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], timeout=10)


class Counters:
    """What the services have moved, as service.c counts it."""

    def __init__(self, path):
        with open(path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), 32)

    def read(self):
        names = ("sunk", "sourced", "accepted", "closed")
        return dict(zip(names, struct.unpack("4Q", self._map[:32])))


def descendants(pid):
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    todo += [int(word) for word in f.read().split()]
        except OSError:
            pass
    return found


def cpu_seconds(pids):
    """User and system time of the processes."""
    total = 0
    for pid in pids:
        try:
            total += _cpu_seconds_of(pid)
        except OSError:
            pass
    return total


def _cpu_seconds_of(pid):
    # schedstat counts nanoseconds, but of one thread; stat counts those of all, in ticks of 10 ms.
    if len(os.listdir(f"/proc/{pid}/task")) == 1:
        try:
            with open(f"/proc/{pid}/schedstat") as f:
                return int(f.read().split()[0]) / 1e9
        except FileNotFoundError:  # a kernel without it
            pass
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mib(pids):
    """Proportional share of the memory that the processes have mapped."""
    kib = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            kib += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    return kib / 1024


class World:
    """One round's host, guests and processes. Use it in a `with`."""

    def __init__(self, tools):
        self.tools = tools  # name -> path: vmchannel, load, service, bridge
        self.directory = Path(tempfile.mkdtemp(prefix="vmcbench-"))
        self.directory.chmod(0o755)
        self._processes = []
        self._namespaces = []
        self.log = open(self.directory / "log", "wb")

    def __enter__(self):
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def _set_up(self):
        raise_descriptor_limit()
        self.host = self.namespace({"net/core/somaxconn": "16384"})  # for the idle connections
        # pasta wants to see a way out. There is none: both ends are here.
        self.host.ip("link", "add", "up0", "type", "veth", "peer", "name", "up1")
        self.host.ip("addr", "add", "192.0.2.2/24", "dev", "up0")
        self.host.ip("link", "set", "up0", "up")
        self.host.ip("link", "set", "up1", "up")
        self.host.ip("route", "add", "default", "via", HOST_GATEWAY)
        self.service = self.start([self.tools["service"], self.directory, PORT],
                                  stdout=subprocess.PIPE)
        if self.service.stdout.readline() != b"ready\n":
            raise Failed("the services did not start")
        self.counters = Counters(self.directory / "counters")

    def __exit__(self, *exc):
        self.close()

    def namespace(self, sysctls=None):
        made = Namespace(f"vmcbench-{os.getpid()}-{len(self._namespaces)}")
        self._namespaces.append(made)
        made.set_up(GUEST_SYSCTLS if sysctls is None else sysctls)
        return made

    def start(self, argv, namespace=None, **kwargs):
        namespace = namespace or self.host
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", self.log)
        kwargs.setdefault("stderr", self.log)
        kwargs.setdefault("env", dict(os.environ, **{MARK: str(self.directory)}))
        process = subprocess.Popen([str(a) for a in argv], preexec_fn=namespace.enter,
                                   start_new_session=True, **kwargs)
        self._processes.append(process)
        return process

    def load(self, target, *args, namespace=None):
        """Starts a load program."""
        return self.start([self.tools["load"], target, *args], namespace, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE)

    def end(self, process, patience_s=2):
        """Ends a process with all that it started."""
        family = descendants(process.pid)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in family if sign == signal.SIGKILL else [process.pid]:
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    pass
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                pass
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()
        if process in self._processes:
            self._processes.remove(process)

    def all_running(self, program, mark):
        """Processes started with the mark that run the program, whoever their parent is by now."""
        mark = f"{MARK}={mark}".encode()
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    if mark in f.read().split(b"\0") and \
                            os.readlink(f"/proc/{name}/exe") == str(program):
                        found.append(int(name))
            except OSError:
                pass
        return found

    def settle(self):
        """Waits until the services move nothing any more."""
        last = None
        for _ in range(40):
            now = self.counters.read()
            if now == last:
                return
            last = now
            time.sleep(0.03)

    def log_tail(self):
        self.log.flush()
        return (self.directory / "log").read_text(errors="replace")[-600:].strip()

    def close(self):
        for process in reversed(list(self._processes)):
            self.end(process, 1)
        for namespace in self._namespaces:
            namespace.close()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def result_of(process, timeout_s):
    """What a load program printed."""
    try:
        out, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Failed(f"no end within {timeout_s} s") from None
    return parse_result(out)


def read_line(process, timeout_s):
    """A line that a load program printed while it goes on."""
    readable, _, _ = select.select([process.stdout], [], [], timeout_s)
    if not readable:
        raise Failed(f"nothing said within {timeout_s} s")
    return process.stdout.readline()


def parse_result(text):
    try:
        result = json.loads(text)
    except ValueError:
        raise Failed(f"the load program said {text!r}") from None
    if "error" in result:
        raise Failed(result["error"])
    return result

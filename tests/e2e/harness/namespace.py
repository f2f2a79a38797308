# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces. A socket stays in the namespace it was made in, so the test itself can hold
the guest's sockets: a thread enters the namespace, makes the socket and leaves."""

import ctypes
import itertools
import os
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def ip(*args, check=True):
    return subprocess.run(
        ["ip", *args], check=check, capture_output=True, text=True, timeout=10
    ).stdout


class Namespace:
    """A named network namespace with loopback up and IPv6 off."""

    def __init__(self):
        self.name = f"vmce2e-{os.getpid()}-{next(_numbers)}"
        self.path = f"/run/netns/{self.name}"
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        self.sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        self.sysctl("net/ipv6/conf/default/disable_ipv6", "1")

    def close(self):
        ip("netns", "del", self.name)

    def inside(self, fn):
        """Runs fn in a thread that is in the namespace and gives what it gives."""
        result = {}

        def body():
            try:
                with open(self.path) as ns:
                    if _libc.setns(ns.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"setns {self.path}")
                result["value"] = fn()
            except BaseException as e:  # handed on to the caller's thread
                result["error"] = e

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        thread.join(20)
        if thread.is_alive():
            raise AssertionError(f"stuck in {self.name}")
        if "error" in result:
            raise result["error"]
        return result["value"]

    def socket(self, *args) -> socket.socket:
        return self.inside(lambda: socket.socket(*args))

    def sysctl(self, name, value):
        def write():
            with open(f"/proc/sys/{name}", "w") as f:
                f.write(value)

        self.inside(write)

    def ip(self, *args):
        return ip("-n", self.name, *args)

    def enter(self, argv) -> list[str]:
        """The command line that runs argv in here."""
        return ["nsenter", f"--net={self.path}", *argv]

    def has_link(self, ifname) -> bool:
        return f": {ifname}" in self.ip("-o", "link")

    def listening_ports(self) -> set[int]:
        """TCP ports with a listening kernel socket."""
        lines = self.inside(lambda: open("/proc/thread-self/net/tcp").read().splitlines()[1:])
        rows = [line.split() for line in lines]
        return {int(r[1].split(":")[1], 16) for r in rows if r[3] == "0A"}

# SPDX-License-Identifier: BSD-3-Clause
"""Guests that are network namespaces with the kernel's own TCP, one class per link. All are used
alike: start(channels) brings up daemon and link; connect() gives a socket in the guest."""

import errno
import json
import os
import re
import socket
import subprocess
import time

from harness.daemon import Daemon
from harness.namespace import Namespace
from harness.processes import wait_until

CHANNEL = "10.0.2.4"
CHANNEL6 = "fd10:0:2::4"
GUEST6 = "fd10:0:2::15"
GUEST_CIDR = "10.0.2.15/24"
IO_TIMEOUT = 10


class Guest:
    """What all namespace guests share. `refuses` tells how a refusal looks to connect(2)."""

    kind = ""
    is_frames = True  # a link that carries frames, hence our own TCP

    def __init__(self, processes, vmchannel, helpers, directory):
        self.processes = processes
        self.vmchannel = vmchannel
        self.helpers = helpers
        self.directory = directory
        self.namespaces = [Namespace()]
        self.ns = self.namespaces[0]
        self.daemon = None

    def start(self, *channels, inward=(), options=(), **streams):
        """channels: "PORT:DEVICE" or "FIRST-LAST:DEVICE"; inward: the same of -vmchannel-in;
        streams: the daemon's stdin=, stdout=."""
        args = ["--link", self.link(), *options]
        for channel in channels:
            args += ["-vmchannel", channel]
        for channel in inward:
            args += ["-vmchannel-in", channel]
        self.daemon = Daemon(self.processes, self.vmchannel, args, **streams)
        self.attach([int(re.match(r"\d+", c)[0]) for c in channels])
        return self

    def link(self) -> str:
        raise NotImplementedError

    def attach(self, ports):
        raise NotImplementedError

    def configure(self, ifname):
        self.ns.ip("addr", "add", GUEST_CIDR, "dev", ifname)
        self.ns.ip("link", "set", ifname, "up")

    def close(self):
        for namespace in self.namespaces:
            namespace.close()

    def enable_ipv6(self, address=None):
        """address: usable at once. Without one the kernel asks for a prefix, and makes its own."""
        self.ns.sysctl("net/ipv6/conf/vmc0/accept_ra", "0" if address else "1")
        self.ns.sysctl("net/ipv6/conf/vmc0/disable_ipv6", "0")
        if address:
            self.ns.ip("addr", "add", f"{address}/64", "dev", "vmc0", "nodad")

    def connect(self, port=600, addr=CHANNEL, timeout=IO_TIMEOUT) -> socket.socket:
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        s = self.ns.socket(family, socket.SOCK_STREAM)
        s.settimeout(timeout)
        try:
            s.connect((addr, port))
        except BaseException:
            s.close()
            raise
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def refusal(self, port=600, addr=CHANNEL, timeout=2.0):
        """(errno, milliseconds) of a connection that is to fail; what a socket link accepts and
        resets at once (design 3 and 6) counts as refused."""
        began = time.monotonic()
        try:
            with self.connect(port, addr, timeout) as s:
                s.settimeout(timeout)
                error = 0
                if not self.is_frames:
                    s.recv(1)
        except TimeoutError:
            error = errno.ETIMEDOUT
        except OSError as e:
            error = e.errno
        if not self.is_frames and error == errno.ECONNRESET:
            error = errno.ECONNREFUSED
        return error, (time.monotonic() - began) * 1000

    def command(self, argv, timeout=30) -> subprocess.CompletedProcess:
        return self.processes.run(self.ns.enter(argv), timeout=timeout)

    def probe(self, *args, timeout=30) -> dict:
        done = self.command([self.helpers["guestprobe"], *map(str, args)], timeout)
        assert done.stdout, f"guestprobe {args}: exit {done.returncode}, {done.stderr}"
        return json.loads(done.stdout)

    def pings(self, addr=CHANNEL, count=1, timeout_s=1) -> bool:
        argv = ["busybox", "ping", "-c", str(count), "-W", str(timeout_s), addr]
        return self.command(argv).returncode == 0


class TapGuest(Guest):
    kind = "tap"

    def link(self):
        return f"tap,ifname=vmc0,netns={self.ns.name}"

    def attach(self, ports):
        self.daemon.wait_until_up(lambda: self.ns.has_link("vmc0"), "tap vmc0")
        self.configure("vmc0")


class PacketGuest(Guest):
    """A veth pair; the daemon holds an AF_PACKET socket on the far end."""

    kind = "packet"

    def link(self):
        far = Namespace()
        self.namespaces.append(far)
        self.ns.ip("link", "add", "vmc0", "type", "veth", "peer", "name", "far0", "netns", far.name)
        far.ip("link", "set", "far0", "up")
        return f"packet,ifname=far0,netns={far.name}"

    def attach(self, ports):
        far = self.namespaces[1]

        def bound():
            return far.inside(lambda: len(open("/proc/thread-self/net/packet").readlines()) > 1)

        self.daemon.wait_until_up(bound, "a packet socket")
        self.configure("vmc0")


class NetnsGuest(Guest):
    """The socket link: the namespace's own kernel listens on the channel address."""

    kind = "netns"
    is_frames = False

    def link(self):
        return f"netns,path={self.ns.path}"

    def attach(self, ports):
        self.daemon.wait_until_up(lambda: set(ports) <= self.ns.listening_ports(), "listeners")


class StreamGuest(Guest):
    """bridge.c carries frames between a plain tap and a stream socket that the daemon serves."""

    kind = "stream"
    impairment = ()  # SEED DROP DUPLICATE REORDER

    def link(self):
        return f"stream,path={self.directory}/link.sock,server=on"

    def attach(self, ports):
        self.bridge = self.start_bridge("connect")
        self.wait_joined()
        self.configure("vmc0")

    def start_bridge(self, role):
        self.bridge_log = self.directory / f"bridge-{role}-{time.monotonic_ns()}.log"
        argv = [self.helpers["bridge"], "vmc0", role, self.directory / "link.sock"]
        argv += self.impairment
        with open(self.bridge_log, "wb") as log:
            return self.processes.start(self.ns.enter(argv), stdout=log, stderr=log)

    def wait_joined(self, times=1):
        def joined():
            assert self.bridge.poll() is None, self.bridge_log.read_text()
            return self.bridge_log.read_text().count("joined") >= times

        wait_until(joined, 10, "the bridge to be joined")


class StreamClientGuest(StreamGuest):
    """As QEMU's server=on: the other side listens, the daemon connects."""

    kind = "stream-client"

    def link(self):
        self.bridge = self.start_bridge("listen")
        path = self.directory / "link.sock"
        wait_until(lambda: os.path.exists(path), what="the bridge's socket")
        return f"stream,path={path}"

    def attach(self, ports):
        self.wait_joined()
        self.configure("vmc0")

    def close(self):
        (self.directory / "link.sock").unlink()  # the bridge's, hence ours to remove
        super().close()


class ImpairedGuest(StreamGuest):
    kind = "impaired"


KINDS = {g.kind: g for g in (TapGuest, PacketGuest, NetnsGuest, StreamGuest, StreamClientGuest)}
FRAME_KINDS = [k for k, g in KINDS.items() if g.is_frames]

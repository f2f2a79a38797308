# SPDX-License-Identifier: BSD-3-Clause
"""The limits: what the kernel alone takes for the same bytes, in the same rounds. Sockets without
any daemon; and tap_pump and splice_pump, which do what a daemon there cannot do without. All their
names begin with "raw", by which the plot knows them."""

from subjects import KINDS, Subject
from world import PORT, wait_until

RAW_UNIX, RAW_TCP, RAW_TAP = "raw Unix socket", "raw loopback TCP", "raw tap"
RAW_TAP_UNIX, RAW_SPLICE = "raw tap and Unix socket", "raw splice"
TCP_MEASURES = ("send", "receive", "send16", "receive16", "trip1", "trip64", "connect")
LARGEST_MTU = "65520"


class RawUnix(Subject):
    name = RAW_UNIX
    about = "no daemon: the load program connects to the service's Unix socket"
    measures = TCP_MEASURES
    has_two_sides = True

    def start(self):
        self.namespace = self.world.host

    def target(self, kind):
        return f"unix:{self.world.directory}/{kind}"


class RawTcp(RawUnix):
    name = RAW_TCP
    about = "no daemon: the load program connects to the service's TCP port on loopback"

    def target(self, kind):
        return f"tcp:127.0.0.1:{PORT + KINDS.index(kind)}"


class RawTap(Subject):
    """Two kernels' TCP, and between them what any program at a tap has to do."""

    name = RAW_TAP
    about = "tap_pump: frames from the namespace's tap to one at the services' TCP ports, as " \
            "they are"
    measures = TCP_MEASURES
    guest_address, host_address = "10.0.5.2", "10.0.5.1"

    def start(self):
        self.namespace = self.world.namespace()
        ends = ((self.namespace, "raw0", self.guest_address),
                (self.world.host, "raw1", self.host_address))
        self.daemon = self.world.start([self.world.tools["tap_pump"],
                                        *(f"{ifname}@{there.path}" for there, ifname, _ in ends)])
        for there, ifname, address in ends:
            wait_until(lambda: there.has_link(ifname), 5, ifname)
            there.ip("addr", "add", f"{address}/24", "dev", ifname)
            there.ip("link", "set", ifname, "up")

    def target(self, kind):
        return f"tcp:{self.host_address}:{PORT + KINDS.index(kind)}"


class RawTapUnix(Subject):
    """A tap on one side and a Unix socket on the other, as vmchannel has them. UDP carries the
    bytes, as it needs no stack: a header in front, turned round for the answer."""

    name = RAW_TAP_UNIX
    about = "tap_pump: what UDP datagrams carry, from the namespace's tap to the service's Unix " \
            "socket and back; it sleeps where it waits"
    measures = ("send", "receive", "trip1", "trip64")
    neighbour = "02:00:00:00:00:01"

    def start(self):
        self.namespace = self.world.namespace()
        self.daemons = [self._start(i, kind) for i, kind in enumerate(KINDS)]
        self.daemon = self.daemons[0]

    def _start(self, i, kind):
        ifname = f"raw{i}"
        daemon = self.world.start([self.world.tools["tap_pump"], f"{ifname}@{self.namespace.path}",
                                   kind, f"{self.world.directory}/{kind}"])
        wait_until(lambda: self.namespace.has_link(ifname), 5, ifname)
        self.namespace.ip("addr", "add", f"10.0.{6 + i}.2/24", "dev", ifname)
        self.namespace.ip("link", "set", ifname, "mtu", LARGEST_MTU, "up")
        self.namespace.ip("neigh", "add", self._address(i), "lladdr", self.neighbour, "dev", ifname)
        return daemon

    def _address(self, i):
        return f"10.0.{6 + i}.1"

    def pids(self):
        return [daemon.pid for daemon in self.daemons]

    def target(self, kind):
        i = KINDS.index(kind)
        return f"udp:{self._address(i)}:{PORT + i}"


class RawSplice(Subject):
    """A namespace's TCP on one side and a Unix socket on the other, as vmchannel netns has them."""

    name = RAW_SPLICE
    about = "splice_pump: from the namespace's TCP to the service's Unix socket and back by " \
            "splice(2)"
    measures = ("send", "receive")
    directions = {"sink": "to", "source": "from"}

    def start(self):
        self.namespace = self.world.namespace()
        self.daemons = [
            self.world.start([self.world.tools["splice_pump"], self._port(kind), direction,
                              f"{self.world.directory}/{kind}"], self.namespace)
            for kind, direction in self.directions.items()]
        self.daemon = self.daemons[0]
        for kind in self.directions:
            wait_until(lambda: self.namespace.listens(self._port(kind)), 5, "splice_pump")

    def _port(self, kind):
        return PORT + KINDS.index(kind)

    def pids(self):
        return [daemon.pid for daemon in self.daemons]

    def target(self, kind):
        return f"tcp:127.0.0.1:{self._port(kind)}"


SUBJECTS = [RawUnix, RawTcp, RawTap, RawTapUnix, RawSplice]

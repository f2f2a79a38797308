# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: vmchannel's links and their peers. Each subject has a guest, starts its daemon,
and tells where in the guest the services are found. The peers' options are those that their manuals
and their own benchmarks use. Those in a QEMU guest are in machine_subjects.py, the limits in
limit_subjects.py."""

import shutil
import subprocess

from world import HOST_GATEWAY, PORT, descendants, wait_until

KINDS = ("sink", "source", "echo")
CHANNEL = "10.0.2.4"
MAX_CONNECTIONS = "16384"
ALL_MEASURES = ("send", "receive", "send16", "receive16", "trip1", "trip64", "connect", "first",
                "memory", "memory1000", "memory10000")


class Subject:
    """`target` is how load.c finds a service; `pids` are the daemon's processes."""

    name = ""
    about = ""
    is_ours = False
    needs = ()                  # the peer's programs
    tools = ()                  # other programs
    built = ()                  # programs of the tests, in the build directory
    measures = ALL_MEASURES
    starts_slowly = False       # takes over a second until it is at its best
    has_two_sides = False       # the load program and the service, and nothing between
    group = "namespace"
    namespace = None
    helper = None               # beside the daemon on the path, but not it
    daemon = None

    def __init__(self, world):
        self.world = world

    @classmethod
    def is_installed(cls):
        return all(shutil.which(program) for program in cls.needs + cls.tools)

    def start(self):
        raise NotImplementedError

    def target(self, kind):
        raise NotImplementedError

    def start_first(self):
        """Starts another daemon, and a load that waits for its first answer."""
        raise NotImplementedError

    def stop(self):
        """Ends what ending the processes would not."""

    def pids(self):
        return descendants(self.daemon.pid) if self.daemon else []

    def path_pids(self):
        """All that moves the bytes, but for the load program."""
        return self.pids() + [self.world.service.pid] + ([self.helper.pid] if self.helper else [])

    def load_pids(self, load):
        return [load.pid]

    def end_load(self, load):
        self.world.end(load)

    def load(self, kind, *args):
        return self.world.load(self.target(kind), *args, namespace=self.namespace)


class Ours(Subject):
    """vmchannel serve in front, the services' Unix sockets behind."""

    is_ours = True
    link = ""

    def channels(self):
        return [word for i, kind in enumerate(KINDS)
                for word in ("-vmchannel", f"{PORT + i}:unix:{self.world.directory}/{kind}")]

    def serve(self, link):
        self.daemon = self.world.start([
            self.world.tools["vmchannel"], "serve", "--quiet", "--link", link, "--max-connections",
            MAX_CONNECTIONS, *self.channels()])

    def configure(self, ifname="vmc0"):
        wait_until(lambda: self.namespace.has_link(ifname), 5, ifname)
        self.namespace.ip("addr", "add", "10.0.2.15/24", "dev", ifname)
        self.namespace.ip("link", "set", ifname, "up")

    def target(self, kind):
        return f"tcp:{CHANNEL}:{PORT + KINDS.index(kind)}"

    def start_first(self):
        return self.world.start([
            self.world.tools["vmchannel"], "run", "--link", self.link, *self.channels(), "--",
            self.world.tools["load"], self.target("echo"), "first", "5000"],
            stdout=subprocess.PIPE)


class OurTap(Ours):
    name = "vmchannel tap"
    about = "vmchannel serve --link tap"
    link = "tap"

    def start(self):
        self.namespace = self.world.namespace()
        self.serve(f"tap,ifname=vmc0,netns={self.namespace.name}")
        self.configure()


class OurTapSmallBuffers(OurTap):
    """What 16 connections lose to the caches: the guest's unsent bytes fit into them here."""

    name = "vmchannel tap, 128 KiB"
    about = "the same, the guest's TCP send buffers at 128 KiB (net.ipv4.tcp_wmem)"
    measures = ("send", "send16")

    def start(self):
        super().start()
        self.namespace.run(["sh", "-c",
                            "echo 4096 131072 131072 >/proc/sys/net/ipv4/tcp_wmem"])


class OurPacket(Ours):
    name = "vmchannel packet"
    about = "vmchannel serve --link packet, on the far end of a veth pair"
    link = "packet"

    def start(self):
        self.namespace, far = self.world.namespace(), self.world.namespace()
        self.namespace.ip("link", "add", "vmc0", "type", "veth", "peer", "name", "far0", "netns",
                          far.name)
        far.ip("link", "set", "far0", "up")
        self.serve(f"packet,ifname=far0,netns={far.name}")
        self.configure()


class OurNetns(Ours):
    name = "vmchannel netns"
    about = "vmchannel serve --link netns"
    link = "netns"

    def start(self):
        self.namespace = self.world.namespace()
        self.serve(f"netns,path={self.namespace.path}")
        wait_until(lambda: self.namespace.listens(PORT), 5, "vmchannel's socket")


class OurNetnsTcp(OurNetns):
    """The same bytes as pasta's splice: TCP on both sides."""

    name = "vmchannel netns to TCP"
    about = "vmchannel serve --link netns, the services' TCP ports as devices"
    measures = ("send", "receive")

    def channels(self):
        return [word for i in range(len(KINDS))
                for word in ("-vmchannel", f"{PORT + i}:tcp:127.0.0.1:{PORT + i}")]


class OurVhost(Ours):
    """No kernel in the guest: tests/vhost_guest is front-end, driver and TCP, and the load."""

    name = "vmchannel vhost-user"
    about = "vmchannel serve --link vhost-user, rings of 256, mergeable buffers of 4 KiB; " \
            "tests/vhost_guest as the guest"
    built = ("tests/vhost_guest/vhost-guest",)
    options = ()

    def link(self, path):
        return f"vhost-user,path={path},server=on"

    def start(self):
        self.path = self.world.directory / f"{type(self).__name__}.link"
        self.serve(self.link(self.path))
        wait_until(self.path.exists, 5, self.path)

    def load(self, kind, *args):
        return self.guest(self.path, kind, *args)

    def guest(self, path, kind, *args):
        return self.world.start(
            [self.world.tools["vhost-guest"], path, PORT + KINDS.index(kind), *self.options, *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start_first(self):
        path = self.path.with_suffix(".first")
        path.unlink(missing_ok=True)
        load = self.guest(path, "echo", "first", "5000")
        self.first_daemon = self.world.start([
            self.world.tools["vmchannel"], "serve", "--quiet", "--link", self.link(path),
            *self.channels()])
        return load


class OurVhostPacked(OurVhost):
    name = "vmchannel vhost packed"
    about = "the same with packed rings"
    options = ("packed",)
    measures = ("send", "receive", "trip1")


class OurStream(Ours):
    name = "vmchannel stream"
    about = "vmchannel serve --link stream, frames of MTU 1500 without offload from a plain tap"
    measures = tuple(m for m in ALL_MEASURES if m != "first")

    def start(self):
        self.namespace = self.world.namespace()
        path = self.world.directory / "stream.link"
        self.helper = self.world.start([self.world.tools["bridge"], "vmc0", "listen", path],
                                       self.namespace)
        wait_until(path.exists, 5, path)
        self.serve(f"stream,path={path}")
        self.configure()


class Passt(OurStream):
    name = "passt stream"
    about = "passt behind the same plain tap, MTU 1500"
    is_ours = False
    needs = ("passt",)
    starts_slowly = True

    def start(self):
        self.namespace = self.world.namespace()
        path = self.world.directory / "passt.link"
        self.daemon = self.world.start(["passt", "-f", "-q", "-4", "--runas", "0", "-m", "1500",
                                        "-t", "none", "-u", "none", "--socket", path])
        wait_until(path.exists, 5, path)
        self.helper = self.world.start([self.world.tools["bridge"], "vmc0", "connect", path],
                                       self.namespace)
        wait_until(lambda: self.namespace.has_link("vmc0"), 5, "vmc0")
        self.namespace.ip("addr", "add", "192.0.2.2/24", "dev", "vmc0")
        self.namespace.ip("link", "set", "vmc0", "up")

    def target(self, kind):
        return f"tcp:{HOST_GATEWAY}:{PORT + KINDS.index(kind)}"


class Pasta(Subject):
    """The services' TCP ports at the gateway's address, by pasta's tap."""

    name = "pasta"
    about = "pasta --config-net, MTU 65520 (its default)"
    needs = ("pasta",)
    starts_slowly = True
    options = ("-T", "none")
    address = HOST_GATEWAY

    def argv(self):
        return ["pasta", "-f", "-q", "-4", "--runas", "0", "--config-net", "--ns-ifname", "tap0",
                "-t", "none", "-u", "none", "-U", "none", *self.options]

    def start(self):
        self.namespace = self.world.namespace()
        self.daemon = self.world.start([*self.argv(), "--netns", self.namespace.path])
        wait_until(lambda: self.namespace.has_link("tap0"), 5, "pasta's tap")

    def target(self, kind):
        return f"tcp:{self.address}:{PORT + KINDS.index(kind)}"

    def start_first(self):
        return self.world.start([*self.argv(), "--", self.world.tools["load"],
                                 self.target("echo"), "first", "5000"], stdout=subprocess.PIPE)


class Pasta1500(Pasta):
    name = "pasta 1500"
    about = "pasta --config-net --mtu 1500"
    options = ("-T", "none", "-m", "1500")


class PastaSplice(Pasta):
    name = "pasta splice"
    about = "pasta -T: from the namespace's loopback to the host's by splice(2)"
    options = ("-T", f"{PORT}-{PORT + 2}")
    address = "127.0.0.1"


class Socat(Subject):
    """One socat for each service, listening in the namespace: what a shell script would do."""

    name = "socat"
    about = "socat -b 65536 TCP-LISTEN:…,fork UNIX-CONNECT:… in the namespace"
    needs = ("socat",)
    measures = tuple(m for m in ALL_MEASURES if m != "first" and "memory" not in m)

    def start(self):
        self.namespace = self.world.namespace()
        self.daemons = [
            self.world.start(["socat", "-b", "65536",
                              f"TCP-LISTEN:{PORT + i},bind=127.0.0.1,fork,nodelay,backlog=1024",
                              f"UNIX-CONNECT:{self.world.directory}/{kind}"], self.namespace)
            for i, kind in enumerate(KINDS)]
        self.daemon = self.daemons[0]
        for i in range(len(KINDS)):
            wait_until(lambda: self.namespace.listens(PORT + i), 5, "socat's socket")

    def pids(self):
        return [pid for daemon in self.daemons for pid in descendants(daemon.pid)]

    def target(self, kind):
        return f"tcp:127.0.0.1:{PORT + KINDS.index(kind)}"


class Slirp4netns(Subject):
    name = "slirp4netns"
    about = "slirp4netns --configure --mtu=65520, the services' TCP ports at 10.0.2.2"
    needs = ("slirp4netns",)

    def argv(self, namespace):
        return ["slirp4netns", "--configure", "--mtu=65520", "--netns-type=path", namespace.path,
                "tap0"]

    def start(self):
        self.namespace = self.world.namespace()
        self.daemon = self.world.start(self.argv(self.namespace))
        wait_until(lambda: self.namespace.has_link("tap0"), 5, "slirp4netns' tap")

    def target(self, kind):
        return f"tcp:10.0.2.2:{PORT + KINDS.index(kind)}"

    def start_first(self):
        namespace = self.world.namespace()
        load = self.world.load(self.target("echo"), "first", "5000", namespace=namespace)
        self.first_daemon = self.world.start(self.argv(namespace))
        return load


class OneChannel(OurTap):
    """The cost of what is configured and of what is connected, on a tap."""

    group = "scale"
    name = "1 channel"  # of each kind of service
    about = "vmchannel serve --link tap"
    measures = ("send", "receive", "trip1", "connect", "rotate1", "rotate100", "rotate10000",
                "beside", "memory")


class ThousandChannels(OneChannel):
    name = "1 000 channels"
    about = "the same with 997 channels more"
    measures = ("send", "receive", "trip1", "connect", "rotate1", "memory")

    def channels(self):
        return super().channels() + [
            "-vmchannel", f"10001-10997:unix:{self.world.directory}/%p.sock"]


SUBJECTS = [OurTap, OurTapSmallBuffers, OurPacket, OurNetns, OurNetnsTcp, OurVhost,
            OurVhostPacked, OurStream, Pasta, Pasta1500, PastaSplice, Passt, Slirp4netns, Socat,
            OneChannel, ThousandChannels]

# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: vmchannel's links, their peers and the limits. Each subject has a guest, starts
its daemon, and tells where in the guest the services are found. The peers' options are those that
their manuals and their own benchmarks use. Those in a QEMU guest are in machine_subjects.py."""

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
    measures = ALL_MEASURES
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


class RawUnix(Subject):
    name = "raw Unix socket"
    about = "no daemon: the load program connects to the service's Unix socket"
    measures = ("send", "receive", "send16", "receive16", "trip1", "trip64", "connect")

    def start(self):
        self.namespace = self.world.host

    def target(self, kind):
        return f"unix:{self.world.directory}/{kind}"


class RawTcp(RawUnix):
    name = "raw loopback TCP"
    about = "no daemon: the load program connects to the service's TCP port on loopback"

    def target(self, kind):
        return f"tcp:127.0.0.1:{PORT + KINDS.index(kind)}"


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


SUBJECTS = [OurTap, OurPacket, OurNetns, OurStream, Pasta, Pasta1500, PastaSplice, Passt,
            Slirp4netns, Socat, RawUnix, RawTcp]

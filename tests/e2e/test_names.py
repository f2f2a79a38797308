# SPDX-License-Identifier: BSD-3-Clause
"""A link to a host by its name: the C library's resolver works in a broker that is locked up. The
files and the name server that it asks are the test's own."""

import socket
import struct
import threading

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.namespace import Namespace
from harness.wire import ask_arp_by_stream

NAME = "hypervisor.example"
# Mounted over the machine's, in a mount namespace of the broker's.
FILES = {"hosts": "127.0.0.1 localhost\n", "resolv.conf": "nameserver 127.0.0.1\n",
         "nsswitch.conf": "hosts: files dns\n"}
ADDRESSES = [bytes([127, 0, 0, 1]), bytes([127, 0, 0, 2])]  # two, which the library sorts
TRUNCATED, TYPE_A = 0x0200, 1


def answer(query, flags=0):
    """A message with NAME's addresses, none of another type; the question alone with a flag."""
    end = query.index(b"\0", 12) + 1
    kind, = struct.unpack(">H", query[end:end + 2])
    addresses = ADDRESSES if kind == TYPE_A and not flags else []
    records = [struct.pack(">HHHIH4s", 0xc00c, TYPE_A, 1, 0, 4, a) for a in addresses]
    head = struct.pack(">2sHHHHH", query[:2], 0x8180 | flags, 1, len(records), 0, 0)
    return head + query[12:end + 4] + b"".join(records)


class NameServer:
    """By UDP, or after an answer that is cut off by TCP; counts what it was asked by each."""

    def __init__(self, ns, truncates):
        self.truncates = truncates
        self.asked = {"udp": 0, "tcp": 0}
        self.udp = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 53))
        self.tcp = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.bind(("127.0.0.1", 53))
        self.tcp.listen()
        for body in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=body, daemon=True).start()

    def _serve_udp(self):
        while True:
            query, peer = self.udp.recvfrom(512)
            if not query:
                return
            self.asked["udp"] += 1
            self.udp.sendto(answer(query, TRUNCATED if self.truncates else 0), peer)

    def _serve_tcp(self):
        try:
            while True:
                connection, _ = self.tcp.accept()
                with connection, connection.makefile("rb") as stream:
                    while size := stream.read(2):
                        reply = answer(stream.read(int.from_bytes(size, "big")))
                        self.asked["tcp"] += 1
                        connection.sendall(struct.pack(">H", len(reply)) + reply)
        except OSError:  # closed
            return

    def close(self):
        for s in (self.udp, self.tcp):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


@pytest.fixture
def ns():
    namespace = Namespace()
    yield namespace
    namespace.close()


@pytest.fixture
def serve(processes, vmchannel, directory, ns):
    """serve(FILE=TEXT...) -> (daemon, listener of the link's): a link to NAME, where these files
    stand in /etc."""
    listeners = []

    def start(**files):
        script = []
        for name, text in {**FILES, **{k.replace("_", "."): v for k, v in files.items()}}.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o644)
            script.append(f"mount --bind {directory}/{name} /etc/{name}")
        listener = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        listeners.append(listener)
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        listener.settimeout(10)
        prefix = ns.enter(["unshare", "--mount", "sh", "-ec",
                           "\n".join([*script, 'exec "$@"']), "sh"])
        link = f"stream,addr={NAME}:{listener.getsockname()[1]}"
        return Daemon(processes, vmchannel, ["--link", link, "-vmchannel", "600:null"],
                      prefix=prefix), listener

    yield start
    for listener in listeners:
        listener.close()


def expect_link(daemon, listener):
    """The second time the name is looked up by who has had a peer."""
    daemon.wait_for_log("ready")
    for _ in range(2):
        link, _ = listener.accept()
        with link:
            link.settimeout(5)
            assert ask_arp_by_stream(link, CHANNEL)
    assert daemon.stop() == 0, daemon.log()


def test_name_of_the_hosts_file(serve):
    expect_link(*serve(hosts=f"127.0.0.1 {NAME}\n"))


def test_name_of_both_families(serve):
    """The library sorts the addresses, by asking the kernel for the way to each."""
    expect_link(*serve(hosts=f"::1 {NAME}\n127.0.0.1 {NAME}\n"))


@pytest.mark.parametrize("by", ["udp", "tcp"])
def test_name_that_a_server_knows(serve, ns, by):
    server = NameServer(ns, truncates=by == "tcp")
    expect_link(*serve())
    server.close()
    assert server.asked[by] >= 2


def test_module_that_the_library_loads(serve, ns):
    """One that is not part of the C library's own file."""
    server = NameServer(ns, truncates=False)
    expect_link(*serve(nsswitch_conf="hosts: hesiod dns\n"))
    server.close()
    assert server.asked["udp"] >= 2


def test_name_that_nobody_knows_is_told_and_asked_for_again(serve):
    daemon, listener = serve(nsswitch_conf="hosts: files\n")
    line = daemon.wait_for_log(NAME, "not known")
    assert daemon.process.poll() is None, line
    (daemon.log_path.parent / "hosts").write_text(f"127.0.0.1 {NAME}\n")
    expect_link(daemon, listener)

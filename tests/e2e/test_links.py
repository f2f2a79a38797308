# SPDX-License-Identifier: BSD-3-Clause
"""The message and hybrid links (design 6), with the other side played by the test. What a whole
QEMU does with them is in test_links_qemu.py."""

import hashlib
import os
import random
import socket
import subprocess
import threading
import time

import pytest
from scapy.layers.l2 import ARP, Ether

from harness.guests import Guest
from harness.message_bridge import MessageBridge
from harness.services import echo, never_read, receive_all, receive_exactly
from test_link import expect_closed, expect_conversation, open_connections


class MessageGuest(Guest):
    """The test decides about the daemon's --link and the socket of the bridge."""

    kind = "message"

    def start_with(self, link, *channels):
        self.link = lambda: link
        return self.start(*channels)

    def attach(self, ports):
        self.daemon.wait_for_log("ready")

    def plug(self, link_socket, offload=False):
        """As a hypervisor that starts: its tap is new."""
        self.bridge = MessageBridge(self.ns, link_socket, offload=offload)
        self.configure("vmc0")

    def unplug(self):
        if self.bridge:
            self.bridge.close()
        self.bridge = None

    bridge = None

    def close(self):
        self.unplug()
        super().close()


@pytest.fixture
def message_guest(make_guest):
    return make_guest(MessageGuest)


@pytest.fixture
def unlink_later(request):
    def later(path):
        request.addfinalizer(lambda: path.unlink(missing_ok=True))
        return path

    return later


def vfkit(path, own, hello=b"VFKT"):
    """A socket as vfkit and krunkit make it: bound, connected, its hello sent."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    own.unlink(missing_ok=True)
    s.bind(str(own))
    s.connect(str(path))
    if hello:
        s.send(hello)
    return s


def expect_echo(guest, count, timeout=20):
    """Sends count bytes through an echo service and compares what comes back."""
    data = random.Random(count).randbytes(count)
    with guest.connect(timeout=timeout) as s:
        threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)),
                         daemon=True).start()
        back = receive_all(s)
    assert len(back) == count
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


# --- Unix datagrams -------------------------------------------------------------------------------


@pytest.mark.parametrize("hello", [b"VFKT", b""], ids=["VFKT", "no hello"])
def test_vfkit_starts_and_restarts(
    message_guest, listen, socket_path, directory, unlink_later, hello
):
    listener = listen(socket_path)
    path = directory / "link.sock"
    guest = message_guest.start_with(f"message,path={path}", f"600:unix:{socket_path}")
    for number in range(3):
        guest.plug(vfkit(path, unlink_later(directory / f"vfkit-{number}"), hello))
        pairs = open_connections(guest, listener, 5)
        expect_conversation(guest, listener)
        guest.unplug()
        for _, h in pairs:
            expect_closed(h)
    assert guest.daemon.log().count("peer is gone") >= 3


def test_datagrams_carry_bulk(message_guest, listen, socket_path, directory, unlink_later):
    listen(socket_path, echo)
    path = directory / "link.sock"
    guest = message_guest.start_with(f"message,path={path}", f"600:unix:{socket_path}")
    guest.plug(vfkit(path, unlink_later(directory / "vfkit")))
    expect_echo(guest, 4 << 20)


@pytest.mark.parametrize("first", ["daemon", "peer"])
def test_given_peer_is_waited_for_and_followed(
    message_guest, listen, socket_path, directory, unlink_later, first
):
    listener = listen(socket_path)
    path, peer = directory / "link.sock", unlink_later(directory / "peer.sock")

    def peer_socket():
        peer.unlink(missing_ok=True)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(str(peer))
        return s

    s = peer_socket() if first == "peer" else None
    guest = message_guest.start_with(f"message,path={path},peer={peer}", f"600:unix:{socket_path}")
    if first == "daemon":
        guest.daemon.wait_for_log(str(peer), "No such file")
        s = peer_socket()
    for _ in range(2):
        s.connect(str(path))
        guest.plug(s)
        guest.daemon.wait_for_log("link", "up")
        pairs = open_connections(guest, listener, 3)
        guest.unplug()
        for _, h in pairs:
            expect_closed(h)
        s = peer_socket()
    s.close()


def test_second_sender_is_kept_out(message_guest, listen, socket_path, directory, unlink_later):
    listener = listen(socket_path)
    path = directory / "link.sock"
    guest = message_guest.start_with(f"message,path={path}", f"600:unix:{socket_path}")
    guest.plug(vfkit(path, unlink_later(directory / "vfkit")))
    [(g, h)] = open_connections(guest, listener, 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(unlink_later(directory / "second")))
        with pytest.raises(PermissionError):
            second.sendto(b"VFKT", str(path))
    g.sendall(b"still mine")
    assert receive_exactly(h, 10) == b"still mine"


def test_a_killed_worker_finds_the_datagram_peer_again(
    message_guest, listen, socket_path, directory, unlink_later
):
    listener = listen(socket_path)
    path = directory / "link.sock"
    guest = message_guest.start_with(f"message,path={path}", f"600:unix:{socket_path}")
    guest.plug(vfkit(path, unlink_later(directory / "vfkit")))
    [(_, h)] = open_connections(guest, listener, 1)
    os.kill(guest.daemon.worker(), 9)
    expect_closed(h)
    expect_conversation(guest, listener)


def test_odd_messages_do_no_harm(message_guest, listen, socket_path, directory, unlink_later):
    listener = listen(socket_path)
    path = directory / "link.sock"
    guest = message_guest.start_with(f"message,path={path}", f"600:unix:{socket_path}")
    s = vfkit(path, unlink_later(directory / "vfkit"))
    for message in (b"", b"V", b"VFKT", b"VFKTVFKT", bytes(13), bytes(65550), bytes(65551),
                    bytes(100000)):
        s.send(message)
    guest.plug(s)
    expect_conversation(guest, listener)


# --- libkrun --------------------------------------------------------------------------------------


def test_offload_takes_super_frames_with_partial_checksums(
    message_guest, listen, socket_path, directory, unlink_later
):
    listen(socket_path, echo)
    path = directory / "link.sock"
    guest = message_guest.start_with(
        f"message,path={path},offload=on", f"600:unix:{socket_path}")
    guest.plug(vfkit(path, unlink_later(directory / "krun")), offload=True)
    expect_echo(guest, 4 << 20)
    assert guest.bridge.longest > 20000, "no super-frame: nothing was tested"


def test_partial_checksums_are_not_taken_without_offload(
    message_guest, listen, socket_path, directory, unlink_later
):
    listen(socket_path, echo)
    path = directory / "link.sock"
    guest = message_guest.start_with(f"message,path={path}", f"600:unix:{socket_path}")
    guest.plug(vfkit(path, unlink_later(directory / "krun")), offload=True)
    with pytest.raises(TimeoutError):
        guest.connect(timeout=1.5)


# --- SOCK_SEQPACKET -------------------------------------------------------------------------------


def test_seqpacket_server(message_guest, listen, socket_path, directory):
    listener = listen(socket_path)
    path = directory / "link.sock"
    guest = message_guest.start_with(
        f"message,seqpacket={path},server=on", f"600:unix:{socket_path}")
    for _ in range(3):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(str(path))
        guest.plug(s)
        pairs = open_connections(guest, listener, 5)
        guest.unplug()
        for _, h in pairs:
            expect_closed(h)


def test_seqpacket_client_reconnects(message_guest, listen, socket_path, directory, unlink_later):
    listener = listen(socket_path)
    path = unlink_later(directory / "link.sock")
    guest = message_guest.start_with(f"message,seqpacket={path}", f"600:unix:{socket_path}")
    guest.daemon.wait_for_log(str(path), "No such file")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            path.unlink(missing_ok=True)
            server.bind(str(path))
            server.listen()
            server.settimeout(5)
            guest.plug(server.accept()[0])
        pairs = open_connections(guest, listener, 5)
        guest.unplug()
        for _, h in pairs:
            expect_closed(h)


def test_inherited_socket(message_guest, listen, socket_path, processes, vmchannel):
    listener = listen(socket_path)
    ours, daemons = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [vmchannel, "serve", "--link", f"message,fd={daemons.fileno()}",
            "-vmchannel", f"600:unix:{socket_path}"]
    process = processes.start(argv, pass_fds=[daemons.fileno()], stderr=subprocess.PIPE)
    daemons.close()
    message_guest.plug(ours)
    expect_conversation(message_guest, listener)
    message_guest.unplug()
    assert process.wait(5) == 0


def test_inherited_socket_must_be_of_the_kind(processes, vmchannel, socket_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lonely, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        for s, why in (lonely, "connected to nobody"), (stream, "not a datagram"):
            argv = [vmchannel, "serve", "--link", f"message,fd={s.fileno()}",
                    "-vmchannel", f"600:unix:{socket_path}"]
            done = processes.run(argv, pass_fds=[s.fileno()])
            assert done.returncode == 1 and why in done.stderr, done


# --- UDP ------------------------------------------------------------------------------------------


def udp_socket():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    return s


def free_udp_port():
    with udp_socket() as s:
        return s.getsockname()[1]


def test_udp_with_its_peer_alone(message_guest, listen, socket_path):
    listener = listen(socket_path)
    port, peer = free_udp_port(), udp_socket()
    guest = message_guest.start_with(
        f"message,udp=127.0.0.1:{port},peer=127.0.0.1:{peer.getsockname()[1]}",
        f"600:unix:{socket_path}")
    ask = bytes(Ether(src="52:54:00:12:34:56", dst="ff:ff:ff:ff:ff:ff")
                / ARP(op=1, hwsrc="52:54:00:12:34:56", psrc="10.0.2.15", pdst="10.0.2.4"))
    with udp_socket() as stranger:
        stranger.settimeout(0.5)
        stranger.connect(("127.0.0.1", port))
        stranger.send(ask)
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            stranger.recv(100)
    peer.connect(("127.0.0.1", port))
    peer.settimeout(2)
    peer.send(ask)
    assert ARP in Ether(peer.recv(100))
    # A hypervisor that was restarted has the same address; nobody notices but TCP.
    address = peer.getsockname()
    guest.plug(peer)
    [(_, h)] = open_connections(guest, listener, 1)
    guest.unplug()
    h.sendall(b"x" * 1000)  # to nobody: refused by its kernel, and not the end of the link
    time.sleep(0.5)
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(address)
    peer.connect(("127.0.0.1", port))
    guest.plug(peer)
    expect_conversation(guest, listener)


# --- hybrid ---------------------------------------------------------------------------------------


class HybridGuest(Guest):
    """Firecracker's side: each connection of its guest to the host's port N is one to PATH_N, with
    nothing said before the guest's first byte."""

    kind = "hybrid"
    is_frames = False

    def link(self):
        return f"hybrid,path={self.directory}/v.sock"

    def attach(self, ports):
        self.daemon.wait_for_log("ready")

    def connect(self, port=600, addr=None, timeout=10):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(f"{self.directory}/v.sock_{port}")
        return s


@pytest.fixture
def hybrid_guest(make_guest):
    return make_guest(HybridGuest)


def test_hybrid_byte_for_byte(hybrid_guest, listen, socket_path, directory):
    listener = listen(socket_path)
    other = listen(directory / "other.sock")
    guest = hybrid_guest.start(f"600:unix:{socket_path}", f"601:unix:{directory}/other.sock")
    names = {n for n in os.listdir(directory) if n.startswith("v.sock") and "lock" not in n}
    assert names == {"v.sock_600", "v.sock_601"}
    with guest.connect(600) as g, guest.connect(601) as g601:
        h, h601 = listener.accept(), other.accept()
        g.sendall(b"\x00first\xff")
        h601.sendall(b"from the host")
        assert receive_exactly(h, 7) == b"\x00first\xff"
        assert receive_exactly(g601, 13) == b"from the host"
        # Half-close, as VIRTIO_VSOCK_SHUTDOWN_SEND becomes one.
        g.shutdown(socket.SHUT_WR)
        assert h.recv(1) == b""
        h.sendall(b"the answer")
        h.close()
        assert receive_all(g) == b"the answer"
    assert h601.recv(1) == b""


def test_hybrid_many_and_bulk(hybrid_guest, listen, socket_path):
    service = listen(socket_path, echo)
    guest = hybrid_guest.start(f"600:unix:{socket_path}")
    for _ in range(200):
        with guest.connect() as g:
            g.sendall(b"ping")
            assert receive_exactly(g, 4) == b"ping"
    assert len(service.peers) == 200
    expect_echo(guest, 16 << 20)


def test_hybrid_refuses_and_recovers(hybrid_guest, listen, socket_path):
    guest = hybrid_guest.start(f"600:unix:{socket_path}")
    with guest.connect() as g:
        assert g.recv(1) == b""
    guest.daemon.wait_for_log(str(socket_path), "No such file")
    listener = listen(socket_path)
    expect_conversation(guest, listener)


def test_hybrid_bytes_of_a_guest_that_leaves_at_once_arrive(hybrid_guest, listen, socket_path):
    """Its socket is gone for both ways before there is a host end."""
    listener = listen(socket_path)
    guest = hybrid_guest.start(f"600:unix:{socket_path}")
    for number in range(100):
        with guest.connect() as g:
            g.sendall(b"number %d" % number)
        assert receive_all(listener.accept()) == b"number %d" % number


def test_hybrid_guest_that_gave_up_waiting_is_forgotten(hybrid_guest, socket_path):
    """Without a word: the next host client gets the next guest."""
    guest = hybrid_guest.start(f"600:unix:{socket_path},server")
    guest.connect().close()
    time.sleep(0.1)  # until the broker knows
    with guest.connect() as g, socket.socket(socket.AF_UNIX) as h:
        g.sendall(b"alive")
        h.connect(str(socket_path))
        h.settimeout(5)
        assert receive_exactly(h, 5) == b"alive"


def test_hybrid_service_that_does_not_read_stops_itself_alone(hybrid_guest, listen, directory):
    listen(directory / "stalled", never_read)
    listen(directory / "quick", echo)
    guest = hybrid_guest.start(f"600:unix:{directory}/stalled", f"601:unix:{directory}/quick")
    with guest.connect(600) as stalled, guest.connect(601) as quick:
        stalled.setblocking(False)
        with pytest.raises(BlockingIOError):
            for _ in range(10000):
                stalled.send(bytes(65536))
        quick.sendall(b"ping")
        assert receive_exactly(quick, 4) == b"ping"


def test_hybrid_does_not_take_a_path_from_somebody(processes, vmchannel, directory, listen):
    listen(directory / "v.sock_601")
    done = processes.run([vmchannel, "serve", "--link", f"hybrid,path={directory}/v.sock",
                          "-vmchannel", "600:unix:/x", "-vmchannel", "601:unix:/y"])
    assert done.returncode == 1 and "v.sock_601" in done.stderr, done
    assert not (directory / "v.sock_600").exists()

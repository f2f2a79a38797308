# SPDX-License-Identifier: BSD-3-Clause
"""A link that goes away closes all its host ends; a link that comes back works (design 6)."""

import socket

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.machine import Machine
from harness.processes import wait_until
from harness.services import answer_lines, receive_exactly
from harness.wire import ask_arp_by_stream


def open_connections(guest, listener, count):
    pairs = []
    for i in range(count):
        g = guest.connect()
        h = listener.accept()
        g.sendall(b"x")
        assert receive_exactly(h, 1) == b"x"
        pairs.append((g, h))
    return pairs


def expect_closed(host_end):
    try:
        assert host_end.recv(1) == b""
    except ConnectionResetError:
        pass


def expect_conversation(guest, listener):
    g = guest.connect()
    h = listener.accept()
    g.sendall(b"again")
    h.sendall(b"AGAIN")
    assert receive_exactly(h, 5) == b"again"
    assert receive_exactly(g, 5) == b"AGAIN"


@pytest.mark.parametrize("times", [1, 5])
def test_stream_server_sees_clients_come_and_go(make_guest, listen, socket_path, processes, times):
    listener = listen(socket_path)
    guest = make_guest("stream").start(f"600:unix:{socket_path}")
    for _ in range(times):
        pairs = open_connections(guest, listener, 10)
        guest.bridge.terminate()
        guest.bridge.wait(5)
        for _, h in pairs:
            expect_closed(h)
        guest.attach([600])
    expect_conversation(guest, listener)
    assert guest.daemon.process.poll() is None


def test_stream_client_reconnects(make_guest, listen, socket_path, directory):
    listener = listen(socket_path)
    guest = make_guest("stream-client").start(f"600:unix:{socket_path}")
    pairs = open_connections(guest, listener, 10)
    guest.bridge.terminate()
    guest.bridge.wait(5)
    for _, h in pairs:
        expect_closed(h)
    (directory / "link.sock").unlink()
    guest.bridge = guest.start_bridge("listen")
    guest.attach([600])
    expect_conversation(guest, listener)


def test_stream_client_waits_for_a_listener(make_guest, listen, socket_path, directory):
    """The daemon is there first."""
    listener = listen(socket_path)
    guest = make_guest("stream-client")
    path = directory / "link.sock"
    args = ["--link", f"stream,path={path}", "-vmchannel", f"600:unix:{socket_path}"]
    guest.daemon = Daemon(guest.processes, guest.vmchannel, args)
    guest.daemon.wait_for_log(str(path))
    guest.bridge = guest.start_bridge("listen")
    guest.attach([600])
    expect_conversation(guest, listener)


def test_second_client_of_a_stream_server_does_no_harm(make_guest, listen, socket_path, directory):
    listener = listen(socket_path)
    guest = make_guest("stream").start(f"600:unix:{socket_path}")
    [(g, h)] = open_connections(guest, listener, 1)
    with socket.socket(socket.AF_UNIX) as second:
        second.settimeout(1)
        try:
            second.connect(f"{directory}/link.sock")
            second.sendall((60).to_bytes(4, "big") + bytes(60))
            second.recv(1)
        except (TimeoutError, ConnectionError):
            pass
        g.sendall(b"still mine")
        assert receive_exactly(h, 10) == b"still mine"


@pytest.mark.parametrize("words", [
    b"\xff\xff\xff\xff" + bytes(100), b"\0\0\0\0" * 50, b"\0\0\0", b"\0\1\xff\xff" + bytes(1000),
], ids=["4 GiB", "zero", "torn", "too long"])
def test_malformed_stream_is_survived(make_guest, listen, socket_path, directory, words):
    listener = listen(socket_path)
    guest = make_guest("stream")
    args = ["--link", guest.link(), "-vmchannel", f"600:unix:{socket_path}"]
    guest.daemon = Daemon(guest.processes, guest.vmchannel, args)
    guest.daemon.wait_for_log("ready")  # the path is there a moment before its listener
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{directory}/link.sock")
        s.sendall(words)
    guest.attach([600])
    expect_conversation(guest, listener)


def test_link_that_comes_and_goes_does_not_fill_the_log(make_guest, socket_path, directory):
    guest = make_guest("stream")
    args = ["--link", guest.link(), "-vmchannel", f"600:unix:{socket_path}"]
    guest.daemon = Daemon(guest.processes, guest.vmchannel, args)
    guest.daemon.wait_for_log("ready")
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{directory}/link.sock")
            s.sendall(b"\xff\xff\xff\xff")
            assert s.recv(1) == b""
    assert "link: down" in guest.daemon.log()
    assert len(guest.daemon.log().splitlines()) < 50


def test_tap_deleted_closes_the_host_ends(make_guest, listen, socket_path):
    listener = listen(socket_path)
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    pairs = open_connections(guest, listener, 10)
    guest.ns.ip("link", "del", "vmc0")
    for _, h in pairs:
        expect_closed(h)


def test_tap_deleted_comes_back(make_guest, listen, socket_path):
    listener = listen(socket_path)
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    guest.ns.ip("link", "del", "vmc0")
    wait_until(lambda: guest.ns.has_link("vmc0"), 10, "the tap made anew")
    guest.configure("vmc0")
    expect_conversation(guest, listener)


def test_packet_interface_deleted_and_made_anew(make_guest, listen, socket_path):
    """It is opened anew in its namespace, by the starter."""
    listener = listen(socket_path)
    guest = make_guest("packet").start(f"600:unix:{socket_path}")
    expect_conversation(guest, listener)
    far = guest.namespaces[1]
    far.ip("link", "del", "far0")
    guest.daemon.wait_for_log("link: down")
    guest.ns.ip("link", "add", "vmc0", "type", "veth", "peer", "name", "far0", "netns", far.name)
    far.ip("link", "set", "far0", "up")
    guest.attach([600])
    expect_conversation(guest, listener)


def test_tap_down_and_up_keeps_connections(make_guest, listen, socket_path):
    listener = listen(socket_path)
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    [(g, h)] = open_connections(guest, listener, 1)
    guest.ns.ip("link", "set", "vmc0", "down")
    h.sendall(b"meanwhile")
    guest.ns.ip("link", "set", "vmc0", "up")
    assert receive_exactly(g, 9) == b"meanwhile"


def test_tap_made_beforehand_is_used_and_kept(make_guest, listen, socket_path):
    listener = listen(socket_path)
    guest = make_guest("tap")
    guest.ns.ip("tuntap", "add", "vmc0", "mode", "tap", "vnet_hdr")
    guest.start(f"600:unix:{socket_path}")
    guest.daemon.wait_for_log("ready")
    expect_conversation(guest, listener)
    assert guest.daemon.stop() == 0
    assert guest.ns.has_link("vmc0")


def test_stream_by_descriptor_ends_with_its_peer(processes, vmchannel, directory):
    ours, theirs = socket.socketpair()
    args = ["--link", f"stream,fd={theirs.fileno()}", "-vmchannel", "600:unix:/nonexistent"]
    with ours:
        daemon = Daemon(processes, vmchannel, args, pass_fds=[theirs.fileno()])
        theirs.close()
        assert ask_arp_by_stream(ours, CHANNEL)
    assert daemon.process.wait(5) == 0


@pytest.mark.parametrize("role", ["server", "client"])
def test_stream_over_tcp(processes, vmchannel, directory, role):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if role == "server":
            listener.close()  # its port is free again, and ours
        link = f"stream,addr=127.0.0.1:{port},server={'on' if role == 'server' else 'off'}"
        args = ["--link", link, "-vmchannel", "600:unix:/nonexistent"]
        daemon = Daemon(processes, vmchannel, args)
        daemon.wait_for_log("ready")
        for _ in range(2):  # the second time after the peer left
            if role == "server":
                s = socket.create_connection(("127.0.0.1", port))
            else:
                listener.settimeout(5)
                s, _ = listener.accept()
            with s:
                assert ask_arp_by_stream(s, CHANNEL)
        assert daemon.stop() == 0


def qemu(*netdev):
    return ["qemu-system-x86_64", "-netdev", ",".join(["stream,id=n0,addr.type=unix", *netdev]),
            "-device", "virtio-net-pci,netdev=n0"]


@pytest.mark.timeout(90)
def test_qemu_restarted_while_we_listen(
    processes, vmchannel, system, listen, socket_path, directory
):
    service = listen(socket_path)
    link = directory / "link.sock"
    args = ["--link", f"stream,path={link},server=on", "-vmchannel", f"600:unix:{socket_path}"]
    daemon = Daemon(processes, vmchannel, args)
    daemon.wait_until_up(link.exists, "the link's socket")
    for _ in range(2):
        machine = Machine(processes, system, qemu(f"addr.path={link},server=off")).wait_booted()
        machine.dhcp()
        machine.sh(f"guestprobe script {CHANNEL} 600 send:hello sleep:60000 >/dev/null &")
        h = service.accept()
        assert receive_exactly(h, 6) == b"hello\n"
        machine.process.kill()
        machine.wait_ended()
        expect_closed(h)


@pytest.mark.timeout(90)
def test_daemon_restarted_under_a_listening_qemu(
    processes, vmchannel, system, listen, socket_path, directory
):
    """The mode that survives restarts of either side: QEMU server=on and us connecting."""
    listen(socket_path, answer_lines)
    link = directory / "link.sock"
    machine = Machine(processes, system, qemu(f"addr.path={link},server=on"))
    args = ["--link", f"stream,path={link}", "-vmchannel", f"600:unix:{socket_path}"]
    first = Daemon(processes, vmchannel, args)
    machine.wait_booted().dhcp()
    assert machine.probe("talk", CHANNEL, 600, 2)["error"] == ""
    assert first.stop() == 0
    Daemon(processes, vmchannel, args)
    assert machine.probe("talk", CHANNEL, 600, 2)["error"] == ""
    assert machine.power_off() == 0
    link.unlink(missing_ok=True)

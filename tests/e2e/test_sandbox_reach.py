# SPDX-License-Identifier: BSD-3-Clause
"""What must work in the sandbox: each kind of device and of link moves bytes there, and the worker
is the same afterwards. What they mean is tested elsewhere; tests/seccomp/check.py runs these again,
each time with a system call less."""

import os
import select
import socket
import struct
import threading

import pytest

from harness.daemon import Daemon
from harness.processes import children_of, wait_until
from harness.services import receive_exactly

MAC = bytes.fromhex("525500000015")
WHO_HAS = struct.pack(">6s6sHHHBBH6s4s6s4s", b"\xff" * 6, MAC, 0x0806, 1, 0x0800, 6, 4, 1, MAC,
                      socket.inet_aton("10.0.2.15"), bytes(6), socket.inet_aton("10.0.2.4"))


def is_locked_up(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return "Seccomp:\t2" in status.read()
    except FileNotFoundError:  # has ended since it was listed
        return False


def worker_of(daemon):
    """The broker's child that is in the sandbox; others are commands."""

    def workers():
        return [pid for pid in children_of(daemon.process.pid) if is_locked_up(pid)]

    [worker] = wait_until(workers, what="a worker")
    return worker


@pytest.fixture(params=["packet", "netns"])
def any_guest(request, make_guest):
    """Once with our own TCP, once with the kernel's, whose relay is another one."""
    return make_guest(request.param)


@pytest.fixture
def start(any_guest):
    """start(DEVICE) -> a connection of the guest to it. The worker must outlive the test."""
    pids = []

    def make(device, *options):
        any_guest.start(f"600:{device}", options=options)
        connection = any_guest.connect()
        pids.append(worker_of(any_guest.daemon))
        return connection

    yield make
    assert pids == [worker_of(any_guest.daemon)], any_guest.daemon.log()


def resident_kib(pid):
    [line] = [l for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS:")]
    return int(line.split()[1])


def read_some(fd, count):
    data = b""
    while len(data) < count:
        assert select.select([fd], [], [], 5)[0], f"only {data!r}"
        data += os.read(fd, count - len(data))
    return data


def test_file(start, directory):
    g = start(f"file:{directory}/out")
    g.sendall(b"hello")
    wait_until(lambda: (directory / "out").read_bytes() == b"hello", what="hello in the file")
    g.close()


def test_log_file(start, directory):
    g = start(f"null,logfile={directory}/log")
    g.sendall(b"hello")
    wait_until(lambda: (directory / "log").read_bytes() == b"hello", what="hello in the log")
    g.close()


def test_pipe(start, directory):
    for way in ("in", "out"):
        os.mkfifo(directory / f"p.{way}")
    out = os.open(directory / "p.out", os.O_RDWR)
    into = os.open(directory / "p.in", os.O_RDWR)
    g = start(f"pipe:{directory}/p")
    g.sendall(b"hello")
    assert read_some(out, 5) == b"hello"
    os.write(into, b"world")
    assert receive_exactly(g, 5) == b"world"
    g.close()
    os.close(out)
    os.close(into)


def test_pty(start, directory):
    g = start(f"pty:{directory}/tty")
    tty = os.open(directory / "tty", os.O_RDWR | os.O_NOCTTY)
    os.write(tty, b"world")
    assert receive_exactly(g, 5) == b"world"
    g.sendall(b"hello")
    assert read_some(tty, 5) == b"hello"
    g.close()
    os.close(tty)


def test_udp(start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(5)
        g = start(f"udp:127.0.0.1:{s.getsockname()[1]}")
        g.sendall(b"hello")
        data, peer = s.recvfrom(100)
        assert data == b"hello"
        s.sendto(b"world", peer)
        assert receive_exactly(g, 5) == b"world"
        g.close()


def test_command(start):
    g = start("cmd:cat")
    g.sendall(b"hello")
    assert receive_exactly(g, 5) == b"hello"
    g.close()


def test_telnet(start, listen, socket_path):
    listener = listen(socket_path)
    g = start(f"unix:{socket_path},telnet=on")
    h = listener.accept()
    g.sendall(b"he\xffllo")
    assert b"he\xff\xffllo" in receive_exactly(h, 7)
    h.sendall(b"wo\xff\xffrld")
    assert receive_exactly(g, 6) == b"wo\xffrld"
    g.close()


def test_many_bytes_and_a_reset(start, listen, socket_path):
    """Rings fill, blocks are given back; the service is killed with bytes under way."""
    listener = listen(socket_path)
    g = start(f"unix:{socket_path}")
    h = listener.accept()
    data = os.urandom(4 << 20)
    sender = threading.Thread(target=g.sendall, args=(data,))
    sender.start()
    assert receive_exactly(h, len(data)) == data
    sender.join()
    sender = threading.Thread(target=h.sendall, args=(data,))
    sender.start()
    assert receive_exactly(g, len(data)) == data
    sender.join()
    h.sendall(b"last")
    g.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    g.close()
    with pytest.raises(ConnectionError):
        while h.recv(100):
            pass
        raise ConnectionError("the end is as good")


def test_guest_that_reads_late(start, listen, socket_path):
    """The service ends by a reset, with bytes that the guest has not read."""
    listener = listen(socket_path)
    g = start(f"unix:{socket_path}")
    h = listener.accept()
    g.sendall(b"unread")
    wait_until(lambda: select.select([h], [], [], 0)[0], what="its bytes")
    h.sendall(b"x" * 100000)
    h.close()  # a reset: there were unread bytes
    assert receive_exactly(g, 100000) == b"x" * 100000
    with pytest.raises(ConnectionResetError):
        g.recv(1)
    g.close()


def test_memory_is_given_back(make_guest, listen, socket_path):
    """Of the rings of many connections that stalled at once and ended."""
    listener = listen(socket_path)
    guest = make_guest("packet").start(f"600:unix:{socket_path}")
    worker = worker_of(guest.daemon)
    before = resident_kib(worker)
    pairs = []
    for _ in range(20):
        g = guest.connect()
        pairs.append((g, listener.accept()))
        g.setblocking(False)

    def rings_are_full():
        for g, _ in pairs:
            try:
                while True:
                    g.send(bytes(1 << 16))
            except BlockingIOError:
                pass
        return resident_kib(worker) > before + 20 * 400

    wait_until(rings_are_full, what="full rings")
    for g, h in pairs:
        h.close()
        g.close()
    # At most once in a second, when there is something to do: each ping is.
    wait_until(lambda: guest.pings() and resident_kib(worker) < before + 10 * 512,
               what="less memory")
    assert worker_of(guest.daemon) == worker


def test_many_connections(start, any_guest, listen, socket_path):
    """Tables grow."""
    listener = listen(socket_path)
    first = start(f"unix:{socket_path}")
    pairs = [(first, listener.accept())]
    for _ in range(150):
        g = any_guest.connect()
        pairs.append((g, listener.accept()))
    for g, h in pairs:
        g.close()
    for _, h in pairs:
        assert h.recv(1) == b""
        h.close()


def test_many_connections_with_a_codec(start, any_guest, listen, socket_path):
    """Each has memory of its own: the heap grows."""
    listener = listen(socket_path)
    pairs = [(start(f"unix:{socket_path},telnet=on"), listener.accept())]
    for _ in range(30):
        g = any_guest.connect()
        pairs.append((g, listener.accept()))
    for g, h in pairs:
        g.sendall(b"he\xffllo")
        assert receive_exactly(h, 7) == b"he\xff\xffllo"
    for g, _ in pairs:
        g.close()


# --- links -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tap", "stream", "stream-client"])
def test_frame_link(make_guest, listen, socket_path, kind):
    listener = listen(socket_path)
    guest = make_guest(kind).start(f"600:unix:{socket_path}")
    worker = worker_of(guest.daemon)
    g = guest.connect()
    h = listener.accept()
    h.sendall(b"x" * 100000)
    assert receive_exactly(g, 100000) == b"x" * 100000
    g.close()
    assert worker_of(guest.daemon) == worker


def test_packet_link_whose_interface_goes_down(make_guest, listen, socket_path):
    listen(socket_path)
    guest = make_guest("packet").start(f"600:unix:{socket_path}")
    worker = worker_of(guest.daemon)
    assert guest.pings()
    guest.namespaces[1].ip("link", "set", "far0", "down")
    guest.namespaces[1].ip("link", "set", "far0", "up")
    wait_until(guest.pings, what="an answer again")
    assert worker_of(guest.daemon) == worker


def answers_arp(s):
    s.settimeout(5)
    for _ in range(20):  # frames come and go in batches
        s.send(WHO_HAS)
    for _ in range(20):
        frame = s.recv(2000)
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
            return True
    return False


def test_message_link_by_seqpacket(processes, vmchannel, directory):
    path = directory / "link.sock"
    daemon = Daemon(processes, vmchannel, ["--link", f"message,seqpacket={path},server=on",
                                           "-vmchannel", "600:null"])
    daemon.wait_until_up(path.exists, "the socket")
    worker = worker_of(daemon)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(str(path))
        assert answers_arp(s)
    wait_until(lambda: "link: down" in daemon.log(), what="the end of the link")
    assert worker_of(daemon) == worker


def test_message_link_by_datagrams(processes, vmchannel, directory):
    path, peer = directory / "link.sock", directory / "peer.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(peer))
        daemon = Daemon(processes, vmchannel, ["--link", f"message,path={path},peer={peer}",
                                               "-vmchannel", "600:null"])
        daemon.wait_until_up(path.exists, "the socket")
        worker = worker_of(daemon)

        def joined():
            try:
                s.connect(str(path))
                return True
            except OSError:
                return False

        wait_until(joined, what="the link")
        assert answers_arp(s)
        assert worker_of(daemon) == worker
    peer.unlink()


def test_hybrid_link(processes, vmchannel, directory):
    daemon = Daemon(processes, vmchannel, ["--link", f"hybrid,path={directory}/v", "-vmchannel",
                                           "600:cmd:cat"])
    path = directory / "v_600"
    daemon.wait_until_up(path.exists, "the socket")
    worker = worker_of(daemon)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(str(path))
        s.sendall(b"hello")
        assert receive_exactly(s, 5) == b"hello"
    assert worker_of(daemon) == worker


def test_end_in_order(make_guest, listen, socket_path):
    """The worker ends by itself when the broker goes, and says nothing."""
    listen(socket_path)
    guest = make_guest("packet").start(f"600:unix:{socket_path}")
    worker_of(guest.daemon)
    assert guest.daemon.stop() == 0
    assert "worker" not in guest.daemon.log()

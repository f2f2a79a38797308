# SPDX-License-Identifier: BSD-3-Clause
"""-vmchannel-in (design 3.11): the host begins. Clients of a listening device become connections to
a port of the guest's; with * each says which, as clients of Firecracker's vsock device do."""

import hashlib
import os
import signal
import socket
import threading
import time

import pytest

from harness.guests import FRAME_KINDS
from harness.processes import wait_until
from harness.services import receive_all, receive_exactly
from test_rendezvous import converse, host_client

GUEST = "10.0.2.15"
MIB = 1 << 20


@pytest.fixture(params=FRAME_KINDS)
def guest(make_guest, request):
    return make_guest(request.param)


def listener_in(guest, port=22):
    s = guest.ns.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((GUEST, port))
    s.listen(64)
    s.settimeout(10)
    return s


def accept(listener):
    connection, peer = listener.accept()
    connection.settimeout(10)
    return connection, peer


def test_each_client_is_a_connection_of_its_own(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path}"])
    with listener_in(guest) as listener:
        clients = [host_client(socket_path) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(bytes([number]))
        pairs = {}
        for _ in clients:
            connection, (addr, _) = accept(listener)
            assert addr == "10.0.2.4"
            pairs[receive_exactly(connection, 1)[0]] = connection
        assert sorted(pairs) == list(range(20))
        for number, client in enumerate(clients):
            converse(pairs[number], client)


def test_16_mib_each_way(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path}"])
    with listener_in(guest) as listener:
        client = host_client(socket_path)
        connection, _ = accept(listener)
    sent = {client: os.urandom(16 * MIB), connection: os.urandom(16 * MIB)}
    got = {}

    def send(s):
        s.sendall(sent[s])
        s.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=send, args=(s,)) for s in sent]
    threads += [
        threading.Thread(target=lambda s=s: got.update({s: receive_all(s)})) for s in sent
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert hashlib.sha256(got[client]).digest() == hashlib.sha256(sent[connection]).digest()
    assert hashlib.sha256(got[connection]).digest() == hashlib.sha256(sent[client]).digest()


def test_half_close_each_way(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path}"])
    with listener_in(guest) as listener:
        for first in ("host", "guest"):
            ends = {"host": host_client(socket_path), "guest": accept(listener)[0]}
            one, other = ends.pop(first), *ends.values()
            one.sendall(b"all I have to say")
            one.shutdown(socket.SHUT_WR)
            assert receive_all(other) == b"all I have to say"
            other.sendall(b"and the answer")
            other.close()
            assert receive_all(one) == b"and the answer"


def test_port_without_listener_closes_the_client_and_the_next_one_works(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path}"])
    began = time.monotonic()
    assert receive_all(host_client(socket_path)) == b""
    assert time.monotonic() - began < 1
    with listener_in(guest) as listener:
        client = host_client(socket_path)
        converse(accept(listener)[0], client)


def test_guest_resets_and_host_resets(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path}"])
    with listener_in(guest) as listener:
        client = host_client(socket_path)
        connection, _ = accept(listener)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
        client = host_client(socket_path)
        connection, _ = accept(listener)
        connection.sendall(b"never read")
        time.sleep(0.1)
        client.close()  # with a byte unread: the connection breaks
        with pytest.raises(OSError):
            for _ in range(50):
                connection.sendall(b"more")
                time.sleep(0.02)


def test_max_closes_the_client_that_is_one_too_many(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path},max=1"])
    with listener_in(guest) as listener:
        first = host_client(socket_path)
        connection, _ = accept(listener)
        assert receive_all(host_client(socket_path)) == b""
        converse(connection, first)
        guest.daemon.wait_for_log("channel 22", "as many as it may")


def test_the_guest_cannot_use_it_from_its_side(guest, socket_path):
    guest.start(inward=[f"22:unix:{socket_path}"])
    with pytest.raises(ConnectionRefusedError):
        guest.connect(22)


def test_client_waits_for_the_link(make_guest, socket_path):
    guest = make_guest("stream")
    early = []

    def attach(ports):
        early.append(host_client(socket_path))
        type(guest).attach(guest, ports)

    guest.attach = attach
    # It listens before its interface has an address.
    with guest.ns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", 22))
        listener.listen()
        listener.settimeout(10)
        guest.start(inward=[f"22:unix:{socket_path}"])
        converse(accept(listener)[0], early[0])


def test_link_that_goes_closes_the_clients(make_guest, socket_path):
    guest = make_guest("stream").start(
        inward=[f"22:unix:{socket_path}", f"*:unix:{socket_path}.any"])
    with listener_in(guest) as listener:
        client, silent = host_client(socket_path), socket.socket(socket.AF_UNIX)
        silent.settimeout(10)
        silent.connect(f"{socket_path}.any")
        accept(listener)
        guest.bridge.terminate()
        assert receive_all(client) == b""
        assert receive_all(silent) == b""


def test_worker_that_dies_serves_the_next_client(make_guest, socket_path):
    guest = make_guest("tap").start(inward=[f"22:unix:{socket_path}"])
    with listener_in(guest) as listener:
        client = host_client(socket_path)
        accept(listener)
        os.kill(guest.daemon.worker(), signal.SIGKILL)
        assert receive_all(client) == b""
        guest.daemon.wait_for_log("worker: ended by signal 9")
        client = host_client(socket_path)
        converse(accept(listener)[0], client)


# --- clients that name the port ------------------------------------------------------------------


def call(path, text):
    client = host_client(path)
    client.sendall(text)
    return client


def read_ok(client):
    line = b""
    while not line.endswith(b"\n"):
        byte = client.recv(1)
        assert byte, line
        line += byte
    assert line.startswith(b"OK ") and 1024 <= int(line[3:]) <= 65535
    return int(line[3:])


def test_client_names_the_port(guest, socket_path):
    guest.start(inward=[f"*:unix:{socket_path}"])
    with listener_in(guest, 22) as ssh, listener_in(guest, 8080) as web:
        for listener, port in ((ssh, 22), (web, 8080)):
            client = call(socket_path, b"CONNECT %d\n" % port)
            connection, (_, from_port) = accept(listener)
            assert read_ok(client) == from_port
            converse(connection, client)


def test_what_follows_the_line_is_the_guests(guest, socket_path):
    guest.start(inward=[f"*:unix:{socket_path}"])
    with listener_in(guest) as listener:
        client = call(socket_path, b"CONNECT 22\nright behind it")
        connection, _ = accept(listener)
        assert receive_exactly(connection, 15) == b"right behind it"
        read_ok(client)


def test_line_in_pieces(guest, socket_path):
    guest.start(inward=[f"*:unix:{socket_path}"])
    with listener_in(guest) as listener:
        client = host_client(socket_path)
        for byte in b"connect 22\n":
            client.sendall(bytes([byte]))
            time.sleep(0.01)
        connection, _ = accept(listener)
        read_ok(client)
        converse(connection, client)


@pytest.mark.parametrize("line", [
    b"\n", b"CONNECT \n", b"CONNECT 0\n", b"CONNECT 65536\n", b"CONNECT 100000\n", b"CONNECT -1\n",
    b"CONNECT 22 \n", b"CONNECT22\n", b"GET / HTTP/1.1\r\n", b"C" * 32, b"CONNECT 22\0\n",
], ids=lambda line: repr(line)[2:-1][:20])
def test_bad_line_closes_the_client_alone(make_guest, socket_path, line):
    guest = make_guest("tap").start(inward=[f"*:unix:{socket_path}"])
    with listener_in(guest) as listener:
        bad = call(socket_path, line)
        try:
            assert bad.recv(1) == b""
        except ConnectionResetError:
            pass
        client = call(socket_path, b"CONNECT 22\n")
        accept(listener)
        read_ok(client)


def test_port_without_listener_gets_no_ok(guest, socket_path):
    guest.start(inward=[f"*:unix:{socket_path}"])
    assert receive_all(call(socket_path, b"CONNECT 99\n")) == b""


def test_log_lines_call_it_by_a_star(make_guest, socket_path, directory):
    guest = make_guest("tap").start(inward=[f"*:unix:{socket_path}"], options=["-vv"])
    with listener_in(guest) as listener:
        client = call(socket_path, b"CONNECT 22\n")
        accept(listener)
        read_ok(client)
        client.close()
        call(socket_path, b"hello\n")
    guest.daemon.wait_for_log("channel *: conn 0: connected")
    guest.daemon.wait_for_log("channel *: host client dropped: its first line is not CONNECT")
    assert "channel 0" not in guest.daemon.log()


def test_silent_clients_are_dropped_and_block_nobody_else(make_guest, socket_path):
    guest = make_guest("tap").start(inward=[f"*:unix:{socket_path}", f"22:unix:{socket_path}.ssh"])
    with listener_in(guest) as listener:
        silent = [host_client(socket_path) for _ in range(100)]  # more than may be under way
        other = socket.socket(socket.AF_UNIX)
        other.connect(f"{socket_path}.ssh")
        other.settimeout(10)
        converse(accept(listener)[0], other)
        assert silent[0].recv(1) == b""  # after five seconds
        client = call(socket_path, b"CONNECT 22\n")
        for waiting in silent:
            waiting.close()
        accept(listener)
        read_ok(client)


def test_memory_of_a_thousand_clients_is_given_back(make_guest, socket_path):
    guest = make_guest("tap").start(inward=[f"*:unix:{socket_path}"])
    fds = f"/proc/{guest.daemon.worker()}/fd"
    with listener_in(guest) as listener:
        with call(socket_path, b"CONNECT 22\n") as first:  # by then the worker has its link
            accept(listener)[0].close()
            assert receive_all(first).startswith(b"OK")
        before = len(os.listdir(fds))
        for _ in range(1000):
            client = call(socket_path, b"CONNECT 22\n")
            connection, _ = accept(listener)
            read_ok(client)
            client.close()
            assert receive_all(connection) == b""
            connection.close()
        wait_until(lambda: len(os.listdir(fds)) <= before, what="descriptors to be closed")

# SPDX-License-Identifier: BSD-3-Clause
"""Refused means refused (design 3.2): at once, with a reason in the log, and without a hold on
anything else; or retried, where the channel says so."""

import errno
import socket
import statistics
import threading
import time

import pytest

from harness.guests import CHANNEL
from harness.services import echo, receive_exactly

QUICK_MS = 50


def expect_quick_refusal(guest, port=600):
    """Of five attempts all are refused, and the median is quick: one may meet a busy machine."""
    attempts = [guest.refusal(port) for _ in range(5)]
    assert [errno.errorcode.get(a[0], a[0]) for a in attempts] == ["ECONNREFUSED"] * 5
    assert statistics.median(a[1] for a in attempts) < QUICK_MS


def fill_backlog(path) -> list[socket.socket]:
    """Connects, unaccepted, until the listener takes no more."""
    clients = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(str(path))
        except BlockingIOError:
            client.close()
            return clients
        clients.append(client)


class Attempt(threading.Thread):
    """A connect in the guest that is expected to take its time."""

    def __init__(self, guest, port=600):
        super().__init__(daemon=True)
        self.guest, self.port = guest, port
        self.result = None
        self.start()

    def run(self):
        try:
            self.result = self.guest.connect(self.port)
        except OSError as e:
            self.result = e

    def connection(self) -> socket.socket:
        self.join(10)
        assert isinstance(self.result, socket.socket), f"connect ended so: {self.result}"
        return self.result


def expect_held(guest, attempt, seconds):
    """Not connected; a socket link's kernel has answered the SYN, but neither data nor end come."""
    if guest.is_frames:
        attempt.join(seconds)
        assert attempt.result is None, f"not held: {attempt.result}"
    else:
        s = attempt.connection()
        s.settimeout(seconds)
        with pytest.raises(TimeoutError):
            s.recv(1)
        s.settimeout(10)


def expect_prompt_echo(guest, port, count=200):
    """The best of three: what is blocked is so each time, what a busy machine delays is not."""
    results = []
    while not results or results[-1]["p99_ms"] >= 10:
        assert len(results) < 3, results
        results.append(guest.probe("latency", CHANNEL, port, count, 16))
        assert results[-1]["error"] == ""


def test_service_absent(guest, socket_path):
    guest.start(f"600:unix:{socket_path}")
    expect_quick_refusal(guest)
    line = guest.daemon.wait_for_log(str(socket_path))
    assert "No such file or directory" in line
    assert "600" in line


def test_nobody_listens_on_the_socket(guest, listen, socket_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    guest.start(f"600:unix:{socket_path}")
    expect_quick_refusal(guest)
    assert "Connection refused" in guest.daemon.wait_for_log(str(socket_path))
    socket_path.unlink()


def test_path_is_no_socket(guest, directory):
    path = directory / "plain.txt"
    path.write_text("no socket")
    guest.start(f"600:unix:{path}")
    expect_quick_refusal(guest)
    guest.daemon.wait_for_log(str(path))
    assert path.read_text() == "no socket"


def test_closed_port(guest, socket_path):
    guest.start(f"600:unix:{socket_path}")
    expect_quick_refusal(guest, 666)


def test_refusals_are_logged_but_do_not_flood(guest, socket_path):
    guest.start(f"600:unix:{socket_path}")
    guest.refusal()
    guest.daemon.wait_for_log(str(socket_path))
    for _ in range(300):
        guest.refusal()
    assert len(guest.daemon.log().splitlines()) < 100


def test_over_the_limit_of_the_channel(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},max=2")
    pairs = [(guest.connect(), service.accept()) for _ in range(2)]
    expect_quick_refusal(guest)
    for end in pairs[0]:
        end.close()
    time.sleep(0.1)
    g = guest.connect()
    service.accept().sendall(b"hello")
    assert receive_exactly(g, 5) == b"hello"


def test_opened_too_fast(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},conn-rate=3")
    pairs = [(guest.connect(), service.accept()) for _ in range(3)]
    expect_quick_refusal(guest)
    assert "more than 3 connections per second" in guest.daemon.wait_for_log("refused")
    time.sleep(1)
    pairs += [(guest.connect(), service.accept()) for _ in range(3)]
    for g, h in pairs:
        h.sendall(b"hello")
        assert receive_exactly(g, 5) == b"hello"


@pytest.mark.parametrize("more", ["", ",logfile={}/log"], ids=["raw", "logged"])
def test_idle_for_too_long(guest, listen, socket_path, directory, more):
    """With a log file a socket link copies instead of splicing."""
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},idle=1" + more.format(directory))
    began = time.monotonic()
    idle, busy = [(guest.connect(), service.accept()) for _ in range(2)]
    idle[0].settimeout(0.2)
    with pytest.raises(ConnectionResetError):
        while time.monotonic() < began + 5:
            busy[0].sendall(b"x")
            assert receive_exactly(busy[1], 1) == b"x"
            try:
                idle[0].recv(1)
            except TimeoutError:
                pass
    assert 1 <= time.monotonic() - began < 3
    try:
        assert idle[1].recv(1) == b""
    except ConnectionResetError:
        pass
    busy[1].sendall(b"alive")
    assert receive_exactly(busy[0], 5) == b"alive"


def test_backlog_full_is_refused_and_blocks_nothing(guest, listen, socket_path, directory):
    full = listen(socket_path, backlog=1)
    listen(directory / "echo.sock", echo)
    guest.start(f"600:unix:{socket_path}", f"601:unix:{directory}/echo.sock")
    clients = fill_backlog(socket_path)
    expect_quick_refusal(guest)
    assert "Resource temporarily unavailable" in guest.daemon.wait_for_log(str(socket_path))
    expect_prompt_echo(guest, 601)
    # Once the service has accepted again, the next connection works.
    for client in clients:
        full.accept()
        client.close()
    g = guest.connect()
    full.accept().sendall(b"hello")
    assert receive_exactly(g, 5) == b"hello"


def test_backlog_full_is_retried_with_reconnect(guest, listen, socket_path, directory):
    full = listen(socket_path, backlog=1)
    listen(directory / "echo.sock", echo)
    guest.start(f"600:unix:{socket_path},reconnect=1", f"601:unix:{directory}/echo.sock")
    clients = fill_backlog(socket_path)
    attempt = Attempt(guest)
    expect_held(guest, attempt, 0.5)
    expect_prompt_echo(guest, 601)
    for client in clients:
        full.accept()
        client.close()
    full.accept().sendall(b"at last")
    assert receive_exactly(attempt.connection(), 7) == b"at last"


def test_absent_service_is_waited_for_with_reconnect(guest, listen, socket_path):
    guest.start(f"600:unix:{socket_path},reconnect=1")
    attempt = Attempt(guest)
    expect_held(guest, attempt, 1.3)
    service = listen(socket_path)
    began = time.monotonic()
    service.accept().sendall(b"at last")
    assert receive_exactly(attempt.connection(), 7) == b"at last"
    assert time.monotonic() - began < 4


def test_guest_that_gives_up_a_held_connect_leaves_nothing(frame_guest, listen, socket_path):
    frame_guest.start(f"600:unix:{socket_path},reconnect=1")
    with pytest.raises(TimeoutError):
        frame_guest.connect(timeout=0.3)
    service = listen(socket_path)
    g = frame_guest.connect()
    g.sendall(b"mine")
    # The one given up may still be opened in vain, but not be mistaken for this one.
    deadline = time.monotonic() + 5
    while (data := service.accept().recv(4)) != b"mine":
        assert data == b"" and time.monotonic() < deadline


@pytest.mark.timeout(60)
def test_service_that_never_reads_stalls_itself_alone(guest, listen, socket_path, directory):
    stalled_service = listen(socket_path)
    listen(directory / "echo.sock", echo)
    guest.start(f"600:unix:{socket_path}", f"601:unix:{directory}/echo.sock")
    stalled = guest.connect()
    host_end = stalled_service.accept()
    stalled.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 256 << 20:
            sent += stalled.send(bytes(65536))
    expect_prompt_echo(guest, 601, 1000)
    assert guest.pings(count=3)
    # On the same channel, too.
    other = guest.connect()
    stalled_service.accept().sendall(b"hello")
    assert receive_exactly(other, 5) == b"hello"
    # And no byte of the stalled one was lost.
    host_end.settimeout(10)
    assert receive_exactly_count(host_end, sent) == sent


def receive_exactly_count(s, count):
    got = 0
    while got < count:
        part = s.recv(1 << 20)
        assert part
        got += len(part)
    return got


@pytest.mark.timeout(60)
def test_guest_that_never_reads_stalls_itself_alone(guest, listen, socket_path, directory):
    service = listen(socket_path)
    listen(directory / "echo.sock", echo)
    guest.start(f"600:unix:{socket_path}", f"601:unix:{directory}/echo.sock")
    stalled = guest.connect()
    host_end = service.accept()
    host_end.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 256 << 20:
            sent += host_end.send(bytes(65536))
    expect_prompt_echo(guest, 601, 1000)
    host_end.close()
    assert receive_exactly_count(stalled, sent) == sent
    assert stalled.recv(1) == b""

# SPDX-License-Identifier: BSD-3-Clause
"""One host connection per guest connection, and ends that map exactly (design 3.3, 3.7, 3.8): what
QEMU's guestfwd gets wrong. Each test runs on each kind of link."""

import errno
import socket
import time

import pytest

from harness.guests import CHANNEL
from harness.processes import wait_until
from harness.services import answer_lines, receive_all, receive_exactly, reset, send_and_close


def expect_reset(s: socket.socket) -> bytes:
    """What comes before the connection is reset."""
    data = b""
    try:
        while part := s.recv(65536):
            data += part
    except ConnectionResetError:
        return data
    pytest.fail(f"an orderly end instead of a reset, after {data!r}")


@pytest.mark.parametrize("count", [2, 200])
def test_concurrent_connections_are_separate(guest, listen, socket_path, count):
    service = listen(socket_path, answer_lines)
    guest.start(f"600:unix:{socket_path}")
    told = guest.probe("talk", CHANNEL, 600, count)
    assert told["error"] == ""
    heard = [answer.split(" heard ") for answer in told["answers"]]
    assert [h[1] for h in heard] == [f"guest {i}" for i in range(count)]
    assert {h[0] for h in heard} == {f"host end {i}" for i in range(count)}
    assert len(service.peers) == count


def test_reply_goes_to_its_own_connection(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    first, second = guest.connect(), guest.connect()
    ends = [listener.accept(), listener.accept()]
    first.sendall(b"A")
    second.sendall(b"B")
    by_word = {receive_exactly(end, 1): end for end in ends}
    assert set(by_word) == {b"A", b"B"}
    by_word[b"B"].sendall(b"for B")
    by_word[b"A"].sendall(b"for A")
    assert receive_exactly(first, 5) == b"for A"
    assert receive_exactly(second, 5) == b"for B"


def test_guest_close_reaches_the_host(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    g.sendall(b"last words")
    g.close()
    assert receive_all(h) == b"last words"


def test_host_close_reaches_the_guest(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    h.sendall(b"last words")
    h.close()
    assert receive_all(g) == b"last words"


def test_data_for_the_guest_after_the_guest_half_closed(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    g.sendall(b"question")
    g.shutdown(socket.SHUT_WR)
    assert receive_all(h) == b"question"
    answer = bytes(range(256)) * 4096
    send_and_close(h, answer)
    assert receive_all(g) == answer


def test_data_for_the_host_after_the_host_half_closed(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    h.sendall(b"greeting")
    h.shutdown(socket.SHUT_WR)
    assert receive_all(g) == b"greeting"
    upload = bytes(range(256)) * 4096
    send_and_close(g, upload)
    assert receive_all(h) == upload


def test_half_close_without_a_byte(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    g.shutdown(socket.SHUT_WR)
    assert h.recv(1) == b""
    h.shutdown(socket.SHUT_WR)
    assert g.recv(1) == b""


def test_guest_reset_ends_the_host_end(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    g.sendall(b"half a wo")
    assert receive_exactly(h, 9) == b"half a wo"
    reset(g)
    try:
        assert h.recv(1) == b""
    except ConnectionResetError:
        pass


def test_killed_service_resets_the_guest_after_what_it_said(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    g.sendall(b"never read")
    h.recv(1, socket.MSG_PEEK)  # it has arrived
    h.sendall(b"half an answ")
    h.close()  # with unread data: the kernel makes a reset of it, as of a kill
    assert expect_reset(g) == b"half an answ"


def test_write_to_a_gone_service_is_reset(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    h.close()
    assert g.recv(1) == b""
    # Its own kernel takes a guest's bytes for as long as there is room, so it is given time.
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        for _ in range(1000):
            g.sendall(bytes(1000))
            time.sleep(0.002)


def test_next_connection_works_after_the_service_restarted(guest, listen, socket_path):
    first_life = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = first_life.accept()
    g.sendall(b"before")
    assert receive_exactly(h, 6) == b"before"
    first_life.close()
    g.settimeout(5)
    try:
        assert g.recv(1) == b""
    except ConnectionResetError:
        pass
    assert guest.refusal()[0] == errno.ECONNREFUSED

    second_life = listen(socket_path)
    g = guest.connect()
    h = second_life.accept()
    g.sendall(b"after")
    h.sendall(b"AFTER")
    assert receive_exactly(h, 5) == b"after"
    assert receive_exactly(g, 5) == b"AFTER"


def test_one_connection_ending_leaves_the_others(guest, listen, socket_path):
    listener = listen(socket_path)
    guest.start(f"600:unix:{socket_path}")
    stays = guest.connect()
    stays_host = listener.accept()
    goes = guest.connect()
    goes_host = listener.accept()
    reset(goes)
    goes_host.close()
    stays.sendall(b"still")
    stays_host.sendall(b"here")
    assert receive_exactly(stays_host, 5) == b"still"
    assert receive_exactly(stays, 4) == b"here"


def test_identity_of_the_host_end(guest, listen, socket_path):
    service = listen(socket_path, answer_lines)
    guest.start(f"600:unix:{socket_path}", options=["--name", "vm1"])
    guest.probe("talk", CHANNEL, 600, 3)
    wait_until(lambda: len(service.peers) == 3, what="three connections")
    names = [name.split(b"/") for name in service.peers]
    assert [n[:3] for n in names] == [[b"\0vmchannel", b"vm1", b"600"]] * 3
    assert len({int(n[3]) for n in names}) == 3


def test_only_own_ports_answer(guest, listen, socket_path, directory):
    listen(socket_path, answer_lines)
    other = listen(directory / "other.sock", answer_lines)
    guest.start(f"600:unix:{socket_path}", f"601:unix:{directory}/other.sock")
    assert guest.probe("talk", CHANNEL, 601, 1)["error"] == ""
    assert len(other.peers) == 1
    assert guest.refusal(602)[0] == errno.ECONNREFUSED
    assert guest.refusal(22)[0] == errno.ECONNREFUSED

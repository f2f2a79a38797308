# SPDX-License-Identifier: BSD-3-Clause
"""server=on (design 3.4): the daemon listens, host programs connect, pairs in order of arrival."""

import errno
import os
import socket
import stat

import pytest

from harness.processes import wait_until
from harness.services import receive_all, receive_exactly
from test_refusal import Attempt, expect_held


def host_client(path) -> socket.socket:
    """Once the daemon listens there, which it does a moment after the path is there."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)

    def connected():
        errnum = client.connect_ex(str(path))
        assert errnum in (0, errno.ENOENT, errno.ECONNREFUSED), os.strerror(errnum)
        return errnum == 0

    wait_until(connected, what=f"the daemon's socket {path}")
    return client


def converse(g, h):
    g.sendall(b"from the guest")
    h.sendall(b"from the host")
    assert receive_exactly(h, 14) == b"from the guest"
    assert receive_exactly(g, 13) == b"from the host"


def test_wait_holds_the_guest_until_a_client_is_there(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server=on")
    attempt = Attempt(guest)
    expect_held(guest, attempt, 0.5)
    h = host_client(socket_path)
    converse(attempt.connection(), h)


def test_client_first(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server=on")
    h = host_client(socket_path)
    converse(guest.connect(), h)


def test_nowait_connects_at_once_and_keeps_every_byte(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server,nowait")
    g = guest.connect(timeout=2)
    words = bytes(range(256)) * 64  # less than any ring
    g.sendall(words)
    h = host_client(socket_path)
    assert receive_exactly(h, len(words)) == words
    h.sendall(b"answer")
    assert receive_exactly(g, 6) == b"answer"


def test_nowait_keeps_the_bytes_of_a_guest_that_has_left(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server,nowait")
    g = guest.connect(timeout=2)
    g.sendall(b"gone already")
    g.shutdown(socket.SHUT_WR)
    h = host_client(socket_path)
    assert receive_all(h) == b"gone already"


def test_pairs_in_order_of_arrival(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server,nowait")
    guests, hosts = [], []
    for i in range(3):
        guests.append(guest.connect())
        guests[i].sendall(b"guest %d" % i)
    for i in range(3):
        hosts.append(host_client(socket_path))
    assert [receive_exactly(h, 7) for h in hosts] == [b"guest 0", b"guest 1", b"guest 2"]


def test_next_pair_after_one_has_ended(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server=on")
    for _ in range(3):
        h = host_client(socket_path)
        g = guest.connect()
        converse(g, h)
        g.close()
        assert receive_all(h) == b""
        h.close()


@pytest.mark.parametrize("options", ["server=on", "server,nowait"])
def test_socket_is_private_and_gone_after_stop(make_guest, socket_path, options):
    guest = make_guest("tap").start(f"600:unix:{socket_path},{options}")
    wait_until(socket_path.exists, what="the daemon's socket")
    assert stat.S_IMODE(socket_path.stat().st_mode) & 0o077 == 0
    assert guest.daemon.stop() == 0
    assert not socket_path.exists()


def test_abstract_name(make_guest, directory):
    name = f"vmce2e-{directory.name}"
    guest = make_guest("tap").start(f"600:unix:{name},abstract=on,server=on")
    with socket.socket(socket.AF_UNIX) as h:
        h.settimeout(10)
        h.connect(f"\0{name}")
        converse(guest.connect(), h)

# SPDX-License-Identifier: BSD-3-Clause
"""What a hard limit of descriptors allows: many idle connections, and bulk where none is left."""

import hashlib
import random
import socket
import threading
import time

import pytest

from harness.services import echo, receive_all
from test_link import expect_conversation, open_connections

OWN = 40  # descriptors of a process without connections, generously


def limited(count):
    return ("prlimit", f"--nofile={count}:{count}")


@pytest.mark.parametrize("kind, each", [("tap", 1), ("netns", 2)])
def test_idle_connections_cost_their_sockets_alone(make_guest, listen, socket_path, kind, each):
    listener = listen(socket_path)
    guest = make_guest(kind).start(f"600:unix:{socket_path}", prefix=limited(300 * each + OWN))
    pairs = open_connections(guest, listener, 299)
    expect_conversation(guest, listener)
    assert "Too many open files" not in guest.daemon.log()
    for g, h in pairs[::50]:  # the early ones live
        g.sendall(b"still")
        assert h.recv(5) == b"still"
        h.close()
        assert g.recv(1) == b""


def test_guest_that_takes_all_descriptors_does_not_fill_the_log(make_guest, listen, socket_path):
    listen(socket_path, echo)
    guest = make_guest("netns").start(f"600:unix:{socket_path}", prefix=limited(60))
    held = [guest.connect(timeout=0.5) for _ in range(60)]
    guest.daemon.wait_for_log("Too many open files")
    time.sleep(3)
    lines = [line for line in guest.daemon.log().splitlines() if "Too many open files" in line]
    assert len(lines) < 20, lines
    assert len(held) == 60


def test_bulk_without_a_descriptor_to_spare(make_guest, listen, socket_path):
    """A bulk connection wants pipes. Without, its bytes come all the same."""
    listen(socket_path, echo)
    limit = 60
    guest = make_guest("netns").start(f"600:unix:{socket_path}", prefix=limited(limit))
    idle = []
    while True:  # until a connection is refused
        s = guest.connect(timeout=0.5)
        s.sendall(b"x")
        try:
            assert s.recv(1) == b"x"
        except (TimeoutError, ConnectionResetError):
            s.close()
            break
        idle.append(s)
    assert 10 < len(idle) < limit / 2
    guest.daemon.wait_for_log("Too many open files")

    data = random.Random(1).randbytes(8 << 20)
    bulk = idle[0]
    threading.Thread(target=lambda: (bulk.sendall(data), bulk.shutdown(socket.SHUT_WR)),
                     daemon=True).start()
    back = receive_all(bulk)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()

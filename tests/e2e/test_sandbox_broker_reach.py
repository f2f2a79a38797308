# SPDX-License-Identifier: BSD-3-Clause
"""What must work in a broker that is locked up, where no other test has it done.
tests/seccomp/check.py runs these again, with a system call less."""

import os
import socket
import termios

import pytest

from harness.processes import wait_until
from harness.services import receive_exactly


def settings(fd):
    return termios.tcgetattr(fd)[:4]


def test_terminal_of_ours_is_put_back_at_the_end(make_guest):
    ours, theirs = os.openpty()
    before = settings(theirs)
    guest = make_guest("packet").start("600:stdio", stdin=theirs, stdout=theirs,
                                       prefix=["setsid", "--ctty"])
    wait_until(lambda: settings(theirs) != before, what="a terminal made raw")
    with guest.connect() as g:
        g.sendall(b"hello")
        assert os.read(ours, 5) == b"hello"
        os.write(ours, b"world")
        assert receive_exactly(g, 5) == b"world"
    assert guest.daemon.stop() == 0
    assert settings(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_tcp_by_ipv6(make_guest):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.settimeout(5)
        guest = make_guest("packet").start(f"600:tcp:[::1]:{listener.getsockname()[1]}")
        g = guest.connect()
        h, _ = listener.accept()
        with g, h:
            h.sendall(b"hello")
            assert receive_exactly(g, 5) == b"hello"
    assert guest.daemon.stop() == 0


def test_vsock_where_nobody_listens(make_guest):
    """Whether the machine's kernel has AF_VSOCK or not."""
    guest = make_guest("packet").start("600:vsock:1:4242")
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            guest.connect(timeout=5)
    guest.daemon.wait_for_log("channel 600: vsock:1:4242")
    assert guest.daemon.stop() == 0

# SPDX-License-Identifier: BSD-3-Clause
"""Each call of broker and worker fails, with each error it can have, once and from then on. While
it does, a connection is answered or refused, and hears no byte that was not sent; afterwards the
next one is served, by processes that hold no descriptor more than before."""

import os
import socket
import time

import pytest

from harness.daemon import Daemon
from harness.processes import wait_until
from plan import ROLES, faults

PAYLOAD = bytes(range(256)) * 24
PATIENCE_S = 0.15  # with a conversation under a fault
RECOVERY_S = 3.0   # a link that was lost is tried again each second
KILLS_MOST = 4     # workers of one daemon: each comes later than the one before
NTH_MOST = 4       # of one call in one conversation: those beyond are of the same places


def echo(connection, number):
    while more := connection.recv(65536):
        connection.sendall(more)
    connection.shutdown(socket.SHUT_WR)


@pytest.fixture
def echoing(listen, socket_path):
    listen(socket_path, echo)
    return socket_path


def converse(guest, timeout, port=600):
    """What the guest heard, and whether the end was in order."""
    heard = b""
    try:
        with guest.connect(port, timeout=timeout) as s:
            s.settimeout(timeout)
            s.sendall(PAYLOAD)
            s.shutdown(socket.SHUT_WR)
            while more := s.recv(65536):
                heard += more
            return heard, True
    except OSError:
        return heard, False


def assert_served(guest, fault, total):
    """Within RECOVERY_S: a worker may have to be made, or a link found again."""
    began = time.monotonic()
    while converse(guest, 0.25) != (PAYLOAD, True):
        if guest.daemon.process.poll() is not None:
            pytest.fail(f"{fault}: the daemon ended: {guest.daemon.log()[-1500:]}")
        if time.monotonic() - began > RECOVERY_S:
            pytest.fail(f"{fault}: no connection afterwards: {guest.daemon.log()[-1500:]}")
    total["slow"] += time.monotonic() - began > 1.0


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def run_fault(guest, page, fault, total):
    page.arm(fault)
    heard, in_order = converse(guest, PATIENCE_S)
    page.disarm()
    assert PAYLOAD.startswith(heard), f"{fault}: bytes that were not sent"
    assert not in_order or heard == PAYLOAD, f"{fault}: {len(heard)} bytes, then an end in order"
    assert_served(guest, fault, total)
    injected = page.injected()
    total["injected"] += injected
    total["distinct"] += injected > 0


def counted(guest, page):
    page.count()
    assert converse(guest, 2.0) == (PAYLOAD, True)
    page.disarm()
    return {role: page.counts(role) for role in ROLES}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", ["packet", "netns", "stream-client"])
def test_conversation(make_guest, page, calls, total, echoing, kind, role):
    guest = make_guest(kind)
    guest.start(f"600:unix:{echoing}")
    assert_served(guest, "at first", total)
    counts = counted(guest, page)
    broker = guest.daemon.process.pid
    before = descriptors(broker)
    for fault in faults(calls, counts[role], role, NTH_MOST):
        run_fault(guest, page, fault, total)
    # Connections that timed out here end by and by there.
    wait_until(lambda: descriptors(broker) <= before, 10, "descriptors of the broker given back")


DEVICES = ["tcp", "rendezvous", "pipe", "file", "cmd"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("device", DEVICES)
def test_opening_of_devices(make_guest, page, calls, total, echoing, directory, device):
    """The broker's part for the others: what is opened for a connection of theirs."""
    tcp = socket.create_server(("127.0.0.1", 0))
    os.mkfifo(directory / "fifo")
    text = {"tcp": f"tcp:127.0.0.1:{tcp.getsockname()[1]}", "file": f"file:{directory}/out",
            "rendezvous": f"unix:{directory}/r.sock,server,nowait", "cmd": "cmd:cat",
            "pipe": f"pipe:{directory}/fifo"}[device]
    guest = make_guest("netns")
    guest.start(f"600:unix:{echoing}", f"601:{text}")
    assert_served(guest, "at first", total)

    def touch():
        """The connection itself is judged elsewhere; that it ends is enough."""
        converse(guest, PATIENCE_S, 601)

    page.count()
    touch()
    page.disarm()
    counts = page.counts("broker")
    for fault in faults(calls, counts, "broker", 2):
        page.arm(fault)
        touch()
        page.disarm()
        total["injected"] += page.injected()
        total["distinct"] += page.injected() > 0
        assert_served(guest, fault, total)
    tcp.close()


@pytest.mark.timeout(240)
def test_worker_started_anew(make_guest, vmchannel, page, calls, total, echoing):
    """The worker is killed, and something fails while the next one is made."""
    guest = make_guest("packet")
    guest.start(f"600:unix:{echoing}")
    far = guest.namespaces[1].name
    argv = ["--link", f"packet,ifname=far0,netns={far}", "-vmchannel", f"600:unix:{echoing}"]

    def restart():
        """A daemon whose workers die at once makes the next one ever later."""
        assert guest.daemon.stop() == 0
        guest.daemon = Daemon(guest.processes, vmchannel, argv)
        guest.daemon.wait_for_log("guest: ready")
        assert_served(guest, "at first", total)

    restart()
    page.count()
    os.kill(guest.daemon.worker(), 9)
    assert_served(guest, "a killed worker", total)
    page.disarm()
    counts = {role: page.counts(role) for role in ROLES}
    # A link is not handed out twice in a second: one error of each call.
    first = [(name, errnums[:1]) for name, errnums in calls]
    found = [f for role in ROLES for f in faults(first, counts[role], role, 2, [False])]
    for number, fault in enumerate(found):
        if number % KILLS_MOST == 0:
            restart()
        worker = guest.daemon.worker()
        page.arm(fault)
        os.kill(worker, 9)
        # Counted were the calls of a conversation too, which there may be none of here.
        end = time.monotonic() + 0.2
        while not page.injected() and time.monotonic() < end:
            time.sleep(0.005)
        page.disarm()
        assert_served(guest, fault, total)
        total["injected"] += page.injected()
        total["distinct"] += page.injected() > 0


def assert_nothing_left(directory, fault):
    """But a lock file that was made and could not be looked at or locked: it may be another's."""
    left = [p for p in directory.iterdir() if p.is_socket() or p.name.endswith(".lock")]
    if fault.name in ("unlink", "lstat64", "fstat64", "flock"):
        for path in left:
            path.unlink(missing_ok=True)
    else:
        assert left == [], f"{fault}: left behind"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("link", ["stream", "message", "hybrid", "tcp"])
def test_start(processes, vmchannel, page, calls, total, directory, link):
    """It starts all the same, or fails with a line that says why, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = {"stream": f"stream,path={directory}/l,server=on",
            "message": f"message,path={directory}/l", "hybrid": f"hybrid,path={directory}/h",
            "tcp": f"stream,addr=127.0.0.1:{port},server=on"}[link]
    argv = ["--link", text, "-vmchannel", f"600:unix:{directory}/s,server", "-vmchannel",
            f"601:pty:{directory}/tty,logfile={directory}/log", "-vmchannel",
            f"602:file:{directory}/file"]
    if link == "hybrid":
        argv += ["--user=root", "--mode=0660"]

    def start(what):
        daemon = Daemon(processes, vmchannel, argv)

        def settled():
            return daemon.process.poll() is not None or "guest: ready" in daemon.log()

        wait_until(settled, 12, f"{what}: ready or its end")
        return daemon

    page.count()
    daemon = start("without faults")
    page.disarm()
    counts = {role: page.counts(role) for role in ROLES}
    assert daemon.stop() == 0
    for role in ROLES:
        for fault in faults(calls, counts[role], role, 3, persistent=[False]):
            page.arm(fault)
            daemon = start(fault)
            page.disarm()
            total["injected"] += page.injected()
            total["distinct"] += page.injected() > 0
            if daemon.process.poll() is None:
                assert daemon.stop() == 0, f"{fault}: {daemon.log()}"
            else:
                assert daemon.process.returncode == 1, f"{fault}: {daemon.log()}"
                assert daemon.log().count("\n") >= 1, f"{fault}: not a word"
            assert_nothing_left(directory, fault)

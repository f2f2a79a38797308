# SPDX-License-Identifier: BSD-3-Clause
"""rate= and burst= (design 3.10): a channel's bytes per second, each direction by itself, shared
evenly by its connections. How fast it may be is exact whatever the machine does, so that bound is a
hard one; how slow it becomes is the machine's affair too, and has room."""

import hashlib
import os
import random
import select
import socket
import threading
import time

import pytest

from harness.guests import CHANNEL
from harness.processes import wait_until
from harness.services import echo, receive_all, receive_exactly, reset, send_and_close
from test_inward import accept, listener_in
from test_rendezvous import host_client

RATE = 1 << 20
BURST = 64 << 10
LIMIT = "rate=1M,burst=64k"
BYTES = 5 * RATE // 2
LINKS = ["tap", "netns", "stream"]
PATIENCE = 1.15  # of a machine with nothing else to do
PATIENCE_S = 1.5  # of any other


@pytest.fixture(params=LINKS)
def guest(request, make_guest):
    return make_guest(request.param)


def expect_at_rate(count, seconds):
    least_s = (count - BURST) / RATE
    assert seconds >= least_s, f"{count} bytes took {seconds:.3f} s, at most {RATE} bytes/s wanted"
    assert seconds <= least_s * PATIENCE + PATIENCE_S, f"{count} bytes took {seconds:.3f} s"


def timed_transfer(sender, receiver, count=BYTES):
    """Random bytes to the end of the stream; they arrive as they were. Seconds."""
    data = random.Random(count).randbytes(count)
    began = time.monotonic()
    thread = send_and_close(sender, data)
    got = receive_all(receiver)
    seconds = time.monotonic() - began
    thread.join(10)
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest(), f"{len(got)} of {count}"
    return seconds


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def join(guest, service, port=600):
    return guest.connect(port), service.accept()


@pytest.mark.parametrize("direction", ["to_host", "to_guest"])
def test_a_stream_comes_at_the_rate_and_intact(guest, listen, socket_path, direction):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},{LIMIT}")
    g, h = join(guest, service)
    ends = (g, h) if direction == "to_host" else (h, g)
    expect_at_rate(BYTES, timed_transfer(*ends))


def test_each_direction_has_its_own_rate(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},{LIMIT}")
    pairs = [join(guest, service) for _ in range(2)]
    seconds = {}

    def run(name, sender, receiver):
        seconds[name] = timed_transfer(sender, receiver)

    threads = [threading.Thread(target=run, args=("to_host", *pairs[0])),
               threading.Thread(target=run, args=("to_guest", *reversed(pairs[1])))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert set(seconds) == {"to_host", "to_guest"}
    for s in seconds.values():
        expect_at_rate(BYTES, s)


@pytest.mark.parametrize("device", ["cmd:cat", "unix:{path},logfile={log}"])
def test_copied_ends_obey_too(guest, listen, socket_path, directory, device):
    """What splice cannot do: a process's pipes, and a log beside a socket."""
    listen(socket_path, echo)
    device = device.format(path=socket_path, log=directory / "traffic")
    guest.start(f"600:{device},{LIMIT}")
    with guest.connect() as g:
        data = random.Random(1).randbytes(BYTES)
        began = time.monotonic()
        thread = threading.Thread(target=lambda: (g.sendall(data), g.shutdown(socket.SHUT_WR)))
        thread.start()
        got = receive_all(g)
        seconds = time.monotonic() - began
        thread.join(10)
    assert got == data
    expect_at_rate(BYTES, seconds)


@pytest.mark.parametrize("direction", ["to_host", "to_guest"])
def test_connections_share_the_rate_evenly(guest, listen, socket_path, direction):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},{LIMIT}")
    pairs = [join(guest, service) for _ in range(4)]
    if direction == "to_guest":
        pairs = [(h, g) for g, h in pairs]
    counts = {receiver: 0 for _, receiver in pairs}
    began = time.monotonic()
    for sender, _ in pairs:
        threading.Thread(target=send_for_ever, args=[sender], daemon=True).start()
    while time.monotonic() - began < 2.5:
        for receiver in select.select(list(counts), [], [], 0.1)[0]:
            counts[receiver] += len(receiver.recv(65536))
    most = RATE * (time.monotonic() - began) + BURST
    for sender, receiver in pairs:
        receiver.close()
        sender.close()
    assert sum(counts.values()) <= most
    assert sum(counts.values()) >= most / 2
    shares = sorted(counts.values())
    # All but what one took of the burst before the others came.
    assert shares[-1] - BURST <= 1.2 * shares[0] + BURST / 4, shares


def send_for_ever(s):
    try:
        while True:
            s.sendall(bytes(65536))
    except OSError:
        pass


def test_another_channel_is_not_slowed(guest, listen, socket_path, directory):
    service = listen(socket_path)
    free = listen(directory / "free.sock")
    listen(directory / "echo.sock", echo)
    guest.start(f"600:unix:{socket_path},rate=10k,burst=4k", f"601:unix:{directory}/free.sock",
                f"602:unix:{directory}/echo.sock")
    g, h = join(guest, service)
    for s in (g, h):
        threading.Thread(target=send_for_ever, args=[s], daemon=True).start()
    for reverse in (False, True):
        ends = join(guest, free, 601)
        assert timed_transfer(*reversed(ends) if reverse else ends, count=32 << 20) < 5
    results = [guest.probe("latency", CHANNEL, 602, 200, 16) for _ in range(3)]
    assert min(r["p99_ms"] for r in results) < 10, results
    if guest.is_frames:
        guest.ns.ip("neigh", "flush", "all")
        assert guest.pings(count=2)
    g.close()
    h.close()


def test_whoever_waits_costs_no_cpu(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},rate=10k,burst=4k")
    pairs = [join(guest, service) for _ in range(20)]
    for s in sum(pairs, ()):
        threading.Thread(target=send_for_ever, args=[s], daemon=True).start()
    time.sleep(0.5)  # the windows fill
    before = cpu_seconds(guest.daemon.worker())
    time.sleep(2)
    assert cpu_seconds(guest.daemon.worker()) - before < 0.3
    for s in sum(pairs, ()):
        s.close()


@pytest.fixture
def spent(guest, listen, socket_path):
    """(guest, service) of a channel whose tokens are gone both ways for a long while."""
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},rate=100,burst=2k")
    g, h = join(guest, service)
    for s in (g, h):
        threading.Thread(target=send_for_ever, args=[s], daemon=True).start()
    assert len(receive_exactly(g, 2048)) == len(receive_exactly(h, 2048)) == 2048
    yield guest, service
    g.close()
    h.close()


def within(seconds, action, *args):
    began = time.monotonic()
    result = action(*args)
    assert time.monotonic() - began < seconds
    return result


def test_half_close_needs_no_token(spent):
    g, h = join(*spent)
    g.shutdown(socket.SHUT_WR)
    assert within(3, h.recv, 1) == b""
    h.shutdown(socket.SHUT_WR)
    assert within(3, g.recv, 1) == b""


def test_close_by_the_host_needs_no_token(spent):
    g, h = join(*spent)
    h.close()
    assert within(3, g.recv, 1) == b""


def test_reset_by_the_guest_needs_no_token(spent):
    g, h = join(*spent)
    g.sendall(bytes(3000))
    time.sleep(0.2)
    reset(g)

    def read_to_end():
        try:
            while h.recv(4096):
                pass
        except ConnectionResetError:
            pass

    if spent[0].is_frames:  # a socket's reset is behind what its kernel has taken
        within(3, read_to_end)


def test_what_the_guest_sent_before_it_ended_is_delivered(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},rate=20k,burst=4k")
    g, h = join(guest, service)
    data = random.Random(2).randbytes(40 << 10)
    g.sendall(data)
    g.close()
    assert receive_all(h) == data


def test_a_run_that_ends_hands_its_last_bytes_over(vmchannel, processes, listen, socket_path):
    """The guest is gone, and so is the reason to slow it down."""
    service = listen(socket_path)
    for link in ("tap", "netns"):
        p = processes.start([vmchannel, "run", "--link", link, "-vmchannel",
                             f"600:unix:{socket_path},rate=1k,burst=1k", "--",
                             "busybox", "sh", "-c",
                             "head -c 100000 /dev/zero | busybox nc -w 20 10.0.2.4 600 & sleep 1"])
        assert len(receive_all(service.accept())) == 100000
        p.wait(10)


@pytest.mark.parametrize("kind", ["tap", "stream"])
@pytest.mark.parametrize("direction", ["to_host", "to_guest"])
def test_inward_channels_obey(make_guest, socket_path, kind, direction):
    guest = make_guest(kind).start(inward=[f"22:unix:{socket_path},{LIMIT}"])
    with listener_in(guest) as listener:
        h = host_client(socket_path)
        g = accept(listener)[0]
        ends = (g, h) if direction == "to_host" else (h, g)
        expect_at_rate(BYTES, timed_transfer(*ends))


def test_idle_is_not_who_waits_for_tokens(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},rate=1,burst=1,idle=1")
    g, h = join(guest, service)
    g.sendall(b"abc")
    assert receive_exactly(h, 3) == b"abc"


def test_a_channel_can_be_added_with_a_rate(guest, listen, socket_path, directory, processes,
                                             vmchannel, monkeypatch):
    monkeypatch.setenv("VMCHANNEL_RUNTIME_DIR", str(directory / "run"))
    service = listen(socket_path)
    guest.start("601:null", options=["--name", "vm1", "--sandbox=worker"])
    guest.daemon.wait_for_log("ready")
    channel = f"600:unix:{socket_path},{LIMIT}"
    done = processes.run([vmchannel, "add", "vm1", channel])
    assert done.returncode == 0, done.stderr
    assert LIMIT in processes.run([vmchannel, "list"]).stdout
    expect_at_rate(BYTES, timed_transfer(*join(guest, service)))
    done = processes.run([vmchannel, "del", "vm1", "600"])
    assert done.returncode == 0, done.stderr


def test_a_channel_is_deleted_under_its_waiting_connections(guest, listen, socket_path, directory,
                                                            processes, vmchannel, monkeypatch):
    monkeypatch.setenv("VMCHANNEL_RUNTIME_DIR", str(directory / "run"))
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},rate=1k,burst=1k", options=["--name", "vm1"])
    guest.daemon.wait_for_log("ready")
    worker = guest.daemon.worker()
    pairs = [join(guest, service) for _ in range(3)]
    for s in sum(pairs, ()):
        threading.Thread(target=send_for_ever, args=[s], daemon=True).start()
    time.sleep(0.3)
    assert processes.run([vmchannel, "del", "vm1", "600"]).returncode == 0
    for g, _ in pairs:
        with pytest.raises(OSError):
            wait_until(lambda: g.send(b"x") == 0, what="the reset")
    assert guest.daemon.worker() == worker

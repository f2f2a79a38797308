# SPDX-License-Identifier: BSD-3-Clause
"""The channel address by IPv6, fd10:0:2::4: an address of the guest's by router advertisement or by
hand, connections as by IPv4, and silence where nothing is offered."""

import errno
import json
import socket
import subprocess

import pytest

from harness.guests import CHANNEL, CHANNEL6, GUEST6
from harness.processes import wait_until
from harness.services import receive_exactly
from harness.wire import Wire
from test_proxy import read_header
from test_transfer import transfer

MIB = 1 << 20
SO_RCVBUFFORCE = 33


def echo(connection, number):
    while data := connection.recv(1 << 18):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def addresses(guest):
    """{address: flags} of the guest's interface, but for what is local to the link."""
    text = guest.ns.ip("-j", "-6", "addr", "show", "dev", "vmc0")
    return {a["local"]: a for link in json.loads(text or "[]") for a in link.get("addr_info", ())
            if a.get("scope") == "global"}


def start6(guest, *channels, options=()):
    guest.start(*channels, options=options)
    guest.enable_ipv6(GUEST6)
    return guest


def says(guest, word, addr=CHANNEL6):
    with guest.connect(addr=addr) as s:
        s.sendall(word + b"\n")
        return receive_exactly(s, len(word) + 1) == word + b"\n"


# --- addresses -----------------------------------------------------------------------------------


def test_a_guest_makes_itself_an_address_and_has_no_route(make_guest, listen, socket_path):
    listen(socket_path, echo)
    guest = make_guest("tap").start(f"600:unix:{socket_path}", options=["--mtu", "1400"])
    guest.enable_ipv6()
    made = wait_until(
        lambda: [a for a, flags in addresses(guest).items() if not flags.get("tentative")],
        10, "an address by router advertisement")
    assert all(a.startswith("fd10:0:2:") for a in made)
    assert "default" not in guest.ns.ip("-6", "route")
    assert "fd10:0:2::/64 dev vmc0" in guest.ns.ip("-6", "route")
    mtu = guest.ns.inside(lambda: open("/proc/sys/net/ipv6/conf/vmc0/mtu").read())
    assert mtu == "1400\n"
    assert says(guest, b"word")
    with guest.connect(addr=CHANNEL6) as s:
        assert s.getsockname()[0] in made


def test_an_address_of_ours_that_a_guest_wants_is_defended(make_guest, socket_path):
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    guest.enable_ipv6(GUEST6)
    guest.ns.ip("addr", "add", f"{CHANNEL6}/64", "dev", "vmc0")
    wait_until(lambda: addresses(guest)[CHANNEL6].get("dadfailed"), 10, "the address to be refused")


def test_net6_moves_the_addresses(make_guest, listen, socket_path):
    listen(socket_path, echo)
    guest = make_guest("tap").start(
        f"600:unix:{socket_path}", options=["--net6", "2001:db8:1::/64"])
    guest.enable_ipv6("2001:db8:1::15")
    assert says(guest, b"moved", "2001:db8:1::4")
    guest.ns.ip("addr", "add", f"{GUEST6}/64", "dev", "vmc0", "nodad")
    assert guest.refusal(addr=CHANNEL6, timeout=0.5)[0] in (errno.ETIMEDOUT, errno.EHOSTUNREACH)


def test_off_is_off(make_guest, listen, socket_path):
    listen(socket_path, echo)
    guest = start6(make_guest("tap"), f"600:unix:{socket_path}", options=["--net6", "off"])
    assert guest.refusal(addr=CHANNEL6, timeout=0.5)[0] in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
    assert not guest.pings(CHANNEL6)
    assert says(guest, b"IPv4", CHANNEL)


# --- what is answered ----------------------------------------------------------------------------


def test_ping_is_answered(frame_guest, socket_path):
    start6(frame_guest, f"600:unix:{socket_path}")
    wait_until(lambda: frame_guest.pings(CHANNEL6), 10, "an answer")
    assert not frame_guest.pings("fd10:0:2::5")


@pytest.mark.parametrize("size", [8, 1452, 1453, 8000])
def test_ping_of_any_size(make_guest, socket_path, size):
    """Over 1452 bytes it comes in fragments, which are not answered, but do no harm."""
    guest = start6(make_guest("tap"), f"600:unix:{socket_path}")
    done = guest.command(["busybox", "ping", "-6", "-c1", "-W1", "-s", str(size), CHANNEL6])
    assert (done.returncode == 0) == (size <= 1452)
    assert guest.pings(CHANNEL6)


def test_refused_means_refused(frame_guest, socket_path):
    start6(frame_guest, f"600:unix:{socket_path}")
    for port in (600, 601):  # no service, no channel
        error, ms = frame_guest.refusal(port, CHANNEL6)
        assert error == errno.ECONNREFUSED and ms < 1000
    frame_guest.daemon.wait_for_log("channel 600", str(socket_path))


def test_other_addresses_are_silent(frame_guest, listen, socket_path):
    listen(socket_path, echo)
    start6(frame_guest, f"600:unix:{socket_path}")
    assert frame_guest.refusal(600, "fd10:0:2::5", timeout=0.5)[0] in (
        errno.ETIMEDOUT, errno.EHOSTUNREACH)
    assert frame_guest.refusal(600, "2001:db8::1")[0] == errno.ENETUNREACH
    assert says(frame_guest, b"word")


def test_a_held_syn_is_answered_when_the_host_client_comes(make_guest, socket_path):
    guest = start6(make_guest("tap"), f"600:unix:{socket_path},server=on,wait=on")
    s = guest.ns.socket(socket.AF_INET6, socket.SOCK_STREAM)
    with s, socket.socket(socket.AF_UNIX) as h:
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.connect((CHANNEL6, 600))
        s.settimeout(5)
        h.connect(str(socket_path))
        h.settimeout(5)
        h.sendall(b"hello")
        assert receive_exactly(s, 5) == b"hello"


def test_the_service_is_told_an_ipv6_address(make_guest, listen, socket_path):
    service = listen(socket_path)
    guest = start6(make_guest("tap"), f"600:unix:{socket_path},proxy=v2",
                   options=["-vv"])
    with guest.connect(addr=CHANNEL6) as s, service.accept() as h:
        source, destination, _ = read_header(h)
        assert source == (GUEST6, s.getsockname()[1]) and destination == (CHANNEL6, 600)
        guest.daemon.wait_for_log("open for", f"[{GUEST6}]:{s.getsockname()[1]}")


# --- bytes ---------------------------------------------------------------------------------------


def long_frames(wire):
    """(from the guest, towards it): the longest IPv6 frames of those that wait to be read."""
    longest = [0, 0]
    wire.socket.setblocking(False)
    while True:
        try:
            data, address = wire.socket.recvfrom(66000)
        except BlockingIOError:
            return longest
        is_ipv6 = data[12:14] == b"\x86\xdd"
        towards = address[2] != 4
        longest[towards] = max(longest[towards], len(data) if is_ipv6 else 0)


@pytest.mark.timeout(120)
def test_bytes_arrive_both_ways(frame_guest, helpers, processes, socket_path):
    start6(frame_guest, f"600:unix:{socket_path}")
    transfer(frame_guest, helpers, processes, socket_path, 16, 8 * MIB, 100, CHANNEL6)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["tap", "packet"])
def test_super_frames_are_used_both_ways(make_guest, listen, socket_path, kind):
    listen(socket_path, echo)
    guest = start6(make_guest(kind), f"600:unix:{socket_path}")
    with Wire(guest) as wire, guest.connect(addr=CHANNEL6) as s:
        wire.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 * MIB)
        s.sendall(bytes(MIB))
        receive_exactly(s, MIB)
        from_guest, to_guest = long_frames(wire)
    assert from_guest > 1514 and to_guest > 1514, (from_guest, to_guest)


@pytest.mark.parametrize("mtu", [1280, 9000, 65520])
def test_other_mtus(make_guest, helpers, processes, socket_path, mtu):
    guest = start6(make_guest("tap"), f"600:unix:{socket_path}", options=["--mtu", str(mtu)])
    guest.ns.ip("link", "set", "vmc0", "mtu", str(mtu))
    transfer(guest, helpers, processes, socket_path, 8, 2 * MIB, 25, CHANNEL6)


# --- the netns link: the namespace's own kernel has the address ----------------------------------


@pytest.fixture
def netns_guest(make_guest):
    guest = make_guest("netns")
    guest.ns.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")
    return guest


def test_netns_bytes_arrive_both_ways(netns_guest, helpers, processes, socket_path):
    netns_guest.start(f"600:unix:{socket_path}")
    transfer(netns_guest, helpers, processes, socket_path, 8, 2 * MIB, 25, CHANNEL6)


def test_netns_service_is_told_the_address(netns_guest, listen, socket_path):
    service = listen(socket_path)
    netns_guest.start(f"600:unix:{socket_path},proxy=v2")
    for addr in (CHANNEL6, CHANNEL):
        with netns_guest.connect(addr=addr) as s, service.accept() as h:
            source, destination, _ = read_header(h)
            assert source == s.getsockname()[:2] and destination == (addr, 600)


def test_netns_channels_come_and_go(netns_guest, processes, vmchannel, listen, socket_path):
    listen(socket_path, echo)
    netns_guest.start(f"600:unix:{socket_path}", options=["--name", "six", "--sandbox=worker"])
    assert netns_guest.refusal(601, CHANNEL6)[0] == errno.ECONNREFUSED
    for word, answers in (("add", True), ("del", False)):
        channel = f"601:unix:{socket_path}" if word == "add" else "601"
        done = processes.run([vmchannel, word, "six", channel])
        assert done.returncode == 0, done.stderr
        assert says(netns_guest, b"600")
        if answers:
            with netns_guest.connect(601, CHANNEL6) as s:
                s.sendall(b"601")
                assert receive_exactly(s, 3) == b"601"
    assert netns_guest.refusal(601, CHANNEL6)[0] == errno.ECONNREFUSED


def test_netns_without_ipv6_has_ipv4(netns_guest, listen, socket_path):
    listen(socket_path, echo)
    netns_guest.ns.sysctl("net/ipv6/conf/lo/disable_ipv6", "1")
    netns_guest.start(f"600:unix:{socket_path}")
    assert says(netns_guest, b"IPv4", CHANNEL)
    assert netns_guest.refusal(addr=CHANNEL6)[0] != 0


def test_netns_off_is_off(netns_guest, listen, socket_path):
    listen(socket_path, echo)
    netns_guest.start(f"600:unix:{socket_path}", options=["--net6", "off"])
    assert says(netns_guest, b"IPv4", CHANNEL)
    assert netns_guest.refusal(addr=CHANNEL6)[0] != 0


# --- vmchannel run -------------------------------------------------------------------------------


def run6(processes, vmchannel, path, *options, command):
    return processes.run([vmchannel, "run", *options, "-vmchannel", f"600:unix:{path}", "--",
                          *command])


TALK = ["busybox", "timeout", "5", "busybox", "nc", CHANNEL6, "600"]


@pytest.mark.parametrize("link", ["tap", "packet"])
def test_run_has_an_address_at_once(processes, vmchannel, listen, socket_path, link):
    listen(socket_path, echo)
    process = processes.start(
        [vmchannel, "run", "--link", link, "-vmchannel", f"600:unix:{socket_path}", "--", *TALK],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("word\n")
    process.stdin.flush()
    assert process.stdout.readline() == "word\n"
    process.communicate(timeout=5)
    done = run6(processes, vmchannel, socket_path, "--link", link,
                command=["ip", "-6", "addr", "show", "dev", "vmc0"])
    assert f"{GUEST6}/64" in done.stdout and "tentative" not in done.stdout
    assert "fe80" not in done.stdout
    done = run6(processes, vmchannel, socket_path, "--link", link, command=["ip", "-6", "route"])
    assert "default" not in done.stdout


def test_run_with_the_netns_link_has_the_address(processes, vmchannel, listen, socket_path):
    listen(socket_path, echo)
    process = processes.start(
        [vmchannel, "run", "--link", "netns", "-vmchannel", f"600:unix:{socket_path}", "--", *TALK],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("word\n")
    process.stdin.flush()
    assert process.stdout.readline() == "word\n"
    process.communicate(timeout=5)


@pytest.mark.parametrize("options", [["--net6", "off"], ["--mtu", "1279"]], ids=["off", "MTU"])
def test_run_goes_without_ipv6(processes, vmchannel, listen, socket_path, options):
    listen(socket_path, echo)
    done = run6(processes, vmchannel, socket_path, *options,
                command=["ip", "-6", "addr", "show", "dev", "vmc0"])
    assert done.returncode == 0 and "inet6" not in done.stdout, done.stderr
    assert done.stderr == ""

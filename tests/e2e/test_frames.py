# SPDX-License-Identifier: BSD-3-Clause
"""What the guest's kernel sees beside its connections: ARP, ping, DHCP, RST, and silence where
nothing is offered (design 3.1)."""

import errno

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from harness.guests import CHANNEL
from harness.services import answer_lines
from harness.wire import GUEST_MAC, Wire

ELSEWHERE = ["10.0.2.1", "10.0.2.2", "10.0.2.3", "10.0.2.5", "10.0.2.255", "192.0.2.1", "127.0.0.1"]


def test_ping_is_answered(frame_guest, socket_path):
    frame_guest.start(f"600:unix:{socket_path}")
    assert frame_guest.pings(count=3)


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 8000])
def test_ping_of_any_size(make_guest, socket_path, size):
    """Over 1472 bytes it comes in fragments, which need not be answered, but do no harm."""
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    done = guest.command(["busybox", "ping", "-c1", "-W1", "-s", str(size), CHANNEL])
    assert done.returncode == 0 or size > 1472
    assert guest.pings()


def test_arp_answers_for_the_channel_address_only(frame_guest, socket_path):
    frame_guest.start(f"600:unix:{socket_path}")
    with Wire(frame_guest) as wire:
        assert wire.ask_arp(CHANNEL)
        assert [wire.ask_arp(a, timeout=0.15) for a in ELSEWHERE] == [None] * len(ELSEWHERE)


def test_other_address_is_silent_even_when_sent_to_our_mac(frame_guest, socket_path):
    frame_guest.start(f"600:unix:{socket_path}")
    with Wire(frame_guest) as wire:
        mac = wire.ask_arp(CHANNEL)
        for address in ELSEWHERE:
            to = Ether(src=GUEST_MAC, dst=mac) / IP(src="10.0.2.15", dst=address)
            wire.send(to / TCP(sport=1234, dport=600, flags="S"))
            wire.send(to / ICMP())
            wire.send(to / UDP(sport=1234, dport=53) / b"x")
        assert wire.received(lambda f: IP in f, timeout=0.5) is None


def test_connect_to_another_address_fails(frame_guest, socket_path):
    frame_guest.start(f"600:unix:{socket_path}")
    error, _ = frame_guest.refusal(600, "10.0.2.2", timeout=0.5)
    assert error in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
    assert frame_guest.refusal(600, "192.0.2.1")[0] == errno.ENETUNREACH


@pytest.mark.parametrize("options", [[], [("MSS", 1460)]], ids=["no options", "MSS"])
def test_closed_port_gives_rst_with_ack(frame_guest, socket_path, options):
    frame_guest.start(f"600:unix:{socket_path}")
    with Wire(frame_guest) as wire:
        mac = wire.ask_arp(CHANNEL)
        # From another address of the net, so that the guest's kernel does not answer as well.
        wire.send(Ether(src=GUEST_MAC, dst=mac) / IP(src="10.0.2.15", dst=CHANNEL)
                  / TCP(sport=1234, dport=666, seq=1000, flags="S", options=options))
        answer = wire.received(lambda f: TCP in f)
        assert answer, "no answer at all"
        assert str(answer[TCP].flags) == "RA"
        assert (answer[TCP].seq, answer[TCP].ack) == (0, 1001)
        assert (answer[TCP].sport, answer[TCP].dport) == (666, 1234)


def test_absent_service_gives_rst_with_ack(frame_guest, socket_path):
    frame_guest.start(f"600:unix:{socket_path}")
    with Wire(frame_guest) as wire:
        mac = wire.ask_arp(CHANNEL)
        wire.send(Ether(src=GUEST_MAC, dst=mac) / IP(src="10.0.2.15", dst=CHANNEL)
                  / TCP(sport=1234, dport=600, seq=2**32 - 1, flags="S"))
        answer = wire.received(lambda f: TCP in f)
        assert answer, "no answer at all"
        assert str(answer[TCP].flags) == "RA"
        assert answer[TCP].ack == 0


def test_frames_are_padded_to_60_bytes(make_guest, socket_path):
    guest = make_guest("stream").start(f"600:unix:{socket_path}")
    with Wire(guest) as wire:
        mac = wire.ask_arp(CHANNEL)
        wire.send(Ether(src=GUEST_MAC, dst=mac) / IP(src="10.0.2.15", dst=CHANNEL)
                  / TCP(sport=1234, dport=666, flags="S"))
        assert len(wire.received(lambda f: TCP in f)) >= 60


def test_bad_checksum_is_dropped(frame_guest, listen, socket_path):
    listen(socket_path, answer_lines)
    frame_guest.start(f"600:unix:{socket_path}")
    with Wire(frame_guest) as wire:
        mac = wire.ask_arp(CHANNEL)
        to = Ether(src=GUEST_MAC, dst=mac) / IP(src="10.0.2.15", dst=CHANNEL)
        wire.send(to / TCP(sport=1234, dport=600, flags="S", chksum=0xbeef))
        assert wire.received(lambda f: TCP in f, timeout=0.3) is None


LEASE_SCRIPT = """#!/bin/sh
[ "$1" = bound ] && set > {out}
exit 0
"""


@pytest.mark.parametrize("kind", ["tap", "packet", "stream"])
def test_dhcp_lease_without_router_or_dns(make_guest, directory, socket_path, kind):
    guest = make_guest(kind).start(f"600:unix:{socket_path}", options=["--mtu", "1400"])
    guest.ns.ip("addr", "flush", "dev", "vmc0")
    script = directory / "lease.sh"
    script.write_text(LEASE_SCRIPT.format(out=directory / "lease"))
    script.chmod(0o755)
    done = guest.command(
        ["busybox", "udhcpc", "-i", "vmc0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", script])
    assert done.returncode == 0, done.stderr
    lines = (directory / "lease").read_text().splitlines()
    lease = {k: v.strip("'") for k, _, v in (l.partition("=") for l in lines)}
    assert lease["ip"] == "10.0.2.15"
    assert lease["subnet"] == "255.255.255.0"
    assert lease["mtu"] == "1400"
    assert int(lease["lease"]) > 0
    assert "router" not in lease and "dns" not in lease

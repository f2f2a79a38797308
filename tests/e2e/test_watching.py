# SPDX-License-Identifier: BSD-3-Clause
"""A guest that runs, watched: metrics, top, and pcap."""

import os
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest
import scapy.layers.inet
import scapy.layers.l2
import scapy.utils

from harness.control import INTERFACE, Varlink, start
from harness.processes import wait_until
from harness.services import echo, receive_all, receive_exactly

SAMPLE = re.compile(r'^(vmchannel_\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\d+)$')


def families_of(text):
    """{family: (type, {labels: value})}, checking OpenMetrics' order of things."""
    families, lines = {}, text.splitlines()
    assert lines.pop() == "# EOF"
    for line in lines:
        words = line.split(" ", 3)
        if words[:2] == ["#", "HELP"]:
            assert words[2] not in families, "a family is in one piece"
            families[words[2]] = [None, {}]
        elif words[:2] == ["#", "TYPE"]:
            families[words[2]][0] = words[3]
        else:
            name, labels, value = SAMPLE.match(line).groups()
            family = list(families)[-1]
            kind = families[family][0]
            assert name == family + {"counter": "_total", "gauge": ""}[kind]
            families[family][1][labels] = int(value)
    return families


def test_metrics_of_several_guests(make_guest, listen, directory, ask):
    listen(directory / "a.sock", echo)
    one = start(make_guest("tap"), f"600:unix:{directory}/a.sock,name=one", name="vm1")
    start(make_guest("netns"), "601:null", name='vm"2\\')
    with one.connect() as g:
        g.sendall(bytes(5000))
        receive_exactly(g, 5000)
        families = families_of(ask("metrics"))
    here = 'guest="vm1",port="600",inward="false",name="one"'
    assert families["vmchannel_channel_bytes_from_guest"][1][here] == 5000
    assert families["vmchannel_channel_bytes_to_guest"][1][here] == 5000
    assert families["vmchannel_channel_connections"] == [
        "gauge", {here: 1, r'guest="vm\"2\\x5c",port="601",inward="false",name=""': 0}]
    assert families["vmchannel_link_frames_in"][1]['guest="vm1"'] > 0
    assert families["vmchannel_link_up"][1]['guest="vm1"'] == 1


def test_metrics_of_nobody(ask):
    assert all(not samples for _, samples in families_of(ask("metrics")).values())


def test_top_shows_rates(make_guest, listen, directory, ask, processes, vmchannel):
    listen(directory / "a.sock", echo)
    guest = start(make_guest("tap"), f"600:unix:{directory}/a.sock")
    top = processes.start([vmchannel, "top", "vm1", "--interval", "1", "--count", "2"],
                          stdout=subprocess.PIPE, text=True)
    assert top.stdout.readline().split()[0] == "GUEST"
    assert top.stdout.readline().split()[5:7] == ["0", "0"]
    with guest.connect() as g:
        g.sendall(bytes(100000))
        receive_exactly(g, 100000)
        rows = top.stdout.read().splitlines()
    assert top.wait(5) == 0
    row = rows[2].split()
    assert row[:5] == ["vm1", "600", "1", "1", "0"] and row[7] == f"unix:{directory}/a.sock"
    assert 10000 < int(row[5]) <= 101000 and row[5] == row[6]
    assert "\x1b" not in "".join(rows), "no terminal"
    assert "vm2" in ask("top", "vm2", code=1)


def captured(path):
    """Frames as (bytes, length on the link, time)."""
    reader = scapy.utils.RawPcapNgReader(str(path))
    try:
        return [(data, meta.wirelen, (meta.tshigh << 32 | meta.tslow) / 1e6)
                for data, meta in reader]
    finally:
        reader.close()


@pytest.mark.parametrize("kind", ["tap", "packet", "stream"])
def test_pcap_has_the_frames_of_both_ways(make_guest, listen, directory, ask, processes, vmchannel,
                                          kind):
    listen(directory / "a.sock", echo)
    guest = start(make_guest(kind), f"600:unix:{directory}/a.sock")
    talker = processes.start([vmchannel, "pcap", "vm1", directory / "f.pcapng"],
                             stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (directory / "f.pcapng").exists(), what="the file")
    began = time.time()
    with guest.connect() as g:
        port = g.getsockname()[1]
        g.sendall(b"from the guest")
        receive_exactly(g, 14)
        g.shutdown(socket.SHUT_WR)
        assert receive_all(g) == b""
    time.sleep(0.1)
    talker.send_signal(signal.SIGINT)
    told = talker.stderr.read()
    assert talker.wait(5) == 0 and "0 left out" in told
    frames = captured(directory / "f.pcapng")
    assert f"{len(frames)} frames" in told
    assert all(began - 5 < at < time.time() + 5 for _, _, at in frames)
    packets = [scapy.layers.l2.Ether(data) for data, length, _ in frames if len(data) == length]
    assert len(packets) == len(frames)
    tcp = [p for p in packets if p.haslayer("TCP") and port in (p["TCP"].sport, p["TCP"].dport)]
    lengths = [p["IP"].len - 4 * p["IP"].ihl - 4 * p["TCP"].dataofs for p in tcp]
    payloads = {p["TCP"].dport == 600: bytes(p["TCP"].payload)[:n]
                for p, n in zip(tcp, lengths) if n > 0}
    assert payloads == {True: b"from the guest", False: b"from the guest"}
    flags = [str(p["TCP"].flags) for p in tcp]
    assert flags[:3] == ["S", "SA", "A"] and sum("F" in f for f in flags) == 2
    assert stat.S_IMODE(os.stat(directory / "f.pcapng").st_mode) == 0o600


def test_pcap_cuts_frames_and_ends_by_itself(make_guest, listen, directory, ask, processes,
                                             vmchannel):
    listen(directory / "a.sock", echo)
    guest = start(make_guest("tap"), f"600:unix:{directory}/a.sock")
    pcap = processes.start([vmchannel, "pcap", "vm1", "-", "--snaplen", "60", "--count", "10"],
                           stdout=open(directory / "f.pcapng", "wb"), stderr=subprocess.PIPE)
    wait_until(lambda: pcap.poll() is not None or not guest.connect().sendall(bytes(9000)),
               what="ten frames")
    while pcap.poll() is None:
        guest.connect().close()
    assert pcap.returncode == 0
    frames = captured(directory / "f.pcapng")
    assert len(frames) == 10 and all(len(data) == min(60, n) for data, n, _ in frames)
    assert any(n > 60 for _, n, _ in frames)


def test_pcap_that_is_not_read_holds_nothing_up(make_guest, listen, directory, ask, processes,
                                                vmchannel, runtime):
    """The watcher's socket is full for ever: frames are left out, and told when there is room."""
    listen(directory / "a.sock", echo)
    guest = start(make_guest("tap"), f"600:unix:{directory}/a.sock")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with Varlink(runtime / "vm1" / "control") as v:
        assert v.call(f"{INTERFACE}.Capture", {"snaplen": 65550}, fds=[theirs.fileno()]) == {}
    theirs.close()
    header = struct.Struct("=QIIIxxxx")
    with guest.connect() as g:
        for _ in range(50):
            g.sendall(bytes(100000))
            receive_exactly(g, 100000)
        first = header.unpack(ours.recv(70000)[:24])
        assert first[1] >= 42 and first[3] == 0
        left_out = 0
        while left_out == 0:  # what stood there, then one that tells
            if not select.select([ours], [], [], 0)[0]:
                g.sendall(b"x")
                receive_exactly(g, 1)
            left_out = header.unpack(ours.recv(70000)[:24])[3]
    assert left_out > 10
    ours.close()


def test_pcap_where_there_is_nothing_to_see(make_guest, directory, ask, runtime):
    start(make_guest("netns"), "600:null")
    path = directory / "f.pcapng"
    assert "no frames" in ask("pcap", "vm1", str(path), code=1)
    assert not path.exists()
    tap = start(make_guest("tap"), "600:null", name="vm2")
    assert "/nonexistent/f" in ask("pcap", "vm2", "/nonexistent/f", code=1)
    with Varlink(runtime / "vm2" / "control") as v:
        call = f"{INTERFACE}.Capture"
        assert "descriptor" in v.call(call, {"snaplen": 96})[1]["reason"]
        with open(path, "wb") as f, socket.socket() as tcp:
            for fd in (f.fileno(), tcp.fileno()):
                assert "SEQPACKET" in v.call(call, {"snaplen": 96}, fds=[fd])[1]["reason"]
        for snaplen in (0, -1, 65551, "1", None):
            assert v.call(call, {"snaplen": snaplen}) == (
                "org.varlink.service.InvalidParameter", {"parameter": "snaplen"})
    assert tap.daemon.process.poll() is None


def test_pcap_ends_with_the_worker(make_guest, directory, processes, vmchannel, runtime):
    guest = start(make_guest("tap"), "600:null")
    pcap = processes.start([vmchannel, "pcap", "vm1", directory / "f.pcapng"],
                           stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (directory / "f.pcapng").exists(), what="the file")
    os.kill(guest.daemon.worker(), signal.SIGKILL)
    assert pcap.wait(5) == 1 and "ended there" in pcap.stderr.read()
    captured(directory / "f.pcapng")  # whole

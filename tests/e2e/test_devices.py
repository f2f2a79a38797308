# SPDX-License-Identifier: BSD-3-Clause
"""Each device of design 4 behind a real guest's TCP: 16 MiB both ways, byte-exact; ends; one
connection at a time where the device is one thing; and the next connection works."""

import errno
import json
import random
import socket
import subprocess

import pytest

from harness import devices
from harness.devices import join, reconnect, start
from harness.exchange import echo, exchange
from harness.guests import CHANNEL
from harness.processes import wait_until
from harness.services import receive_exactly

LINKS = ["tap", "netns"]
SIZE = 16 << 20

both_links = pytest.mark.parametrize("link", LINKS)


@both_links
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [k for k in devices.KINDS if k not in ("null", "cmd")])
def test_16_mib_each_way(make_guest, make_device, link, kind):
    device = make_device(kind)
    guest = start(make_guest(link), device)
    g = join(guest, device)
    exchange(g, device, SIZE)
    if device.exclusive:
        assert guest.refusal()[0] == errno.ECONNREFUSED
    if device.half_closes:
        g.shutdown(socket.SHUT_WR)
        assert device.read() == b""
        device.shut()
        assert g.recv(1) == b""
    g.close()


@both_links
def test_cmd_16_mib_each_way(make_guest, link):
    guest = make_guest(link).start("600:cmd:exec cat")
    g, other = guest.connect(), guest.connect()
    echo(g, SIZE)
    g.shutdown(socket.SHUT_WR)
    assert g.recv(1) == b""
    other.sendall(b"still there")
    assert other.recv(11, socket.MSG_WAITALL) == b"still there"


@both_links
def test_null_swallows_16_mib(make_guest, link):
    guest = make_guest(link).start("600:null")
    g, other = guest.connect(), guest.connect()
    g.sendall(bytes(SIZE))
    other.sendall(b"at the same time")
    other.settimeout(0.2)
    with pytest.raises(TimeoutError):
        other.recv(1)
    g.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("kind", ["udp", "pty", "tty", "pipe", "stdio"])
def test_next_connection_of_an_exclusive_device(make_guest, make_device, kind):
    device = make_device(kind)
    guest = start(make_guest("tap"), device)
    g = join(guest, device)
    for word in (b"one", b"two", b"three"):
        assert guest.refusal()[0] == errno.ECONNREFUSED
        g.sendall(word)
        assert device.read() == word
        device.write(word.upper())
        assert g.recv(16) == word.upper()
        g.close()
        g = reconnect(guest)
    g.close()


def test_file_of_several_connections(make_guest, directory):
    """Emptied at start, or appended to; one connection writes behind the other."""
    path, log = directory / "file", directory / "kept"
    path.write_text("from before\n")
    log.write_text("from before\n")
    guest = make_guest("tap").start(f"600:file:{path}", f"601:file:{log},append=on")
    for port in (600, 601):
        guest.connect(port).sendall(b"one\n")
        wait_until(lambda: "one" in (path, log)[port - 600].read_text(), what="the first words")
    for port in (600, 601):
        g = reconnect(guest, port)
        g.sendall(b"two\n")
        g.shutdown(socket.SHUT_WR)
    wait_until(lambda: path.read_text() == "one\ntwo\n", what="both connections' words")
    wait_until(lambda: log.read_text() == "from before\none\ntwo\n", what="all words")


def test_logfile_has_what_the_guest_sent(make_guest, make_device, directory):
    log = directory / "traffic"
    device = make_device("unix")
    device.text += f",logfile={log}"
    guest = start(make_guest("tap"), device)
    g = join(guest, device)
    exchange(g, device, 1 << 20)
    sent = random.Random(1).randbytes(1 << 20)  # as exchange() makes it
    wait_until(lambda: log.read_bytes() == sent, what="the log to have it all")


def test_range_of_ports(make_guest, directory, listen):
    listeners = {port: listen(directory / f"{port}.sock") for port in (1000, 1007, 1015)}
    guest = make_guest("tap").start(f"1000-1015:unix:{directory}/%p.sock")
    for port, listener in listeners.items():
        guest.connect(port).sendall(b"%d" % port)
        assert listener.accept().recv(16) == b"%d" % port
    assert guest.refusal(1001)[0] == errno.ECONNREFUSED


@pytest.mark.parametrize("kind", ["unix", "cmd", "file"])
def test_under_run(processes, vmchannel, helpers, make_device, directory, kind):
    """COMMAND waits for the end of its connection: all is there when it exits."""
    device = make_device(kind)
    argv = [vmchannel, "run", "-vmchannel", f"600:{device.text}", "--",
            helpers["guestprobe"], "script", CHANNEL, "600", "send:some words", "shut", "recv"]
    process = processes.start(argv, stdout=subprocess.PIPE, text=True)
    if kind == "unix":
        device.attach(None)
        device.write(receive_exactly(device.socket, len("some words\n")))
        device.shut()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    steps = json.loads(out)["steps"]
    assert [step["end"] for step in steps] == ["", "", "eof"]
    assert steps[2]["got"] == ("" if kind == "file" else "some words\n")
    if kind == "file":
        assert device.path.read_text() == "some words\n"

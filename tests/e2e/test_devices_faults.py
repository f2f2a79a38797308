# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong at the host's end of a device: each fault stays with its connection, is told
with its reason, and a second channel notices nothing."""

import errno
import os
import re
import socket
import struct
import subprocess
import time

import pytest

from harness import devices
from harness.devices import join, reconnect, start
from harness.exchange import exchange
from harness.processes import wait_until
from harness.services import echo, receive_all, receive_exactly, reset
from test_ends import expect_reset

both_links = pytest.mark.parametrize("link", ["tap", "netns"])


@pytest.fixture
def bystander(directory, listen):
    """A second channel: its text, and a check that it works."""
    path = directory / "bystander.sock"
    listen(path, echo)

    def check(guest):
        with guest.connect(601) as g:
            g.sendall(b"unharmed")
            assert receive_exactly(g, 8) == b"unharmed"
        assert guest.daemon.process.poll() is None

    check.channel = f"601:unix:{path}"
    return check


def send_until_error(g, limit=64 << 20):
    """Sends until it is reset; gives how many bytes the kernel took."""
    sent = 0
    try:
        while sent < limit:
            sent += g.send(bytes(65536))
    except (ConnectionResetError, BrokenPipeError):
        return sent
    pytest.fail("not reset")


# --- pty, pipe, file -----------------------------------------------------------------------------


@both_links
def test_pty_closed_and_reopened(make_guest, make_device, link):
    device = make_device("pty")
    guest = start(make_guest(link), device)
    g = join(guest, device)
    for _ in range(3):
        g.sendall(b"to the first user")
        assert device.read() == b"to the first user"
        device.close()
        g.sendall(b"while nobody looks")
        time.sleep(0.05)
        device.open()
        assert device.read() == b"while nobody looks"
        device.write(b"back again")
        assert receive_exactly(g, 10) == b"back again"
    exchange(g, device, 1 << 20)


def test_pty_link_is_removed_at_the_end(make_guest, make_device):
    device = make_device("pty")
    guest = start(make_guest("tap"), device)
    guest.daemon.wait_for_log("char device redirected to")
    assert guest.daemon.stop() == 0
    assert not os.path.lexists(device.link)


@both_links
def test_pipe_whose_reader_is_gone(make_guest, make_device, bystander, link):
    device = make_device("pipe")
    guest = start(make_guest(link), device, bystander.channel)
    g = join(guest, device)
    g.sendall(b"before")
    assert device.read() == b"before"
    os.close(device.in_fd)
    device.in_fd = -1
    send_until_error(g)
    guest.daemon.wait_for_log("channel 600", "Broken pipe")
    bystander(guest)
    device.in_fd = os.open(f"{device.path}.out", os.O_RDONLY | os.O_NONBLOCK)
    again = reconnect(guest)
    again.sendall(b"after")
    assert device.read() == b"after"


@pytest.fixture
def small_disk(directory):
    mount = directory / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@both_links
def test_disk_full(make_guest, small_disk, bystander, link):
    path = small_disk / "file"
    guest = make_guest(link).start(f"600:file:{path}", bystander.channel)
    g = guest.connect()
    send_until_error(g)
    guest.daemon.wait_for_log("channel 600", "No space left on device")
    assert path.read_bytes() == bytes(256 * 1024)
    bystander(guest)
    path.write_bytes(b"")  # room again
    g = reconnect(guest)
    g.sendall(b"fits now")
    wait_until(lambda: path.read_bytes().endswith(b"fits now"), what="the words in the file")


def test_full_disk_of_a_logfile_stops_no_traffic(make_guest, small_disk, directory, listen):
    listen(directory / "service.sock", echo)
    guest = make_guest("tap").start(
        f"600:unix:{directory}/service.sock,logfile={small_disk}/log")
    with guest.connect() as g:
        for _ in range(32):
            g.sendall(bytes(32768))
            assert receive_exactly(g, 32768) == bytes(32768)
    guest.daemon.wait_for_log("channel 600", "No space left on device")


@pytest.mark.parametrize("text", ["file:{}/absent/file", "pipe:{}/absent", "{}/absent",
                                  "/dev/absent", "serial:{}", "pty:{}/absent/link"])
def test_device_that_cannot_be_opened_at_start(processes, vmchannel, directory, text):
    done = processes.run([vmchannel, "serve", "--link", f"stream,path={directory}/l,server",
                          "-vmchannel", "600:" + text.format(directory)])
    assert done.returncode in (1, 2)
    assert re.search("No such file|not a|unknown device|Inappropriate|Is a directory|device",
                     done.stderr), done.stderr


def test_tty_that_hangs_up(make_guest, make_device, bystander):
    device = make_device("tty")
    guest = start(make_guest("tap"), device, bystander.channel)
    g = join(guest, device)
    g.sendall(b"hello")
    assert device.read() == b"hello"
    os.close(device.in_fd)  # the other side of a pseudo-terminal is the modem
    device.in_fd = device.out_fd = -1
    expect_reset(g)
    bystander(guest)


# --- cmd -----------------------------------------------------------------------------------------


@both_links
def test_cmd_that_exits_at_once(make_guest, bystander, link):
    guest = make_guest(link).start("600:cmd:echo gone; exit 3", bystander.channel)
    for _ in range(3):
        g = guest.connect()
        assert receive_all(g) == b"gone\n"
        g.close()
    bystander(guest)
    wait_until(lambda: not commands_of(guest), what="the commands to be reaped")


def commands_of(guest):
    """Names of the processes that cmd: started, and of what they started."""
    names = [comm_of(pid) for pid in guest.processes.marked()]
    return [name for name in names if name in ("sh", "cat", "sleep", "yes")]


def comm_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:  # ended meanwhile
        return ""


STUBBORN = "trap '' HUP TERM INT; echo ready; sleep 1000; sleep 1000"


@both_links
def test_cmd_that_ignores_the_end(make_guest, link):
    """Half a connection is one: a command that goes on may. It is killed with its connection,
    whatever signals it minds."""
    guest = make_guest(link).start(f"600:cmd:{STUBBORN}")
    g = guest.connect()
    assert receive_exactly(g, 6) == b"ready\n"
    g.shutdown(socket.SHUT_WR)
    g.settimeout(0.3)
    with pytest.raises(TimeoutError):
        g.recv(1)
    assert "sleep" in commands_of(guest)
    reset(g)
    wait_until(lambda: not commands_of(guest), 8, "the command to be killed")


@both_links
def test_cmd_that_talks_to_a_guest_that_left(make_guest, link):
    guest = make_guest(link).start(
        "600:cmd:trap '' HUP TERM PIPE; while :; do echo on; sleep 0.1; done")
    g = guest.connect()
    assert receive_exactly(g, 3) == b"on\n"
    g.close()
    wait_until(lambda: not commands_of(guest), 8, "the command to be killed")


@both_links
def test_cmd_that_floods_stderr(make_guest, bystander, link):
    guest = make_guest(link).start("600:cmd:yes 'a line of complaint' >&2 & cat; kill $!",
                                   bystander.channel)
    g = guest.connect()
    for _ in range(20):
        g.sendall(b"through all of it")
        assert receive_exactly(g, 17) == b"through all of it"
        time.sleep(0.02)
    bystander(guest)
    guest.daemon.wait_for_log("channel 600", "a line of complaint")
    g.shutdown(socket.SHUT_WR)
    assert receive_all(g) == b""
    assert len(guest.daemon.log()) < 100_000


def test_cmd_stderr_is_escaped(make_guest):
    guest = make_guest("tap").start(r"600:cmd:printf 'red \033[31m alert\n' >&2")
    guest.connect().recv(1)
    line = guest.daemon.wait_for_log("channel 600", "alert")
    assert "\033" not in line


def test_cmds_end_with_the_daemon(make_guest):
    guest = make_guest("tap").start(f"600:cmd:{STUBBORN}")
    ends = [guest.connect() for _ in range(3)]
    for g in ends:
        assert receive_exactly(g, 6) == b"ready\n"
    assert guest.daemon.stop() == 0
    wait_until(lambda: not commands_of(guest), what="all commands to be gone")


# --- datagrams -----------------------------------------------------------------------------------


@both_links
def test_udp_is_cut_into_datagrams_that_may_be(make_guest, make_device, link):
    """64 KiB and more at once: no datagram is over 65507 bytes, and no byte is lost or moved."""
    device = make_device("udp")
    guest = start(make_guest(link), device)
    g = join(guest, device)
    data = os.urandom(300_000)
    g.sendall(data)
    sizes, got = [], b""
    while len(got) < len(data):
        part = device.read()
        sizes.append(len(part))
        got += part
    assert got == data and max(sizes) <= 65507


@both_links
def test_udp_whose_peer_is_not_there(make_guest, make_device, bystander, link):
    """ICMP's answer to one datagram says nothing of the next."""
    device = make_device("udp")
    remote = device.socket.getsockname()
    device.socket.close()
    guest = start(make_guest(link), device, bystander.channel)
    g = guest.connect()
    for _ in range(5):
        g.sendall(b"to nobody")
        time.sleep(0.02)
    device.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    device.socket.settimeout(5)
    device.socket.bind(remote)
    g.sendall(b"to somebody")
    assert device.read() == b"to somebody"
    device.write(b"heard")
    assert receive_exactly(g, 5) == b"heard"
    bystander(guest)


def test_udp_from_somebody_else_is_not_taken(make_guest, make_device):
    device = make_device("udp")
    guest = start(make_guest("tap"), device)
    g = join(guest, device)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"let me in", device.local)
    device.write(b"the peer")
    assert receive_exactly(g, 8) == b"the peer"


def test_largest_datagram_reaches_the_guest_whole(make_guest, make_device):
    device = make_device("udp")
    guest = start(make_guest("tap"), device)
    g = join(guest, device)
    data = os.urandom(65507)
    device.socket.sendto(data, device.local)
    assert receive_exactly(g, len(data)) == data


# --- telnet --------------------------------------------------------------------------------------


@both_links
def test_telnet_doubles_iac(make_guest, make_device, link):
    device = make_device("telnet-server")
    guest = start(make_guest(link), device)
    g = join(guest, device)
    data = b"\xff" * 1000 + b"\xff\xfb\x01 looks like WILL ECHO\xff\xf0\xff"
    g.sendall(data)
    got = b""
    while len(got) < len(data):
        got += device.read()
    assert got == data
    for byte in b"\xff\xffa\xff\xff\xff\xff":  # one byte of the wire at a time
        device.socket.sendall(bytes([byte]))
        time.sleep(0.005)
    assert receive_exactly(g, 4) == b"\xffa\xff\xff"


def test_telnet_commands_do_not_reach_the_guest(make_guest, make_device):
    device = make_device("telnet-server")
    guest = start(make_guest("tap"), device)
    g = join(guest, device)
    subnegotiation = b"\xff\xfa\x18\x00anything\xff\xffgoes\xff\xf0"
    device.socket.sendall(b"one\xff\xf6two" + subnegotiation + b"three\xff\xf1")
    assert receive_exactly(g, 11) == b"onetwothree"


def test_telnet_client_of_a_service(make_guest, directory):
    """telnet: without server: we are the client."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        guest = make_guest("tap").start(f"600:telnet:127.0.0.1:{listener.getsockname()[1]}")
        g = guest.connect()
        service, _ = listener.accept()
        with service:
            service.settimeout(5)
            service.sendall(b"\xff\xfb\x01\xff\xfb\x03login: \xff\xff")
            assert receive_exactly(g, 8) == b"login: \xff"
            g.sendall(b"me\xff")
            heard = b""
            while not heard.endswith(b"me\xff\xff"):
                heard += service.recv(100)


# --- websocket -----------------------------------------------------------------------------------


class RawWebsocket:
    """A client that does what well-behaved ones do not."""

    KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
    ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                            b"Connection: Upgrade\r\nSec-WebSocket-Key: " + self.KEY +
                            b"\r\nSec-WebSocket-Version: 13\r\n\r\n")

    def shake_hands(self):
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert b" 101 " in answer and self.ACCEPT in answer
        return self

    def send(self, first_byte, payload, mask=b"\x11\x22\x33\x44"):
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        self.socket.sendall(bytes([first_byte]) + length + mask + masked)

    def receive(self):
        """(first byte, payload) of the next frame."""
        first, size = receive_exactly(self.socket, 2)
        assert size < 126
        return first, receive_exactly(self.socket, size)


@pytest.fixture
def websocket(make_guest, request):
    """(guest, its socket, a raw client) joined; the link is the test's parameter."""
    port = devices.free_port()
    guest = make_guest(request.param).start(f"600:websocket:127.0.0.1:{port},server")
    guest.daemon.wait_for_log("ready")
    client = RawWebsocket(port)
    g = guest.connect()
    yield guest, g, client.shake_hands()
    client.socket.close()
    g.close()


on_both_links = pytest.mark.parametrize("websocket", ["tap", "netns"], indirect=True)


@on_both_links
def test_websocket_fragments(websocket):
    """A message in pieces, with a ping between them, and pieces of no length."""
    _, g, client = websocket
    client.send(0x02, b"a mess")
    client.send(0x89, b"are you there")
    client.send(0x00, b"")
    client.send(0x00, b"age in pie")
    client.send(0x80, b"ces")
    assert receive_exactly(g, 19) == b"a message in pieces"
    assert client.receive() == (0x8A, b"are you there")
    g.sendall(b"whole")
    assert client.receive() == (0x82, b"whole")


@on_both_links
def test_websocket_closed_by_the_client(websocket):
    _, g, client = websocket
    client.send(0x82, b"last words")
    client.send(0x88, struct.pack(">H", 1000) + b"bye")
    assert receive_all(g) == b"last words"
    assert client.receive() == (0x88, struct.pack(">H", 1000))
    assert client.socket.recv(1) == b""


@on_both_links
def test_websocket_closed_by_the_guest(websocket):
    _, g, client = websocket
    g.sendall(b"last words")
    g.shutdown(socket.SHUT_WR)
    assert client.receive() == (0x82, b"last words")
    assert client.receive() == (0x88, struct.pack(">H", 1000))
    client.send(0x82, b"one more")
    client.send(0x88, struct.pack(">H", 1000))
    assert receive_all(g) == b"one more"


@on_both_links
def test_websocket_cut_without_a_close(websocket):
    _, g, client = websocket
    client.send(0x82, b"half a")
    assert receive_exactly(g, 6) == b"half a"
    client.socket.close()
    assert expect_reset(g) == b""


@on_both_links
@pytest.mark.parametrize("bad", ["unmasked", "reserved bits", "orphan continuation"])
def test_websocket_that_breaks_the_rules(websocket, bad):
    guest, g, client = websocket
    client.send(0x82, b"good")
    if bad == "unmasked":
        client.socket.sendall(b"\x82\x03bad")
    else:
        client.send(0xF2 if bad == "reserved bits" else 0x80, b"bad")
    assert expect_reset(g) == b"good"
    assert client.receive() == (0x88, struct.pack(">H", 1002))
    assert guest.daemon.process.poll() is None


def test_http_client_is_told_that_this_is_no_web_page(make_guest):
    port = devices.free_port()
    guest = make_guest("tap").start(f"600:websocket:127.0.0.1:{port},server,nowait")
    guest.daemon.wait_for_log("ready")
    g = guest.connect()
    with socket.create_connection(("127.0.0.1", port), 5) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive_all(browser).startswith(b"HTTP/1.1 4")
    expect_reset(g)
    assert guest.refusal(601)[0] == errno.ECONNREFUSED

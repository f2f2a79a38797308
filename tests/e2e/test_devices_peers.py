# SPDX-License-Identifier: BSD-3-Clause
"""Real programs behind a channel: what people use with QEMU's character devices, and servers whose
own clients run in the guest."""

import hashlib
import os
import pty
import random
import select
import signal
import socket
import subprocess
import time

import pytest

from harness import devices
from harness.devices import join, start
from harness.exchange import echo
from harness.processes import wait_until
from harness.services import receive_all, receive_exactly

both_links = pytest.mark.parametrize("link", ["tap", "netns"])
BULK = 16 << 20


def listens(process, is_there):
    def ready():
        assert process.poll() is None, f"{process.args} exited {process.returncode}"
        return is_there()

    wait_until(ready, 10, f"{process.args} to listen")


def listens_on_tcp(port):
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    with open("/proc/net/tcp") as f:
        return wanted in f.read()


# --- socat ---------------------------------------------------------------------------------------


@both_links
def test_socat_listens_on_unix(make_guest, processes, directory, link):
    path = directory / "socat.sock"
    socat = processes.start(["socat", f"UNIX-LISTEN:{path},fork", "EXEC:cat"])
    listens(socat, path.exists)
    guest = make_guest(link).start(f"600:unix:{path}")
    g, other = guest.connect(), guest.connect()
    echo(g, BULK)
    g.shutdown(socket.SHUT_WR)
    assert g.recv(1) == b""
    echo(other, 1000)
    socat.terminate()
    socat.wait()
    path.unlink(missing_ok=True)


@both_links
def test_socat_connects_by_unix_and_tcp(make_guest, processes, directory, link):
    path, port = directory / "server.sock", devices.free_port()
    guest = make_guest(link).start(f"600:unix:{path},server,nowait",
                                   f"601:tcp:127.0.0.1:{port},server,nowait")
    guest.daemon.wait_for_log("ready")
    for number, address in ((600, f"UNIX-CONNECT:{path}"), (601, f"TCP:127.0.0.1:{port}")):
        g = guest.connect(number)
        g.sendall(b"early words ")
        socat = processes.start(["socat", address, "SYSTEM:cat"])
        assert receive_exactly(g, 12) == b"early words "
        echo(g, 1 << 20)
        g.shutdown(socket.SHUT_WR)
        assert g.recv(1) == b""
        assert socat.wait(5) == 0


def test_socat_on_udp_and_on_a_pipe(make_guest, make_device, processes, directory):
    ports = [devices.free_port(socket.SOCK_DGRAM) for _ in range(2)]
    udp = processes.start(["socat", f"UDP:127.0.0.1:{ports[0]},bind=127.0.0.1:{ports[1]}",
                           "SYSTEM:cat"])
    os.mkfifo(directory / "p.in")
    os.mkfifo(directory / "p.out")
    guest = make_guest("tap").start(f"600:udp:127.0.0.1:{ports[1]}@127.0.0.1:{ports[0]}",
                                    f"601:pipe:{directory}/p")
    processes.start(["socat", f"PIPE:{directory}/p.out!!PIPE:{directory}/p.in", "SYSTEM:cat"])
    listens(udp, lambda: f"0100007F:{ports[1]:04X}" in open("/proc/net/udp").read())
    for port in (600, 601):
        g = guest.connect(port)
        for size in (1, 100, 1000):
            echo(g, size)
        g.close()


def test_nc_on_both_sides_of_unix(make_guest, processes, directory):
    """nc -lU serves, nc -U connects."""
    served, serving = directory / "nc.sock", directory / "vmchannel.sock"
    listener = processes.start(["nc", "-N", "-lU", served], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    listens(listener, served.exists)
    guest = make_guest("tap").start(f"600:unix:{served}", f"601:unix:{serving},server")
    wait_until(serving.exists, what="the socket of port 601")
    client = processes.start(["nc", "-N", "-U", serving], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    for nc, port in ((listener, 600), (client, 601)):
        g = guest.connect(port)
        g.sendall(b"from the guest\n")
        assert nc.stdout.readline() == b"from the guest\n"
        nc.stdin.write(b"from nc\n")
        nc.stdin.flush()
        nc.stdin.close()
        assert receive_all(g) == b"from nc\n"
        g.close()
        assert nc.wait(5) == 0 and nc.stdout.read() == b""
    served.unlink()


# --- telnet --------------------------------------------------------------------------------------


@both_links
def test_telnet_client(make_guest, processes, link):
    """inetutils-telnet, as a person runs it: on a terminal."""
    port = devices.free_port()
    guest = make_guest(link).start(f"600:telnet:127.0.0.1:{port},server")
    guest.daemon.wait_for_log("ready")
    ours, theirs = pty.openpty()
    telnet = processes.start(["telnet", "-E", "-8", "127.0.0.1", str(port)], stdin=theirs,
                             stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    g = guest.connect()
    try:
        read_until(ours, b"Connected to 127.0.0.1")
        g.sendall(b"login: ")
        read_until(ours, b"login: ")
        os.write(ours, b"m\xff\xfe")  # a character at a time, 8 bits, not echoed by the terminal
        assert receive_exactly(g, 3) == b"m\xff\xfe"
        g.sendall(b"\xff\xfd\x03 is no command\r\n")
        assert b"\xff\xfd\x03 is no command" in read_until(ours, b"command\r\n")
        g.close()
        assert b"closed by foreign host" in read_until(ours, b"host")
        assert telnet.wait(5) in (0, 1)
    finally:
        os.close(ours)


def read_until(fd, words, timeout=10):
    got, deadline = b"", time.monotonic() + timeout
    while words not in got:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([fd], [], [], left)[0], f"{words!r} not in {got!r}"
        got += os.read(fd, 4096)
    return got


# --- websocket -----------------------------------------------------------------------------------

NODE_CLIENT = """
const WebSocket = require('ws');
const ws = new WebSocket(process.argv[2]);
ws.binaryType = 'nodebuffer';
ws.on('message', (data, isBinary) => {
    if (!isBinary) process.exit(3);
    ws.send(data, {fin: true});
});
ws.on('ping', () => {});
ws.on('open', () => ws.ping('still there?'));
ws.on('pong', data => { if (String(data) !== 'still there?') process.exit(4); ponged = true; });
let ponged = false;
ws.on('close', code => { console.log(code, ponged); });
"""


@both_links
def test_websocket_of_node(make_guest, processes, directory, link):
    """What comes is sent back by Node's ws; the guest's end is a Close with the code 1000."""
    port = devices.free_port()
    guest = make_guest(link).start(f"600:websocket:127.0.0.1:{port},server")
    guest.daemon.wait_for_log("ready")
    script = directory / "client.js"
    script.write_text(NODE_CLIENT)
    node = processes.start(["/usr/bin/node", script, f"ws://127.0.0.1:{port}/"],
                           env=dict(os.environ, NODE_PATH="/usr/share/nodejs"),
                           stdout=subprocess.PIPE, text=True)
    g = guest.connect(timeout=20)
    echo(g, BULK)
    g.shutdown(socket.SHUT_WR)
    assert g.recv(1) == b""
    assert node.communicate(timeout=10)[0] == "1000 true\n"
    assert node.returncode == 0


@both_links
def test_websocket_of_python_in_messages_of_all_sizes(make_guest, make_device, link):
    """Compression is offered and declined, pings are answered, text is bytes like all others."""
    device = make_device("websocket")
    guest = start(make_guest(link), device)
    g = join(guest, device)
    assert device.client.extensions == []
    for size in (1, 125, 126, 65535, 65536, 1 << 20):
        device.write(b"%d" % (size % 10) * size)
        assert receive_exactly(g, size) == b"%d" % (size % 10) * size
    device.run(device.client.ping(b"echo me"))  # its pong is awaited by the close
    device.run(device.client.send("text \u00e4"))
    assert receive_exactly(g, 7) == "text \u00e4".encode()
    g.sendall(b"bye")
    g.shutdown(socket.SHUT_WR)
    assert device.read() == b"bye"
    assert device.read() == b""
    assert device.client.close_code == 1000


# --- terminals -----------------------------------------------------------------------------------


def test_stty_and_picocom_on_a_pty(make_guest, make_device, processes):
    device = make_device("pty")
    guest = start(make_guest("tap"), device)
    g = join(guest, device)
    settings = processes.run(["stty", "-F", device.link, "-a"]).stdout
    for word in ("-icanon", "-echo", "-opost", "-isig", "-icrnl", "-ixon"):
        assert word in settings, settings
    assert processes.run(["stty", "-F", device.link, "9600"]).returncode == 0
    ours, theirs = pty.openpty()
    picocom = processes.start(["picocom", "--quiet", "--noreset", "--baud", "115200", device.link],
                              stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        g.sendall(b"login: ")
        # The pty's reader until now was the test: it may get the first words.
        device.close()
        while not select.select([ours], [], [], 0.2)[0]:
            g.sendall(b"login: ")
        read_until(ours, b"login: ")
        os.write(ours, b"root")
        assert receive_exactly(g, 4) == b"root"
        os.write(ours, b"\x01\x18")  # C-a C-x: exit
        assert picocom.wait(5) == 0
    finally:
        os.close(ours)
    assert "speed 115200" in processes.run(["stty", "-F", device.link, "-a"]).stdout


def test_tty_is_made_raw_and_keeps_its_speed(make_guest, make_device, processes):
    device = make_device("tty")
    guest = start(make_guest("tap"), device)
    join(guest, device)
    settings = processes.run(["stty", "-F", device.name, "-a"]).stdout
    assert "speed 9600 baud" in settings and "-icanon" in settings and "-opost" in settings


# --- servers -------------------------------------------------------------------------------------


@pytest.fixture
def ssh(directory, processes):
    """(sshd's options, ssh's options): keys of the test's own, no name service, no known hosts."""
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name]
        subprocess.run(argv, check=True, timeout=20)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's, for its unprivileged part
    (directory / "sshd_config").write_text(
        f"HostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\nStrictModes no\n"
        f"UsePAM no\nPermitRootLogin yes\nUseDNS no\nPidFile none\nListenAddress 127.0.0.1\n")
    client = ["ssh", "-F", "none", "-i", directory / "user", "-o", "IdentitiesOnly=yes",
              "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
              "-o", "UserKnownHostsFile=/dev/null", "-p", "600", "root@10.0.2.4"]
    return ["-f", directory / "sshd_config"], client


@pytest.mark.timeout(60)
@pytest.mark.parametrize("device", ["tcp", "cmd"])
def test_openssh(make_guest, processes, directory, ssh, device):
    """A session with an exit status, and 16 MiB through it each way, for a server on a TCP port
    and for one that is started for each connection."""
    server, client = ssh
    if device == "tcp":
        port = devices.free_port()
        sshd = processes.start(["/usr/sbin/sshd", "-D", "-e", "-p", str(port), *server],
                               stderr=subprocess.DEVNULL)
        listens(sshd, lambda: listens_on_tcp(port))
        text = f"tcp:127.0.0.1:{port}"
    else:
        text = "cmd:exec /usr/sbin/sshd -i -e " + " ".join(map(str, server))
    guest = make_guest("tap").start(f"600:{text}")
    done = guest.command([*client, "echo told; exit 7"])
    assert (done.stdout, done.returncode) == ("told\n", 7), done.stderr
    data = directory / "data"
    data.write_bytes(random.Random(4).randbytes(BULK))
    up = guest.command(["sh", "-c", f"\"$@\" <{data}", "sh", *client, "sha256sum"])
    assert up.stdout.split()[0] == hashlib.sha256(data.read_bytes()).hexdigest(), up.stderr
    down = guest.command(["sh", "-c", "\"$@\" | sha256sum", "sh", *client, f"cat {data}"])
    assert down.stdout.split()[0] == hashlib.sha256(data.read_bytes()).hexdigest(), down.stderr


@pytest.fixture
def redis(processes, directory):
    """The path of a Redis server's socket. redis-tools has the server too, by another name."""
    path = directory / "redis.sock"
    server = processes.start(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory],
        executable="/usr/bin/redis-check-rdb", stdout=subprocess.DEVNULL)
    listens(server, path.exists)
    yield path
    server.send_signal(signal.SIGTERM)
    server.wait(5)
    path.unlink(missing_ok=True)


@both_links
def test_redis_and_its_clients(make_guest, redis, directory, link):
    """redis-cli in the guest, 16 MiB each way, and 50 clients at once."""
    guest = make_guest(link).start(f"600:unix:{redis}")
    cli = ["redis-cli", "-h", "10.0.2.4", "-p", "600"]
    assert guest.command([*cli, "set", "greeting", "from the guest"]).stdout == "OK\n"
    assert guest.command([*cli, "get", "greeting"]).stdout == "from the guest\n"
    data = directory / "data"
    data.write_bytes(random.Random(5).randbytes(BULK))
    up = guest.command(["sh", "-c", f"\"$@\" <{data}", "sh", *cli, "-x", "set", "bulk"])
    assert up.stdout == "OK\n", up.stderr
    down = guest.command(["sh", "-c", f"\"$@\" >{data}.back", "sh", *cli, "get", "bulk"])
    assert down.returncode == 0
    assert (directory / "data.back").read_bytes() == data.read_bytes() + b"\n"
    many = guest.command(["redis-benchmark", "-h", "10.0.2.4", "-p", "600", "-n", "5000", "-c",
                          "50", "-t", "set,get", "-q"])
    assert many.returncode == 0 and "GET:" in many.stdout.replace("\r", "\n"), many.stderr

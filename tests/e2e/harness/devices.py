# SPDX-License-Identifier: BSD-3-Clause
"""Both sides of a device: the text behind "PORT:", and the host program that uses it, as a stream
with write() and read(). One class per device; `KINDS` has them all by name,
but for vsock (test_vsock.py)."""

import asyncio
import os
import re
import select
import socket
import termios
import threading
import time

import websockets

from harness.processes import wait_until

IO_TIMEOUT = 20
DATAGRAM_BUFFER = 64 << 20  # for datagrams, which nobody sends again
SO_RCVBUFFORCE = 33


def free_port(kind=socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_fd(fd, timeout=IO_TIMEOUT) -> bytes:
    readable, _, _ = select.select([fd], [], [], timeout)
    assert readable, "nothing to read"
    return os.read(fd, 1 << 16)


def write_fd(fd, data):
    view = memoryview(data)
    while view:
        select.select([], [fd], [], IO_TIMEOUT)
        try:
            view = view[os.write(fd, view[: 1 << 16]):]
        except BlockingIOError:
            pass


class Device:
    """attach() when a guest is connected; or before, if `early`, since the connect waits for it."""

    gives = True        # bytes for the guest
    takes = True        # bytes of the guest
    exclusive = False   # one guest connection at a time
    half_closes = True  # a guest's shutdown(SHUT_WR) leaves the other direction open
    lossy = False       # what is sent faster than it is read may be lost
    early = False
    options = ()        # of vmchannel

    def __init__(self, processes, directory):
        self.processes = processes
        self.directory = directory
        self.prepare()

    def prepare(self):
        pass

    def attach(self, daemon):
        pass

    def close(self):
        pass


class SocketDevice(Device):
    """The host program has a stream socket."""

    socket = listener = None

    def listen(self, listener, address):
        self.listener = listener
        listener.settimeout(IO_TIMEOUT)
        listener.bind(address)
        listener.listen(16)

    def connect(self, family, address):
        self.socket = socket.socket(family)
        self.socket.settimeout(IO_TIMEOUT)
        self.socket.connect(address)

    def attach(self, daemon):
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(IO_TIMEOUT)

    def write(self, data):
        self.socket.sendall(data)

    def read(self) -> bytes:
        return self.socket.recv(1 << 16)

    def shut(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        for s in (self.socket, self.listener):
            if s:
                s.close()


class Unix(SocketDevice):
    def prepare(self):
        self.path = self.directory / "device.sock"
        self.text = f"unix:{self.path}"
        self.listen(socket.socket(socket.AF_UNIX), str(self.path))

    def close(self):
        super().close()
        self.path.unlink()


class UnixServer(SocketDevice):
    early = True

    def prepare(self):
        self.path = self.directory / "device.sock"
        self.text = f"unix:{self.path},server"

    def attach(self, daemon):
        daemon.wait_until_up(self.path.exists, "the device's socket")
        self.connect(socket.AF_UNIX, str(self.path))


class Abstract(SocketDevice):
    def prepare(self):
        name = f"vmce2e-{os.getpid()}-{free_port()}"
        self.text = f"unix:{name},abstract=on"
        self.listen(socket.socket(socket.AF_UNIX), f"\0{name}")


class Chardev(Unix):
    """Declared by -chardev."""

    def prepare(self):
        super().prepare()
        self.options = ["-chardev", f"socket,id=c0,path={self.path}"]
        self.text = "chardev:c0"


class Tcp(SocketDevice):
    def prepare(self):
        listener = socket.socket()
        self.listen(listener, ("127.0.0.1", 0))
        self.text = f"tcp:127.0.0.1:{listener.getsockname()[1]},nodelay"


class TcpServer(SocketDevice):
    early = True
    kind = "tcp"

    def prepare(self):
        self.port = free_port()
        self.text = f"{self.kind}:127.0.0.1:{self.port},server"

    def attach(self, daemon):
        daemon.wait_for_log("ready")
        self.connect(socket.AF_INET, ("127.0.0.1", self.port))


class TelnetServer(TcpServer):
    """A client that agrees to all that is negotiated, and doubles IAC."""

    kind = "telnet"
    AGREE = {0xFB: 0xFD, 0xFD: 0xFB}  # WILL -> DO, DO -> WILL

    def attach(self, daemon):
        super().attach(daemon)
        self.unread = b""

    def write(self, data):
        self.socket.sendall(data.replace(b"\xff", b"\xff\xff"))

    def read(self) -> bytes:
        part = self.socket.recv(1 << 16)
        return self.decode(part) if part else b""

    def decode(self, part) -> bytes:
        data, out = self.unread + part, b""
        at = 0
        while (iac := data.find(b"\xff", at)) >= 0:
            out += data[at:iac]
            verb = data[iac + 1: iac + 2]
            length = 2 if verb == b"\xff" else 3
            if len(data) < iac + length:
                at = iac
                break
            if verb == b"\xff":
                out += b"\xff"
            elif verb[0] in self.AGREE:
                self.socket.sendall(bytes([0xFF, self.AGREE[verb[0]], data[iac + 2]]))
            at = iac + length
        else:
            out, at = out + data[at:], len(data)
        self.unread = data[at:]
        return out or self.read()


class Udp(Device):
    exclusive = lossy = True
    half_closes = False

    def prepare(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, DATAGRAM_BUFFER)
        self.socket.settimeout(IO_TIMEOUT)
        self.socket.bind(("127.0.0.1", 0))
        self.local = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self.text = "udp:127.0.0.1:%d@127.0.0.1:%d" % (self.socket.getsockname()[1], self.local[1])

    def write(self, data):
        for at in range(0, len(data), 8192):
            self.socket.sendto(data[at:at + 8192], self.local)

    def read(self) -> bytes:
        return self.socket.recv(1 << 16)

    def close(self):
        self.socket.close()


class FdDevice(Device):
    """The host program has descriptors."""

    exclusive = True
    half_closes = False
    in_fd = out_fd = -1  # as the host program sees them

    def write(self, data):
        write_fd(self.out_fd, data)

    def read(self) -> bytes:
        return read_fd(self.in_fd)

    def close(self):
        for fd in {self.in_fd, self.out_fd} - {-1}:
            os.close(fd)


class Pty(FdDevice):
    def prepare(self):
        self.link = self.directory / "tty"
        self.text = f"pty:{self.link}"

    def attach(self, daemon):
        line = daemon.wait_for_log("char device redirected to /dev/pts/")
        self.name = re.search(r"/dev/pts/\d+", line)[0]
        assert os.readlink(self.link) == self.name
        self.open()

    def open(self):
        self.in_fd = self.out_fd = os.open(self.link, os.O_RDWR | os.O_NOCTTY)

    def close(self):
        super().close()
        self.in_fd = self.out_fd = -1


class Tty(FdDevice):
    """A terminal that the test made: its other side is the host program."""

    def prepare(self):
        self.in_fd, self.tty_fd = os.openpty()
        self.out_fd = self.in_fd
        speed = termios.tcgetattr(self.tty_fd)
        speed[4] = speed[5] = termios.B9600
        termios.tcsetattr(self.tty_fd, termios.TCSANOW, speed)
        self.name = os.ttyname(self.tty_fd)
        self.text = self.name

    def close(self):
        super().close()
        os.close(self.tty_fd)


class File(FdDevice):
    gives = False

    def prepare(self):
        self.path = self.directory / "file"
        self.text = f"file:{self.path}"

    def attach(self, daemon):
        self.in_fd = os.open(self.path, os.O_RDONLY)

    def read(self) -> bytes:
        """What has been written since."""
        deadline = time.monotonic() + IO_TIMEOUT
        while not (data := os.read(self.in_fd, 1 << 16)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return data


class Pipe(FdDevice):
    """PATH.in is what vmchannel reads."""

    def prepare(self):
        self.path = self.directory / "pipe"
        for direction in ("in", "out"):
            os.mkfifo(f"{self.path}.{direction}")
        self.text = f"pipe:{self.path}"
        self.in_fd = os.open(f"{self.path}.out", os.O_RDONLY | os.O_NONBLOCK)

    def attach(self, daemon):
        self.out_fd = os.open(f"{self.path}.in", os.O_WRONLY | os.O_NONBLOCK)


class Stdio(FdDevice):
    """The daemon's own: the test starts it with these pipes."""

    def prepare(self):
        self.stdin, self.out_fd = os.pipe()
        self.in_fd, self.stdout = os.pipe()
        self.text = "stdio"

    def close(self):
        super().close()
        os.close(self.stdin)
        os.close(self.stdout)


class Null(Device):
    gives = takes = False
    text = "null"


class Cmd(Device):
    """The command is its own host program: what it is sent comes back."""

    text = "cmd:exec cat"


class Websocket(Device):
    """The client is python3-websockets, which runs its loop in a thread. Its handshake is answered
    when a guest is there: nothing is accepted before."""

    early = True

    def prepare(self):
        self.port = free_port()
        self.text = f"websocket:127.0.0.1:{self.port},server"
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def begin(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine):
        return self.begin(coroutine).result(IO_TIMEOUT)

    async def _connect(self):
        return await websockets.connect(f"ws://127.0.0.1:{self.port}/", max_size=None)

    def attach(self, daemon):
        daemon.wait_for_log("ready")
        self.connecting = self.begin(self._connect())

    @property
    def client(self):
        return self.connecting.result(IO_TIMEOUT)

    def write(self, data):
        for at in range(0, len(data), 1 << 18):
            self.run(self.client.send(data[at:at + (1 << 18)]))

    def read(self) -> bytes:
        try:
            return self.run(self.client.recv())
        except websockets.ConnectionClosedOK:
            return b""

    def shut(self):
        self.run(self.client.close())

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


KINDS = {
    "unix": Unix, "unix-server": UnixServer, "abstract": Abstract, "chardev": Chardev,
    "tcp": Tcp, "tcp-server": TcpServer, "telnet-server": TelnetServer, "websocket": Websocket,
    "udp": Udp, "pty": Pty, "tty": Tty, "file": File, "pipe": Pipe, "stdio": Stdio, "null": Null,
    "cmd": Cmd,
}


def start(guest, device, *channels):
    """The guest with that device at its port 600, and further channels."""
    streams = {"stdin": device.stdin, "stdout": device.stdout} if device.text == "stdio" else {}
    return guest.start(f"600:{device.text}", *channels, options=device.options, **streams)


def join(guest, device):
    """A connection of the guest, with the host program at its other end."""
    if device.early:
        device.attach(guest.daemon)
    g = guest.connect(timeout=IO_TIMEOUT)
    if not device.early:
        device.attach(guest.daemon)
    return g


def reconnect(guest, port=600):
    """An exclusive device is free again when its connection has ended, which takes a moment."""

    def connected():
        try:
            return guest.connect(port)
        except ConnectionRefusedError:
            return None

    return wait_until(connected, what="the device to be free")

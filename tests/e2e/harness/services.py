# SPDX-License-Identifier: BSD-3-Clause
"""Host programs: what stands behind a channel's Unix socket, well-behaved and otherwise."""

import os
import socket
import struct
import threading

IO_TIMEOUT = 10


class Listener:
    """A Unix socket bound and listening at a path; the test accepts and converses by itself."""

    def __init__(self, path, backlog=512):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(backlog)
        self.socket.settimeout(IO_TIMEOUT)
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self.socket.accept()
        connection.settimeout(IO_TIMEOUT)
        self.accepted.append(connection)
        return connection

    def close(self):
        """As a service that is killed: all its sockets go, and the path with them."""
        for connection in self.accepted:
            connection.close()
        if self.socket.fileno() >= 0:
            self.socket.close()
            os.unlink(self.path)


class Service(Listener):
    """Accepts in a thread of its own and runs handler(connection, number) in a thread for each."""

    def __init__(self, path, handler, backlog=512):
        super().__init__(path, backlog)
        self.handler = handler
        self.peers: list[bytes] = []  # getpeername() of each, in order of arrival
        self.socket.settimeout(None)
        threading.Thread(target=self._accept_all, daemon=True).start()

    def _accept_all(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # closed
                return
            connection.settimeout(60)
            self.accepted.append(connection)
            number = len(self.peers)
            self.peers.append(peer_name(connection))
            threading.Thread(target=self._handle, args=(connection, number), daemon=True).start()

    def _handle(self, connection, number):
        try:
            self.handler(connection, number)
        except OSError:
            pass

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        except OSError:
            pass
        for connection in self.accepted:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        super().close()


def peer_name(connection: socket.socket) -> bytes:
    name = connection.getpeername()
    return name if isinstance(name, bytes) else name.encode()


def echo(connection, number):
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def answer_lines(connection, number):
    """Answers "LINE" by "host end NUMBER heard LINE": merged or swapped streams show."""
    with connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(b"host end %d heard %s" % (number, line))
    connection.shutdown(socket.SHUT_WR)


def never_read(connection, number):
    threading.Event().wait(3600)


def receive_all(s: socket.socket) -> bytes:
    """To the end of the stream."""
    parts = []
    while part := s.recv(65536):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(s: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = s.recv(count - len(data))
        assert part, f"end of stream after {len(data)} of {count} bytes"
        data += part
    return data


def send_and_close(s: socket.socket, data: bytes) -> threading.Thread:
    """In a thread, for more than the buffers on the way hold."""

    def body():
        s.sendall(data)
        s.close()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def reset(s: socket.socket):
    """Closes a TCP socket by RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()

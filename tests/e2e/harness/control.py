# SPDX-License-Identifier: BSD-3-Clause
"""A guest with a control socket, and a varlink client of the tests' own (varlink.org): JSON and a
NUL, one reply for one call."""

import array
import json
import socket

INTERFACE = "org.vmchannel.Control"


def start(guest, *channels, name="vm1", options=()):
    guest.start(*channels, options=("--name", name, *options))
    guest.daemon.wait_for_log("ready")
    return guest


class Varlink:
    def __init__(self, path, timeout=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def send(self, data: bytes, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while data:
            data = data[self.socket.sendmsg([data], rights):]
            rights = []

    def say(self, method, parameters=None, fds=(), **members):
        call = {"method": method, **members}
        if parameters is not None:
            call["parameters"] = parameters
        self.send(json.dumps(call).encode() + b"\0", fds)

    def hear(self) -> dict:
        """The next reply; b"" at the end of the connection becomes EOFError."""
        while b"\0" not in self.rest:
            part = self.socket.recv(65536)
            if not part:
                raise EOFError(self.rest)
            self.rest += part
        reply, self.rest = self.rest.split(b"\0", 1)
        return json.loads(reply)

    def call(self, method, parameters=None, fds=()):
        """The parameters of a good reply, else the error's name and parameters."""
        self.say(method, parameters, fds)
        reply = self.hear()
        if "error" in reply:
            return reply["error"], reply.get("parameters", {})
        return reply["parameters"]

    def control(self, method, **parameters):
        return self.call(f"{INTERFACE}.{method}", parameters)

    def ended(self) -> bool:
        """Whether the other side has closed the connection."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

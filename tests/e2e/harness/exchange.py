# SPDX-License-Identifier: BSD-3-Clause
"""Moves random bytes both ways at once between a guest's socket and a host program, and sees that
they arrive as they were sent."""

import random
import threading
import time

IN_FLIGHT = 64 * 1024  # that a lossy device is trusted with
TIMEOUT = 60


class Flow(threading.Thread):
    """One direction: its sender is a thread of its own, too."""

    def __init__(self, data, write, read, is_paced=False):
        super().__init__(daemon=True)
        self.data = data
        self.write = write
        self.read = read
        self.is_paced = is_paced
        self.received = bytearray()
        self.errors = []
        self.sender = threading.Thread(target=self._guarded, args=(self._send,), daemon=True)

    def _guarded(self, body):
        try:
            body()
        except BaseException as e:  # told by finish()
            self.errors.append(e)

    def _send(self):
        step = IN_FLIGHT // 2 if self.is_paced else len(self.data)
        for at in range(0, len(self.data), step):
            while at - len(self.received) > IN_FLIGHT // 2 and not self.errors:
                time.sleep(0.0002)
            self.write(self.data[at:at + step])

    def _receive(self):
        while len(self.received) < len(self.data):
            part = self.read()
            assert part, f"end after {len(self.received)} of {len(self.data)} bytes"
            self.received += part

    def run(self):
        self.sender.start()
        self._guarded(self._receive)

    def finish(self, name):
        self.join(TIMEOUT)
        state = f"{name}: {len(self.received)} of {len(self.data)} bytes arrived"
        assert not self.errors, f"{state}: {self.errors}"
        assert not self.is_alive(), state
        assert self.received == self.data, f"{name}: not the bytes that were sent"


def exchange(guest, device, size):
    """guest: a connected socket; device: of harness/devices.py, or what has write() and read()."""
    flows = {}
    if device.takes:
        data = random.Random(1).randbytes(size)
        flows["guest to host"] = Flow(data, guest.sendall, device.read)
    if device.gives:
        data = random.Random(2).randbytes(size)
        flows["host to guest"] = Flow(
            data, device.write, lambda: guest.recv(1 << 16), device.lossy)
    for flow in flows.values():
        flow.start()
    for name, flow in flows.items():
        flow.finish(name)


def echo(guest, size):
    """What the guest sends comes back to it."""
    data = random.Random(3).randbytes(size)
    flow = Flow(data, guest.sendall, lambda: guest.recv(1 << 16))
    flow.start()
    flow.finish("echo")


def expect_exact(in_guest, on_host, connections, size):
    """What guestprobe's and hostpeer's transfer told: each got what the other sent, and its end."""
    assert in_guest.get("error") is None, in_guest
    assert in_guest["finished"] and on_host["finished"]
    hosts = {c["id"]: c for c in on_host["connections"]}
    assert len(hosts) == len(in_guest["connections"]) == connections
    for g in in_guest["connections"]:
        h = hosts[g["id"]]
        assert (g["error"], h["error"]) == ("", "")
        assert (g["eof"], h["eof"]) == (True, True)
        assert g["sent"] == h["sent"] == size
        assert (g["received"], g["received_hash"]) == (h["sent"], h["sent_hash"])
        assert (h["received"], h["received_hash"]) == (g["sent"], g["sent_hash"])

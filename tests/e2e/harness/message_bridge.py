# SPDX-License-Identifier: BSD-3-Clause
"""The hypervisor's side of a message link, in a thread of the test: a tap in a namespace, whose
frames go one by one to a socket. Slow, but whole: the guest is the namespace's own kernel."""

import fcntl
import os
import select
import struct
import threading

TUNSETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD = 0x400454CA, 0x400454D8, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 1, 2
VNET_HDR = 12


def open_tap(namespace, ifname, offload):
    """With offload the kernel's frames come as libkrun's do: up to 64 KiB, checksums partial."""
    def opened():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HDR))
        fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 if offload else 0)
        return fd

    return namespace.inside(opened)


class MessageBridge:
    def __init__(self, namespace, link, ifname="vmc0", offload=False):
        """link: a connected datagram or SOCK_SEQPACKET socket; ours from now on."""
        self.link = link
        self.link.setblocking(False)
        self.longest = 0  # frame from the guest
        self._tap = open_tap(namespace, ifname, offload)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self):
        poll = select.poll()
        for fd in (self._tap, self.link.fileno(), self._stop):
            poll.register(fd, select.POLLIN)
        while not any(fd == self._stop for fd, _ in poll.poll()):
            try:
                self._to_guest()
            except BlockingIOError:
                pass
            except OSError:  # the daemon is not there
                poll.unregister(self.link.fileno())
            self._from_guest()

    def _to_guest(self):
        for _ in range(64):
            frame = self.link.recv(65600)
            if not frame:
                raise ConnectionError
            os.write(self._tap, bytes(VNET_HDR) + frame)

    def _from_guest(self):
        try:
            for _ in range(64):
                frame = os.read(self._tap, 65700)[VNET_HDR:]
                self.longest = max(self.longest, len(frame))
                self.link.send(frame)
        except OSError:  # nothing more, or lost, as frames are
            pass

    def close(self):
        os.close(self._stopped)
        self._thread.join(5)
        os.close(self._stop)
        os.close(self._tap)
        self.link.close()

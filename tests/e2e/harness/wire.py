# SPDX-License-Identifier: BSD-3-Clause
"""Raw frames in a guest's namespace: sends what a kernel would not, and sees what comes back."""

import socket
import time

from scapy.layers.l2 import ARP, Ether

from harness.services import receive_exactly

ETH_P_ALL = 3
PACKET_OUTGOING = 4
GUEST_MAC = "52:54:00:12:34:56"


def ask_arp_by_stream(s: socket.socket, target) -> str:
    """Over a stream link's own socket: the MAC that answers for target."""
    s.settimeout(5)
    request = bytes(Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff")
                    / ARP(op=1, hwsrc=GUEST_MAC, psrc="10.0.2.15", pdst=target))
    s.sendall(len(request).to_bytes(4, "big") + request)
    size = int.from_bytes(receive_exactly(s, 4), "big")
    answer = Ether(receive_exactly(s, size))
    assert ARP in answer and answer[ARP].psrc == target
    return answer[ARP].hwsrc


class Wire:
    """An AF_PACKET socket on the guest's interface."""

    def __init__(self, guest, ifname="vmc0"):
        def opened():
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.bind((ifname, ETH_P_ALL))
            return s

        self.socket = guest.ns.inside(opened)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, packet):
        self.socket.send(bytes(packet))

    def received(self, wanted, timeout=1.0):
        """The first frame towards the guest for which wanted(frame), or None."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, address = self.socket.recvfrom(65600)
            except TimeoutError:
                return None
            if address[2] != PACKET_OUTGOING and wanted(frame := Ether(data)):
                return frame
        return None

    def ask_arp(self, target, timeout=1.0):
        """The MAC in whatever answer comes to a question for target, or None."""
        self.send(Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff")
                  / ARP(op=1, hwsrc=GUEST_MAC, psrc="10.0.2.15", pdst=target))
        answer = self.received(lambda f: ARP in f and f[ARP].op == 2, timeout)
        return answer[ARP].hwsrc if answer else None

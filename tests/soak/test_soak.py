# SPDX-License-Identifier: BSD-3-Clause
"""A long run with everything going wrong: services that die, links that drop, workers that are
killed, floods, connections that are left half-way; and 64 connections whose bytes are checked all
the while. What the daemon holds is measured whenever all is quiet, and does not grow.

SOAK_S=600 make soak; SOAK_SEED repeats the choices of a run, not its timing."""

import hashlib
import os
import random
import socket
import struct
import threading
import time

import pytest

from harness.guests import CHANNEL
from harness.processes import wait_until
from harness.services import Service, echo, reset

SECONDS = int(os.environ.get("SOAK_S", 20))
SEED = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(1 << 32)))
PHASES = 4            # each ends in quiet; workers are killed in the first two alone
CONNECTIONS = 64
STEADY, FLAKY = 600, 601  # the service of one lives on
SIZE_MOST = 256 * 1024
GROWTH_KIB = 2048     # of the resident memory between two quiet moments, for the allocator's whims
RESTS_S = 1.0         # how long idling is looked at


def pattern(seed, size):
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


class Client(threading.Thread):
    """One connection after another; each hears its own bytes, in order, to the end or to a cut."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.random = soak, random.Random(SEED * 1000 + number)

    def run(self):
        while self.soak.going.is_set():
            try:
                self.converse()
            except OSError:
                self.soak.count("cut")
                time.sleep(0.05)

    def converse(self):
        port = STEADY if self.random.random() < 0.7 else FLAKY
        sent = pattern(self.random.randrange(1 << 60), self.random.randrange(1, SIZE_MOST))
        with self.soak.guest.connect(port, timeout=5) as s:
            heard = hashlib.sha256()
            size, trouble = 0, []
            sender = threading.Thread(target=self.send, args=(s, sent, trouble), daemon=True)
            sender.start()
            try:
                while part := s.recv(65536):
                    if sent[size:size + len(part)] != part:
                        self.soak.fail(f"port {port}: other bytes at {size} of {len(sent)}")
                    heard.update(part)
                    size += len(part)
                    self.soak.count("bytes", len(part))
                    if self.random.random() < 0.001:
                        reset(s)
                        return
            finally:
                sender.join(10)
            # A reset is told once (sk_err): to the sender, then this looks like an end in order.
            if trouble:
                raise trouble[0]
            if port == STEADY and heard.digest() != hashlib.sha256(sent).digest():
                self.soak.fail(f"an end in order after {size} of {len(sent)} bytes")
            self.soak.count("whole" if size == len(sent) else "short")

    @staticmethod
    def send(s, data, trouble):
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError as e:
            trouble.append(e)


class Echo(Service):
    """Of which one process has hundreds of thousands of connections: each is closed at its end."""

    def __init__(self, path):
        super().__init__(path, echo)

    def _handle(self, connection, number):
        super()._handle(connection, number)
        connection.close()


class Soak:
    def __init__(self, guest, directory):
        self.guest, self.directory = guest, directory
        self.going = threading.Event()
        self.random = random.Random(SEED)
        self.counts, self.failures, self.lock = {}, [], threading.Lock()
        self.steady = Echo(directory / "steady.sock")
        self.flaky = Echo(directory / "flaky.sock")
        self.halves = []

    def count(self, what, more=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + more

    def fail(self, what):
        with self.lock:
            self.failures.append(what)

    # --- what goes wrong -----------------------------------------------------------------------

    def kill_service(self):
        self.flaky.close()
        time.sleep(self.random.random() * 0.2)
        self.flaky = Echo(self.directory / "flaky.sock")

    def drop_link(self):
        far = self.guest.namespaces[1]
        far.ip("link", "set", "far0", "down")
        time.sleep(self.random.random() * 0.3)
        far.ip("link", "set", "far0", "up")

    def kill_worker(self):
        os.kill(self.guest.daemon.worker(), 9)

    def flood_of_syns(self):
        """From addresses that never answer."""
        with self.frames() as s:
            for _ in range(2000):
                try:
                    s.send(syn(self.random))
                except OSError:  # the link is down, or its queue full
                    time.sleep(0.001)

    def flood_of_noise(self):
        with self.frames() as s:
            for _ in range(1000):
                frame = bytearray(syn(self.random) + bytes(self.random.randrange(200)))
                for _ in range(self.random.randrange(1, 20)):
                    frame[self.random.randrange(len(frame))] = self.random.randrange(256)
                try:
                    s.send(frame)
                except OSError:
                    time.sleep(0.001)

    def leave_half_way(self):
        """Open, something said, and then neither read nor closed for a while."""
        for _ in range(20):
            try:
                s = self.guest.connect(self.random.choice([STEADY, FLAKY, 602]), timeout=2)
                s.setblocking(False)
                s.send(bytes(100000))
                self.halves.append(s)
            except OSError:
                pass
        while len(self.halves) > 60:
            self.halves.pop(0).close()

    def frames(self):
        s = self.guest.ns.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind(("vmc0", 0))
        return s

    # --- phases --------------------------------------------------------------------------------

    def run(self, seconds, may_kill_worker):
        evils = [self.kill_service, self.drop_link, self.flood_of_syns, self.flood_of_noise,
                 self.leave_half_way] + [self.kill_worker] * may_kill_worker
        self.going.set()
        clients = [Client(self, n) for n in range(CONNECTIONS)]
        for c in clients:
            c.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.failures:
            evil = self.random.choice(evils)
            evil()
            self.count(evil.__name__)
            time.sleep(self.random.random() * min(1.0, seconds / 10))
        self.going.clear()
        for c in clients:
            c.join(30)
            assert not c.is_alive(), "a connection that neither goes on nor ends"
        for s in self.halves:
            reset(s)
        self.halves = []

    def quiet(self):
        """What the two processes hold, once all connections are over."""
        broker, worker = self.guest.daemon.process.pid, self.guest.daemon.worker()
        # Stalled and half-open ones end by and by.
        wait_until(lambda: descriptors(worker) <= 6, 40,
                   f"the worker to hold nothing (holds {os.listdir(f'/proc/{worker}/fd')})")
        waked = [wakeups(p) for p in (broker, worker)]
        time.sleep(RESTS_S)
        return {
            "worker": worker,
            "fds": (descriptors(broker), descriptors(worker)),
            "rss": (resident_kib(broker), resident_kib(worker)),
            "wakeups": tuple(wakeups(p) - w for p, w in zip((broker, worker), waked)),
        }


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def of_status(pid, key):
    [line] = [l for l in open(f"/proc/{pid}/status") if l.startswith(key + ":")]
    return int(line.split()[1])


def resident_kib(pid):
    return of_status(pid, "VmRSS")


def wakeups(pid):
    """A timer that is left behind wakes its process again and again."""
    return of_status(pid, "voluntary_ctxt_switches")


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def syn(rng):
    source = bytes([10, 0, 2, rng.randrange(20, 250)])
    target = socket.inet_aton(CHANNEL)
    tcp = struct.pack(">HHIIBBHHH", rng.randrange(1024, 65536), rng.choice([STEADY, FLAKY, 9]),
                      rng.randrange(1 << 32), 0, 0x50, 2, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack(">H", checksum(
        source + target + struct.pack(">HH", 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, source, target)
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return b"\xff" * 6 + b"\x52\x55\0\0\0" + bytes([source[3]]) + b"\x08\0" + ip + tcp


@pytest.mark.timeout(SECONDS * 2 + 240)
def test_everything_goes_wrong_for_long(make_guest, directory, capsys):
    guest = make_guest("packet")
    guest.start(f"{STEADY}:unix:{directory}/steady.sock", f"{FLAKY}:unix:{directory}/flaky.sock",
                "602:null", options=["--max-connections=256"])
    soak = Soak(guest, directory)
    quiets = []
    try:
        for phase in range(PHASES):
            soak.run(SECONDS / PHASES, may_kill_worker=phase < PHASES // 2)
            assert soak.failures == [], f"seed {SEED}: {soak.failures[:5]}"
            quiets.append(soak.quiet())
    finally:
        soak.going.clear()
        soak.steady.close()
        soak.flaky.close()
    with capsys.disabled():
        print(f"\nseed {SEED}: {soak.counts}")
        for q in quiets:
            print(q)
    assert soak.counts["whole"] > CONNECTIONS
    for before, after in zip(quiets, quiets[1:]):
        assert after["fds"] == before["fds"]
        assert max(after["wakeups"]) <= max(before["wakeups"]) + 5
    for who, began in ((0, quiets[0]), (1, quiets[PHASES // 2])):
        assert quiets[-1]["rss"][who] <= began["rss"][who] + GROWTH_KIB
    assert quiets[-1]["worker"] == quiets[PHASES // 2]["worker"], guest.daemon.log()[-2000:]

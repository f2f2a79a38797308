#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prints README's comparison with QEMU's guestfwd: the same experiments through both, measured now.

usage: guestfwd.py VMCHANNEL            (as root)

The guest is a network namespace. guestfwd: qemu-system-x86_64 without a machine joins a tap there
with its user network. vmchannel: `vmchannel run`. Each experiment has a fresh one. Inside the
namespace one process plays both the guest's client (TCP) and the host's service (a Unix socket,
which no network namespace separates).
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

ADDRESS = "10.0.2.4"
PORTS = (600, 601)
PATIENCE_S = 2


class Service:
    """Listens on a Unix path; accepts when told to."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.path = path

    def accept(self):
        self.listener.settimeout(PATIENCE_S)
        s, _ = self.listener.accept()
        s.settimeout(PATIENCE_S)
        return s

    def stop(self):
        self.listener.close()
        os.unlink(self.path)


def path_of(directory, port):
    return f"{directory}/{port}.sock"


def guest(port=PORTS[0]):
    return socket.create_connection((ADDRESS, port), timeout=PATIENCE_S)


def heard(s):
    """What arrives next: bytes, or a word."""
    try:
        return s.recv(100).decode() or "end of file"
    except TimeoutError:
        return "nothing"
    except OSError as e:
        return e.strerror


def two_connections(services):
    """two connections to one port"""
    a = guest()
    a.sendall(b"A")
    host_a = services[0].accept()
    got_a = heard(host_a)
    b = guest()
    b.sendall(b"B")
    try:
        host_b = services[0].accept()
    except TimeoutError:
        got = got_a + heard(host_a)
        host_a.sendall(b"for A")
        a.settimeout(PATIENCE_S)
        wrong = heard(b)
        return f"one host stream, which read {got}; A's answer came to " + \
            ("B" if wrong == "for A" else "A")
    host_a.sendall(b"for A")
    host_b.sendall(b"for B")
    return f"two host streams; A got {heard(a)!r}, B got {heard(b)!r}"


def guest_closes(services):
    """the guest closes; the service reads"""
    a = guest()
    a.sendall(b"A")
    host = services[0].accept()
    heard(host)
    a.close()
    return heard(host)


def service_closes(services):
    """the service closes; the guest reads"""
    a = guest()
    a.sendall(b"A")
    host = services[0].accept()
    heard(host)
    host.close()
    return heard(a)


def half_close(services):
    """the guest half-closes, then the service answers"""
    a = guest()
    a.sendall(b"A")
    host = services[0].accept()
    heard(host)
    a.shutdown(socket.SHUT_WR)
    ended = heard(host)
    try:
        host.sendall(b"answer")
    except OSError as e:
        return f"service read {ended}, its answer: {e.strerror}"
    return f"service read {ended}, guest read {heard(a)}"


def service_restarts(services):
    """the service restarts; what the next connection sent"""
    a = guest()
    a.sendall(b"A")
    host = services[0].accept()
    heard(host)
    host.close()
    services[0].stop()
    a.close()
    again = Service(services[0].path)
    b = guest()
    b.sendall(b"hello")
    try:
        return "arrived: " + heard(again.accept())
    except TimeoutError:
        return "accepted, and lost"


def no_service(services):
    """connect without a service"""
    services[0].stop()
    start = time.monotonic()
    try:
        a = guest()
    except OSError as e:
        return f"{e.strerror} after {1000 * (time.monotonic() - start):.0f} ms"
    a.sendall(b"A")
    return f"connects; its bytes: {heard(a)} in return"


def stalled_service(services):
    """a service reads nothing; meanwhile on another port"""
    stalled, other = guest(PORTS[0]), guest(PORTS[1])
    stalled.sendall(b"A")
    other.sendall(b"B")
    hosts = [s.accept() for s in services]
    heard(hosts[1])
    stalled.setblocking(False)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        try:
            stalled.send(bytes(65536))
        except BlockingIOError:
            time.sleep(0.01)
    start = time.monotonic()
    other.sendall(b"ping")
    if heard(hosts[1]) != "ping":
        return f"no round trip in {PATIENCE_S} s"
    hosts[1].sendall(b"pong")
    if heard(other) != "pong":
        return f"no round trip in {PATIENCE_S} s"
    return f"a round trip in {1000 * (time.monotonic() - start):.1f} ms"


EXPERIMENTS = [two_connections, guest_closes, service_closes, half_close, service_restarts,
               no_service, stalled_service]


def start_guestfwd(directory):
    """QEMU's user network behind a tap of this namespace, which is the guest's NIC."""
    argv = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none"]
    user = "user,id=user"
    for port in PORTS:
        argv += ["-chardev", f"socket,id=c{port},path={path_of(directory, port)},reconnect=1"]
        user += f",guestfwd=tcp:{ADDRESS}:{port}-chardev:c{port}"
    argv += ["-netdev", user, "-netdev", "tap,id=tap,ifname=tap0,script=no,downscript=no",
             "-netdev", "hubport,id=a,hubid=0,netdev=user",
             "-netdev", "hubport,id=b,hubid=0,netdev=tap"]
    qemu = subprocess.Popen(argv)
    for command in ("addr add 10.0.2.15/24 dev tap0", "link set tap0 up"):
        while subprocess.run(["ip", *command.split()], stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.05)
    return qemu


def inside(kind, name, directory):
    """One experiment, in the guest's namespace. The services listen before guestfwd starts."""
    function = next(e for e in EXPERIMENTS if e.__name__ == name)
    services = [Service(path_of(directory, port)) for port in PORTS]
    qemu = start_guestfwd(directory) if kind == "guestfwd" else None
    try:
        print(function(services))
    except OSError as e:
        print(f"fails: {e.strerror or e}")
    finally:
        if qemu:
            qemu.kill()
            qemu.wait()


def measure(argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or "failed: " + done.stderr.strip().split("\n")[-1]


def main(argv):
    if len(argv) == 4:
        inside(*argv[1:])
        return 0
    if len(argv) != 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True)
    print(f"| | guestfwd ({version.stdout.split('(')[0].strip()}) | vmchannel |\n|---|---|---|")
    for e in EXPERIMENTS:
        cells = []
        for kind in ("guestfwd", "vmchannel"):
            with tempfile.TemporaryDirectory() as d:
                again = [sys.executable, __file__, kind, e.__name__, d]
                channels = [word for port in PORTS
                            for word in ("-vmchannel", f"{port}:unix:{path_of(d, port)}")]
                enter = ["unshare", "--net"] if kind == "guestfwd" else \
                    [argv[1], "run", *channels, "--"]
                cells.append(measure(enter + again))
        print(f"| {e.__doc__} | {cells[0]} | {cells[1]} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

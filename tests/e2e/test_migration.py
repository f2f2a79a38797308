# SPDX-License-Identifier: BSD-3-Clause
"""A guest that moves to another QEMU while it runs, as between two hosts: QEMU copies its memory
meanwhile, and what we write into it behind QEMU's back is copied again only if we say so, in the
dirty log. Each host has a daemon of its own.

What the guest is sent stays where the daemon put it until the guest reads it. So it is sent when
all memory has been copied, and read when the guest has moved."""

import hashlib
import re
import socket
import threading

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.machine import Machine
from harness.processes import wait_until
from harness.services import answer_lines

NIC = ["-device", "virtio-net-pci,netdev=n0,romfile=,vectors=0"]  # vectors=0: QEMU < 8.0 and TCG
MEMORY = ["-object", "memory-backend-memfd,id=mem0,size=256M,share=on",
          "-machine", "memory-backend=mem0"]
CONNECTIONS = 12
HELD = "".join(f"{i:07x}-" for i in range(4096))  # 32 KiB, no two pages of it alike
# What QEMU has still to copy while it holds: with less it would end the move.
CHANGE = "yes | head -c 24000000 >/tmp/changed"
# How QEMU copies: as good as nothing; all but the last, and slowly when that is near; all.
PACES = {"hold": ["downtime-limit 1", "max-bandwidth 1K"], "fast": ["max-bandwidth 64M"],
         "slow": ["max-bandwidth 8M"], "end": ["downtime-limit 10000", "max-bandwidth 4G"]}
NEAR_KIB = 20000
CLOSE_WAIT = "08"  # in /proc/net/tcp: all has arrived, its end too


class Monitor:
    """QEMU's, for humans."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.s.connect(str(path))
        path.unlink()
        self.read()

    def read(self):
        text = b""
        while not text.endswith(b"(qemu) "):
            part = self.s.recv(65536)
            assert part, f"monitor: {text!r}"
            text += part
        return text.decode(errors="replace")

    def __call__(self, command):
        self.s.sendall(command.encode() + b"\n")
        return self.read()

    def pace(self, name):
        for parameter in PACES[name]:
            self(f"migrate_set_parameter {parameter}")

    def of_the_move(self, what):
        found = re.search(rf"{what}: (\d+)", self("info migrate"))
        return int(found[1]) if found else None

    def round(self):
        """How often QEMU has asked what is dirty."""
        return self.of_the_move("dirty sync count") or 0

    def go_on(self):
        """After QEMU has asked what is dirty, and before the guest runs again. An emulated
        processor keeps which pages it may write to without telling, and QEMU 7.2 does not take
        that back when it asks: what it then writes is not copied again, whatever the NIC (mended
        for 9.0). It forgets all that it keeps when the A20 gate is shut and opened."""
        self("o/b 0x92 0")
        self("o/b 0x92 2")
        self("cont")

    def close(self):
        self.s.close()


class Side:
    """A host: its daemon and its QEMU. Both have the same services."""

    def __init__(self, name, processes, vmchannel, system, directory, *options):
        path = directory / f"{name}.sock"
        self.daemon = Daemon(processes, vmchannel, [
            "-v", "--link", f"vhost-user,path={path},server=on",
            "-vmchannel", f"600:unix:{directory}/lines",
            "-vmchannel", f"601:unix:{directory}/held"])
        self.daemon.wait_until_up(path.exists, "the socket")
        monitor = directory / f"{name}-monitor"
        self.machine = Machine(processes, system, ["qemu-system-x86_64"], [
            *MEMORY, "-chardev", f"socket,id=c0,path={path},reconnect=1",
            "-netdev", "vhost-user,id=n0,chardev=c0", *NIC,
            "-monitor", f"unix:{monitor},server=on,wait=off", *options])
        self.monitor = Monitor(monitor)


@pytest.fixture
def held(listen, directory):
    """An event: each connection of channel 601 is sent HELD, and its end, when it is set."""
    go = threading.Event()

    def send(connection, number):
        go.wait(60)
        connection.sendall(HELD.encode())
        connection.shutdown(socket.SHUT_WR)

    listen(directory / "held", send)
    yield go
    go.set()


def states(machine):
    """Of the guest's connections to channel 601, as /proc/net/tcp has them."""
    _, output = machine.sh("cat /proc/net/tcp")
    return [line.split()[3] for line in output.splitlines() if ":0259 " in line]


def what_was_held(machine):
    """The hash of what each connection got, and how it ended."""
    machine.sh("kill -CONT $(pidof guestprobe); while pidof guestprobe; do sleep 0.1; done", 60)
    _, sums = machine.sh("for file in /tmp/held.*; do "
                         "sed 's/.*\"got\": //' $file | sha256sum; done")
    return [line.split()[0] for line in sums.splitlines() if line]


def copy_all_once(m, monitor, to):
    """Then QEMU holds, with the guest running. It stands still whenever QEMU asks what is dirty."""
    monitor.pace("hold")
    monitor(f"migrate -d {to}")
    wait_until(lambda: monitor.round() == 1, 20, "the move to begin")
    monitor("stop")
    monitor.go_on()
    assert m.sh(CHANGE)[0] == 0
    monitor("stop")
    monitor.pace("fast")
    wait_until(lambda: monitor.of_the_move("remaining ram") < NEAR_KIB, 60, "most to be copied")
    monitor.pace("slow")
    wait_until(lambda: monitor.round() == 2, 60, "all to be copied")
    monitor.pace("hold")
    monitor.go_on()


@pytest.mark.timeout(150)
def test_what_arrives_during_a_move_is_there_after_it(processes, vmchannel, system, listen, held,
                                                      directory):
    listen(directory / "lines", answer_lines)
    source = Side("source", processes, vmchannel, system, directory)
    m = source.machine
    m.wait_booted().dhcp()
    m.sh(f"for i in $(seq {CONNECTIONS}); do guestprobe script {CHANNEL} 601 sleep:10000 recv "
         ">/tmp/held.$i & done")
    wait_until(lambda: states(m) == ["01"] * CONNECTIONS, 20, "the connections")
    m.sh("kill -STOP $(pidof guestprobe)")  # they sleep, and read nothing before they go on

    to = f"unix:{directory}/move"
    target = Side("target", processes, vmchannel, system, directory, "-incoming", to)
    copy_all_once(m, source.monitor, to)
    held.set()
    wait_until(lambda: states(m) == [CLOSE_WAIT] * CONNECTIONS, 20, "what is sent to arrive")
    assert source.monitor.round() == 2
    source.monitor("stop")
    source.monitor.pace("end")
    wait_until(lambda: "completed" in source.monitor("info migrate"), 60, "the end of the move")
    (directory / "move").unlink(missing_ok=True)

    target.monitor("cont")
    m = target.machine
    m.sh(" true")  # the serial port may lose its first byte
    wanted = hashlib.sha256(f'"{HELD}", "end": "eof"}}]}}\n'.encode()).hexdigest()
    assert what_was_held(m) == [wanted] * CONNECTIONS

    def works():
        told = m.probe("talk", CHANNEL, 600, 3)
        return told["error"] == "" and len(told["answers"]) == 3

    wait_until(works, 20, "a connection through the other daemon")
    source.monitor.close()
    target.monitor.close()
    assert "broken" not in source.daemon.log() + target.daemon.log()

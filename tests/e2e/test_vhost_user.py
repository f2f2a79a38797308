# SPDX-License-Identifier: BSD-3-Clause
"""`--link vhost-user`: QEMU as the front-end, in both roles of the socket, through restarts of
either side; and `vmchannel qemu --link vhost-user`, which sets up the memory by itself."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.machine import Machine
from harness.processes import children_of, wait_until
from harness.services import answer_lines

TRANSFER_BYTES = 8 << 20
VHOST_LOG_ALL = 1 << 26
NIC = ["-device", "virtio-net-pci,netdev=n0,romfile=,vectors=0"]  # vectors=0: QEMU < 8.0 and TCG
MEMORY = ["-object", "memory-backend-memfd,id=mem0,size=256M,share=on",
          "-machine", "memory-backend=mem0"]


class Side:
    """Daemon and machine on one socket; `role` is the daemon's."""

    def __init__(self, role, processes, vmchannel, system, directory):
        self.role, self.processes, self.vmchannel = role, processes, vmchannel
        self.system, self.directory = system, directory
        self.path = directory / "vhost.sock"

    def start_daemon(self, bulk_options=""):
        server = ",server=on" if self.role == "listen" else ""
        self.daemon = Daemon(self.processes, self.vmchannel, [
            "-v", "--link", f"vhost-user,path={self.path}{server}",
            "-vmchannel", f"600:unix:{self.directory}/lines",
            "-vmchannel", f"601:unix:{self.directory}/bulk{bulk_options}"])
        if self.role == "listen":
            self.daemon.wait_until_up(self.path.exists, "the socket")

    def start_machine(self, *options, nic=NIC):
        chardev = "reconnect=1" if self.role == "listen" else "server=on"
        self.machine = Machine(self.processes, self.system, ["qemu-system-x86_64"], [
            *MEMORY, "-chardev", f"socket,id=c0,path={self.path},{chardev}",
            "-netdev", "vhost-user,id=n0,chardev=c0", *nic, *options])
        if "-incoming" not in options:
            self.machine.wait_booted().dhcp()

    def close(self):
        if self.role == "connect" and self.path.exists():
            self.path.unlink()  # QEMU's


@pytest.fixture(params=["listen", "connect"])
def side(request, processes, vmchannel, system, directory):
    s = Side(request.param, processes, vmchannel, system, directory)
    yield s
    s.close()


def expect_talk(machine, count=10):
    told = machine.probe("talk", CHANNEL, 600, count)
    assert told["error"] == ""
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(count)]


def expect_exact_transfer(machine, processes, helpers, path, size=TRANSFER_BYTES):
    host = processes.start([helpers["hostpeer"], path, 4, size, 2], stdout=subprocess.PIPE,
                           text=True)
    assert host.stdout.readline() == "ready\n"
    in_guest = machine.probe("transfer", CHANNEL, 601, 4, size, 1)
    hosts = {c["id"]: c for c in json.loads(host.communicate(timeout=20)[0])["connections"]}
    for g in in_guest["connections"]:
        assert g["error"] == "" and g["sent"] == g["received"] == size
        assert g["received_hash"] == hosts[g["id"]]["sent_hash"]
        assert g["sent_hash"] == hosts[g["id"]]["received_hash"]


def recovers(machine):
    """A connection works again, after what may be some failures."""

    def works():
        told = machine.probe("talk", CHANNEL, 600, 1)
        return told["error"] == "" and told["answers"]

    wait_until(works, 20, "a connection after the restart")


@pytest.mark.timeout(90)
def test_bytes_are_exact(side, listen, processes, helpers, directory):
    listen(directory / "lines", answer_lines)
    side.start_daemon()
    side.start_machine()
    assert side.machine.sh(f"ping -c 2 -W 2 {CHANNEL}")[0] == 0
    expect_talk(side.machine)
    expect_exact_transfer(side.machine, processes, helpers, directory / "bulk")
    assert side.machine.probe("connect", CHANNEL, 666)["error"] == "ECONNREFUSED"
    assert side.machine.power_off() == 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("side", ["listen"], indirect=True)
def test_a_rate_holds_and_bytes_are_exact(side, processes, helpers, directory):
    side.start_daemon(",rate=1M,burst=64k")
    side.start_machine()
    began = time.monotonic()
    expect_exact_transfer(side.machine, processes, helpers, directory / "bulk", 1 << 20)
    assert time.monotonic() - began >= 4 - 1 / 16  # 4 MiB each way
    assert side.machine.power_off() == 0


@pytest.mark.timeout(120)
def test_restarts(side, listen, processes, helpers, directory):
    """The worker dies, the daemon is restarted, QEMU is restarted: each time it works again."""
    listen(directory / "lines", answer_lines)
    side.start_daemon()
    side.start_machine()
    expect_talk(side.machine, 2)

    worker = side.daemon.worker()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in children_of(side.daemon.process.pid), what="its end")
    recovers(side.machine)

    side.daemon.stop()
    side.start_daemon()
    recovers(side.machine)
    expect_exact_transfer(side.machine, processes, helpers, directory / "bulk", 1 << 20)

    side.machine.power_off()
    side.close()
    side.start_machine()
    expect_talk(side.machine, 2)
    assert side.machine.power_off() == 0


def reset_nic(machine):
    code, output = machine.sh(
        "d=$(basename $(readlink -f /sys/class/net/e*/device)); "
        "cd /sys/bus/virtio/drivers/virtio_net && echo $d > unbind && echo $d > bind")
    assert code == 0, output
    machine.dhcp()


@pytest.mark.timeout(90)
def test_guest_resets_its_nic(side, listen, directory):
    """The driver leaves and comes back: rings stop and start, features are negotiated again."""
    listen(directory / "lines", answer_lines)
    side.start_daemon()
    side.start_machine()
    for _ in range(3):
        reset_nic(side.machine)
        expect_talk(side.machine, 2)
    assert side.machine.power_off() == 0


def monitor(path, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        text = b""
        for wanted in (1, 2):
            while text.count(b"(qemu) ") < wanted:
                part = s.recv(65536)
                assert part, f"monitor: {text!r}"
                text += part
            if wanted == 1:
                s.sendall(command.encode() + b"\n")
        return text.decode(errors="replace")


@pytest.mark.timeout(120)
def test_guest_moves_to_another_qemu(processes, vmchannel, system, listen, directory):
    """Pause and migration with the dirty log: by a file, so one QEMU is there after the other."""
    listen(directory / "lines", answer_lines)
    side = Side("listen", processes, vmchannel, system, directory)
    side.start_daemon()
    side.start_machine("-monitor", f"unix:{directory}/monitor,server=on,wait=off")
    expect_talk(side.machine, 2)
    monitor(directory / "monitor", "stop")
    monitor(directory / "monitor", "cont")
    expect_talk(side.machine, 2)
    side.machine.sh(f"(ping -i 0.1 {CHANNEL} >/dev/null 2>&1) &")
    monitor(directory / "monitor", f"migrate exec:cat>{directory}/state")
    wait_until(lambda: "completed" in monitor(directory / "monitor", "info migrate"), 30,
               "the end of the migration")
    assert "postmigrate" in monitor(directory / "monitor", "info status")
    features = re.findall("features 0x([0-9a-f]+)", side.daemon.log())
    assert any(int(f, 16) & VHOST_LOG_ALL for f in features), "the dirty log was in use"
    side.machine.process.terminate()
    side.machine.wait_ended()
    (directory / "monitor").unlink(missing_ok=True)

    side.start_machine("-incoming", f"exec:cat {directory}/state")
    side.machine.sh(" true")  # the serial port may lose its first byte
    recovers(side.machine)
    expect_talk(side.machine, 5)
    assert side.machine.power_off() == 0


@pytest.mark.timeout(120)
def test_packed_rings(processes, vmchannel, system, listen, helpers, directory):
    """Linux and QEMU with the other format: exact bytes, a worker that dies, a NIC reset by the
    guest, a pause, and a QEMU that is started anew."""
    listen(directory / "lines", answer_lines)
    side = Side("listen", processes, vmchannel, system, directory)
    side.start_daemon()
    nic = [NIC[0], NIC[1] + ",packed=on"]
    side.start_machine("-monitor", f"unix:{directory}/monitor,server=on,wait=off", nic=nic)
    expect_talk(side.machine, 5)
    assert "packed ring 0 runs" in side.daemon.log()
    expect_exact_transfer(side.machine, processes, helpers, directory / "bulk")
    os.kill(side.daemon.worker(), signal.SIGKILL)
    recovers(side.machine)
    reset_nic(side.machine)
    expect_talk(side.machine, 2)
    monitor(directory / "monitor", "stop")
    monitor(directory / "monitor", "cont")
    expect_talk(side.machine, 2)
    expect_exact_transfer(side.machine, processes, helpers, directory / "bulk", 1 << 20)
    assert side.machine.power_off() == 0
    (directory / "monitor").unlink(missing_ok=True)
    side.start_machine(nic=nic)
    expect_talk(side.machine, 2)
    assert side.machine.power_off() == 0
    assert "broken" not in side.daemon.log()


@pytest.mark.timeout(90)
def test_vmchannel_qemu_sets_it_up(processes, vmchannel, system, helpers, listen, directory):
    listen(directory / "lines", answer_lines)
    machine = Machine(processes, system, [
        vmchannel, "qemu", "--link", "vhost-user", "qemu-system-x86_64"], [
        "-vmchannel", f"600:unix:{directory}/lines", "-vmchannel", f"601:unix:{directory}/bulk"])
    machine.wait_booted().dhcp()
    expect_talk(machine)
    expect_exact_transfer(machine, processes, helpers, directory / "bulk")
    assert machine.power_off() == 0
    wait_until(lambda: processes.left_behind() == [], what="the daemon's end")


def qemu_words(processes, vmchannel, directory, *words, version="7.2.22", nic="virtio-net-pci"):
    """What QEMU is told, by a stand-in that prints its arguments."""
    stand_in = directory / "qemu-system-standin"
    stand_in.write_text('#!/bin/sh\ncase "$1" in --version) echo "QEMU emulator version '
                        f'{version} (x)";; *) printf "%s\\n" "$@";; esac\n')
    stand_in.chmod(0o755)
    done = processes.run([vmchannel, "qemu", "--link", "vhost-user", "--nic", nic, stand_in, *words,
                          "-vmchannel", f"600:unix:{directory}/lines"])
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    chardev = words[words.index("-chardev") + 1]
    path = chardev.split("path=")[1].split(",")[0]
    wait_until(lambda: not os.path.exists(os.path.dirname(path)), what="the directory's end")
    return words


@pytest.mark.parametrize("given,size", [
    ([], "128M"), (["-m", "256"], "256M"), (["-m", "1G"], "1G"), (["--m", "512,slots=2"], "512M"),
    (["-m", "slots=2,size=2G,maxmem=4G"], "2G"), (["-m", "1G", "-m", "64"], "64M")])
def test_memory_is_shared_and_of_the_size_asked_for(processes, vmchannel, directory, given, size):
    words = qemu_words(processes, vmchannel, directory, *given)
    memory = words[words.index("-object") + 1].split(",")
    assert memory[0] == "memory-backend-memfd"
    assert f"size={size}" in memory and "share=on" in memory
    assert "memory-backend=vmchannel0-memory" in words


def test_memory_that_is_not_understood(processes, vmchannel):
    done = processes.run([vmchannel, "qemu", "--link", "vhost-user", "true", "-m", "lots",
                          "-vmchannel", "600:null"])
    assert done.returncode == 1
    assert done.stderr == ("vmchannel: vhost-user: QEMU's -m 'lots': not a size (accepted: as in "
                           "512, 4G or size=4G, or memory with a memory-backend of your own)\n")


def test_memory_of_the_users_own_is_left_alone(processes, vmchannel, directory):
    words = qemu_words(processes, vmchannel, directory, "-machine", "q35,memory-backend=m")
    assert "-object" not in words and words.count("-machine") == 1


def test_vectors_are_left_out_only_where_qemu_would_crash(processes, vmchannel, directory):
    def device(*words, **kwargs):
        told = qemu_words(processes, vmchannel, directory, *words, **kwargs)
        return told[told.index("-device") + 1]

    assert "vectors=0" in device()
    assert "vectors=0" not in device("-accel", "kvm")
    assert "vectors=0" not in device("-enable-kvm")
    for words in [("-machine", "pc,accel=kvm:tcg"), ("-accel", "kvm", "-accel", "tcg")]:
        assert "vectors=0" in device(*words), "QEMU emulates where there is no KVM"
    assert "vectors=0" not in device(version="8.2.1")
    assert "vectors=0" in device(nic="virtio-net-pci-transitional")
    assert "vectors=0" in device(nic="virtio-net"), "which is short for the first one"
    assert "vectors=0" not in device(nic="virtio-net-device"), "it has no such property"


def test_only_virtio_can_be_vhost_user(processes, vmchannel, directory):
    done = processes.run([vmchannel, "qemu", "--link", "vhost-user", "--nic", "e1000", "qemu",
                          "-vmchannel", f"600:unix:{directory}/lines"])
    assert done.returncode == 2 and "not with --link vhost-user" in done.stderr


class FrontEnd:
    """As little of a vhost-user front-end as it takes to run one ring, with no guest behind it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self.memory = os.memfd_create("guest", os.MFD_CLOEXEC)
        self.kick = os.eventfd(0)
        os.ftruncate(self.memory, 1 << 20)
        user = 0x7f0000000000
        self.send(2, struct.pack("=Q", 1 << 32))
        self.send(5, struct.pack("=IIQQQQ", 1, 0, 0, 1 << 20, user, 0), self.memory)
        self.send(8, struct.pack("=II", 1, 256))
        self.send(9, struct.pack("=IIQQQQ", 1, 0, user, user + 0x8000, user + 0x4000, 0))
        self.send(12, struct.pack("=Q", 1), self.kick)
        self.send(1)
        assert self.socket.recv(12)  # all of it is done
        self.socket.recv(8)

    def send(self, request, payload=b"", *fds):
        message = struct.pack("=III", request, 1, len(payload)) + payload
        socket.send_fds(self.socket, [message], fds)

    def close(self):
        self.socket.close()
        os.close(self.memory)
        os.close(self.kick)


@pytest.fixture
def served(processes, vmchannel, directory):
    side = Side("listen", processes, vmchannel, None, directory)
    side.start_daemon()
    return side


def test_memory_that_shrinks_costs_the_link_not_the_worker(served):
    """SIGBUS inside of the sandbox."""
    worker = served.daemon.worker()
    for i in range(3):
        front = FrontEnd(served.path)
        os.ftruncate(front.memory, 0)
        os.eventfd_write(front.kick, 1)
        wait_until(lambda: served.daemon.log().count("shortened") > i, what="the end of the link")
        assert front.socket.recv(1) == b""
        front.close()
    assert served.daemon.worker() == worker


def test_front_ends_come_and_go(served):
    """One that says nonsense, many that leave, and one behind another, which waits its turn."""
    worker = served.daemon.worker()
    front = FrontEnd(served.path)
    front.send(4711)
    assert front.socket.recv(1) == b""
    front.close()
    assert "unknown request 4711" in served.daemon.log()
    for _ in range(200):
        FrontEnd(served.path).close()
    first = FrontEnd(served.path)
    second = socket.socket(socket.AF_UNIX)
    second.settimeout(0.3)
    second.connect(str(served.path))
    second.sendall(struct.pack("=III", 1, 1, 0))
    with pytest.raises(TimeoutError):
        second.recv(1)
    first.close()
    second.settimeout(5)
    assert len(second.recv(20)) == 20
    second.close()
    assert served.daemon.worker() == worker

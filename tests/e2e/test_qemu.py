# SPDX-License-Identifier: BSD-3-Clause
"""`vmchannel qemu`: the command line of 2009, with every NIC, and QEMU's exit code. One boot serves
many checks."""

import json
import signal
import subprocess

import pytest

from harness.guests import CHANNEL
from harness.machine import Machine
from harness.processes import command_line, wait_until
from harness.services import answer_lines, echo, never_read, receive_all
from test_proxy import read_header
from test_refusal import expect_prompt_echo
from test_rendezvous import host_client

NICS = ["virtio-net-pci", "e1000", "e1000e", "rtl8139", "pcnet", "ne2k_pci", "vmxnet3", "usb-net"]
DRIVERS = {  # NIC -> the guest's driver, as proof that it is this NIC
    "virtio-net-pci": ["virtio_net"], "e1000": ["e1000"], "e1000e": ["e1000e"],
    "rtl8139": ["8139cp"], "pcnet": ["pcnet32"], "ne2k_pci": ["ne2k-pci"], "vmxnet3": ["vmxnet3"],
    "usb-net": ["cdc_ether", "rndis_host"],
}
PAUSED_QEMU = ["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-display", "none",
               "-nodefaults", "-S"]


@pytest.fixture
def boot(processes, vmchannel, system):
    """boot(OPTIONS of vmchannel qemu, options after QEMU's own) -> a booted Machine."""

    def make(*options, after=()):
        before = [vmchannel, "qemu", *options, "qemu-system-x86_64"]
        return Machine(processes, system, before, after).wait_booted()

    return make


@pytest.mark.timeout(90)
@pytest.mark.parametrize("nic", NICS)
def test_nic(boot, helpers, processes, listen, directory, nic):
    paths = [directory / name for name in ("some", "other", "bulk")]
    service = listen(paths[0], answer_lines)
    machine = boot("--nic", nic, after=[
        "-vmchannel", f"600:unix:{paths[0]}", "-vmchannel", f"601:unix:{paths[1]},server,nowait",
        "-vmchannel", f"602:unix:{paths[2]}"])
    driver = machine.sh("readlink /sys/class/net/[eu]*/device/driver")[1].strip().split("/")[-1]
    assert driver in DRIVERS[nic]
    mtu = 65520 if nic == "virtio-net-pci" else 1500
    assert int(machine.sh("cat /sys/class/net/[eu]*/mtu")[1]) == mtu
    lease = machine.dhcp()
    assert "ip='10.0.2.15'" in lease and "router=" not in lease and "dns=" not in lease
    assert machine.sh(f"ping -c 2 -W 2 {CHANNEL}")[0] == 0

    told = machine.probe("talk", CHANNEL, 600, 20)
    assert told["error"] == ""
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(20)]
    assert len(service.peers) == 20

    h = host_client(paths[1])
    h.sendall(b"from the host\n")
    script = machine.probe("script", CHANNEL, 601, "send:from the guest", "line", "shut", "close")
    assert script["steps"][1]["got"] == "from the host"
    assert receive_all(h) == b"from the guest\n"

    host = processes.start(
        [helpers["hostpeer"], paths[2], 4, 262144, 2], stdout=subprocess.PIPE, text=True)
    assert host.stdout.readline() == "ready\n"
    in_guest = machine.probe("transfer", CHANNEL, 602, 4, 262144, 1)
    hosts = {c["id"]: c for c in json.loads(host.communicate(timeout=20)[0])["connections"]}
    for g in in_guest["connections"]:
        assert g["error"] == "" and g["sent"] == g["received"] == 262144
        assert g["received_hash"] == hosts[g["id"]]["sent_hash"]
        assert g["sent_hash"] == hosts[g["id"]]["received_hash"]
    assert machine.power_off() == 0


def refused_ms(machine, port):
    """How long a refusal takes: the best of five, since an emulated CPU takes its own time now and
    then, and the time of the channel is what is asked for."""
    tries = [machine.probe("connect", CHANNEL, port) for _ in range(5)]
    assert {t["error"] for t in tries} == {"ECONNREFUSED"}
    return min(t["ms"] for t in tries)


@pytest.mark.timeout(120)
def test_what_guestfwd_gets_wrong_in_one_guest(boot, listen, directory):
    """The list of test_ends.py and test_refusal.py again, with a whole machine as the guest."""
    service, stalled, quick = (directory / name for name in ("service", "stalled", "quick"))
    machine = boot(after=["-vmchannel", f"600:unix:{service}", "-vmchannel", f"601:unix:{stalled}",
                          "-vmchannel", f"602:unix:{quick}"])
    machine.dhcp()

    assert refused_ms(machine, 600) < 50
    wait_until(lambda: str(service) in machine.log() and "No such file" in machine.log(),
               what="the reason in the log")
    assert refused_ms(machine, 666) < 50
    assert machine.probe("connect", "10.0.2.2", 600, 500)["error"] in ("ETIMEDOUT", "EHOSTUNREACH")
    assert machine.probe("connect", "192.0.2.1", 600, 500)["error"] == "ENETUNREACH"

    answering = listen(service, answer_lines)
    told = machine.probe("talk", CHANNEL, 600, 200)
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(200)]
    answering.close()
    assert machine.probe("connect", CHANNEL, 600)["error"] == "ECONNREFUSED"

    by_hand = listen(service)
    machine.sh(f"(guestprobe script {CHANNEL} 600 send:question shut recv >/tmp/half 2>&1) &")
    h = by_hand.accept()
    assert receive_all(h) == b"question\n"
    h.sendall(b"the answer")
    h.close()
    wait_until(lambda: "answer" in machine.sh("cat /tmp/half")[1], what="the answer in the guest")
    half = json.loads(machine.sh("cat /tmp/half")[1])
    assert half["steps"][2] == {"step": "recv", "got": "the answer", "end": "eof"}

    listen(stalled, never_read)
    listen(quick, echo)
    machine.sh(f"(cat /dev/zero | nc {CHANNEL} 601) >/dev/null 2>&1 &")
    machine.sh("sleep 1")
    expect_prompt_echo(machine, 602, 1000)
    assert machine.sh(f"ping -c 2 -W 1 {CHANNEL}")[0] == 0
    assert machine.power_off() == 0


@pytest.mark.timeout(60)
def test_a_service_is_told_the_uuid(boot, listen, directory):
    told = []

    def answer(connection, number):
        told.append(read_header(connection)[2])
        answer_lines(connection, number)

    uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
    listen(directory / "service", answer)
    machine = boot(after=["-uuid", uuid.upper(),
                          "-vmchannel", f"600:unix:{directory}/service,proxy=v2"])
    machine.dhcp()
    assert machine.probe("talk", CHANNEL, 600, 1)["error"] == ""
    assert [t[0xE1] for t in told] == [uuid.encode()]
    assert machine.power_off() == 0


@pytest.mark.timeout(60)
def test_exit_code_is_qemus(boot, socket_path):
    machine = boot("--", after=["-vmchannel", f"600:unix:{socket_path}"])
    assert machine.exit_with(3) == 7


def test_exit_code_of_a_qemu_that_does_not_start(processes, vmchannel, socket_path):
    argv = [vmchannel, "qemu", "qemu-system-x86_64", "-nosuchoption",
            "-vmchannel", f"600:unix:{socket_path}"]
    bare = processes.run(["qemu-system-x86_64", "-nosuchoption"])
    done = processes.run(argv)
    assert done.returncode == bare.returncode == 1
    assert "-nosuchoption" in done.stderr


def is_qemu(process):
    """`vmchannel qemu` becomes QEMU by exec."""
    return command_line(process.pid).startswith("qemu-system")


def test_sigterm_ends_qemu_and_daemon(processes, vmchannel, socket_path):
    argv = [vmchannel, "qemu", *PAUSED_QEMU, "-vmchannel", f"600:unix:{socket_path}"]
    process = processes.start(argv)
    wait_until(lambda: is_qemu(process), 10, "qemu")
    process.terminate()
    assert process.wait(5) in (0, -signal.SIGTERM)  # before or after it has a handler
    assert processes.left_behind() == []


def test_death_of_qemu_ends_the_daemon(processes, vmchannel, socket_path):
    argv = [vmchannel, "qemu", *PAUSED_QEMU, "-vmchannel", f"600:unix:{socket_path}"]
    process = processes.start(argv)
    wait_until(lambda: is_qemu(process), 10, "qemu")
    assert len(processes.marked()) >= 3, "qemu, broker and worker"
    process.kill()
    assert process.wait(5) == -signal.SIGKILL
    assert processes.left_behind() == []


def test_other_options_pass_untouched(processes, vmchannel, socket_path, directory):
    """A stand-in for QEMU prints its arguments."""
    stand_in = directory / "qemu-system-standin"
    stand_in.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    stand_in.chmod(0o755)
    options = ["-m", "256", "-drive", "file=a,,b,if=none", "-append", "x y  z", "", "-netdev",
               "user,id=u", "-device", "e1000,netdev=u", "-chardev", "null,id=c", "--enable-kvm"]
    done = processes.run([vmchannel, "qemu", stand_in, *options[:5],
                          "-vmchannel", f"600:unix:{socket_path}", *options[5:]])
    given = done.stdout.split("\n")[:-1]
    assert done.returncode == 0, done.stderr
    rest = list(given)
    for option in options:  # in this order, with ours in front, between or behind
        rest = rest[rest.index(option) + 1:]
    added = [a for a in given if a not in options]
    assert not any("vmchannel" in a and a.startswith("-") for a in added)
    assert any(a.startswith("stream,") or a.startswith("socket,") for a in added)

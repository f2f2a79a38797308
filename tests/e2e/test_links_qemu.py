# SPDX-License-Identifier: BSD-3-Clause
"""QEMU guests over every link that QEMU has: stream in each role, dgram by Unix, UDP and inherited
descriptor, the tap of QEMU's own, and what an older QEMU has instead; each side restarted. More of
stream is in test_link.py, of the NICs in test_qemu.py."""

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.machine import Machine
from harness.namespace import Namespace
from harness.processes import wait_until
from harness.services import answer_lines, receive_exactly
from test_link import expect_closed
from test_links import free_udp_port

pytestmark = pytest.mark.timeout(90)

OLD_QEMU = """#!/bin/sh
# QEMU before 7.2, as far as -netdev goes.
for word; do
    case $word in
    help) [ $# = 2 ] && exec printf 'Available netdev backend types:\\nsocket\\nhubport\\ntap\\n' ;;
    stream,*|dgram,*)
        echo "-netdev $word: Parameter 'type' expects a netdev backend type" >&2
        exit 1 ;;
    esac
done
exec qemu-system-x86_64 "$@"
"""


def qemu(*netdev):
    return ["qemu-system-x86_64", "-netdev", ",".join(netdev),
            "-device", "virtio-net-pci,netdev=n0"]


def expect_talk(machine, count=5):
    told = machine.probe("talk", CHANNEL, 600, count)
    assert told["error"] == "", (told, machine.diagnosis())
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(count)]


@pytest.fixture
def serve(processes, vmchannel, socket_path):
    """serve(LINK) -> a Daemon that is ready, with channel 600 at socket_path."""

    def start(link, prefix=()):
        args = ["--link", link, "-vmchannel", f"600:unix:{socket_path}"]
        daemon = Daemon(processes, vmchannel, args, prefix)
        daemon.wait_for_log("ready")
        return daemon

    return start


@pytest.fixture
def boot(processes, system):
    def start(argv):
        return Machine(processes, system, argv)

    return start


def test_stream_qemu_listens_and_is_restarted(serve, boot, listen, socket_path, directory):
    """We connect, and again when the next QEMU is there."""
    service = listen(socket_path)
    link = directory / "link.sock"
    serve(f"stream,path={link}")
    for _ in range(2):
        machine = boot(qemu("stream,id=n0,server=on,addr.type=unix", f"addr.path={link}"))
        machine.wait_booted().dhcp()
        machine.sh(f"guestprobe script {CHANNEL} 600 send:hello sleep:60000 >/dev/null &")
        h = service.accept()
        assert receive_exactly(h, 6) == b"hello\n"
        machine.process.kill()
        machine.wait_ended()
        expect_closed(h)
        link.unlink(missing_ok=True)


@pytest.mark.parametrize("peer", ["learned", "given"])
def test_dgram_unix_qemu_restarted(serve, boot, listen, socket_path, directory, peer):
    service = listen(socket_path)
    ours, qemus = directory / "link.sock", directory / "qemu.sock"
    daemon = serve(f"message,path={ours}" + (f",peer={qemus}" if peer == "given" else ""))
    for _ in range(2):
        machine = boot(qemu("dgram,id=n0", f"local.type=unix,local.path={qemus}",
                            f"remote.type=unix,remote.path={ours}"))
        machine.wait_booted().dhcp()
        machine.sh(f"guestprobe script {CHANNEL} 600 send:hello sleep:60000 >/dev/null &")
        h = service.accept()
        assert receive_exactly(h, 6) == b"hello\n"
        machine.process.kill()
        machine.wait_ended()
        expect_closed(h)
    assert daemon.process.poll() is None
    qemus.unlink(missing_ok=True)


def test_dgram_unix_daemon_restarted(serve, boot, listen, socket_path, directory):
    listen(socket_path, answer_lines)
    ours, qemus = directory / "link.sock", directory / "qemu.sock"
    machine = boot(qemu("dgram,id=n0", f"local.type=unix,local.path={qemus}",
                        f"remote.type=unix,remote.path={ours}"))
    first = serve(f"message,path={ours}")
    machine.wait_booted().dhcp()
    expect_talk(machine)
    assert first.stop() == 0
    serve(f"message,path={ours}")
    expect_talk(machine)
    assert machine.power_off() == 0
    qemus.unlink(missing_ok=True)


def test_dgram_udp_each_side_restarted(serve, boot, listen, socket_path):
    listen(socket_path, answer_lines)
    ours, qemus = free_udp_port(), free_udp_port()
    link = f"message,udp=127.0.0.1:{ours},peer=127.0.0.1:{qemus}"
    netdev = qemu("dgram,id=n0", f"local.type=inet,local.host=127.0.0.1,local.port={qemus}",
                  f"remote.type=inet,remote.host=127.0.0.1,remote.port={ours}")
    machine = boot(netdev).wait_booted()  # whose first frames are refused
    first = serve(link)
    machine.dhcp()
    expect_talk(machine)
    assert first.stop() == 0
    serve(link)
    expect_talk(machine)
    machine.process.kill()
    machine.wait_ended()
    machine = boot(netdev).wait_booted()
    machine.dhcp()
    expect_talk(machine)
    assert machine.power_off() == 0


@pytest.mark.parametrize("link", ["stream", "dgram"])
@pytest.mark.parametrize("age", ["new", "old"])
def test_vmchannel_qemu(
    processes, vmchannel, system, listen, socket_path, directory, link, age
):
    listen(socket_path, answer_lines)
    program = "qemu-system-x86_64"
    if age == "old":
        program = directory / "qemu-system-old"
        program.write_text(OLD_QEMU)
        program.chmod(0o755)
    machine = Machine(processes, system, [vmchannel, "qemu", "--link", link, program],
                      ["-vmchannel", f"600:unix:{socket_path}"]).wait_booted()
    words = open(f"/proc/{machine.process.pid}/cmdline", "rb").read().split(b"\0")
    netdev = words[words.index(b"-netdev") + 1].split(b",")[0].decode()
    assert netdev == (link if age == "new" else "socket")
    machine.dhcp()
    expect_talk(machine, 20)
    machine.process.kill()
    machine.wait_ended()
    wait_until(lambda: len(processes.marked()) == 0, what="the end of broker and worker")


def test_tap_of_qemus_own(processes, serve, boot, listen, socket_path):
    """The hypervisor holds the tap, we the packet socket on its other side."""
    listen(socket_path, answer_lines)
    namespace = Namespace()
    try:
        namespace.ip("tuntap", "add", "vmc0", "mode", "tap")
        namespace.ip("link", "set", "vmc0", "up")
        serve(f"packet,ifname=vmc0,netns={namespace.name}")
        netdev = qemu("tap,id=n0,ifname=vmc0,script=no,downscript=no")
        for _ in range(2):
            machine = boot(namespace.enter(netdev)).wait_booted()
            machine.dhcp()
            expect_talk(machine)
            assert machine.power_off() == 0
    finally:
        processes.end_all()
        namespace.close()

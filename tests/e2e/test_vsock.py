# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK as a device (design 4) and as a link (design 6), over the loopback and the vhost-vsock
of Debian's kernel: vmchannel, its guests and its services all run inside one QEMU guest
(harness/inner.py), and guests with a CID of their own are played by vsockguest.c. What the kernel
has to say about ends there: close(2) and a killed process look alike, an end of file for who reads
and EPIPE for who writes; there is no reset; and nobody listens is ECONNRESET."""

import os
import socket

import pytest

from conftest import tracked_directory
from harness import document
from harness import inner as inner_vm
from harness.daemon import Daemon
from harness.exchange import expect_exact
from harness.inner import last_json
from harness.processes import Processes

pytestmark = pytest.mark.timeout(90)

MODULES = ["vsock_loopback", "vhost_vsock", "tun", "veth"]
LOCAL = "1"         # VMADDR_CID_LOCAL
PORT = 4242
DEVICE = f"vsock:{LOCAL}:{PORT}"
ANY = ("vsock:any", PORT)
SERVICE = "/tmp/service.sock"
UNIX = (f"unix:{SERVICE}", "-")
CHANNEL = (f"vsock:{LOCAL}", 600)  # of the link
CONNECTIONS, SIZE = 5, 4 << 20  # 20 MiB each way

both_links = pytest.mark.parametrize("link", inner_vm.LINKS)


@pytest.fixture(scope="module")
def inner_vms(system, session_directory, vmchannel, helpers):
    initramfs = inner_vm.build(session_directory, vmchannel, helpers, MODULES)
    for directory in tracked_directory():
        processes = Processes(directory)

        def boot():
            processes.end_all()
            return inner_vm.boot(processes, system[0], initramfs)

        inner = inner_vm.Inner(boot)
        yield inner
        processes.end_all()
        assert processes.left_behind() == []


@pytest.fixture
def inner(inner_vms):
    inner_vms.ready().sh("modprobe -a vsock_loopback tun veth")
    yield inner_vms
    inner_vms.tidy()


def unload(inner, *modules):
    """A socket that was closed holds them for another 8 s."""
    inner.sh(f"for module in {' '.join(modules)}; do while [ -e /sys/module/$module ]; do "
             "rmmod $module || sleep 0.2; done; done 2>/dev/null")


def ends(told):
    """What became of each step of a script."""
    assert told["error"] == "", told
    return [(s["step"], s.get("got", ""), s["end"]) for s in told["steps"]]


# --- without --------------------------------------------------------------------------------------

NO_VSOCK = "vmchannel: vsock: cannot make a socket: Address family not supported by protocol"


def test_kernel_without_vsock_is_told(inner_vms):
    """In there it can be had: as modules, hidden from those that would load them."""
    inner = inner_vms.ready()
    unload(inner, "vhost_vsock", "vsock_loopback", "vmw_vsock_virtio_transport_common", "vsock")
    told = inner.try_sh(f"mv /lib/modules /lib/hidden; "
                        f"vmchannel serve --link vsock,cid={LOCAL} -vmchannel 600:null; code=$?; "
                        "mv /lib/hidden /lib/modules; exit $code")
    assert told == (1, NO_VSOCK + "\n")


def test_this_machine_listens_or_says_why_not(processes, vmchannel, directory):
    port = 20000 + os.getpid() % 20000  # the ports are the machine's, not a namespace's
    daemon = Daemon(processes, vmchannel,
                    ["--link", f"vsock,cid={LOCAL}", "-vmchannel", f"{port}:null"])
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError:
        assert daemon.process.wait(5) == 1
        assert daemon.log() == NO_VSOCK + "\n"
    else:
        daemon.wait_for_log("ready")
        assert daemon.stop() == 0


# --- the device -----------------------------------------------------------------------------------


@both_links
def test_device_5_times_4_mib_each_way(inner, link):
    host = inner.start("hostpeer", f"vsock:{PORT}", CONNECTIONS, SIZE, 2, ready="ready")
    guest = inner.guest(link, DEVICE)
    told = guest.probe("transfer", CONNECTIONS, SIZE, 1, timeout=40)
    expect_exact(told, host.result(), CONNECTIONS, SIZE)


@both_links
def test_device_half_close_of_the_guest(inner, link):
    host = inner.start("guestprobe", "serve", *ANY, "recv", "send:answer", "shut", ready="ready")
    guest = inner.guest(link, DEVICE)
    told = guest.probe("script", "send:question", "shut", "recv")
    assert ends(told)[-1] == ("recv", "answer\n", "eof")
    assert ends(host.result())[0] == ("recv", "question\n", "eof")


@both_links
def test_device_half_close_of_the_service(inner, link):
    host = inner.start("guestprobe", "serve", *ANY, "send:first", "shut", "recv", ready="ready")
    guest = inner.guest(link, DEVICE)
    told = guest.probe("script", "recv", "send:after", "shut")
    assert ends(told)[0] == ("recv", "first\n", "eof")
    assert ends(host.result())[-1] == ("recv", "after\n", "eof")


@both_links
@pytest.mark.parametrize("device, reason", [
    (DEVICE, "Connection reset by peer"),  # how the kernel says that nobody listens
    (f"vsock:77:{PORT}", "No such device"),
], ids=["no-listener", "no-machine"])
def test_device_refused_with_the_reason(inner, link, device, reason):
    guest = inner.guest(link, device)
    told = guest.probe("script", "recv")
    if link == "tap":
        assert told["error"] == "ECONNREFUSED"
    else:  # its kernel has accepted before we were asked
        assert told["error"] == "ECONNRESET" or ends(told) == [("recv", "", "ECONNRESET")]
    guest.run.wait_for(f"vmchannel: guest: channel 600: {device}: {reason}")


@both_links
def test_device_service_killed_and_back(inner, link):
    """The guest gets what was sent before, the end of it, and a reset for what it sends then."""
    serve = ["guestprobe", "serve", *ANY, "line", "send:bye", "die"]
    inner.start(*serve, ready="ready")
    guest = inner.guest(link, DEVICE)
    steps = ends(guest.probe("script", "send:hello", "line", "recv", "send:more", "sleep:200",
                             "send:even more"))
    assert steps[1:3] == [("line", "bye", ""), ("recv", "", "eof")]
    assert steps[-1][2] in ("EPIPE", "ECONNRESET")
    told = guest.probe("script", "recv")
    assert told["error"] == "ECONNREFUSED" or told["error"] == "ECONNRESET" or \
        ends(told) == [("recv", "", "ECONNRESET")]
    host = inner.start(*serve, ready="ready")
    assert ends(guest.probe("script", "send:again", "line"))[-1] == ("line", "bye", "")
    assert ends(host.result())[0] == ("line", "again", "")


@both_links
def test_device_is_waited_for_with_reconnect(inner, link):
    guest = inner.guest(link, f"{DEVICE},reconnect=1")
    waiting = guest.start("script", "send:early", "line")
    guest.run.wait_for("trying again every 1 s")
    host = inner.start("guestprobe", "serve", *ANY, "line", "send:late", ready="ready")
    assert ends(waiting.result())[-1] == ("line", "late", "")
    assert ends(host.result())[0] == ("line", "early", "")


@both_links
def test_device_that_does_not_read_stalls_itself_alone(inner, link):
    inner.start("guestprobe", "serve", *ANY, "sleep:60000", ready="ready")
    guest = inner.guest(link, DEVICE)
    stalled = guest.start("transfer", 1, SIZE, 1)
    guest.run.wait_for("guest")
    inner.sh("sleep 0.5")
    host = inner.start("guestprobe", "serve", *ANY, "line", "send:well", name="second",
                       ready="ready")
    assert ends(guest.probe("script", "send:ping", "line"))[-1] == ("line", "well", "")
    assert ends(host.result())[0] == ("line", "ping", "")
    stalled.kill()


# --- the link -------------------------------------------------------------------------------------


@pytest.fixture
def serve(inner):
    """serve(CID, DEVICE, OPTION...) -> the daemon, ready."""

    def start(cid=LOCAL, device=f"unix:{SERVICE}", *options):
        return inner.start("vmchannel", "serve", *options, "--link", f"vsock,cid={cid}",
                           "-vmchannel", f"600:{device}", ready="ready")

    return start


def test_link_5_times_4_mib_each_way(inner, serve):
    host = inner.start("hostpeer", SERVICE, CONNECTIONS, SIZE, 2, ready="ready")
    serve()
    told = inner.probe("transfer", *CHANNEL, CONNECTIONS, SIZE, 1, timeout=40)
    expect_exact(told, host.result(), CONNECTIONS, SIZE)


def test_link_half_close_of_the_guest(inner, serve):
    host = inner.start("guestprobe", "serve", *UNIX, "recv", "send:answer", "shut", ready="ready")
    serve()
    told = inner.probe("script", *CHANNEL, "send:question", "shut", "recv")
    assert ends(told)[-1] == ("recv", "answer\n", "eof")
    assert ends(host.result())[0] == ("recv", "question\n", "eof")


def test_link_half_close_of_the_service(inner, serve):
    host = inner.start("guestprobe", "serve", *UNIX, "send:first", "shut", "recv", ready="ready")
    serve()
    told = inner.probe("script", *CHANNEL, "recv", "send:after", "shut")
    assert ends(told)[0] == ("recv", "first\n", "eof")
    assert ends(host.result())[-1] == ("recv", "after\n", "eof")


def expect_turned_away(inner):
    """Accepted, and closed at once for both ways."""
    told = ends(inner.probe("script", *CHANNEL, "recv", "send:anybody?"))
    assert told == [("recv", "", "eof"), ("send:anybody?", "", "EPIPE")]


def test_link_refused_service_killed_and_back(inner, serve):
    daemon = serve()
    expect_turned_away(inner)
    daemon.wait_for(f"channel 600: unix:{SERVICE}: No such file or directory")
    host = ["guestprobe", "serve", *UNIX, "line", "send:bye", "die"]
    for _ in range(2):
        inner.start(*host, ready="ready")
        steps = ends(inner.probe("script", *CHANNEL, "send:hello", "line", "recv", "sleep:100",
                                 "send:more", "sleep:100", "send:even more"))
        assert steps[1:3] == [("line", "bye", ""), ("recv", "", "eof")]
        assert steps[-1][2] == "EPIPE"
        expect_turned_away(inner)
        daemon.wait_for(f"channel 600: unix:{SERVICE}: Connection refused")
        inner.sh(f"rm {SERVICE}")


def test_link_bytes_of_a_guest_that_leaves_at_once_arrive(inner, serve):
    serve()
    for number in range(4):
        host = inner.start("guestprobe", "serve", *UNIX, "recv", ready="ready")
        inner.probe("script", *CHANNEL, f"send:number {number}", "close")
        assert ends(host.result()) == [("recv", f"number {number}\n", "eof")]
        inner.sh(f"rm {SERVICE}")


def test_link_guest_that_gave_up_waiting_is_forgotten(inner, serve):
    """The next host client gets the next guest."""
    serve(LOCAL, f"unix:{SERVICE},server")
    inner.probe("script", *CHANNEL, "sleep:100", "close")
    waiting = inner.start("guestprobe", "script", *CHANNEL, "send:alive", "line", name="waiting")
    inner.sh("sleep 0.3")
    told = ends(inner.probe("script", *UNIX, "line", "send:found"))
    assert told[0] == ("line", "alive", "")
    assert ends(waiting.result())[-1] == ("line", "found", "")


def worker_of(inner, daemon) -> int:
    children = inner.sh(f"grep -l '^PPid:\t{daemon.pid}$' /proc/[0-9]*/status 2>/dev/null || true")
    [status] = inner.sh(f"grep -L '^Name:\tvmc-starter' {' '.join(children.split())}").split()
    return int(status.split("/")[2])


def test_link_worker_killed_and_back(inner, serve):
    host = ["guestprobe", "serve", *UNIX, "line", "send:well", "recv"]
    daemon = serve()
    first = inner.start(*host, ready="ready")
    guest = inner.start("guestprobe", "script", *CHANNEL, "send:one", "line", "recv", name="guest")
    guest_heard = f"until grep -q . {first.out}; do sleep 0.02; done"
    inner.sh(guest_heard)
    inner.sh(f"kill -9 {worker_of(inner, daemon)}")
    assert ends(guest.result())[-1][2] in ("eof", "ECONNRESET")
    assert ends(first.result())[-1][2] in ("eof", "ECONNRESET")
    inner.sh(f"rm {SERVICE}")
    inner.start(*host, name="second", ready="ready")
    told = ends(inner.probe("script", *CHANNEL, "send:two", "line"))
    assert told[-1] == ("line", "well", "")


def test_link_worker_is_sandboxed(inner, serve):
    daemon = serve()
    status = inner.sh(f"cat /proc/{worker_of(inner, daemon)}/status").splitlines()
    fields = dict(line.split(":\t", 1) for line in status)
    assert fields["Uid"].split()[0] == "65534"
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    for kind in "Inh", "Prm", "Eff", "Bnd", "Amb":
        assert int(fields[f"Cap{kind}"], 16) == 0


def test_link_port_in_use_is_refused(inner, serve):
    serve()
    code, told = inner.try_sh(f"vmchannel serve --link vsock,cid={LOCAL} -vmchannel 600:null")
    assert (code, told.strip()) == (
        1, "vmchannel: vsock: port 600: cannot listen: Address already in use")


def test_link_is_refused_where_no_guest_could_come(inner):
    unload(inner, "vhost_vsock")
    told = inner.try_sh("vmchannel serve --link vsock,cid=3 -vmchannel 600:null")
    assert told == (1, "vmchannel: vsock: no guest can reach this host, /dev/vhost-vsock is not "
                       "there: No such device\n")


def test_link_serves_its_guest_alone(inner):
    """By the document's line, which is for the guest with the CID 3."""
    inner.sh("modprobe vhost_vsock")
    section = document.sections()["Any hypervisor with vhost-vsock"]
    argv = document.command(section.text_of("vmchannel"))
    daemon = inner.start(*argv[:2], "-v", "-v", *argv[2:], ready="ready")
    [service] = [a.removeprefix("600:") for a in argv if a.startswith("600:")]
    for round_ in "one", "two":
        host = inner.start("guestprobe", "serve", service, "-", "recv", f"send:{round_}", "shut",
                           ready="ready")
        for stranger in 4, 77:
            told = last_json(inner.sh(f"vsockguest {stranger} 600 hello"))
            assert told == {"got": "", "end": "shutdown"}
        expect_turned_away(inner)  # of this host's own programs
        told = last_json(inner.sh(f"vsockguest 3 600 'from the guest, {round_}'"))
        assert told == {"got": f"{round_}\n", "end": "shutdown"}
        assert ends(host.result())[0] == ("recv", f"from the guest, {round_}", "eof")
        inner.sh(f"rm {service.removeprefix('unix:')}")
    daemon.wait_for("channel 600: refused, of another CID")
    assert last_json(inner.sh("vsockguest 3 601 hello")) == {"got": "", "end": "reset"}

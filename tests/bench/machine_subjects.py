# SPDX-License-Identifier: BSD-3-Clause
"""The subjects in a QEMU guest under emulation. All of them are ways out of one guest, so that its
virtual CPU, which limits them, is the same: `vmchannel qemu`, and beside it on QEMU's own devices
guestfwd, virtio-serial and the user network. Only vhost-user has a guest like it to itself, since
that needs memory that is shared."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from subjects import KINDS, Ours, Subject
from world import MARK, PORT, Failed

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from harness.machine import Machine, newest_kernel, unpack_kernel  # noqa: E402

QEMU = "qemu-system-x86_64"
OUR_MAC, USER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02"
COMMAND_WITHIN_S = 25
CONFIGURE = """for n in /sys/class/net/*; do case $(cat $n/address) in
{ours}) i=${{n##*/}}; ip link set $i up; ip addr add 10.0.2.15/24 dev $i;;
{user}) i=${{n##*/}}; ip link set $i up; ip addr add 10.0.3.15/24 dev $i;;
esac; done"""


def system(tools):
    """(kernel, initramfs), made once for all rounds."""
    directory = Path(tools["load"]).parent
    if "kernel" not in tools:
        tools["kernel"] = unpack_kernel(directory)
        out = directory / "initramfs.cpio"
        version = newest_kernel().name.removeprefix("vmlinuz-")
        subprocess.run([ROOT / "demo/initramfs.sh", out, HERE.parent / "e2e/guest_init.sh",
                        f"{tools['load']}:bin/load"], check=True, timeout=120,
                       env=dict(os.environ, KERNEL_VERSION=version))
        tools["initramfs"] = out
    return tools["kernel"], tools["initramfs"]


class Marked:
    """Starts a machine's processes with a mark, by which those that QEMU left are found again."""

    def __init__(self, world, link):
        self.world = world
        self.mark = f"{world.directory}/{link}"
        self.directory = world.directory / link
        self.directory.mkdir()

    def start(self, argv, **kwargs):
        return self.world.start(argv, env=dict(os.environ, **{MARK: self.mark}), **kwargs)


def boot(world, link):
    """A guest whose vmchannel has that link to QEMU."""
    directory = world.directory
    options = ["-device", "virtio-serial-pci", "-netdev",
               "user,id=user,net=10.0.3.0/24," + ",".join(
                   f"guestfwd=tcp:10.0.3.4:{PORT + i}-chardev:fwd{i}" for i in range(len(KINDS))),
               "-device", f"virtio-net-pci,netdev=user,mac={USER_MAC},romfile="]
    for i, kind in enumerate(KINDS):
        options += ["-chardev", f"socket,id=fwd{i},path={directory}/{kind}",
                    "-chardev", f"socket,id=port{i},path={directory}/{kind}",
                    "-device", f"virtserialport,chardev=port{i},nr={i + 1}",
                    "-vmchannel", f"{PORT + i}:unix:{directory}/{kind}"]
    argv = [world.tools["vmchannel"], "qemu", "--quiet", "--link", link, "--nic",
            f"virtio-net-pci,mac={OUR_MAC}", "--", QEMU]
    try:
        machine = Machine(Marked(world, link), system(world.tools), argv, options)
        machine.wait_booted()
        code, output = machine.sh(CONFIGURE.format(ours=OUR_MAC, user=USER_MAC).replace("\n", " "))
    except (AssertionError, subprocess.SubprocessError) as e:
        raise Failed(f"the QEMU guest: {e}") from None
    if code != 0:
        raise Failed(f"the QEMU guest's network: {output}")
    return machine


def machine_of(world, link):
    if not hasattr(world, "machines"):
        world.machines = {}
    if link not in world.machines:
        world.machines[link] = boot(world, link)
    return world.machines[link]


class GuestLoad:
    """A load program in the guest, by the guest's agent. Looks like a process."""

    def __init__(self, machine, target, args):
        self._result = None
        self._command = " ".join(["load", target, *map(str, args)])
        self._thread = threading.Thread(target=self._run, args=(machine,), daemon=True)
        self._thread.start()

    def _run(self, machine):
        try:
            self._result = machine.sh(self._command, COMMAND_WITHIN_S)[1]
        except (AssertionError, OSError) as e:
            self._result = str(e)

    def poll(self):
        return None if self._thread.is_alive() else 0

    def communicate(self, timeout):
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired(self._command, timeout)
        return self._result, None

    def kill(self):
        """Its own limits end it."""

    def wait(self):
        self._thread.join(COMMAND_WITHIN_S)


class InMachine(Subject):
    """A way out of the guest that QEMU itself makes: it has no daemon of its own."""

    group = "machine"
    needs = (QEMU,)
    tools = ("busybox", "cpio")

    link = "stream"
    measures = ("send", "receive", "trip1", "trip64")

    def start(self):
        self.machine = machine_of(self.world, self.link)

    def load(self, kind, *args):
        return GuestLoad(self.machine, self.target(kind), args)

    def load_pids(self, load):
        return []

    def end_load(self, load):
        load.wait()

    def path_pids(self):
        return [self.machine.process.pid, *self.pids(), self.world.service.pid]


class OurQemu(InMachine):
    name = "vmchannel qemu"
    about = "vmchannel qemu --nic virtio-net-pci; a guest under emulation (TCG)"
    is_ours = True
    measures = ("send", "receive", "send16", "receive16", "trip1", "trip64", "connect")
    target = Ours.target

    def start(self):
        super().start()
        self.daemon = self.machine.process

    def pids(self):
        """What `vmchannel qemu` left beside the QEMU that it became: no child of it any more."""
        pids = self.world.all_running(self.world.tools["vmchannel"],
                                      f"{self.world.directory}/{self.link}")
        if not pids:
            raise Failed("vmchannel is not there")
        return pids


class OurVhostUser(OurQemu):
    name = "vmchannel qemu vhost"
    about = "vmchannel qemu --link vhost-user, in a guest to itself"
    link = "vhost-user"


class Guestfwd(InMachine):
    name = "QEMU guestfwd"
    about = "-netdev user,guestfwd=tcp:…-chardev:… in the same guest"

    def target(self, kind):
        return f"tcp:10.0.3.4:{PORT + KINDS.index(kind)}"


class UserNetwork(InMachine):
    name = "QEMU user network"
    about = "-netdev user, the services' TCP ports at its host address, in the same guest"
    measures = OurQemu.measures

    def target(self, kind):
        return f"tcp:10.0.3.2:{PORT + KINDS.index(kind)}"


class VirtioSerial(InMachine):
    name = "QEMU virtio-serial"
    about = "-device virtserialport on a socket chardev in the same guest"

    def target(self, kind):
        return f"/dev/vport0p{KINDS.index(kind) + 1}"


SUBJECTS = [OurQemu, OurVhostUser, Guestfwd, VirtioSerial, UserNetwork]

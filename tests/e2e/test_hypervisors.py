# SPDX-License-Identifier: BSD-3-Clause
"""docs/hypervisors.md is true: what it says was tested is run from its very text, with paths and
names of the test's own; of the rest our half is understood. Each guest is refused, converses and
moves bytes exactly."""

import itertools
import json
import os
import re
import subprocess

import pytest

from harness import document, gvisor, uml
from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.machine import Machine
from harness.namespace import Namespace, ip
from harness.processes import wait_until
from harness.services import answer_lines
from test_transfer import transfer

SECTIONS = document.sections()
TRANSFER = (4, 512 * 1024)  # connections, bytes each way
_numbers = itertools.count(1)
covered = set()


def as_id(title):
    return title.replace(",", "").replace(" ", "-")


def covers(*titles):
    """Which sections a test runs."""
    covered.update(titles)
    return pytest.mark.parametrize("stage", titles, indirect=True, ids=as_id)


class Stage:
    """A section of the document with this test's paths and names in it."""

    def __init__(self, section, processes, vmchannel, directory):
        self.section = section
        self.processes = processes
        self.vmchannel = vmchannel
        self.directory = directory
        self.service = directory / "svc.sock"
        self.ns = f"vmce2e-{os.getpid()}-doc{next(_numbers)}"

    def own(self, text):
        text = re.sub(r"\bvm1\b(?!\.)", self.ns, text)
        return re.sub(r"/run/(?!netns/)", f"{self.directory}/", text)

    def run(self, role):
        for text in self.section.texts(role):
            subprocess.run(["sh", "-e", "-c", self.own(text)], check=True, timeout=20)

    def argv(self, role, rest=()):
        argv = document.command(self.own(self.section.text_of(role)), rest)
        return [self.vmchannel, *argv[1:]] if argv[0] == "vmchannel" else argv

    def serve(self):
        """Runs the set-up and the daemon, and waits until that is ready."""
        self.run("setup")
        daemon = Daemon(self.processes, self.vmchannel, self.argv("vmchannel")[2:])
        daemon.wait_for_log("ready", timeout=10)
        if self.section.texts("address"):
            self.wait_for_interface(daemon)
            self.run("address")
        return daemon

    def wait_for_interface(self, daemon):
        daemon.wait_until_up(lambda: ": vmc0" in ip("-n", self.ns, "-o", "link"), "the tap vmc0")

    def split(self, role):
        """The words before and behind "..."."""
        argv = self.argv(role, [document.REST])
        at = argv.index(document.REST)
        return argv[:at], argv[at + 1:]

    def close(self):
        if self.ns in os.listdir("/run/netns"):
            ip("netns", "del", self.ns)


@pytest.fixture
def stage(request, processes, vmchannel, directory):
    made = Stage(SECTIONS[request.param], processes, vmchannel, directory)
    yield made
    stubborn = processes.end_all()
    made.close()
    assert stubborn == [], "processes that SIGTERM did not end"


@pytest.fixture(scope="module")
def uml_initramfs(session_directory, helpers):
    return uml.build_initramfs(session_directory, helpers["guestprobe"])


class Probed:
    """Whatever runs guestprobe, as test_transfer wants a guest."""

    def __init__(self, probe):
        self.probe = probe


def check(stage, probe, listen, helpers, refuses=True):
    """What every guest must be able to do. A socket link accepts before it refuses."""
    if refuses:
        assert probe("connect", CHANNEL, 600)["error"] == "ECONNREFUSED"
        assert probe("connect", CHANNEL, 601)["error"] == "ECONNREFUSED"
    service = listen(stage.service, answer_lines)
    told = probe("talk", CHANNEL, 600, 5)
    assert told["error"] == ""
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(5)]
    assert len(service.peers) == 5
    service.close()
    transfer(Probed(probe), helpers, stage.processes, stage.service, *TRANSFER, timeout=60)


def test_the_table_has_every_section_with_its_state():
    states = {t: "tested" if s.is_tested else "not run" for t, s in SECTIONS.items()}
    assert document.table_states() == states
    for section in SECTIONS.values():
        assert section.is_tested != (document.NOT_RUN in section.text), section.title


def test_what_is_said_to_be_tested_is():
    assert covered == {title for title, section in SECTIONS.items() if section.is_tested}


@pytest.mark.parametrize("title", [t for t, s in SECTIONS.items() if not s.is_tested],
                         ids=as_id)
def test_our_half_is_understood(processes, vmchannel, title):
    texts = SECTIONS[title].texts("vmchannel")
    assert texts
    for text in texts:
        argv = document.command(text)
        done = processes.run([vmchannel, *argv[1:], "--dry-run"])
        assert done.returncode == 0, done.stderr
        assert f"link:     {argv[argv.index('--link') + 1].split(',')[0]}" in done.stdout


@covers("QEMU, wrapped", "QEMU, stream", "QEMU, dgram", "QEMU, tap")
@pytest.mark.timeout(90)
def test_qemu(stage, system, listen, helpers):
    is_wrapped = not stage.section.texts("vmchannel")
    daemon = None if is_wrapped or stage.section.title == "QEMU, stream" else stage.serve()
    machine = Machine(stage.processes, system, *stage.split("hypervisor"))
    if not is_wrapped and not daemon:
        stage.serve()
    machine.wait_booted()
    assert "ip='10.0.2.15'" in machine.dhcp()
    check(stage, machine.probe, listen, helpers)
    assert machine.power_off() == 0
    for name in ("vm1.link", "vm1.qemu"):  # QEMU leaves its own behind
        (stage.directory / name).unlink(missing_ok=True)


@covers("User Mode Linux", "User Mode Linux, tap")
@pytest.mark.timeout(60)
def test_user_mode_linux(stage, uml_initramfs, listen, helpers):
    stage.serve()
    machine = uml.UmlMachine(
        stage.processes, uml_initramfs, lambda rest: stage.argv("hypervisor", rest)).wait_booted()
    for line in stage.section.text_of("guest").splitlines():
        assert machine.sh(line) == (0, "")
    assert "vec0" in machine.sh("ip link")[1]
    check(stage, machine.probe, listen, helpers)
    assert machine.power_off() == 0


@covers("gVisor", "gVisor, host network")
@pytest.mark.timeout(60)
def test_gvisor(stage, listen, helpers):
    daemon = stage.serve()
    is_frames = stage.section.title == "gVisor"
    namespaces = json.loads(stage.own(stage.section.text_of("namespaces")))
    numbers = itertools.count()

    def probe(*args, timeout=30):
        if is_frames:
            stage.wait_for_interface(daemon)
            stage.run("address")  # the container before has taken it
        gvisor.make_bundle(stage.directory / "vm1.bundle", helpers["guestprobe"], args, namespaces,
                           linger_s=1 if args[0] == "transfer" else 0)
        argv = stage.argv("hypervisor", gvisor.options(stage.directory))
        argv[-1] += f"-{next(numbers)}"
        done = stage.processes.run(gvisor.entered(f"/run/netns/{stage.ns}", argv), timeout)
        assert done.stdout, f"{argv}: exit {done.returncode}, {done.stderr}"
        return json.loads(done.stdout)

    check(stage, probe, listen, helpers, refuses=is_frames)


@covers("Namespaces")
def test_namespace(stage, listen, helpers):
    stage.serve()

    def probe(*args, timeout=30):
        argv = stage.argv("hypervisor", [helpers["guestprobe"], *args])
        return json.loads(stage.processes.run(argv, timeout).stdout)

    check(stage, probe, listen, helpers, refuses=False)


@covers("A bridge")
def test_bridge(stage, listen, helpers):
    """The guest is a namespace with one end of a veth pair; the other end is in the bridge."""
    stage.serve()
    guest = Namespace()
    try:
        guest.ip("link", "add", "eth0", "type", "veth", "peer", "name", "vif1", "netns", stage.ns)
        ip("-n", stage.ns, "link", "set", "vif1", "master", "br0", "up")
        guest.ip("addr", "add", "10.0.2.15/24", "dev", "eth0")
        guest.ip("link", "set", "eth0", "up")

        def probe(*args, timeout=30):
            argv = guest.enter([helpers["guestprobe"], *args])
            return json.loads(stage.processes.run(argv, timeout).stdout)

        wait_until(lambda: probe("connect", CHANNEL, 600, 300)["error"] == "ECONNREFUSED", 5,
                   "the bridge to forward")
        check(stage, probe, listen, helpers)
    finally:
        guest.close()

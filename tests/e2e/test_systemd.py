# SPDX-License-Identifier: BSD-3-Clause
"""Where systemd runs, libvirt's hook has it keep each domain's daemon, as vmchannel@UUID.service.
All of it is inside one QEMU guest whose first process is systemd (harness/systemd_guest.py): first
the hook is called as libvirt calls it, with a front-end of the tests' for QEMU (tests/vhost_guest);
then a libvirtd of that guest's own starts and ends a domain."""

import json
import re
import subprocess

import pytest

from conftest import tracked_directory
from harness import libvirtd, systemd_guest
from harness.processes import Processes

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not systemd_guest.SYSTEMD.exists() or bool(libvirtd.packages_missing()),
                       reason="no systemd or no libvirt here"),
]

VMCHANNEL = "/usr/local/bin/vmchannel"
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
UNIT = f"vmchannel@{UUID}.service"
SOCKET = f"/run/vmchannel/{UUID}.sock"
NAME = 'a "doma$in\\'  # libvirt takes it
LOG = f"/var/log/libvirt/qemu/{NAME}-vmchannel.log"
DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <interface type='vmchannel'><source port='600'/><target path='/some/path'/></interface>
  </devices>
</domain>
"""
LIBVIRTD = ("systemd-run -q --unit=the-libvirtd -p Type=notify -p KillMode=process "
            "/usr/sbin/libvirtd")
ECHO = ("[ -e /some/path ] || { mkdir -p /some; "
        "socat UNIX-LISTEN:/some/path,fork,mode=0777 PIPE >/dev/null 2>&1 & "
        "until [ -e /some/path ]; do sleep 0.1; done; }")


@pytest.fixture(scope="module")
def booted(system, session_directory, vmchannel, helpers):
    directory = session_directory / "systemd"
    directory.mkdir()
    front_end = vmchannel.parents[2] / "tests/vhost_guest/vhost-guest"
    if not front_end.exists():
        pytest.skip(f"no {front_end}: vmchannel is not in its build directory")
    files = {"usr/local/bin/vhost-guest": front_end,
             "usr/local/libexec/vmchannel-libvirt": vmchannel.with_name("vmchannel-libvirt")}
    for file, name in ("dom", "dom"), ("odd", NAME.replace('"', "&quot;")):
        text = DOMAIN.format(name=name, uuid=UUID)
        done = subprocess.run([vmchannel, "xml"], input=text, stdout=subprocess.PIPE, text=True,
                              check=True, timeout=20)
        files[f"{file}.xml"] = directory / f"{file}.xml"
        files[f"{file}.xml"].write_text(done.stdout)
    image = systemd_guest.build(directory / "files", helpers,
                                {**files, **systemd_guest.installed(vmchannel)})
    for tracked in tracked_directory():
        processes = Processes(tracked)

        def boot():
            processes.end_all()
            return systemd_guest.boot(processes, system[0], image)

        yield systemd_guest.Host(boot)
        processes.end_all()
        assert processes.left_behind() == []


@pytest.fixture
def host(booted):
    booted.ready().sh(ECHO)
    yield booted
    if booted.machine:
        booted.try_sh(hook("release", "end") + "; systemctl reset-failed")


def hook(operation, moment, domain="odd"):
    return f"{VMCHANNEL} hook -- {domain} {operation} {moment} - </{domain}.xml"


def show(host, *names):
    """Properties of the unit: name -> value."""
    out = host.sh(f"systemctl show -p {','.join(names)} {UNIT}")
    return dict(line.split("=", 1) for line in out.splitlines())


def daemons(host):
    """user and arguments of each process of vmchannel."""
    lines = host.sh("ps -e -o user:20=,args=").splitlines()
    return [line.split(None, 1) for line in lines if f" {VMCHANNEL} " in line and " sh -c" not in
            line]


def expect_nothing_left(host):
    assert daemons(host) == []
    assert host.sh(f"ls -d /run/vmchannel; systemctl list-units -q --all '{UNIT}'; true") == \
        "ls: cannot access '/run/vmchannel': No such file or directory"


def expect_talk(host, tries=1):
    code, told = host.try_sh(f"for i in $(seq {tries}); do "
                             f"/usr/local/bin/vhost-guest {SOCKET} 600 exact 3 100000 && exit; "
                             "sleep 0.1; done; exit 1")
    assert code == 0, told
    result = json.loads(told.splitlines()[-1])
    assert (result["whole"], result["received"], result["wrong"]) == (3, 300000, 0)


def journal(host):
    """(monotonic time in s, message) of what systemd said about the unit."""
    lines = host.sh(f"journalctl -q -o json --output-fields=MESSAGE _PID=1 UNIT={UNIT}")
    entries = map(json.loads, lines.splitlines())
    return [(int(e["__MONOTONIC_TIMESTAMP"]) / 1e6, e["MESSAGE"]) for e in entries]


def test_daemon_is_a_unit_from_start_to_end(host):
    host.sh(hook("prepare", "begin"))
    state = show(host, "ActiveState", "SubState", "MainPID", "ControlGroup")
    assert (state["ActiveState"], state["SubState"]) == ("active", "running")
    assert state["ControlGroup"] == f"/system.slice/{UNIT}"
    order = show(host, "Conflicts", "ConflictedBy", "Before")
    assert set(order.values()) == {""}, "nothing that a shutdown makes it wait for"
    running = daemons(host)
    assert [user for user, _ in running] == [systemd_guest.QEMU_USER] * 3, running
    assert f"--name {NAME} --user" in running[0][1]
    assert host.sh(f"stat -c '%U %a %F' {SOCKET}") == "libvirt-qemu 700 socket"
    expect_talk(host)
    for _ in range(2):
        host.sh(hook("release", "end"))
        expect_nothing_left(host)
    log = host.sh(f"cat '{LOG}'")
    assert f"{NAME}: ready" in log and ": up" in log


def test_killed_daemon_is_back_within_a_second(host):
    host.sh(hook("prepare", "begin"))
    for count in 1, 2, 3:
        host.sh(f"kill -9 $(systemctl show -P MainPID {UNIT})")
        expect_talk(host, 100)
        assert show(host, "NRestarts")["NRestarts"] == str(count)
    ended = [at for at, line in journal(host) if "code=killed, status=9/KILL" in line]
    begun = [at for at, line in journal(host) if line.startswith("Starting ")]
    waits = sorted(start - end for start, end in zip(begun[-3:], ended[-3:]))
    assert 0 < waits[0] and waits[1] < 1, waits  # this machine may stand still once
    limit = show(host, "StartLimitIntervalUSec", "Restart")
    assert limit == {"StartLimitIntervalUSec": "0", "Restart": "always"}, "however often"


def test_reconnect_starts_it_again_only_when_it_is_not_there(host):
    host.sh(hook("prepare", "begin"))
    before = show(host, "MainPID")
    host.sh(hook("reconnect", "begin"))
    assert show(host, "MainPID") == before
    host.sh(f"systemctl stop {UNIT}")
    assert daemons(host) == []
    host.sh(hook("reconnect", "begin"))
    expect_talk(host)


def test_daemon_that_cannot_start_is_told_and_nothing_stays(host):
    host.sh(f"mkdir -p {SOCKET}")
    code, said = host.try_sh(hook("prepare", "begin"))
    host.sh(f"rmdir {SOCKET} /run/vmchannel")
    assert code == 1
    assert said == (f"vmchannel: {NAME}: daemon: {SOCKET}: not a socket, left alone: File exists "
                    f"(more in {LOG})\n")
    expect_nothing_left(host)


def test_without_the_unit_the_hook_keeps_the_daemon(host):
    unit = f"/usr/local/lib/systemd/system/{systemd_guest.TEMPLATE}"
    host.sh(f"mv {unit} /; systemctl daemon-reload")
    try:
        host.sh(hook("prepare", "begin"))
        expect_talk(host)
        assert host.sh("pidof vmchannel-keep || ps -e -o comm=").count("vmchannel-keep") == 1
    finally:
        host.sh(f"mv /{systemd_guest.TEMPLATE} {unit}; systemctl daemon-reload")
    host.sh(hook("reconnect", "begin"))
    assert show(host, "ActiveState")["ActiveState"] == "inactive", "the keeper's is left alone"
    host.sh(hook("release", "end"))
    expect_nothing_left(host)


def test_systemd_that_does_not_answer_costs_ten_seconds(host):
    host.sh("printf '#!/bin/sh\\nexec sleep 1000\\n' >/tmp/slow; chmod 755 /tmp/slow; "
            "mount --bind /tmp/slow /usr/bin/systemctl")
    try:
        code, said = host.try_sh(hook("prepare", "begin"))
    finally:
        host.sh("umount /usr/bin/systemctl")
    assert code == 1
    assert re.fullmatch(r"vmchannel: systemctl stop \S+: no answer in 10 s: .*\n", said), said


@pytest.fixture(scope="module")
def virsh(booted):
    """The guest's own, by its libvirtd."""
    booted.ready().sh(f"{ECHO}; cat /etc/libvirt/more.conf >>/etc/libvirt/qemu.conf; "
                      f"{VMCHANNEL} install-hook; {LIBVIRTD}", 60)

    def run(words):
        return booted.sh(f"virsh -q -c qemu:///system {words} 2>&1", 90)

    return run


def test_domain_of_a_real_libvirtd(host, virsh):
    virsh("define /dom.xml")
    virsh("start dom --paused")
    assert show(host, "ActiveState")["ActiveState"] == "active"
    log = "/var/log/libvirt/qemu/dom-vmchannel.log"
    host.sh(f"until grep -q ': up' {log}; do sleep 0.1; done")  # QEMU is there
    host.sh(f"kill -9 $(systemctl show -P MainPID {UNIT}); "
            f"until [ $(grep -c ': up' {log}) = 2 ]; do sleep 0.1; done")
    virsh("destroy dom")
    expect_nothing_left(host)

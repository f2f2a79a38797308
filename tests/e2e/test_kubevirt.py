# SPDX-License-Identifier: BSD-3-Clause
"""KubeVirt's hook: argv, standard output and exit status as its sidecar-shim has them, on a domain
of the shape that virt-launcher writes (Go's marshaller: tabs, double quotes, no empty-element tags,
no UUID but that of sysinfo). Here is no cluster; a real libvirt takes what comes out."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from harness.virsh import EmbeddedVirsh

SOURCE = Path(__file__).resolve().parents[2]
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
DOMAIN = f"""<domain type="qemu" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
  <name>default_demo</name>
  <memory unit="b">134217728</memory>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <smbios mode="sysinfo"></smbios>
  </os>
  <sysinfo type="smbios">
    <system>
      <entry name="uuid">{UUID}</entry>
      <entry name="manufacturer">KubeVirt</entry>
    </system>
    <bios></bios>
    <baseBoard></baseBoard>
    <chassis></chassis>
  </sysinfo>
  <devices>
    <interface type="ethernet">
      <source></source>
      <target dev="tap0" managed="no"></target>
      <model type="virtio-non-transitional"></model>
      <mac address="02:00:00:aa:bb:cc"></mac>
      <mtu size="1480"></mtu>
      <alias name="ua-default"></alias>
      <rom enabled="no"></rom>
    </interface>
    <channel type="unix">
      <target name="org.qemu.guest_agent.0" type="virtio"></target>
    </channel>
    <controller type="usb" index="0" model="none"></controller>
    <controller type="virtio-serial" index="0" model="virtio-non-transitional"></controller>
    <video>
      <model type="vga" heads="1" vram="16384"></model>
    </video>
    <disk device="disk" type="file" model="virtio-non-transitional">
      <source file="/var/run/kubevirt-ephemeral-disks/root/disk.qcow2"></source>
      <target bus="virtio" dev="vda"></target>
      <driver cache="none" error_policy="stop" name="qemu" type="qcow2" discard="unmap"></driver>
      <alias name="ua-root"></alias>
    </disk>
    <serial type="unix">
      <target port="0"></target>
      <source mode="bind" path="/var/run/kubevirt-private/x/virt-serial0"></source>
    </serial>
    <console type="pty">
      <target type="serial" port="0"></target>
    </console>
  </devices>
  <metadata>
    <kubevirt xmlns="http://kubevirt.io">
      <uid>{UUID}</uid>
      <graceperiod>
        <deletionGracePeriodSeconds>0</deletionGracePeriodSeconds>
      </graceperiod>
    </kubevirt>
  </metadata>
  <features>
    <acpi></acpi>
  </features>
  <cpu mode="custom"><model>qemu64</model></cpu>
  <vcpu placement="static">1</vcpu>
</domain>""".replace("  ", "\t")


def instance(annotations=None):
    """A VirtualMachineInstance as JSON."""
    return json.dumps({
        "kind": "VirtualMachineInstance", "apiVersion": "kubevirt.io/v1",
        "metadata": {"name": "demo", "namespace": "default", "uid": UUID,
                     "creationTimestamp": None, "annotations": annotations or {}},
        "spec": {"domain": {"devices": {}, "memory": {"guest": "128Mi"}}}, "status": {}})


def hook(processes, vmchannel, annotations=None, domain=DOMAIN, vmi=None):
    return processes.run([vmchannel, "kubevirt-hook", "--vmi",
                          instance(annotations) if vmi is None else vmi, "--domain", domain])


def test_an_instance_without_channels_is_left_alone(processes, vmchannel):
    done = hook(processes, vmchannel, {"kubevirt.io/latest-observed-api-version": "v1"})
    assert (done.returncode, done.stdout, done.stderr) == (0, DOMAIN, "")


def test_annotations_become_channels(processes, vmchannel, directory):
    done = hook(processes, vmchannel, {"vmchannel/channels": "600:unix:/run/services/db.sock\n"
                                       "601:unix:/run/services/b,server,nowait,name=ua-b"})
    assert done.returncode == 0 and done.stderr == ""
    assert f'path=\'/var/run/kubevirt-hooks/hook-sidecar-0/{UUID}.sock\'' in done.stdout
    assert "<qemu:device alias='ua-vmchannel'>" in done.stdout
    assert "<uuid>" not in done.stdout  # libvirt takes that of sysinfo, and refuses another one
    path = Path(directory) / "domain.xml"
    path.write_text(done.stdout)
    told = processes.run([vmchannel, "serve", "--xml", path, "--dry-run"]).stdout
    assert "guest:    default_demo\n" in told
    assert "channel:  600 is unix:/run/services/db.sock " in told
    assert "channel:  601 is unix:/run/services/b,server=on,wait=off,name=ua-b " in told
    # Nothing else was touched.
    back = processes.run([vmchannel, "xml", "--reverse", path]).stdout
    ours = re.compile(r"\n\t\t<interface type='vmchannel'>.*?</interface>", re.DOTALL)
    assert len(ours.findall(back)) == 2 and ours.sub("", back) == DOMAIN


@pytest.mark.timeout(60)
def test_libvirt_takes_what_comes_out(processes, vmchannel, directory, session_directory):
    done = hook(processes, vmchannel, {"vmchannel/channels": "600:unix:/p",
                                       "vmchannel/socket-dir": "/run/elsewhere"})
    assert done.returncode == 0, done.stderr
    path = Path(directory) / "domain.xml"
    path.write_text(done.stdout)
    virsh = EmbeddedVirsh(Path(session_directory) / "libvirt")
    defined = virsh(f"define {path}", "dumpxml default_demo --inactive")
    assert f"<source type='unix' path='/run/elsewhere/{UUID}.sock' mode='client'>" in defined
    assert f"<uuid>{UUID}</uuid>" in defined
    assert "<access mode='shared'/>" in defined


@pytest.mark.parametrize("annotations, vmi, domain, words", [
    ({"vmchannel/channels": "600:pty"}, None, DOMAIN, ["vmchannel/channels", "600", "unix:/PATH"]),
    ({"vmchannel/channels": "0:unix:/p"}, None, DOMAIN, ["vmchannel/channels", "65535"]),
    ({"vmchannel/channels": "6:unix:/p 6:unix:/q"}, None, DOMAIN, ["channel 6", "already"]),
    ({"vmchannel/channels": "6:unix:/p"}, None,
     DOMAIN.replace("<vcpu", "<memoryBacking><access mode='private'/></memoryBacking><vcpu"),
     ["private", "shared"]),
    ({"vmchannel/socket-dir": "run"}, None, DOMAIN, ["vmchannel/socket-dir", "run"]),
    (None, "{", DOMAIN, ["--vmi", "JSON"]),
    ({"vmchannel/channels": "6:unix:/p"}, None, "<domain", ["not XML"]),
], ids=lambda v: None)
def test_failures_keep_the_machine_from_starting(processes, vmchannel, annotations, vmi, domain,
                                                 words):
    done = hook(processes, vmchannel, annotations, domain, vmi)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("argv", [[], ["--vmi", "{}"], ["--domain", DOMAIN],
                                  ["--vmi", "{}", "--domain", DOMAIN, "more"]])
def test_bad_command_lines(processes, vmchannel, argv):
    done = processes.run([vmchannel, "kubevirt-hook", *argv])
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1


@pytest.fixture
def sidecar(processes, vmchannel, directory):
    """Runs the script of contrib/kubevirt as the shim does, which takes its outputs by pipes and
    waits until nobody holds them; ends the daemon that it started."""
    hooks = Path(directory) / "hooks"
    hooks.mkdir()
    log = Path(directory) / "daemon.log"
    env = dict(os.environ, PATH=f"{vmchannel.parent}:{os.environ['PATH']}",
               VMCHANNEL_HOOKS=str(hooks), VMCHANNEL_LOG=str(log))

    def run(annotations):
        script = SOURCE / "contrib/kubevirt/onDefineDomain"
        return processes.run([script, "--vmi", instance(annotations), "--domain", DOMAIN], env=env)
    run.hooks, run.log = hooks, log
    yield run
    for pid in processes.marked():
        with contextlib.suppress(ProcessLookupError):  # a worker ends with its broker
            os.kill(pid, signal.SIGTERM)
    assert processes.left_behind() == []


def test_the_sidecar_serves_before_it_answers(sidecar):
    annotations = {"vmchannel/channels": "600:unix:/run/services/db.sock"}
    done = sidecar(annotations)
    assert done.returncode == 0 and done.stderr == "", (done, sidecar.log.read_text())
    path = sidecar.hooks / f"{UUID}.sock"
    assert stat.S_ISSOCK(path.stat().st_mode)
    # As QEMU: it may connect to it now.
    with socket.socket(socket.AF_UNIX) as qemu:
        qemu.connect(str(path))
    # The hook runs again where the domain is defined again.
    assert sidecar(annotations).stdout == done.stdout
    assert sidecar.log.read_text().count("ready") == 1


def test_the_sidecar_starts_nothing_without_channels(sidecar):
    done = sidecar({})
    assert (done.returncode, done.stdout) == (0, DOMAIN)
    assert list(sidecar.hooks.iterdir()) == []


def test_the_sidecar_fails_when_the_daemon_does(sidecar):
    done = sidecar({"vmchannel/channels": "600:unix:/nonexistent/dir/b,server,nowait"})
    assert done.returncode == 1 and done.stdout == ""
    assert "/nonexistent/dir" in sidecar.log.read_text()


def test_the_manifest_is_what_the_hook_takes(processes, vmchannel):
    manifest = (SOURCE / "contrib/kubevirt/vmi.yaml").read_text()
    folded = dict(re.findall(r"^    ([\w./-]+): >-\n((?:      .*\n)+)", manifest, re.MULTILINE))
    sidecars = json.loads(folded["hooks.kubevirt.io/hookSidecars"])
    assert sidecars[0]["args"] == ["--version", "v1alpha3"]
    done = hook(processes, vmchannel, {"vmchannel/channels": folded["vmchannel/channels"]})
    assert done.returncode == 0 and "<source port='600'/>" in done.stdout


def test_the_script_is_plain_shell():
    done = subprocess.run(["sh", "-n", SOURCE / "contrib/kubevirt/onDefineDomain"])
    assert done.returncode == 0

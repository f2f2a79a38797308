# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU guest that is a host as far as libvirt's hook can tell: systemd of this machine is its
first process. (Started in a container it might take this machine for its own.) Nothing of the
machine's /etc is in there, and of its units only journald."""

from pathlib import Path

from harness.inner import Inner
from harness.machine import Machine, build_initramfs
from harness.programs import HERE

SYSTEMD = Path("/usr/lib/systemd/systemd")
TEMPLATE = "vmchannel@.service"
MODULES = ["9p", "9pnet_virtio"]
QEMU_USER = "libvirt-qemu"
ETC = {
    "passwd": f"root:x:0:0::/root:/bin/sh\n{QEMU_USER}:x:64055:64055::/:/bin/false\n"
              "nobody:x:65534:65534::/:/bin/false\n",
    "group": f"root:x:0:\nkvm:x:64055:\n{QEMU_USER}:x:64056:\nnogroup:x:65534:\n"
             "systemd-journal:x:64057:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\n",
    "machine-id": "00112233445566778899aabbccddeeff\n",
    "libvirt/qemu.conf": f'user = "{QEMU_USER}"\ngroup = "kvm"\n',
    # What the guest has no daemon or no kernel module for.
    "libvirt/more.conf": 'security_driver = "none"\nremember_owner = 0\nnamespaces = [ ]\n'
                         'stdio_handler = "file"\n',
    "libvirt/libvirtd.conf": 'auth_unix_rw = "none"\nunix_sock_group = "root"\n'
                             'log_outputs = "3:stderr"\n',
    "systemd/system/default.target": "[Unit]\nWants=systemd-journald.service agent.service\n"
                                     "AllowIsolate=yes\n",
    "systemd/system/agent.service": "[Unit]\nDefaultDependencies=no\n[Service]\n"
                                    "ExecStart=/bin/sh /usr/local/sbin/agent\n",
}
QEMU = ["-m", "1024", "-fsdev",
        "local,id=usr,path=/usr,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=usr,mount_tag=usr", "-device", "virtio-rng-pci"]


class Host(Inner):
    """Programs are read over 9p and emulated: it takes its time."""

    def try_sh(self, command, timeout=60):
        return super().try_sh(command, timeout)

    def sh(self, command, timeout=60) -> str:
        return super().sh(command, timeout)


def installed(vmchannel: Path) -> dict:
    """What `meson install` would install where."""
    return {"usr/local/bin/vmchannel": vmchannel,
            f"usr/local/lib/systemd/system/{TEMPLATE}": vmchannel.with_name(TEMPLATE)}


def build(directory: Path, helpers, files) -> Path:
    """files: path in the guest's root -> file."""
    directory.mkdir()
    for name, text in ETC.items():
        file = directory / name.replace("/", "-")
        file.write_text(text)
        files = {**files, f"etc/{name}": file}
    files = {**files, "usr/local/sbin/agent": HERE / "guest_init.sh"}
    return build_initramfs(directory / "systemd.cpio", helpers["guestprobe"],
                           HERE / "guests/systemd_init.sh",
                           {f"root/{path}": file for path, file in files.items()}, MODULES)


def boot(processes, kernel, initramfs) -> Machine:
    return Machine(processes, (kernel, initramfs), ["qemu-system-x86_64"], QEMU)

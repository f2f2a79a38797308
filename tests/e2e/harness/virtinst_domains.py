#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prints the domain XML that virt-install makes for many operating systems and command lines, each
followed by a zero byte. A program of its own, since virt-install is a script and not a module: all
in one process, as a start of it takes longer than a domain.

usage: virtinst_domains.py SYSTEMS
"""

import contextlib
import io
import sys

sys.path.insert(0, "/usr/share/virt-manager")

from virtinst import Guest, OSDB, cli, virtinstall  # noqa: E402

URI = "test:///default"  # libvirt's mock driver: no daemon, nothing is made

# What one may ask for beside the system; each is a domain of its own.
OPTIONS = [
    "--graphics vnc,listen=0.0.0.0 --video virtio --sound ich9 --console pty,target.type=virtio",
    "--graphics spice,gl.enable=yes,listen=none --video qxl --redirdev usb --smartcard passthrough",
    "--disk path=/a.qcow2,bus=virtio,format=qcow2,cache=none,sparse=yes,size=1 --watchdog i6300esb",
    "--disk path=/b.img,bus=scsi,size=1 --controller scsi,model=virtio-scsi --rng /dev/urandom",
    "--network user,model=e1000,mac=52:54:00:11:22:33 --network bridge=br0,mtu.size=9000",
    "--network none --serial tcp,host=127.0.0.1:4555,mode=bind,protocol=telnet --parallel null",
    "--channel unix,target.type=virtio,name=org.qemu.guest_agent.0 --panic default --vsock cid=5",
    "--channel unix,path=/tmp/x,mode=bind,target.type=guestfwd,target.address=10.0.2.1:4600",
    "--memorybacking hugepages=yes --numatune 1-3,mode=preferred --vcpus 4,sockets=2,cores=2",
    "--memorybacking access.mode=shared,source.type=memfd --filesystem /src,/dst",
    "--memorybacking nosharepages=yes,locked=yes --blkiotune weight=200 --memtune hard_limit=4096",
    "--cpu host-passthrough,cell0.id=0,cell0.cpus=0,cell0.memory=1048576 --vcpus 1",
    "--cpu host-model,+vmx,-svm --features hyperv.relaxed.state=on,kvm.hidden.state=on --pm "
    "suspend_to_disk=on",
    "--qemu-commandline=-s --qemu-commandline=env=A=b --seclabel type=none",
    "--xml ./title=x --xml ./description=two%20words --metadata title=t,description=d",
    "--boot kernel=/k,initrd=/i,kernel_args='a=1 b=\"2\"' --clock offset=localtime",
    "--boot loader=/x,loader.readonly=yes,loader.type=pflash,nvram=/y --tpm emulator,model=tpm-crb",
    "--resource /a/b --events on_poweroff=preserve --sysinfo "
    "bios.vendor=x,system.serial=1,baseBoard.asset=a&b",
    "--iothreads 2 --launchSecurity sev --tpm passthrough --cputune vcpupin0.vcpu=0",
    "--sound none --input tablet --input keyboard,bus=virtio --memballoon none --shmem "
    "name=x,model.type=ivshmem-plain,size=4",
]


def of_systems(count):
    """The default domain of `count` operating systems, evenly taken from all that are known."""
    conn = cli.getConnection(URI)
    names = [system.name for system in OSDB.list_os()]
    for name in names[::max(1, len(names) // count)][:count]:
        guest = Guest(conn)
        guest.name = f"guest-{name}"
        guest.memory = guest.currentMemory = 1 << 20
        guest.set_os_name(name)
        guest.set_capabilities_defaults()
        guest.set_defaults(None)
        yield guest.get_xml()


def of_options(options, number):
    """What virt-install prints, or nothing when this version of it refuses an option."""
    import shlex
    sys.argv = ["virt-install", "--connect", URI, "--name", f"options-{number}", "--memory", "512",
                "--import", "--osinfo", "generic", "--print-xml", "--dry-run", "--check", "all=off",
                *([] if "--disk" in options else ["--disk", "none"]), *shlex.split(options)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            virtinstall.runcli()
        except SystemExit as end:
            if end.code:
                print(f"{options}: {err.getvalue()}", file=sys.__stderr__)
                return ""
    return out.getvalue()


def main(argv):
    for text in of_systems(int(argv[1])):
        sys.stdout.write(text + "\0")
    for number, options in enumerate(OPTIONS):
        text = of_options(options, number)
        if text:
            sys.stdout.write(text + "\0")


if __name__ == "__main__":
    main(sys.argv)

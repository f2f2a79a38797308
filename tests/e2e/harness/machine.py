# SPDX-License-Identifier: BSD-3-Clause
"""QEMU guests: Debian's kernel and a busybox initramfs whose init runs, line by line, what the test
writes to the second serial port."""

import json
import lzma
import os
import socket
import subprocess
from pathlib import Path

from harness.processes import wait_until
from harness.programs import HERE, ROOT

END_OF_COMMAND = b"\nagent: exit "
BOOT_TIMEOUT = 60


def newest_kernel() -> Path:
    modules = Path("/lib/modules")
    with_modules = [k for k in Path("/boot").glob("vmlinuz-*")
                    if (modules / k.name.removeprefix("vmlinuz-") / "modules.dep").exists()]
    assert with_modules, "no kernel with modules below /boot: install linux-image-amd64"
    return max(with_modules, key=os.path.getmtime)


def unpack_kernel(directory: Path) -> Path:
    """The ELF image inside of vmlinuz: it boots by PVH, and spares each guest the unpacking, which
    under emulation is more than half of the boot. Where it is not found, vmlinuz itself."""
    packed = newest_kernel()
    image = packed.read_bytes()
    start = image.find(b"\xfd7zXZ\0")
    if start < 0:
        return packed
    out = directory / "vmlinux"
    out.write_bytes(lzma.LZMADecompressor().decompress(image[start:]))
    return out


def build_initramfs(out: Path, guestprobe: Path, init=HERE / "guest_init.sh", files=(),
                    modules=()) -> Path:
    """files: destination -> file; modules: those that the guest loads by itself."""
    files = {"bin/guestprobe": guestprobe, **dict(files)}
    argv = [ROOT / "demo/initramfs.sh", out, init, *(f"{f}:{d}" for d, f in files.items())]
    version = newest_kernel().name.removeprefix("vmlinuz-")
    subprocess.run(argv, check=True, timeout=120, env=dict(
        os.environ, KERNEL_VERSION=version, EXTRA_MODULES=" ".join(modules)))
    return out


class Machine:
    """One QEMU process, or a `vmchannel qemu` that became one."""

    _count = 0

    def __init__(self, processes, system, argv_before, argv_after=()):
        """system: (kernel, initramfs); argv_before: all up to and including the QEMU binary;
        argv_after: its further options."""
        Machine._count += 1
        directory = processes.directory
        self.console_path = directory / f"console-{Machine._count}.log"
        self.log_path = directory / f"qemu-{Machine._count}.log"
        agent_path = directory / f"agent-{Machine._count}.sock"
        argv = [
            *argv_before, "-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot",
            "-display", "none", "-kernel", system[0], "-initrd", system[1],
            "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
            "-serial", f"file:{self.console_path}",
            "-serial", f"unix:{agent_path},server=on,wait=off",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", *argv_after,
        ]
        with open(self.log_path, "wb") as log:
            self.process = processes.start(argv, stdout=log, stderr=log)
        self.agent = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self._connects(agent_path), 10, "the serial port's socket")
        agent_path.unlink()
        self._unread = b""

    def _connects(self, path):
        assert self.process.poll() is None, f"qemu exited {self.process.returncode}: {self.log()}"
        try:
            self.agent.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):  # not bound, or not listening yet
            return False
        return True

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def _read_until(self, end: bytes, timeout) -> bytes:
        self.agent.settimeout(timeout)
        while end not in self._unread:
            try:
                part = self.agent.recv(65536)
            except TimeoutError:
                part = b""
            assert part, f"no word from the guest: {self._unread!r}; {self.diagnosis()}"
            self._unread += part
        before, _, self._unread = self._unread.partition(end)
        return before

    def diagnosis(self) -> str:
        console = self.console_path.read_text(errors="replace")[-2000:]
        return f"qemu says: {self.log()}; the console: {console}"

    def wait_booted(self):
        self._read_until(b"agent: ready\n", BOOT_TIMEOUT)
        return self

    def sh(self, command: str, timeout=30):
        """(exit code, output) of a shell command in the guest."""
        self.agent.sendall(command.encode() + b"\n")
        output = self._read_until(END_OF_COMMAND, timeout)
        return int(self._read_until(b"\n", timeout)), output.decode(errors="replace")

    def probe(self, *args, timeout=60) -> dict:
        _, output = self.sh("guestprobe " + " ".join(f"'{a}'" for a in args), timeout)
        try:
            return json.loads(output)
        except ValueError:
            raise AssertionError(f"guestprobe {args}: {output!r}; {self.diagnosis()}") from None

    def dhcp(self) -> str:
        """Takes a lease on eth0 or however the only NIC is called; gives what udhcpc was told."""
        code, output = self.sh(
            "nic=$(ls /sys/class/net | grep -v -e ^lo -e ^sit); ip link set $nic up; "
            "script=$(find /etc/udhcpc /usr/share/udhcpc -name default.script | head -n 1); "
            "udhcpc -i $nic -n -q -f -t 10 -T 1 -s $script && cat /tmp/lease.$nic", 30)
        assert code == 0, f"no lease: {output}; {self.diagnosis()}"
        return output

    def power_off(self) -> int:
        self.agent.sendall(b"poweroff -f\n")
        return self.wait_ended()

    def exit_with(self, value: int) -> int:
        """Ends QEMU by isa-debug-exit: its exit code becomes 2 * value + 1."""
        self.agent.sendall(b"guestprobe qemu-exit %d\n" % value)
        return self.wait_ended()

    def wait_ended(self) -> int:
        code = self.process.wait(20)
        self.agent.close()
        return code

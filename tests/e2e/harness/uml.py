# SPDX-License-Identifier: BSD-3-Clause
"""User Mode Linux guests: Debian's linux.uml with a busybox initramfs, spoken to over its first
serial line, which is a socket pair."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from harness.machine import Machine
from harness.programs import HERE

BUSYBOX = "/bin/busybox"


def build_initramfs(directory: Path, guestprobe: Path) -> Path:
    out = directory / "uml.cpio"
    with tempfile.TemporaryDirectory(dir=directory) as root:
        os.mkdir(f"{root}/bin")
        shutil.copy(BUSYBOX, f"{root}/bin/busybox")
        os.symlink("busybox", f"{root}/bin/sh")
        shutil.copy(guestprobe, f"{root}/bin/guestprobe")
        shutil.copy(HERE / "guests/uml_init.sh", f"{root}/init")
        os.chmod(f"{root}/init", 0o755)
        pack = f"find . | {BUSYBOX} cpio -o -H newc -R 0:0 >{out} 2>/dev/null"
        subprocess.run(["sh", "-c", pack], cwd=root, check=True, timeout=20)
    return out


class UmlMachine(Machine):
    """make_argv(REST) gives the command line, with REST among it."""

    def __init__(self, processes, initramfs, make_argv):
        UmlMachine._count += 1
        directory = processes.directory
        self.console_path = directory / f"uml-console-{UmlMachine._count}.log"
        self.log_path = directory / f"uml-{UmlMachine._count}.log"
        self.agent, theirs = socket.socketpair()
        line = theirs.fileno()
        rest = ["mem=128M", f"initrd={initramfs}", f"uml_dir={directory}/", f"umid=uml{line}",
                "quiet", "con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{line},fd:{line}"]
        with theirs, open(self.console_path, "wb") as console, open(self.log_path, "wb") as log:
            self.process = processes.start(
                make_argv(rest), stdout=console, stderr=log, pass_fds=[line])
        self._unread = b""

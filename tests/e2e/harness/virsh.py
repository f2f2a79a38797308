# SPDX-License-Identifier: BSD-3-Clause
"""libvirt's QEMU driver within virsh itself: no daemon, and all that it keeps is in a directory."""

import subprocess
from pathlib import Path


class EmbeddedVirsh:
    """One directory may serve several tests: what was found out about QEMU is kept there."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(exist_ok=True)

    def __call__(self, *commands) -> str:
        done = subprocess.run(["virsh", "-q", "-c", f"qemu:///embed?root={self.root}",
                               "; ".join(map(str, commands))], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

# SPDX-License-Identifier: BSD-3-Clause
"""gVisor containers: an OCI bundle with the test's own program in it. Each command is a container,
which starts in a fifth of a second."""

import json
import shutil
from pathlib import Path

# runsc of 2022 takes a namespace for the host's own when this file is there, and since then Linux
# shows it in every namespace. So it runs where the directory is hidden.
HIDE = "mount -t tmpfs none /proc/sys/net/core && exec \"$@\""
RUNSC_OPTIONS = ["--platform=ptrace", "--ignore-cgroups"]


def make_bundle(bundle: Path, program: Path, argv, namespaces, linger_s=0):
    """A container that runs `program`. What its sockets have not sent when it exits is lost with
    it, as in a machine that is switched off: linger_s is how long it stays."""
    root = bundle / "rootfs"
    for directory in ("bin", "proc", "tmp"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for file in (program, Path("/bin/busybox")):
        shutil.copy(file, root / "bin" / file.name)
    script = f'"$@"; code=$?; busybox sleep {linger_s}; exit $code'
    config = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
                    "args": ["/bin/busybox", "sh", "-c", script, "sh", program.name,
                             *map(str, argv)]},
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": namespaces},
    }
    (bundle / "config.json").write_text(json.dumps(config))


def options(directory: Path) -> list[str]:
    """What stands for "..." in runsc's command line."""
    return [*RUNSC_OPTIONS, f"--root={directory}/runsc"]


def entered(ns_path, argv) -> list[str]:
    return ["nsenter", f"--net={ns_path}", "unshare", "--mount", "sh", "-c", HIDE, "sh", *argv]

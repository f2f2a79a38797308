# SPDX-License-Identifier: BSD-3-Clause
"""The programs under test and those of the tests: finds vmchannel, compiles the C helpers once."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
CFLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"]
SOURCES = {
    "guestprobe": ["guestprobe.c", "address.c", "transfer.c"],
    "hostpeer": ["hostpeer.c", "address.c", "transfer.c"],
    "bridge": ["bridge.c"],
    "vsockguest": ["vsockguest.c"],
    "flood": ["flood.c"],
}


def find_vmchannel() -> Path:
    given = os.environ.get("VMCHANNEL")
    candidates = [Path(given or ROOT / "build/src/cli/vmchannel")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise FileNotFoundError(f"no vmchannel at {' or '.join(map(str, candidates))}; set VMCHANNEL")


def compile_helper(name: str, directory: Path) -> Path:
    """Static, so that the same file runs in an initramfs."""
    out = directory / name
    sources = [str(HERE / s) for s in SOURCES[name]]
    subprocess.run(["gcc", "-static", *CFLAGS, "-o", str(out), *sources], check=True, timeout=60)
    return out

# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU guest in which vmchannel itself runs, with its guests and their services: for what this
machine's kernel may not have, as AF_VSOCK. One boot serves many tests; one that hangs loses it for
itself alone."""

import json
import re
import shlex
import subprocess
from pathlib import Path

from harness.guests import CHANNEL
from harness.machine import Machine, build_initramfs
from harness.programs import HERE

OURS = "vmchannel guestprobe hostpeer vsockguest"
READY_S = 10
COMMAND_S = 20
LINKS = {"tap": [], "netns": ["--link", "netns"]}  # of `vmchannel run`


def libraries(program) -> list[Path]:
    """The shared libraries of a program, its loader among them."""
    out = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [Path(p) for p in re.findall(r"(/\S+) \(0x", out)]


def build(directory: Path, vmchannel: Path, helpers, modules) -> Path:
    files = {"bin/vmchannel": vmchannel, "sbin/agent": HERE / "guest_init.sh",
             **{f"bin/{name}": helpers[name] for name in ("hostpeer", "vsockguest")}}
    files |= {str(library).lstrip("/"): library for library in libraries(vmchannel)}
    return build_initramfs(directory / "inner.cpio", helpers["guestprobe"],
                           HERE / "guests/tmpfs_init.sh", files, modules)


def quote(argv) -> str:
    return " ".join(shlex.quote(str(a)) for a in argv)


def last_json(text) -> dict:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    assert lines, f"no JSON in {text!r}"
    return json.loads(lines[-1])


class Background:
    """A program that runs in there while the test goes on."""

    def __init__(self, inner, name, argv, ready=None):
        self.inner = inner
        self.out, self.err = f"/tmp/{name}.out", f"/tmp/{name}.err"
        self.pid = int(inner.sh(f"{quote(argv)} >{self.out} 2>{self.err} & echo $!"))
        if ready:
            self.wait_for(ready)

    def wait_for(self, words, timeout=READY_S):
        """Words in what it has written, to either stream."""
        inner, sought = self.inner, shlex.quote(words)
        code, _ = inner.try_sh(
            f"until grep -q {sought} {self.out} {self.err}; do "
            f"[ -d /proc/{self.pid} ] || exit 1; sleep 0.02; done", timeout)
        assert code == 0, f"no {words!r} in {inner.sh(f'cat {self.out} {self.err}')!r}"

    def log(self) -> str:
        return self.inner.sh(f"cat {self.err}")

    def result(self, timeout=COMMAND_S) -> dict:
        """What it printed last, when it has ended."""
        code, _ = self.inner.try_sh(
            f"while [ -d /proc/{self.pid} ]; do sleep 0.02; done", timeout)
        assert code == 0, f"still running: {self.inner.sh(f'cat {self.out} {self.err}')!r}"
        return last_json(self.inner.sh(f"cat {self.out}"))

    def kill(self, signal="KILL"):
        self.inner.sh(f"kill -{signal} {self.pid}; "
                      f"while [ -d /proc/{self.pid} ]; do sleep 0.02; done")


class Guest:
    """A namespace of `vmchannel run`, which is there until the test ends."""

    def __init__(self, inner, link, device):
        self.inner = inner
        self.run = inner.start(
            "vmchannel", "run", *LINKS[link], "-vmchannel", f"600:{device}", "--",
            "sh", "-c", "echo guest $$; exec sleep 1000", name="run", ready="guest")
        self.pid = inner.sh(f"cat {self.run.out}").split()[1]

    def argv(self, command, *args):
        return ["nsenter", "-t", self.pid, "-n", "guestprobe", command, CHANNEL, 600, *args]

    def probe(self, *args, timeout=COMMAND_S) -> dict:
        return last_json(self.inner.sh(quote(self.argv(*args)), timeout))

    def start(self, *args):
        return Background(self.inner, "guest", self.argv(*args))


class Inner:
    def __init__(self, boot):
        self.boot = boot
        self.machine = None

    def ready(self):
        """Booted, and idle. Gives itself."""
        if not self.machine:
            self.machine = self.boot().wait_booted()
        return self

    def try_sh(self, command, timeout=COMMAND_S):
        """(exit code, output); 137 when it took too long."""
        machine, self.machine = self.machine, None  # it is lost when the test ends in between
        answer = machine.sh(f"timeout -s KILL {timeout} sh -c {shlex.quote(command)}", timeout + 5)
        self.machine = machine
        return answer

    def sh(self, command, timeout=COMMAND_S) -> str:
        code, output = self.try_sh(command, timeout)
        assert code == 0, f"{command}: exit {code}: {output}"
        return output.removesuffix("\n")

    def start(self, *argv, name=None, ready=None) -> Background:
        return Background(self, name or argv[0], argv, ready)

    def guest(self, link, device) -> Guest:
        return Guest(self, link, device)

    def probe(self, *args, timeout=COMMAND_S) -> dict:
        """As Machine.probe, without a guest's network."""
        return last_json(self.sh(quote(["guestprobe", *args]), timeout))

    def tidy(self):
        """Ends what the test started and looks that nothing stays."""
        if not self.machine:
            return
        self.sh(f"kill $(pidof {OURS}) 2>/dev/null; n=0; "
                f"while pidof {OURS} && [ $n -lt 100 ]; do sleep 0.02; n=$((n+1)); done; true")
        left = self.sh(f"pidof {OURS} || true")
        self.sh(f"kill -9 $(pidof {OURS}) 2>/dev/null; rm -rf /tmp/* /run/*; true")
        assert left == "", f"processes left behind: {left}"


def boot(processes, kernel, initramfs) -> Machine:
    return Machine(processes, (kernel, initramfs), ["qemu-system-x86_64"])

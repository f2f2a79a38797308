# SPDX-License-Identifier: BSD-3-Clause
"""A host with libvirt of its own: libvirtd and virtlogd of the machine's packages, in namespaces
where /etc/libvirt, /run, /var/lib/libvirt, /var/log and /var/cache are empty and private, and the
root directory too, so that a test can have any path. All of it ends with the namespaces."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from harness.machine import Machine
from harness.processes import wait_until

QEMU_USER = "libvirt-qemu"
SESSION_USER = "nobody"
SESSION_HOME = "/run/session"
SESSION_ENV = {"HOME": f"{SESSION_HOME}/home", "XDG_RUNTIME_DIR": f"{SESSION_HOME}/runtime"}
SYSTEM, SESSION = "qemu:///system", "qemu:///session"
START_TIMEOUT = 20

LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0770"
unix_sock_ro_perms = "0777"
log_outputs = "3:stderr"
"""

# What a container without cgroups of its own and without mknod(2) can do.
QEMU_CONF = f"""\
user = "{QEMU_USER}"
group = "kvm"
security_driver = "none"
remember_owner = 0
cgroup_controllers = [ ]
namespaces = [ ]
"""

# Runs as the first process of the namespaces: a root of bind mounts, private directories above
# some of them, then waits for its end.
FIRST_PROCESS = """\
set -e
root=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
for entry in /*; do
    if [ -L "$entry" ]; then
        cp -P "$entry" "$root$entry"
    elif [ -d "$entry" ]; then
        mkdir "$root$entry"
        [ "$entry" = /proc ] || mount --rbind "$entry" "$root$entry"
    fi
done
mkdir "$root/.old-root"
pivot_root "$root" "$root/.old-root"
cd /
mount -t proc proc /proc
umount -l /.old-root
rmdir /.old-root
for private in /run /etc/libvirt /var/lib/libvirt /var/log /var/cache; do
    mount -t tmpfs -o mode=755 tmpfs $private
done
mkdir -p /run/lock /var/lib/libvirt/qemu
ip link set lo up
echo ready
sleep infinity &
wait # a shell reaps orphans meanwhile, which libvirtd waits for
"""

# What the thread of 2009 asks for, and what else a domain needs to boot the tests' system.
DOMAIN_XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <os>
    <type arch='x86_64'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path='{directory}/{name}-console.log'/></serial>
    <serial type='unix'><source mode='bind' path='{directory}/{name}-agent.sock'/></serial>
{channels}  </devices>
</domain>
"""
CHANNEL_XML = """\
    <interface type='vmchannel'>
      <source port='{port}'/>
      <target path='{path}'/>
    </interface>
"""


class Host:
    """The namespaces. Paths of theirs are reached from outside through path()."""

    def __init__(self, processes, vmchannel, directory: Path):
        self.processes, self.directory = processes, directory
        # Where other users find it, with the program that it becomes beside it.
        for program in (vmchannel, vmchannel.with_name("vmchannel-libvirt")):
            shutil.copy(program, directory)
        self.vmchannel = directory / vmchannel.name
        self.guests = {QEMU_USER: directory / "guests", SESSION_USER: directory / "guests-session"}
        for user, place in self.guests.items():
            place.mkdir()
            shutil.chown(place, user)
        root = directory / "root"
        root.mkdir()
        self.first = processes.start(
            ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "sh", "-c",
             FIRST_PROCESS, "sh", root], stdout=subprocess.PIPE, text=True)
        assert self.first.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text()
        self.pid = int(children.split()[0])
        self.write("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF)
        self.write("/etc/libvirt/qemu.conf", QEMU_CONF)
        self.path(SESSION_HOME).mkdir()
        for place in SESSION_ENV.values():
            self.path(place).mkdir(mode=0o700)
            shutil.chown(self.path(place), SESSION_USER)
        self.daemons = {}

    def path(self, inside) -> Path:
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, inside, text):
        self.path(inside).write_text(text)

    def argv(self, argv, user=None):
        enter = ["nsenter", "-t", self.pid, "--mount", "--pid", "--net", "--ipc"]
        become = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"] if user else []
        return [*enter, *become, *argv]

    def run(self, *argv, user=None, timeout=60, **kwargs):
        """To the end; (exit code, output, errors)."""
        env = dict(os.environ, LC_ALL="C", **(SESSION_ENV if user else {}))
        env.update(kwargs.pop("env", {}))
        env.pop("VMCHANNEL_RUNTIME_DIR", None)  # of the machine: here is another /run
        return self.processes.run(self.argv(argv, user), timeout, env=env, cwd="/", **kwargs)

    def expect(self, *argv, **kwargs) -> str:
        done = self.run(*argv, **kwargs)
        assert done.returncode == 0, (argv, done.stdout, done.stderr, self.log_of("libvirtd"))
        return done.stdout

    def start_daemon(self, name):
        log = self.directory / f"{name}.log"
        with open(log, "ab") as f:
            self.daemons[name] = self.processes.start(self.argv([name]), stderr=f, cwd="/")

    def log_of(self, name):
        return (self.directory / f"{name}.log").read_text(errors="replace")[-3000:]

    def start_libvirtd(self):
        self.start_daemon("libvirtd")
        wait_until(lambda: self.accepts("/run/libvirt/libvirt-sock"), START_TIMEOUT, "libvirtd")
        self.expect("virsh", "-c", SYSTEM, "version")  # until then it takes no SIGHUP

    def stop_libvirtd(self):
        daemon = self.daemons.pop("libvirtd")
        pid = int(self.path("/run/libvirtd.pid").read_text())
        self.expect("kill", pid)  # the first process knows it by that number
        assert daemon.wait(20) == 0

    def accepts(self, inside):
        assert self.daemons["libvirtd"].poll() is None, self.log_of("libvirtd")
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.path(inside)))
            except OSError:
                return False
        return True

    def close(self):
        self.first.send_signal(signal.SIGKILL)  # and with it all others in its namespace
        self.first.wait()
        self.first.stdout.close()


class Virsh:
    """One connection's user and URI."""

    def __init__(self, host, uri=SYSTEM):
        self.host, self.uri = host, uri
        self.user = SESSION_USER if uri == SESSION else None
        self.guests = host.guests[self.user or QEMU_USER]

    def __call__(self, *words, **kwargs):
        return self.host.expect("virsh", "-c", self.uri, *words, user=self.user, **kwargs)

    def fails(self, *words) -> str:
        done = self.host.run("virsh", "-c", self.uri, *words, user=self.user)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def vmchannel(self, command, *words, **kwargs):
        """As completed process: exit code, stdout, stderr."""
        return self.host.run(self.host.vmchannel, command, "--connect", self.uri, *words,
                             user=self.user, **kwargs)

    def xml(self, name, system, channels, memory=256) -> Path:
        """A file with the domain's XML; channels: port -> path."""
        out = self.host.directory / f"{name}.xml"
        elements = (CHANNEL_XML.format(port=port, path=path) for port, path in channels.items())
        out.write_text(DOMAIN_XML.format(
            name=name, memory=memory, kernel=system[0], initrd=system[1], directory=self.guests,
            channels="".join(elements)))
        return out

    def define(self, path):
        done = self.vmchannel("define", path)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def machine(self, name) -> "DomainMachine":
        """That of a domain that was just started."""
        return DomainMachine(self.host, name, self.guests).wait_booted()


class DomainMachine(Machine):
    """The guest of a started domain, by the serial ports that domain_xml() gave it."""

    def __init__(self, host, name, directory):
        self.host, self.name = host, name
        self.console_path = directory / f"{name}-console.log"
        self.agent_path = directory / f"{name}-agent.sock"
        self.connect_agent()

    def connect_agent(self):
        self.agent = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self._connects(self.agent_path), 10, "the serial port's socket")
        self._unread = b""

    def _connects(self, path):
        try:
            self.agent.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def log(self):
        log = self.host.path(f"/var/log/libvirt/qemu/{self.name}.log")
        return log.read_text(errors="replace")[-2000:] if log.exists() else "no log"


def packages_missing():
    return [p for p in ("libvirtd", "virtlogd", "virsh") if not shutil.which(p)]

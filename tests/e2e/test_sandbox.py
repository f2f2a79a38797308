# SPDX-License-Identifier: BSD-3-Clause
"""The sandbox of a live worker (docs/security.md): what it is, holds and sees, on each link, as
root and without privilege; what becomes of a worker that makes a forbidden system call."""

import contextlib
import os
import re
import signal
import subprocess
import time

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.processes import children_of, name_of, wait_until
from harness.services import answer_lines

NOBODYS_UID = 64321  # some uid without account, groups or home
AS_NOBODY = ["setpriv", "--reuid", str(NOBODYS_UID), "--regid", str(NOBODYS_UID), "--clear-groups"]
WORKERS_UID = 65534  # of a worker whose broker is root
NAMESPACES = ["user", "mnt", "pid", "ipc", "uts", "net"]
NO_CAPABILITY = "0000000000000000"
LINK_FD = {"tap": "/dev/net/tun", "packet": "socket:", "stream": "socket:", "netns": "socket:"}


def status_of(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def interfaces_of(pid):
    """name -> flags, told by a process that enters the worker's network namespace."""
    script = "for i in /sys/class/net/*; do echo ${i##*/} $(cat $i/flags); done"
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "unshare", "-m", "sh", "-c",
         f"mount -t sysfs none /sys && {script}"],
        capture_output=True, text=True, timeout=10, check=True)
    return {name: int(flags, 16) for name, flags in
            (line.split() for line in done.stdout.splitlines())}


def descriptors_of(pid):
    return {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}


def assert_locked_up(worker, uid, root=0):
    """root: uid of the root of the user namespace that we were started in."""
    status = status_of(worker)
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert status[name] == NO_CAPABILITY, name
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(uid)] * 4
    assert status["Groups"] == ""
    assert status["NSpid"].split()[-1] == "1", "pid 1 of its own namespace"
    assert status["Threads"] == "1"
    for name in NAMESPACES:
        ours, its = (os.readlink(f"/proc/{p}/ns/{name}") for p in ("self", worker))
        assert ours != its, f"{name} namespace"
    assert os.listdir(f"/proc/{worker}/root") == []
    assert os.listdir(f"/proc/{worker}/cwd") == []
    mounts = open(f"/proc/{worker}/mounts").read().splitlines()
    assert len(mounts) == 1 and mounts[0].split()[1:3] == ["/", "tmpfs"]
    assert "ro" in mounts[0].split()[3].split(",")
    # Whom a process's files in /proc belong to tells whether it is dumpable.
    assert os.stat(f"/proc/{worker}/mem").st_uid == root
    limits = open(f"/proc/{worker}/limits").read()
    for name in ("Max core file size", "Max processes", "Max msgqueue size"):
        assert re.search(rf"^{name} +0 +0 ", limits, re.MULTILINE), name
    # Other kernels may put the fallback devices of tunnels beside lo; none is up.
    up = [name for name, flags in interfaces_of(worker).items() if flags & 1]
    assert up == []
    assert "lo" in interfaces_of(worker)


def assert_holds_only(worker, link, connections, listeners=0):
    """/dev/null twice, the log, the broker, the loop; the link or the listeners; each connection's
    ends (a socket link's pipes come with bulk)."""
    held = descriptors_of(worker)
    broker = status_of(worker)["PPid"]
    assert held[0] == held[1] == "/dev/null"
    assert held[2] == os.readlink(f"/proc/{broker}/fd/2")
    assert held[3].startswith("socket:")
    assert held[4] == "anon_inode:[eventpoll]"
    rest = [what for fd, what in held.items() if fd > 4]
    if link == "netns":
        assert len([w for w in rest if w.startswith("socket:")]) == listeners + 2 * connections
        assert len(rest) == listeners + 2 * connections
    else:
        assert len(rest) == 1 + connections, rest
        assert any(w.startswith(LINK_FD[link]) for w in rest), rest
        others = [w for w in rest if w.startswith("socket:")]
        assert len(others) == connections + (LINK_FD[link] == "socket:")


@pytest.mark.parametrize("kind", list(LINK_FD))
def test_worker_of_root(make_guest, listen, socket_path, kind):
    listen(socket_path, answer_lines)
    guest = make_guest(kind).start(f"600:unix:{socket_path}")
    assert guest.probe("talk", CHANNEL, 600, 3)["error"] == ""
    held = guest.connect()
    held.sendall(b"x\n")
    held.recv(1)
    worker = guest.daemon.worker()
    wait_until(lambda: len(descriptors_of(worker)) <= (8 if kind == "netns" else 7),
               what="the end of earlier connections")
    assert_locked_up(worker, WORKERS_UID)
    assert_holds_only(worker, kind, connections=1, listeners=1)
    held.close()


@pytest.mark.parametrize("kind", ["tap", "packet", "netns"])
@pytest.mark.parametrize("nested", [False, True], ids=["user", "user-in-a-namespace"])
def test_worker_of_an_unprivileged_run(processes, program, helpers, service, kind, nested):
    prefix = AS_NOBODY + (["unshare", "--user", "--map-root-user"] if nested else [])
    run = processes.start([*prefix, program, "run", "--link", kind, "-vmchannel",
                           f"600:unix:{service.path}", "--", "sleep", "60"])
    # The command, and the broker.
    wait_until(lambda: len(children_of(run.pid)) == 2, what="broker and command")

    def workers():
        return [w for c in children_of(run.pid) for w in children_of(c)
                if name_of(w) == "vmc-worker"]

    [worker] = wait_until(workers, what="a worker")
    wait_until(lambda: status_of(worker)["Seccomp"] == "2" and 5 in descriptors_of(worker),
               what="a link")
    assert_locked_up(worker, NOBODYS_UID, root=NOBODYS_UID if nested else 0)
    # By IPv4 and by IPv6, which the tests turn off in namespaces of their own alone.
    assert_holds_only(worker, kind, connections=0, listeners=2)


def test_worker_of_an_unprivileged_serve(processes, program, service, open_directory):
    path = open_directory / "link.sock"
    daemon = Daemon(processes, program,
                    ["--link", f"stream,path={path},server=on", "-vmchannel",
                     f"600:unix:{service.path}"], prefix=AS_NOBODY)
    daemon.wait_for_log("ready")
    worker = daemon.worker()
    assert_locked_up(worker, NOBODYS_UID)
    assert [fd for fd in descriptors_of(worker) if fd > 4] == []
    assert daemon.stop() == 0


# --- refusal -----------------------------------------------------------------------------------


def serve_without_namespaces(processes, program, directory, *options):
    """Where user namespaces are used up."""
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    return [*AS_NOBODY, "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", program,
            "serve", "--link", f"stream,path={directory}/link.sock,server=on",
            "-vmchannel", "600:unix:/nonexistent", *options]


def test_kernel_that_forbids_namespaces_is_told_not_passed_over(processes, program,
                                                                 open_directory):
    argv = serve_without_namespaces(processes, program, open_directory)
    done = processes.run(argv, timeout=10)
    assert done.returncode == 1
    for words in ("namespace", "No space left on device", "--sandbox=off"):
        assert words in done.stderr


def test_sandbox_off_serves_and_warns(processes, program, open_directory):
    argv = serve_without_namespaces(processes, program, open_directory, "--sandbox=off")
    log = open_directory / "off.log"
    with open(log, "wb") as f:
        daemon = processes.start(argv, stderr=f)
    wait_until(lambda: "ready" in log.read_text(), what="ready")
    assert "--sandbox=off" in log.read_text()
    [worker] = children_of(daemon.pid)
    status = status_of(worker)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("0", "1")


def test_sandbox_takes_on_or_off(processes, vmchannel):
    done = processes.run([vmchannel, "serve", "--sandbox=maybe"], timeout=10)
    assert done.returncode == 2
    assert "accepted: on, worker, off" in done.stderr


# --- supervision -------------------------------------------------------------------------------


def make_call(pid, call):
    """Has the process make another system call than it meant to, as one that was taken over would:
    its next recvmsg, the answer of the broker."""
    tracer = subprocess.Popen(
        ["strace", "-qq", "-p", str(pid), "-e", "trace=recvmsg", "-e",
         f"inject=recvmsg:syscall={call}:retval=-1:when=1", "-o", "/dev/null"],
        stderr=subprocess.DEVNULL)
    wait_until(lambda: status_of(pid)["TracerPid"] != "0", what="the tracer")
    return tracer


@pytest.mark.parametrize("cause", ["killed", "forbidden call"])
def test_dead_worker_is_back_within_100_ms(make_guest, listen, socket_path, cause):
    """As measured between the broker's two lines, and by a link that works again."""
    listener = listen(socket_path, answer_lines)
    guest = make_guest("packet").start(f"600:unix:{socket_path}", options=["-v"])
    assert guest.probe("talk", CHANNEL, 600, 1)["error"] == ""
    first = guest.daemon.worker()
    tracer = None
    began = time.monotonic()
    if cause == "killed":
        os.kill(first, signal.SIGKILL)
        guest.daemon.wait_for_log("worker: ended by", "signal 9 (Killed)")
    else:
        tracer = make_call(first, "getppid")
        with contextlib.suppress(OSError):  # it wakes the worker, or meets the next one already
            guest.connect(timeout=0.3).close()
        guest.daemon.wait_for_log("worker: ended by", "signal 31 (Bad system call)")
        began = None

    def back():
        now = children_of(guest.daemon.process.pid)
        return now and now[0] != first and status_of(now[0])["Seccomp"] == "2"

    wait_until(back, what="a new worker")
    if began is not None:
        assert time.monotonic() - began < 0.1
    assert guest.probe("talk", CHANNEL, 600, 3)["error"] == ""
    if tracer:
        tracer.wait(5)

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the commands do with processes: what COMMAND is given and cannot touch, signals and job
control, what is left when something dies, and the command line that QEMU gets. No guest speaks here
(tests/e2e).

usage: test_processes.py VMCHANNEL
"""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tap

CLOSED_TO_COMMAND = """
import ctypes, os, sys
parent, outside = os.getppid(), int(sys.argv[1])
def may(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
        return True
    except PermissionError:
        return False
def children(pid):
    ids = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = open(f"/proc/{name}/stat").read()
            except OSError:
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == pid:
                ids.append(int(name))
    return ids
broker = [pid for pid in children(parent) if pid != os.getpid()]
worker = [pid for b in broker for pid in children(b)]
assert broker and worker, (broker, worker)
libc = ctypes.CDLL(None, use_errno=True)
for pid in [parent] + broker + worker:
    for name in ["mem", "environ", "ns/net", "ns/user", "auxv"]:
        assert not may(f"/proc/{pid}/{name}"), (pid, name)
    assert libc.ptrace(16, pid, None, None) == -1, pid  # PTRACE_ATTACH
assert not may(f"/proc/{outside}/ns/net")
assert libc.setns(3, 0) == -1 and ctypes.get_errno() == 1, ctypes.get_errno()  # EPERM
print("closed")
"""


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory(prefix="vmc-cli-") as d:
        os.chmod(d, 0o777)
        yield d


def wait_until(condition, what, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def run_argv(program, *command, options=()):
    return [program, "run", *options, "-vmchannel", "600:unix:/nonexistent", "--", *command]


def execute(*argv, **more):
    more = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 20} | more
    return subprocess.run(argv, **more)


def as_user(*argv):
    """argv as somebody unprivileged, where we may."""
    if os.geteuid() != 0:
        return list(argv)
    return ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "--", *argv]


def family(pid):
    """A process and all below it."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def started(argv, **more):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, **more)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


# --- run -----------------------------------------------------------------------------------------


def run_closes_its_processes_and_namespaces_to_command(program):
    for argv in [as_user, lambda *a: list(a)]:
        # COMMAND is given a process of its user outside, and the outer namespace as descriptor 3.
        script = """sleep 10 &
            "$@" /usr/bin/python3 -c "$CODE" $! 3</proc/self/ns/net; s=$?; kill $!; exit $s"""
        done = execute(*argv("sh", "-c", script, "sh", *run_argv(program)),
                       env=os.environ | {"CODE": CLOSED_TO_COMMAND})
        assert done.returncode == 0 and done.stdout == "closed\n", done


def run_gives_command_no_capability_as_user(program):
    done = execute(*as_user(*run_argv(program, "grep", "-E", "Cap(Inh|Prm|Eff|Amb)",
                                      "/proc/self/status")))
    values = {line.split()[1] for line in done.stdout.splitlines()}
    assert values == {"0" * 16}, done


def run_gives_command_its_callers_signals(program):
    script = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []), " \
             "signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGCHLD))"
    plain = execute("python3", "-c", script)
    done = execute(*run_argv(program, "python3", "-c", script))
    assert done.stdout == plain.stdout and done.returncode == 0, done
    ignored = execute("grep", "SigIgn", "/proc/self/status").stdout
    assert execute(*run_argv(program, "grep", "SigIgn", "/proc/self/status")).stdout == ignored


def run_leaves_command_only_standard_descriptors(program):
    done = execute(*run_argv(program, "ls", "/proc/self/fd"))
    assert done.stdout.split() == ["0", "1", "2", "3"], done  # 3 is ls's own


def run_works_without_standard_descriptors(program):
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh",
                           *run_argv(program, "sh", "-c", "exit 5")], timeout=20)
    assert done.returncode == 5, done


def run_tells_not_found_from_not_executable(program):
    done = execute(*run_argv(program, "/nonexistent/program"))
    assert done.returncode == 127, done
    assert done.stderr == "vmchannel: /nonexistent/program: No such file or directory\n", done
    done = execute(*run_argv(program, "/etc/passwd"))
    assert done.returncode == 126, done
    assert done.stderr == "vmchannel: /etc/passwd: Permission denied\n", done


def run_dies_with_all_its_processes(program):
    with directory() as d:
        argv = [program, "run", "-vmchannel", f"600:unix:{d}/s,server", "--", "sleep", "1000"]
        with started(argv) as process:
            wait_until(lambda: any(b"sleep\0" in Path(f"/proc/{p}/cmdline").read_bytes()[:6]
                                   for p in family(process.pid)), "COMMAND")
            processes = family(process.pid)
            assert len(processes) == 5, processes  # and COMMAND, broker, starter, worker
            process.kill()
            wait_until(lambda: not any(is_alive(p) for p in processes), "the end of all")
        assert os.listdir(d) == [], os.listdir(d)


def run_ends_what_command_left_behind(program):
    done = execute(*run_argv(program, "sh", "-c", "setsid sleep 1000 >/dev/null & echo $!; exit 3"))
    assert done.returncode == 3, done
    assert not is_alive(int(done.stdout)), done


def run_reports_a_dead_broker(program):
    with started(run_argv(program, "sleep", "3"), stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(family(process.pid)) == 5, "all processes")
        time.sleep(0.2)  # COMMAND is executed when the broker is ready
        children = [p for p in family(process.pid) if p != process.pid]
        broker = [p for p in children if os.getsid(p) == p]
        assert len(broker) == 1, children
        os.kill(broker[0], signal.SIGKILL)
        assert "broker: killed by signal 9" in process.stderr.readline()
        assert process.wait(10) == 0


def run_stops_and_goes_on_with_its_terminal(program):
    """Control-Z stops COMMAND and vmchannel, so that the shell notices; SIGCONT continues both."""
    argv = run_argv(program, "sh", "-c", "echo up; read line; echo got $line")
    pid, terminal = pty.fork()
    if pid == 0:
        # The shell's part: a foreground process group of its own, below a living parent.
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.execv(argv[0], argv)
        _, status = os.waitpid(child, os.WUNTRACED)
        print("stopped" if os.WIFSTOPPED(status) else f"ended {status}", flush=True)
        os.killpg(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
        print("status", os.waitstatus_to_exitcode(status), flush=True)
        os._exit(0)
    try:
        seen = bytearray()
        read_until(terminal, seen, b"up")
        os.write(terminal, b"\x1a")
        read_until(terminal, seen, b"stopped")
        os.write(terminal, b"hello\n")
        read_until(terminal, seen, b"got hello")
        read_until(terminal, seen, b"status 0")
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def read_until(fd, seen, wanted, timeout_s=10):
    """Adds what comes to seen, until wanted is in it."""
    deadline = time.monotonic() + timeout_s
    os.set_blocking(fd, False)
    while wanted not in seen:
        assert time.monotonic() < deadline, f"{wanted} did not come, but {seen}"
        try:
            seen += os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.02)


# --- qemu ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def fake_qemu(body='printf "%s\\n" "$@"'):
    with directory() as d:
        path = Path(d) / "qemu-system-fake"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        yield str(path)


def qemu_gets_its_own_options_and_a_nic(program):
    with fake_qemu() as qemu:
        done = execute(program, "qemu", qemu, "-m", "256", "-vmchannel", "600:unix:/a b",
                       "-append", "x -vmchannel y", "--vmchannel", "601:unix:/b", "-nographic",
                       "-vmchannel=602:unix:/c", "--vmchannel=603:unix:/d", "-drive", "a,,b=c")
        words = done.stdout.splitlines()
        assert words[:6] == ["-m", "256", "-append", "x -vmchannel y", "-nographic", "-drive"], done
        assert words[6:8] == ["a,,b=c", "-netdev"], done
        netdev, fd = words[8].rsplit("=", 1)
        assert netdev == "stream,id=vmchannel0,addr.type=fd,addr.str" and int(fd) > 2, done
        assert words[9:] == ["-device", "virtio-net-pci,netdev=vmchannel0,romfile=,"
                             "host_mtu=65520"], done


def qemu_nic_models(program):
    cases = {
        "e1000": ["e1000,netdev=vmchannel0,romfile="],
        "e1000,mac=52:54:00:00:00:01": ["e1000,netdev=vmchannel0,romfile=,mac=52:54:00:00:00:01"],
        "virtio-net-device": ["virtio-net-device,netdev=vmchannel0"],
        "usb-net": ["qemu-xhci,id=vmchannel0-usb",
                    "usb-net,netdev=vmchannel0,bus=vmchannel0-usb.0"],
    }
    with fake_qemu() as qemu:
        for nic, devices in cases.items():
            done = execute(program, "qemu", "--nic", nic, qemu, "-vmchannel", "600:unix:/a")
            words = done.stdout.splitlines()[2:]
            assert words[0::2] == ["-device"] * len(devices) and words[1::2] == devices, done


NEW_HELP = "Available netdev backend types:\nsocket\nstream\ndgram\nhubport\ntap\nuser"
OLD_HELP = "Available netdev backend types:\nsocket\nhubport\ntap\nuser"


def qemu_netdev_is_what_this_qemu_has(program):
    cases = [
        (NEW_HELP, "stream", "stream,id=vmchannel0,addr.type=fd,addr.str="),
        (NEW_HELP, "dgram", "dgram,id=vmchannel0,local.type=fd,local.str="),
        (OLD_HELP, "stream", "socket,id=vmchannel0,fd="),
        (OLD_HELP, "dgram", "socket,id=vmchannel0,fd="),
        ("upstream\nsocketless", "stream", "stream,id=vmchannel0,addr.type=fd,addr.str="),
    ]
    for answer, link, wanted in cases:
        body = f'if [ "$*" = "-netdev help" ]; then echo "{answer}"; else echo "$2"; fi'
        with fake_qemu(body) as qemu:
            done = execute(program, "qemu", "--link", link, qemu, "-vmchannel", "600:unix:/a")
            netdev, fd = done.stdout.strip().rsplit("=", 1)
            assert netdev + "=" == wanted and int(fd) > 2, (answer, done)


def qemu_that_does_not_answer_is_started_all_the_same(program):
    with fake_qemu('if [ "$*" = "-netdev help" ]; then exec sleep 1000; fi; echo "$2"') as qemu:
        done = execute(program, "qemu", qemu, "-vmchannel", "600:unix:/a")
        assert done.stdout.startswith("stream,id=vmchannel0,") and done.returncode == 0, done


def qemu_with_a_datagram_link_takes_the_broker_along(program):
    with directory() as d, fake_qemu(f"ls {d}; exit 42") as qemu:
        done = execute(program, "qemu", "--link", "dgram", qemu, "-vmchannel",
                       f"600:unix:{d}/s,server")
        assert done.returncode == 42 and done.stdout.split() == ["s", "s.lock"], done
        wait_until(lambda: os.listdir(d) == [], "the broker's end")


def qemu_in_the_background_has_its_channels(program):
    """As with QEMU's -daemonize: what was started ends, a child of it is the machine."""
    body = 'case "$*" in "-netdev help" | --version) ;; *) sleep 2 <&- >/dev/null 2>&1 & ;; esac'
    for link in ["stream", "dgram", "vhost-user"]:
        with directory() as d, fake_qemu(body) as qemu:
            done = subprocess.run([program, "qemu", "--link", link, qemu, "-vmchannel",
                                   f"600:unix:{d}/s,server"], stdin=subprocess.DEVNULL, timeout=20)
            assert done.returncode == 0, done
            time.sleep(0.5)
            assert sorted(os.listdir(d)) == ["s", "s.lock"], link
            wait_until(lambda: os.listdir(d) == [], f"{link}: the broker's end")


def qemu_refuses_other_links(program):
    done = execute(program, "qemu", "--link", "tap", "true", "-vmchannel", "600:unix:/a")
    assert done.returncode == 2, done
    accepted = "stream, dgram, vhost-user"
    assert done.stderr == f"vmchannel: qemu: link 'tap': unknown (accepted: {accepted})\n", done


def qemu_is_not_started_without_a_broker(program):
    with fake_qemu("echo started") as qemu:
        done = execute(program, "qemu", qemu, "-vmchannel", "600:unix:/nonexistent/s,server")
        assert done.returncode == 1 and done.stdout == "", done
        assert done.stderr.startswith("vmchannel: ") and "/nonexistent/s" in done.stderr, done
        assert done.stderr.count("\n") == 1, done


def qemu_that_is_not_there(program):
    with directory() as d:
        done = execute(program, "qemu", "qemu-system-nonexistent", "-vmchannel",
                       f"600:unix:{d}/s,server")
        assert done.returncode == 127, done
        message = "vmchannel: qemu-system-nonexistent: No such file or directory\n"
        assert done.stderr == message, done
        assert os.listdir(d) == [], "the broker was gone before us"


def qemu_status_is_ours_and_its_end_the_brokers(program):
    with directory() as d, fake_qemu(f"ls {d}; exit 42") as qemu:
        done = execute(program, "qemu", qemu, "-vmchannel", f"600:unix:{d}/s,server")
        assert done.returncode == 42 and done.stdout.split() == ["s", "s.lock"], done
        wait_until(lambda: os.listdir(d) == [], "the broker's end")


def qemu_can_be_started_anew_at_once(program):
    """The broker of the one before may still be removing its socket."""
    with directory() as d, fake_qemu("exit 0") as qemu:
        for _ in range(20):
            done = execute(program, "qemu", qemu, "-vmchannel", f"600:unix:{d}/s,server")
            assert done.returncode == 0 and not done.stderr, done
        wait_until(lambda: os.listdir(d) == [], "the broker's end")


def qemu_has_no_child_and_one_descriptor_of_ours(program):
    script = "import os; print(*os.listdir('/proc/self/fd')); os.wait()"
    with fake_qemu(f"exec /usr/bin/python3 -c \"{script}\"") as qemu:
        done = execute(program, "qemu", qemu, "-vmchannel", "600:unix:/a")
        assert "ChildProcessError" in done.stderr, done
        assert len(done.stdout.split()) == 3 + 1 + 1, done  # and listdir's own


# --- serve ---------------------------------------------------------------------------------------


def serve_ends_cleanly_when_asked(program):
    for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
        with directory() as d:
            argv = [program, "serve", "--link", f"stream,path={d}/link,server", "-vmchannel",
                    f"600:unix:{d}/s,server"]
            with started(argv, stderr=subprocess.PIPE, text=True) as process:
                while "ready" not in (line := process.stderr.readline()):
                    assert line, "not ready"
                assert "link" in os.listdir(d) and "s" in os.listdir(d)
                process.send_signal(number)
                assert process.wait(5) == 0, number
            assert os.listdir(d) == [], os.listdir(d)


def serve_refuses_a_descriptor_that_is_not_open(program):
    for link in ["stream,fd=77", "tap,fd=3"]:
        done = execute(program, "serve", "--link", link, "-vmchannel", "600:unix:/a")
        assert done.returncode == 1, done
        assert done.stderr == f"vmchannel: {link}: Bad file descriptor\n", done


def serve_dry_run_opens_nothing(program):
    with directory() as d:
        done = execute(program, "serve", "--dry-run", "--max-connections", "16", "--link",
                       f"stream,path={d}/link,server", "-vmchannel", f"600:unix:{d}/s,server")
        assert done.returncode == 0 and "600 is unix:" in done.stdout, done
        assert "memory:   at most 16 MiB" in done.stdout, done
        assert os.listdir(d) == []


# --- domains of libvirt's ------------------------------------------------------------------------

DOMAIN = """<domain type='kvm'>
  <name>web</name>
  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
  <devices>
    <interface type='vmchannel'><source port='600'/><target path='/a' mode='bind'/></interface>
  </devices>
</domain>
"""


@contextlib.contextmanager
def running_domain(program, place, **more):
    """As libvirt's session runs it, but for QEMU. Gives the XML that its daemon is started from."""
    xml = execute(program, "xml", "--socket-dir", place, stdin=None,
                  input=DOMAIN.replace("/a", f"{place}.socket")).stdout

    def hook(operation, moment):
        done = execute(*as_user(program, "hook", "web", operation, moment, "-"), stdin=None,
                       input=xml, **more)
        assert done.returncode == 0, done

    hook("prepare", "begin")
    try:
        yield next(Path(place).glob("*.xml"))
    finally:
        hook("release", "end")


def add_keeps_what_others_add_meanwhile(program):
    with directory() as d:
        more = {"env": os.environ | {"HOME": d, "XDG_RUNTIME_DIR": d}}
        with running_domain(program, f"{d}/vmchannel", **more) as xml:
            ports = [str(port) for port in range(601, 617)]
            adding = [subprocess.Popen(as_user(program, "add", "web", f"{port}:unix:/a"),
                                       stderr=subprocess.DEVNULL, **more) for port in ports]
            assert [process.wait(20) for process in adding] == [0] * len(ports)
            text = xml.read_text()
            missing = [port for port in ports if f"<source port='{port}'/>" not in text]
            assert missing == [], missing


def add_keeps_it_where_the_guest_was_found(program):
    with directory() as d:
        more = {"env": os.environ | {"HOME": d, "VMCHANNEL_RUNTIME_DIR": f"{d}/place"}}
        with running_domain(program, f"{d}/place", **more) as xml:
            done = execute(*as_user(program, "add", "web", "601:unix:/a"), **more)
            assert done.returncode == 0 and "<source port='601'/>" in xml.read_text(), done


def hook_leaves_the_control_socket_of_another_guest(program):
    """A guest may have the name of a domain that somebody starts and ends beside it."""
    with directory() as d:
        xml = execute(program, "xml", "--socket-dir", d, stdin=None,
                      input=DOMAIN.replace("/a", f"{d}/a")).stdout
        more = {"env": os.environ | {"HOME": d, "VMCHANNEL_RUNTIME_DIR": d}}

        def ports():
            told = execute(*as_user(program, "stats", "web"), **more).stdout
            return [line.split()[1] for line in told.splitlines() if line.startswith("channel:")]

        argv = as_user(program, "serve", "--name", "web", "--link", f"stream,path={d}/link,server",
                       "-vmchannel", "700:null")
        with started(argv, stderr=subprocess.PIPE, text=True, **more) as process:
            while "ready" not in (line := process.stderr.readline()):
                assert line, "not ready"
            seen = []
            for operation, moment in [("prepare", "begin"), ("release", "end")]:
                done = execute(*as_user(program, "hook", "web", operation, moment, "-"),
                               stdin=None, input=xml, **more)
                seen.append((done.returncode, ports()))
            assert seen == [(0, ["700"])] * 2, (seen, done)
            process.terminate()
            assert process.wait(5) == 0
        assert sorted(os.listdir(d)) == [".cache"], os.listdir(d)


TESTS = [
    run_closes_its_processes_and_namespaces_to_command,
    run_gives_command_no_capability_as_user,
    run_gives_command_its_callers_signals,
    run_leaves_command_only_standard_descriptors,
    run_works_without_standard_descriptors,
    run_tells_not_found_from_not_executable,
    run_dies_with_all_its_processes,
    run_ends_what_command_left_behind,
    run_reports_a_dead_broker,
    run_stops_and_goes_on_with_its_terminal,
    qemu_gets_its_own_options_and_a_nic,
    qemu_nic_models,
    qemu_netdev_is_what_this_qemu_has,
    qemu_that_does_not_answer_is_started_all_the_same,
    qemu_with_a_datagram_link_takes_the_broker_along,
    qemu_in_the_background_has_its_channels,
    qemu_refuses_other_links,
    qemu_is_not_started_without_a_broker,
    qemu_that_is_not_there,
    qemu_status_is_ours_and_its_end_the_brokers,
    qemu_can_be_started_anew_at_once,
    qemu_has_no_child_and_one_descriptor_of_ours,
    serve_ends_cleanly_when_asked,
    serve_refuses_a_descriptor_that_is_not_open,
    serve_dry_run_opens_nothing,
    add_keeps_what_others_add_meanwhile,
    add_keeps_it_where_the_guest_was_found,
    hook_leaves_the_control_socket_of_another_guest,
]

if __name__ == "__main__":
    with directory() as place:
        os.chmod(place, 0o755)  # the build may be where only root may look
        sys.exit(tap.run(TESTS, shutil.copy(sys.argv[1], place)))

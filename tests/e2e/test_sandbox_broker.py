# SPDX-License-Identifier: BSD-3-Clause
"""The sandbox of a live broker (docs/security.md), as root, as a user, in `run`; it is refused,
not passed over, where the kernel lacks a step; what a forbidden call does to a broker."""

import os
import pwd
import signal

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.processes import children_of, name_of, starters_of, wait_until

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
DAC_OVERRIDE = 1 << 1
IDS = 1 << 6 | 1 << 7 | 1 << 31  # CAP_SETGID, CAP_SETUID, CAP_SETFCAP
LINKS = 1 << 12 | 1 << 13 | 1 << 21 | DAC_OVERRIDE  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN


def status_of(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def assert_locked_up(pid, capabilities=0):
    status = status_of(pid)
    assert (status["Seccomp"], status["Seccomp_filters"]) == ("2", "1")
    assert status["NoNewPrivs"] == "1"
    for name in ("CapPrm", "CapEff"):
        assert int(status[name], 16) == capabilities, name
    for name in ("CapInh", "CapAmb"):
        assert int(status[name], 16) == 0, name
    # Whom a process's files in /proc belong to tells whether it is dumpable.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0


@pytest.mark.parametrize("kind", ["tap", "packet", "netns", "stream"])
def test_broker_with_a_user(make_guest, service, kind):
    guest = make_guest(kind).start(f"600:unix:{service.path}", options=["--user=nobody"])
    assert guest.probe("talk", CHANNEL, 600, 3)["error"] == ""
    broker = guest.daemon.process.pid
    assert_locked_up(broker)
    assert status_of(broker)["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    [starter] = starters_of(broker)
    assert_locked_up(starter)
    assert status_of(guest.daemon.worker())["Seccomp_filters"] == "2", "the starter's and its own"
    assert guest.daemon.stop() == 0


DEVICES = [("null", 0), ("unix:/nonexistent", DAC_OVERRIDE), ("tcp:127.0.0.1:9", 0),
           ("pty", 0), ("udp:127.0.0.1:9", 0)]


@pytest.mark.parametrize("device, capabilities", DEVICES, ids=[d for d, _ in DEVICES])
def test_broker_of_root_keeps_what_its_devices_take(make_guest, device, capabilities):
    guest = make_guest("packet").start(f"600:{device}")
    broker = guest.daemon.process.pid
    wait_until(lambda: status_of(broker)["Seccomp"] == "2", what="a locked up broker")
    assert_locked_up(broker, capabilities)
    # A worker bears its name for a moment.
    [starter] = wait_until(lambda: len(s := starters_of(broker)) == 1 and s, what="one starter")
    # It has its name before it has closed what is not its own, and before its filter.
    wait_until(lambda: sorted(os.listdir(f"/proc/{starter}/fd"), key=int) == list("01234"),
               what="a starter that holds its own descriptors alone")
    wait_until(lambda: status_of(starter)["Seccomp"] == "2", what="a starter with its filter")
    assert_locked_up(starter, IDS | LINKS)


def test_starter_keeps_ids_alone_where_the_link_comes_by_itself(processes, vmchannel, directory):
    daemon = Daemon(processes, vmchannel, ["--link", f"stream,path={directory}/l,server=on",
                                           "-vmchannel", "600:null"])
    daemon.wait_for_log("ready")
    assert_locked_up(daemon.process.pid, DAC_OVERRIDE)  # to remove the link's socket
    [starter] = starters_of(daemon.process.pid)
    assert_locked_up(starter, IDS)
    assert daemon.stop() == 0


@pytest.mark.parametrize("link", ["tap", "netns"])
def test_broker_of_an_unprivileged_run(processes, program, service, link):
    run = processes.start([*AS_NOBODY, program, "run", "--link", link, "-vmchannel",
                           f"600:unix:{service.path}", "--", "sleep", "60"])

    def brokers():
        return [c for c in children_of(run.pid)
                if any(name_of(w) == "vmc-worker" for w in children_of(c))]

    [broker] = wait_until(brokers, what="a broker")
    assert_locked_up(broker)


def test_broker_with_commands_is_not_locked_up_and_says_so(make_guest):
    """Their programs would be, too."""
    guest = make_guest("packet").start("600:cmd:grep -E '^(Seccomp|NoNewPrivs)' /proc/self/status")
    with guest.connect() as s:
        said = b""
        while more := s.recv(1000):
            said += more
    assert said.split() == [b"NoNewPrivs:", b"0", b"Seccomp:", b"0", b"Seccomp_filters:", b"0"]
    guest.daemon.wait_for_log("broker: not in a sandbox", "cmd:")


# --- refusal -----------------------------------------------------------------------------------


def without_landlock(directory):
    return ["strace", "-f", "-qq", "-e", "trace=landlock_create_ruleset", "-e",
            "inject=landlock_create_ruleset:error=ENOSYS", "-o", directory / "trace"]


def serve(program, directory, *options):
    return [program, "serve", "--link", f"stream,path={directory}/link.sock,server=on",
            "-vmchannel", "600:null", *options]


def test_kernel_without_landlock_is_told_not_passed_over(processes, vmchannel, directory):
    done = processes.run([*without_landlock(directory), *serve(vmchannel, directory)], timeout=20)
    assert done.returncode == 1
    for words in ("broker: sandbox: Landlock", "Function not implemented", "--sandbox=worker"):
        assert words in done.stderr


def test_sandbox_worker_does_without(processes, vmchannel, directory):
    daemon = Daemon(processes, vmchannel,
                    serve(vmchannel, directory, "--sandbox=worker")[2:])
    daemon.wait_for_log("ready")
    assert status_of(daemon.process.pid)["Seccomp"] == "0"
    assert starters_of(daemon.process.pid) == []
    assert status_of(daemon.worker())["Seccomp"] == "2"
    assert daemon.stop() == 0


# --- supervision -------------------------------------------------------------------------------


def test_forbidden_call_ends_the_broker_and_all_with_it(make_guest, service, processes):
    """As one that was taken over would make it: instead of the next connect."""
    guest = make_guest("packet").start(f"600:unix:{service.path}")
    assert guest.probe("talk", CHANNEL, 600, 1)["error"] == ""
    broker = guest.daemon.process.pid
    others = [guest.daemon.worker(), *starters_of(broker)]
    tracer = processes.start(["strace", "-qq", "-p", broker, "-e", "trace=connect", "-e",
                              "inject=connect:syscall=getppid:retval=-1:when=1", "-o", "/dev/null"])
    wait_until(lambda: status_of(broker)["TracerPid"] != "0", what="the tracer")
    with pytest.raises(OSError):
        guest.connect(timeout=1)
    assert guest.daemon.process.wait(5) == -signal.SIGSYS
    processes.started.remove(guest.daemon.process)  # no failure here
    wait_until(lambda: not any(os.path.exists(f"/proc/{p}") for p in others), what="their end")
    tracer.wait(5)


def test_end_of_the_starter_is_told_when_a_worker_is_needed(make_guest, service):
    guest = make_guest("packet").start(f"600:unix:{service.path}")
    assert guest.probe("talk", CHANNEL, 600, 1)["error"] == ""
    [starter] = starters_of(guest.daemon.process.pid)
    os.kill(starter, signal.SIGKILL)
    assert guest.probe("talk", CHANNEL, 600, 1)["error"] == ""
    os.kill(guest.daemon.worker(), signal.SIGKILL)
    assert guest.daemon.process.wait(5) == 1
    guest.daemon.wait_for_log("worker: its starter")

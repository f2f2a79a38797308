# SPDX-License-Identifier: BSD-3-Clause
"""`vmchannel run`: COMMAND in a namespace of its own whose only way out is the channels; without
privilege, with COMMAND's exit code, with signals passed on."""

import json
import os
import shutil
import signal
import socket
import subprocess

import pytest

from harness.guests import CHANNEL
from harness.processes import command_line, wait_until
from harness.programs import HERE
from harness.services import receive_all

NOBODYS_UID = "64321"  # some uid without account, groups or home
AS_NOBODY = ["setpriv", "--reuid", NOBODYS_UID, "--regid", NOBODYS_UID, "--clear-groups",
             "env", "-u", "HOME"]
LINKS = {"default": [], "netns": ["--link", "netns"]}


@pytest.fixture(params=["unprivileged", "root"])
def user(request):
    return AS_NOBODY if request.param == "unprivileged" else []


@pytest.fixture(params=list(LINKS))
def link(request):
    return LINKS[request.param]


@pytest.fixture
def run_argv(program, user, link, service):
    """run_argv(COMMAND...) -> the whole command line."""

    def make(*command):
        ours = [program, "run", *link, "-vmchannel", f"600:unix:{service.path}"]
        return [*user, *ours, "--", *command]

    return make


def test_command_converses(processes, run_argv, helpers, service):
    done = processes.run(run_argv(helpers["guestprobe"], "talk", CHANNEL, "600", "5"))
    told = json.loads(done.stdout)
    assert told["error"] == ""
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(5)]
    assert len(service.peers) == 5
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("code", [0, 7, 255])
def test_exit_code(processes, run_argv, code):
    assert processes.run(run_argv("sh", "-c", f"exit {code}")).returncode == code


def test_killed_by_a_signal_gives_128_plus_it(processes, run_argv):
    assert processes.run(run_argv("sh", "-c", "kill -TERM $$")).returncode == 128 + signal.SIGTERM
    assert processes.run(run_argv("sh", "-c", "kill -KILL $$")).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_are_forwarded(processes, run_argv, name):
    script = f"trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done"
    process = processes.start(run_argv("sh", "-c", script), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    # setpriv and env have become vmchannel by exec
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.stdout.read() == f"got {name}\n"
    assert process.wait(5) == 5


def test_sigterm_ends_a_command_that_does_not_care(processes, run_argv):
    process = processes.start(run_argv("sleep", "100"))
    wait_until(lambda: "sleep 100 " in map(command_line, processes.marked()), what="the command")
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 128 + signal.SIGTERM


def test_standard_streams_are_the_callers(processes, run_argv):
    process = processes.start(
        run_argv("sh", "-c", "read x; echo out $x; echo err $x >&2"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate("word\n", timeout=10)
    assert (out, err) == ("out word\n", "err word\n")


def test_identity_and_directory_are_the_callers(processes, run_argv, user, open_directory):
    done = processes.run(run_argv("sh", "-c", "id -u; pwd"), cwd=open_directory)
    uid = NOBODYS_UID if user else "0"
    assert done.stdout.split() == [uid, str(open_directory)]


def test_command_that_does_not_exist(processes, run_argv):
    done = processes.run(run_argv("/nonexistent/command"))
    assert done.returncode == 127
    assert len(done.stderr.splitlines()) == 1
    assert "/nonexistent/command" in done.stderr and "No such file" in done.stderr


def test_nothing_else_is_reachable(processes, run_argv, user, directory, session_directory):
    script = session_directory / "guest_isolation.py"
    shutil.copy(HERE / "guest_isolation.py", script)
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket() as tcp:
        name = f"vmce2e-{directory.name}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        tcp.bind(("0.0.0.0", 0))
        tcp.listen()
        port = tcp.getsockname()[1]
        done = processes.run(run_argv("/usr/bin/python3", script, name, port, os.getpid()))
    assert done.stdout, done.stderr
    saw = json.loads(done.stdout)
    assert saw["channel"] == "connected"
    assert "lo" in saw["links"] and len(saw["links"]) <= 2
    assert "00000000" not in saw["routes"], "a default route"
    assert "connected" not in saw["ipv4_addresses"].values()
    assert saw["ipv4_addresses"]["8.8.8.8"] == "Network is unreachable"
    assert saw["ipv4_addresses"]["192.0.2.1"] == "Network is unreachable"
    assert saw["ipv6"] in ("Network is unreachable", "Cannot assign requested address")
    assert saw["other_port"] == "Connection refused"
    assert saw["abstract"] == "Connection refused"
    assert "entered" not in saw["host_namespaces"].values(), saw["host_namespaces"]
    assert saw["uid"] == (int(NOBODYS_UID) if user else 0)


def test_two_runs_side_by_side_do_not_see_each_other(processes, run_argv, service):
    first = processes.start(
        run_argv("sh", "-c", "busybox nc -l -p 7000 & echo ready; read x; kill $!"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "ready\n"
    second = processes.run(run_argv("busybox", "nc", "-w", "1", "10.0.2.15", "7000"))
    assert second.returncode != 0
    first.communicate("end\n", timeout=5)


def test_background_child_of_the_command_does_not_hold_run(processes, run_argv):
    """COMMAND's end is the end, also with its streams still held."""
    process = processes.start(run_argv("sh", "-c", "sleep 30 & exit 3"), stdout=subprocess.PIPE)
    assert process.wait(10) == 3


SEND_AND_EXIT = """
import os, socket, sys
s = socket.create_connection(("10.0.2.4", 600))
s.sendall(os.urandom(1) * int(sys.argv[1]))
os._exit(0)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("link_kind", ["tap", "packet", "netns"])
def test_last_bytes_of_a_command_that_exits_at_once_arrive(
        processes, program, listen, directory, link_kind):
    """And `run` does not wait longer than they take, though the service keeps its end open."""
    service = listen(directory / "sink.sock")
    argv = [program, "run", "--link", link_kind, "-vmchannel", f"600:unix:{service.path}", "--",
            "/usr/bin/python3", "-c", SEND_AND_EXIT]
    for size in [1, 10_000, 150_000] * 5:
        process = processes.start([*argv, str(size)])
        h = service.accept()
        assert process.wait(10) == 0
        h.settimeout(5)
        assert len(receive_all(h)) == size
        h.close()


def test_packet_link_where_tun_may_not_be_opened(processes, program, user, service, helpers):
    """Without /dev/net/tun, `run` takes a veth pair and AF_PACKET."""
    argv = [program, "run", "-vmchannel", f"600:unix:{service.path}", "--",
            helpers["guestprobe"], "talk", CHANNEL, "600", "2"]
    hide = 'mount -t tmpfs none /dev/net; exec "$@"'
    hidden = ["unshare", "--mount", "sh", "-c", hide, "sh", *user, *argv]
    done = processes.run(hidden)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["error"] == "" and len(told["answers"]) == 2

# SPDX-License-Identifier: BSD-3-Clause
"""The split of broker and worker (design 6): once started, the process that reads guest bytes opens
nothing; and what becomes of the one when the other dies."""

import os
import re
import signal
import subprocess

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.processes import children_of, wait_until
from harness.services import answer_lines, receive_exactly

OPENING = "open,openat,openat2,creat,open_by_handle_at,socket,socketpair,connect,bind,listen"
OTHER = "execve,clone,clone3,fork,vfork,mount,ptrace,io_uring_setup,memfd_create,inotify_init1"


def trace_of(directory, pid):
    path = directory / f"trace.{pid}"
    return path.read_text().splitlines() if path.exists() else []


def traced(guest, directory, channels):
    """Starts the guest's daemon under strace; gives the pid of the traced broker."""
    prefix = ["strace", "-ff", "-qq", "-e", "signal=none", "-e", f"trace={OPENING},{OTHER}",
              "-o", directory / "trace"]
    args = ["--link", guest.link()]
    for channel in channels:
        args += ["-vmchannel", channel]
    guest.daemon = Daemon(guest.processes, guest.vmchannel, args, prefix=prefix)
    guest.attach([int(c.split(":")[0]) for c in channels])
    [broker] = children_of(guest.daemon.process.pid)
    return broker


@pytest.mark.timeout(60)
def test_worker_opens_nothing_after_start(guest, listen, directory, socket_path):
    listen(socket_path, answer_lines)
    broker = traced(guest, directory, [
        f"600:unix:{socket_path}", f"601:unix:{directory}/absent.sock",
        f"602:unix:{directory}/rendezvous.sock,server,nowait"])
    assert guest.probe("talk", CHANNEL, 600, 1)["error"] == ""
    [worker] = children_of(broker)
    at_start = trace_of(directory, worker)

    assert guest.probe("talk", CHANNEL, 600, 20)["error"] == ""
    guest.refusal(601)
    guest.refusal(603)
    guest.connect(602).close()

    assert trace_of(directory, worker) == at_start
    opened = [l for l in trace_of(directory, broker) if l.startswith("connect(")]
    assert len(opened) >= 20, "the broker connects"
    os.kill(broker, signal.SIGTERM)
    guest.daemon.process.wait(5)


def test_worker_holds_no_directory_or_file(make_guest, listen, socket_path):
    """Its descriptors are sockets, the link, and anonymous inodes; stderr is the log."""
    listen(socket_path, answer_lines)
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    assert guest.probe("talk", CHANNEL, 600, 1)["error"] == ""
    worker = guest.daemon.worker()
    allowed = re.compile(r"^(socket:|pipe:|anon_inode:|/dev/net/tun|/dev/null|/memfd:)")
    links = {fd: os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")}
    odd = {fd: l for fd, l in links.items() if not allowed.match(l) and int(fd) > 2}
    assert odd == {}


@pytest.mark.parametrize("kind", ["tap", "packet", "stream-client", "netns"])
def test_worker_that_dies_is_reported_and_replaced(make_guest, listen, socket_path, kind):
    listener = listen(socket_path)
    guest = make_guest(kind).start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    first = guest.daemon.worker()
    os.kill(first, signal.SIGKILL)
    guest.daemon.wait_for_log("worker", "signal 9")
    assert h.recv(1) == b""
    wait_until(lambda: guest.daemon.worker() != first, what="a new worker")
    if kind == "tap":  # it went with the last descriptor of it
        wait_until(lambda: guest.ns.has_link("vmc0"), what="the tap made anew")
        if "10.0.2.15" not in guest.ns.ip("addr"):
            guest.configure("vmc0")
    again = guest.connect()
    listener.accept().sendall(b"hello")
    assert receive_exactly(again, 5) == b"hello"
    g.close()


def test_broker_that_dies_takes_the_worker_along(make_guest, listen, socket_path, processes):
    listen(socket_path, answer_lines)
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    worker = guest.daemon.worker()
    guest.daemon.process.kill()
    guest.daemon.process.wait(5)
    wait_until(lambda: not os.path.exists(f"/proc/{worker}"), what="the end of the worker")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_stop_leaves_nothing_behind(guest, listen, directory, socket_path, signal_number):
    listener = listen(socket_path)
    rendezvous = directory / "rendezvous.sock"
    guest.start(f"600:unix:{socket_path}", f"601:unix:{rendezvous},server=on")
    g = guest.connect()
    h = listener.accept()
    assert guest.daemon.stop(signal_number) == 0
    try:
        assert h.recv(1) == b""
    except ConnectionResetError:
        pass
    assert not rendezvous.exists()
    assert list(directory.glob("*.lock")) == []
    if guest.kind == "tap":
        assert not guest.ns.has_link("vmc0")
    if guest.kind == "stream":
        assert not (directory / "link.sock").exists()
    g.close()


@pytest.mark.parametrize("what", ["link", "channel"])
def test_second_daemon_on_one_socket_is_refused(processes, vmchannel, directory, what):
    path = directory / "contended.sock"
    if what == "link":
        args = ["--link", f"stream,path={path},server=on", "-vmchannel", "600:unix:/nonexistent"]
        other = args
    else:
        args, other = ([
            "--link", f"stream,path={directory}/link{i}.sock,server=on",
            "-vmchannel", f"600:unix:{path},server=on"] for i in (1, 2))
    first = Daemon(processes, vmchannel, args)
    first.wait_until_up(path.exists, "the socket")
    made = path.stat().st_mtime_ns
    second = processes.run([vmchannel, "serve", *other], timeout=10)
    assert second.returncode == 1
    assert str(path) in second.stderr
    assert path.stat().st_mtime_ns == made, "the second one replaced the first one's socket"
    assert first.process.poll() is None


def test_stale_socket_is_replaced(processes, vmchannel, directory):
    path = directory / "link.sock"
    args = ["--link", f"stream,path={path},server=on", "-vmchannel", "600:unix:/nonexistent"]
    killed = Daemon(processes, vmchannel, args)
    killed.wait_until_up(path.exists, "the socket")
    made = path.stat().st_mtime_ns
    killed.process.kill()
    killed.process.wait(5)
    heir = Daemon(processes, vmchannel, args)
    heir.wait_until_up(lambda: path.stat().st_mtime_ns != made, "a new socket")
    assert heir.stop() == 0


def test_reserved_path_is_not_stolen(processes, vmchannel, directory):
    """A path that is a plain file stays one."""
    path = directory / "data"
    path.write_text("precious")
    args = ["--link", f"stream,path={path},server=on", "-vmchannel", "600:unix:/nonexistent"]
    done = processes.run([vmchannel, "serve", *args], timeout=10)
    assert done.returncode == 1 and str(path) in done.stderr
    assert path.read_text() == "precious"


def test_idle_daemon_uses_no_cpu(make_guest, listen, socket_path):
    """With a connection open that has been half closed by both, and one that waits: no spinning."""
    listener = listen(socket_path)
    guest = make_guest("tap").start(f"600:unix:{socket_path}")
    g = guest.connect()
    h = listener.accept()
    h.shutdown(1)
    g2 = guest.connect()
    h2 = listener.accept()
    g2.shutdown(1)
    pids = [guest.daemon.process.pid, guest.daemon.worker()]

    def ticks():
        return sum(sum(map(int, open(f"/proc/{p}/stat").read().rsplit(")")[1].split()[11:13]))
                   for p in pids)

    before = ticks()
    subprocess.run(["sleep", "1"], check=True)
    assert ticks() - before <= 2
    g.close()
    g2.close()
    h2.close()

# SPDX-License-Identifier: BSD-3-Clause
"""Channels of a guest that runs: add, del, list and stats. The protocol below them is
test_varlink's, how a guest is watched test_watching's."""

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import tempfile

import pytest

from harness.control import INTERFACE, Varlink, start
from harness.daemon import Daemon
from harness.processes import wait_until
from harness.services import answer_lines, echo, receive_all, receive_exactly

ANY_DEVICE = ["--sandbox=worker"]  # a broker in no sandbox: may open anew what it could at start


def talk(guest, port, lines=1):
    with guest.connect(port) as g, g.makefile("rb") as answers:
        for i in range(lines):
            g.sendall(b"line %d\n" % i)
            assert answers.readline().endswith(b" heard line %d\n" % i)
        g.shutdown(socket.SHUT_WR)
        assert answers.read() == b""


def answers(guest, port):
    try:
        talk(guest, port)
    except (OSError, AssertionError):
        return False
    return True


def stats_of(ask, name="vm1"):
    stats = json.loads(ask("stats", name, "--json"))
    return stats["link"], {c["port"]: c for c in stats["channels"]}


def test_channel_is_added_and_deleted_while_the_guest_runs(guest, listen, directory, ask):
    listen(directory / "a.sock", answer_lines)
    listen(directory / "b.sock", answer_lines)
    start(guest, f"600:unix:{directory}/a.sock", options=[] if guest.is_frames else ANY_DEVICE)
    assert guest.refusal(601)[0] == errno.ECONNREFUSED

    assert ask("add", "vm1", f"601:unix:{directory}/b.sock") == ""
    talk(guest, 601)
    talk(guest, 600)

    kept, cut = guest.connect(600), guest.connect(601)
    cut.sendall(b"x\n")
    receive_exactly(cut, 5)
    assert ask("del", "vm1", "601") == ""
    with pytest.raises(ConnectionResetError):
        receive_all(cut)
    assert guest.refusal(601)[0] == errno.ECONNREFUSED
    kept.sendall(b"line\n")
    assert receive_exactly(kept, 8) == b"host end"
    kept.close()
    cut.close()


@pytest.mark.parametrize("kind, options", [("tap", []), ("tap", ANY_DEVICE), ("netns", ANY_DEVICE)])
def test_added_channels_outlive_a_worker(make_guest, listen, directory, ask, kind, options):
    listen(directory / "a.sock", answer_lines)
    guest = start(make_guest(kind), f"600:unix:{directory}/a.sock",
                  f"602:unix:{directory}/a.sock", options=options)
    ask("add", "vm1", f"601:unix:{directory}/a.sock")
    ask("del", "vm1", "602")
    talk(guest, 601, lines=3)
    before = stats_of(ask)[1][601]
    first = guest.daemon.worker()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: guest.daemon.worker() != first, what="another worker")
    wait_until(lambda: answers(guest, 601), what="the channel is back")
    assert guest.refusal(602)[0] == errno.ECONNREFUSED
    after = stats_of(ask)[1]
    assert after[601]["bytes_from_guest"] > before["bytes_from_guest"]  # it goes on counting
    assert 602 not in after
    ask("del", "vm1", "601")
    assert guest.refusal(601)[0] == errno.ECONNREFUSED


def test_what_a_channel_has_open_goes_with_it(make_guest, directory, ask):
    """A listener and its lock, a terminal's link: gone at del, and to be had again."""
    guest = start(make_guest("tap"), "600:null", options=ANY_DEVICE)
    path, link = directory / "service.sock", directory / "tty"
    for _ in range(3):
        ask("add", "vm1", f"601:unix:{path},server=on,wait=off")
        ask("add", "vm1", f"602:pty:{link}")
        g = guest.connect(601)
        with socket.socket(socket.AF_UNIX) as h:
            h.settimeout(5)
            h.connect(str(path))
            g.sendall(b"bytes that waited")
            assert receive_exactly(h, 17) == b"bytes that waited"
            assert os.path.exists(os.path.realpath(link))
            ask("del", "vm1", "601")
            ask("del", "vm1", "602")
            assert receive_all(h) == b""
        g.close()
        assert not path.exists() and not link.exists()


def test_hybrid_link_has_a_socket_for_each_channel(processes, vmchannel, listen, directory, ask):
    listen(directory / "a.sock", answer_lines)
    daemon = Daemon(processes, vmchannel, ["--name", "vm1", "--link", f"hybrid,path={directory}/v",
                                           "-vmchannel", "600:null", *ANY_DEVICE])
    daemon.wait_for_log("ready")
    for _ in range(2):
        ask("add", "vm1", f"601:unix:{directory}/a.sock")
        with socket.socket(socket.AF_UNIX) as g:
            g.settimeout(5)
            g.connect(f"{directory}/v_601")
            g.sendall(b"x\n")
            assert b"heard x" in g.recv(100)
            ask("del", "vm1", "601")
            assert g.recv(1) == b""  # a Unix socket knows no reset
        assert not os.path.exists(f"{directory}/v_601") and os.path.exists(f"{directory}/v_600")


@pytest.mark.parametrize("kind, times", [("tap", 1100), ("netns", 100)])
def test_coming_and_going_leaks_nothing(make_guest, listen, directory, runtime, kind, times):
    """Also more often than there is room for channels; with all that has something open."""
    listen(directory / "a.sock", answer_lines)
    guest = start(make_guest(kind), "600:null", options=ANY_DEVICE)
    pids = (guest.daemon.process.pid, guest.daemon.worker())

    def descriptors():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    devices = [f"unix:{directory}/b.sock,server", f"pty:{directory}/tty",
               f"file:{directory}/f,logfile={directory}/log", f"unix:{directory}/a.sock"]
    with Varlink(runtime / "vm1" / "control") as v:
        v.control("List")
        before = descriptors()
        for i in range(times):
            channel = f"601:{devices[i % len(devices)]}"
            assert v.control("Add", channel=channel) == {"first": 601, "last": 601}
            if i % 100 == 99:
                talk(guest, 601)
            assert v.control("Delete", port=601) == {}
        wait_until(lambda: descriptors() == before, what=f"{before} descriptors")
    assert not (directory / "b.sock").exists() and not (directory / "tty").is_symlink()


def test_ordinary_user_has_sockets_in_the_runtime_directory(processes, program, monkeypatch):
    monkeypatch.delenv("VMCHANNEL_RUNTIME_DIR")
    with tempfile.TemporaryDirectory(prefix="vmce2e-") as d:
        os.chown(d, 65534, 65534)
        as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env",
                     f"XDG_RUNTIME_DIR={d}"]
        daemon = Daemon(processes, program, ["--name", "vm1", "-vmchannel", "600:null", "--link",
                                             f"stream,path={d}/l,server=on"], prefix=as_nobody)
        daemon.wait_for_log("ready")
        done = processes.run([*as_nobody, program, "list"])
        assert "600:null" in done.stdout, done
        assert stat.S_IMODE(os.stat(f"{d}/vmchannel/vm1").st_mode) == 0o700
        done = processes.run([program, "stats", f"{d}/vmchannel/vm1/control"])  # root may
        assert "channel:  600" in done.stdout, done
        assert daemon.stop() == 0
        assert os.listdir(f"{d}/vmchannel") == []
        done = processes.run([*as_nobody[:-1], "-u", "XDG_RUNTIME_DIR", program, "list"])
        assert done.returncode == 1 and "XDG_RUNTIME_DIR" in done.stderr


def test_daemon_that_becomes_another_user_is_found_by_root(processes, vmchannel, runtime, ask):
    os.chmod(runtime.parent, 0o755)  # as /run is
    for _ in range(2):  # the second finds the directory of the first
        daemon = Daemon(processes, vmchannel, [
            "--name", "vm1", "--user", "nobody", "-vmchannel", "600:null",
            "--link", f"stream,path={runtime.parent}/l,server=on"])
        daemon.wait_for_log("ready")
        assert os.stat(runtime / "vm1").st_uid == os.stat(runtime / "vm1/control").st_uid == 65534
        ask("add", "vm1", "601:null")
        assert "601:null" in ask("list")
        assert daemon.stop() == 0
        assert ask("list") == "" and os.listdir(runtime / "vm1") == []
        (runtime.parent / "l").unlink(missing_ok=True)  # in a directory that is not nobody's
        (runtime.parent / "l.lock").unlink(missing_ok=True)


def test_qemu_has_a_socket_by_its_name(processes, vmchannel, directory, ask):
    """A program in QEMU's place asks for the list."""
    qemu = directory / "qemu"
    qemu.write_text("#!/bin/sh\ncase $1 in --version|-version) echo 'QEMU emulator version 7.2.0';"
                    f" exit;; esac\n{vmchannel} list; {vmchannel} add vm1 601:null;"
                    f" {vmchannel} add vm1 602:cmd:true; {vmchannel} stats vm1 --json\n")
    qemu.chmod(0o755)
    argv = [vmchannel, "qemu", "--name", "vm1", qemu, "-vmchannel", "600:null"]
    done = processes.run(argv)
    assert "600:null" in done.stdout and '"port": 601' in done.stdout, done
    assert '"port": 602' not in done.stdout and "cmd" in done.stderr
    done = processes.run([*argv[:4], "--control", "off", *argv[4:]])
    assert "600" not in done.stdout and "no such guest" in done.stderr


def test_channels_of_a_range(make_guest, listen, directory, ask):
    listen(directory / "1001.sock", answer_lines)
    guest = start(make_guest("tap"), "600:null")
    ask("add", "vm1", f"1000-1063:unix:{directory}/%p.sock")
    talk(guest, 1001)
    # All or none: 1063 is taken.
    why = ask("add", "vm1", f"1060-1070:unix:{directory}/%p.sock", code=1)
    assert "1060" in why and "already" in why
    assert guest.refusal(1070)[0] == errno.ECONNREFUSED
    assert "64" in ask("add", "vm1", f"2000-2064:unix:{directory}/%p.sock", code=1)
    for port in range(1000, 1064):
        ask("del", "vm1", str(port))
    assert [line.strip() for line in ask("list").splitlines()[2:]] == ["600:null"]


REFUSED = [
    # PORT:DEVICE, exit status, words of the reason
    ("600:null", 1, ["600", "already"]),
    ("601:cmd:true", 1, ["cmd", "started"]),
    ("601:stdio", 1, ["stdio", "started"]),
    ("601:tcp:host.example:80", 1, ["host.example", "address"]),
    ("601:chardev:x", 1, ["chardev"]),
    ("601:unix:/nonexistent/dir/s,server=on", 1, ["/nonexistent/dir/s", "No such file"]),
    ("601:file:/nonexistent/f", 1, ["/nonexistent/f", "No such file"]),
    ("601:unix:/a\x1bb", 1, ["control character"]),
    ("601:unix:/a\nb", 1, ["control character"]),
    ("601:bogus:/p", 2, ["bogus", "unix"]),
    ("0:null", 2, ["65535"]),
]


@pytest.mark.parametrize("channel, code, words", REFUSED, ids=[r[0][:30] for r in REFUSED])
def test_what_cannot_be_added(make_guest, ask, channel, code, words):
    start(make_guest("tap"), "600:null", options=ANY_DEVICE)
    before = ask("list")
    why = ask("add", "vm1", channel, code=code)
    assert len(why.splitlines()) == 1 and "\x1b" not in why
    for word in words:
        assert word in why
    assert ask("list") == before


@pytest.mark.parametrize("device", [
    "unix:{0}/s,server", "unix:x,abstract", "unix:{0}/s,logfile={0}/l", "null,logfile={0}/l", "pty",
    "file:{0}/f", "pipe:{0}/p", "/dev/ttyS0", "tcp:127.0.0.1:1", "udp::1", "vsock:1:1",
    "cmd:true", "stdio"])
def test_what_the_sandbox_of_the_broker_has_no_room_for(idle_guest, directory, ask, device):
    before = sorted(os.listdir(directory))
    why = ask("add", "vm1", "601:" + device.format(directory), code=1)
    assert "601" in why and "sandbox" in why and "--sandbox=worker" in why
    assert sorted(os.listdir(directory)) == before
    ask("add", "vm1", f"601:unix:{directory}/s,max=3")
    assert idle_guest.refusal(601)[0] == errno.ECONNREFUSED  # nobody listens there
    assert idle_guest.daemon.process.poll() is None


def test_what_cannot_be_deleted(idle_guest, ask):
    assert "601" in ask("del", "vm1", "601", code=1)
    assert "65535" in ask("del", "vm1", "x", code=2)
    assert "vm2" in ask("del", "vm2", "600", code=1)
    for name in ("..", ".", "a\x1bb", "a\nb", ""):
        why = ask("del", name, "600", code=1)
        assert len(why.splitlines()) == 1 and "\x1b" not in why


def test_channels_where_the_host_begins_are_told_apart(make_guest, directory, ask, runtime):
    guest = start(make_guest("tap"), "600:null",
                  options=("-vmchannel-in", f"600:unix:{directory}/in.sock",
                           "-vmchannel-in", f"*:unix:{directory}/any.sock"))
    lines = [l.strip() for l in ask("list").splitlines()[2:]]
    assert sorted(lines) == ["600:null", f"in *:unix:{directory}/any.sock",
                             f"in 600:unix:{directory}/in.sock"]
    listener = guest.ns.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.settimeout(5)
    listener.bind(("10.0.2.15", 600))
    listener.listen()
    with listener, socket.socket(socket.AF_UNIX) as h:
        h.settimeout(5)
        h.connect(f"{directory}/in.sock")
        g, _ = listener.accept()
        g.sendall(b"four")
        assert receive_exactly(h, 4) == b"four"
        stats = json.loads(ask("stats", "vm1", "--json"))["channels"]
        g.close()
    numbers = ("port", "inward", "opened", "bytes_from_guest")
    assert sorted([c[n] for n in numbers] for c in stats) == [
        [0, True, 0, 0], [600, False, 0, 0], [600, True, 1, 4]]
    assert "600" in ask("add", "vm1", "600:null", code=1)
    ask("del", "vm1", "600")
    assert guest.refusal(600)[0] == errno.ECONNREFUSED
    assert "600" in ask("del", "vm1", "600", code=1)  # the other one stays
    assert len(ask("list").splitlines()) == 4


@pytest.mark.parametrize("kind", ["tap", "netns", "stream"])
def test_stats_are_what_went_through(make_guest, listen, directory, ask, kind):
    listen(directory / "a.sock", echo)
    guest = start(make_guest(kind), f"600:unix:{directory}/a.sock",
                  f"601:unix:{directory}/absent.sock")
    sent = 0
    for size in (1, 1000, 300000):
        with guest.connect() as g:
            g.sendall(bytes(size))
            receive_exactly(g, size)
            sent += size
    assert guest.refusal(601)[0] == errno.ECONNREFUSED
    wait_until(lambda: stats_of(ask)[1][600]["connections"] == 0, what="closed connections")
    with guest.connect() as g:
        g.sendall(b"x")
        receive_exactly(g, 1)
        link, channels = stats_of(ask)
        assert channels[600] == {"port": 600, "inward": False, "connections": 1, "opened": 4,
                                 "refused": 0,
                                 "bytes_from_guest": sent + 1, "bytes_to_guest": sent + 1}
        assert channels[601]["refused"] == 1 and channels[601]["opened"] == 0
    if guest.is_frames:
        assert link["up"] == 1 and link["bad_checksum"] == 0
        assert link["bytes_in"] > sent and link["bytes_out"] > sent
        assert link["frames_in"] > 20 and link["frames_out"] > 20
    else:
        assert set(link.values()) == {0}
    text = ask("stats", "vm1")
    assert f"bytes_from_guest {sent + 1}" in text and "channel:  600" in text


def test_list_shows_every_guest_and_no_dead_one(make_guest, runtime, ask):
    assert ask("list") == ""
    first = start(make_guest("tap"), "600:null,name=one", name="vm-a")
    second = start(make_guest("netns"), "601:null", name="vm b")
    killed = start(make_guest("netns"), "602:null", name="vm-c")
    killed.daemon.process.kill()
    killed.daemon.process.wait()
    assert stat.S_ISSOCK(os.stat(runtime / "vm-c" / "control").st_mode)  # a stale socket
    lines = ask("list").splitlines()
    assert [l.split()[0] for l in lines if l[0] != " "] == ["GUEST", "vm", "vm-a"]
    assert f"{first.daemon.process.pid}" in lines[3] and "tap,ifname=vmc0" in lines[3]
    assert lines[2].split() == ["601:null"] and lines[4].split() == ["600:null,name=one"]
    # The name of the one that was killed can be had again.
    again = start(make_guest("netns"), "603:null", name="vm-c")
    assert "603:null" in ask("list")
    for guest in (first, second, again):
        assert guest.daemon.stop() == 0
    assert ask("list") == "" and os.listdir(runtime) == []


def test_socket_is_ours_alone(idle_guest, runtime):
    path = runtime / "vm1" / "control"
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0
    code = (f"import socket,os; os.setgid(65534); os.setuid(65534); s = socket.socket(1); "
            f"s.connect('{path}')")
    done = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True)
    assert "PermissionError" in done.stderr


def test_client_of_another_user_is_dropped(make_guest, directory):
    """Where the permissions would let it in."""
    path = directory / "open.sock"
    guest = make_guest("netns").start("600:null", options=("--control", path))
    guest.daemon.wait_for_log("ready")
    os.chmod(directory, 0o755)
    os.chmod(path, 0o777)
    call = json.dumps({"method": f"{INTERFACE}.Info"}) + "\0"
    code = (f"import socket,os; os.setgid(65534); os.setuid(65534); s = socket.socket(1); "
            f"s.settimeout(5); s.connect('{path}'); s.sendall({call.encode()!r}); print(s.recv(9))")
    done = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True)
    assert done.stdout == "b''\n" or "ConnectionResetError" in done.stderr or \
        "BrokenPipeError" in done.stderr, done
    with Varlink(path) as v:
        assert v.control("Info")["name"] == "guest"
    assert guest.daemon.process.poll() is None


def test_daemon_without_a_socket(make_guest, runtime, ask):
    make_guest("netns").start("600:null")
    make_guest("netns").start("600:null", options=("--name", "vm1", "--control=off"))
    assert ask("list") == "" and not runtime.exists()


def test_second_daemon_of_a_name_goes_without(make_guest, ask):
    first = start(make_guest("netns"), "600:null")
    second = start(make_guest("netns"), "601:null")
    assert "vm1" in second.daemon.wait_for_log("control", "locked by another process")
    assert f"{first.daemon.process.pid}" in ask("list") and "600:null" in ask("list")
    second.daemon.stop()
    assert "600:null" in ask("list")


def test_socket_that_was_asked_for_must_be_there(processes, vmchannel, directory):
    done = processes.run([vmchannel, "serve", "--link", f"stream,path={directory}/l,server=on",
                          "-vmchannel", "600:null", "--control", "/nonexistent/c"])
    assert done.returncode == 1 and "/nonexistent/c" in done.stderr


def test_run_has_a_socket_when_asked_alone(processes, vmchannel, directory, runtime):
    script = f"{vmchannel} list; {vmchannel} stats {directory}/c.sock --json"
    for options, code in ((["--name", "vm1"], 1), (["--control", directory / "c.sock"], 0)):
        done = processes.run([vmchannel, "run", *options, "-vmchannel", "600:null", "sh", "-c",
                              script])
        assert done.returncode == code, done.stderr
        assert ('"port": 600' in done.stdout) == (code == 0)
        assert "GUEST" not in done.stdout

# SPDX-License-Identifier: BSD-3-Clause
"""Channels of a guest that runs: add, del, list and stats, and the protocol below them."""

import errno
import json
import os
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import scapy.layers.inet
import scapy.layers.l2
import scapy.utils

from harness.control import INTERFACE, Varlink
from harness.daemon import Daemon
from harness.processes import wait_until
from harness.services import answer_lines, echo, receive_all, receive_exactly


@pytest.fixture
def runtime(directory, monkeypatch):
    """Where these daemons and commands meet, and nobody else."""
    path = directory / "run"
    monkeypatch.setenv("VMCHANNEL_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def ask(processes, vmchannel, runtime):
    """ask(WORD...) -> what the command printed; `code` is its exit status."""

    def run(*words, code=0):
        done = processes.run([vmchannel, *words])
        assert done.returncode == code, (words, done.returncode, done.stderr)
        return done.stderr if code else done.stdout

    return run


ANY_DEVICE = ["--sandbox=worker"]  # a broker in no sandbox: may open anew what it could at start


def start(guest, *channels, name="vm1", options=()):
    guest.start(*channels, options=("--name", name, *options))
    guest.daemon.wait_for_log("ready")
    return guest


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
    assert "601" not in ask("list") and "1001" not in ask("list")


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


@pytest.fixture
def idle_guest(make_guest, runtime):
    return start(make_guest("tap"), "600:null")


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


# --- the protocol --------------------------------------------------------------------------------

@pytest.fixture
def varlink(idle_guest, runtime):
    with Varlink(runtime / "vm1" / "control") as v:
        yield v


def test_varlink_service(varlink):
    info = varlink.call("org.varlink.service.GetInfo")
    assert info["interfaces"] == ["org.varlink.service", INTERFACE]
    assert {"vendor", "product", "version", "url"} <= set(info)
    for name in info["interfaces"]:
        text = varlink.call("org.varlink.service.GetInterfaceDescription",
                            {"interface": name})["description"]
        assert f"\ninterface {name}\n" in text or text.startswith(f"interface {name}\n")
    assert varlink.call("org.varlink.service.GetInterfaceDescription", {"interface": "a.b"}) == \
        ("org.varlink.service.InterfaceNotFound", {"interface": "a.b"})
    assert varlink.call("a.b.C") == ("org.varlink.service.InterfaceNotFound", {"interface": "a.b"})
    assert varlink.control("Bogus") == ("org.varlink.service.MethodNotFound", {"method": "Bogus"})
    for parameters, wrong in (({}, "channel"), ({"channel": 1}, "channel"),
                              ({"channel": "601:null", "x": 1}, "x")):
        assert varlink.control("Add", **parameters) == (
            "org.varlink.service.InvalidParameter", {"parameter": wrong})


def test_every_method_is_as_described(varlink):
    assert varlink.control("List") == {
        "channels": [{"port": 600, "inward": False, "device": "null"}]}
    assert varlink.control("Add", channel="601:null,name=x") == {"first": 601, "last": 601}
    assert varlink.control("List")["channels"][1] == {
        "port": 601, "inward": False, "device": "null,name=x", "name": "x"}
    assert varlink.control("Delete", port=601) == {}
    assert varlink.control("Delete", port=601) == (f"{INTERFACE}.NoSuchChannel", {"port": 601})
    info = varlink.control("Info")
    assert set(info) == {"name", "version", "pid", "worker", "link", "uptime", "restarts"}
    assert set(varlink.control("Stats")) == {"link", "channels"}


def test_calls_in_a_row_and_in_pieces(varlink):
    call = json.dumps({"method": f"{INTERFACE}.List"}).encode() + b"\0"
    varlink.send(call * 50)
    assert [varlink.hear() for _ in range(50)][49]["parameters"]["channels"][0]["port"] == 600
    for byte in call:
        varlink.send(bytes([byte]))
    assert varlink.hear()["parameters"]
    varlink.say(f"{INTERFACE}.Add", {"channel": "601:null"}, oneway=True)
    varlink.say(f"{INTERFACE}.List", {}, more=True)
    reply = varlink.hear()
    assert len(reply["parameters"]["channels"]) == 2 and not reply.get("continues")


@pytest.mark.parametrize("data", [
    b"\0", b"{}\0", b"[]\0", b"null\0", b"x" * 100 + b"\0", b'{"method": 1}\0',
    b'{"method": "a.b.C", "parameters": []}\0', b'{"method": "a\\u0000b.C"}\0',
    b'{"method": "a.b.C", "method": "a.b.C"}\0', b'{"method": "\xff.b.C"}\0',
    b"[" * 60000 + b"\0", b'{"a":' * 10000 + b"\0", b'{"method": "' + b"x" * (1 << 20) + b'"}\0',
    b"\xff" * (1 << 20),
], ids=lambda d: repr(d[:24]))
def test_no_call_ends_the_connection(varlink, idle_guest, runtime, data):
    try:
        varlink.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert varlink.ended()
    with Varlink(runtime / "vm1" / "control") as v:
        assert v.control("Info")["name"] == "vm1"


def test_nobody_is_held_up_by_the_silent(varlink, idle_guest, runtime):
    """1 000 clients that say nothing, some in the middle of a call, one that reads no reply."""
    path = str(runtime / "vm1" / "control")
    silent = []
    for i in range(1000):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(path)
        s.send(b'{"method": "org.vmchannel' if i % 2 else b"")
        silent.append(s)
    deaf = Varlink(path)
    deaf.socket.settimeout(0.2)
    try:
        while True:
            deaf.say(f"{INTERFACE}.Stats")
    except (TimeoutError, BlockingIOError):
        pass
    with Varlink(path, timeout=5) as v:
        assert v.control("Info")["name"] == "vm1"
        assert v.control("Add", channel="601:null") == {"first": 601, "last": 601}
    descriptors = len(os.listdir(f"/proc/{idle_guest.daemon.process.pid}/fd"))
    assert descriptors < 60, "the silent are bounded"
    with idle_guest.connect(601):
        pass
    for s in silent:
        s.close()
    deaf.socket.close()


def test_client_that_leaves_before_its_reply(idle_guest, runtime):
    for i in range(50):
        with Varlink(runtime / "vm1" / "control") as v:
            v.say(f"{INTERFACE}.Add", {"channel": f"{700 + i}:null"})
    with Varlink(runtime / "vm1" / "control") as v:
        wait_until(lambda: len(v.control("List")["channels"]) == 51, what="all calls were served")


def test_descriptors_that_nobody_asked_for_are_closed(varlink, idle_guest, runtime):
    fds = Path(f"/proc/{idle_guest.daemon.process.pid}/fd")
    varlink.control("Info")
    before = len(os.listdir(fds))
    for _ in range(100):
        r, w = os.pipe()
        varlink.say(f"{INTERFACE}.Info", fds=[w])
        os.close(w)
        assert varlink.hear()["parameters"]
        assert os.read(r, 1) == b""  # nobody else holds the other end
        os.close(r)
    assert len(os.listdir(fds)) == before
    r, w = os.pipe()
    varlink.say(f"{INTERFACE}.Info", fds=[w] * 100)  # beyond the room
    os.close(w)
    assert os.read(r, 1) == b""
    os.close(r)
    assert varlink.ended()


# --- metrics, top, pcap --------------------------------------------------------------------------

SAMPLE = re.compile(r'^(vmchannel_\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\d+)$')


def families_of(text):
    """{family: (type, {labels: value})}, checking OpenMetrics' order of things."""
    families, lines = {}, text.splitlines()
    assert lines.pop() == "# EOF"
    for line in lines:
        words = line.split(" ", 3)
        if words[:2] == ["#", "HELP"]:
            assert words[2] not in families, "a family is in one piece"
            families[words[2]] = [None, {}]
        elif words[:2] == ["#", "TYPE"]:
            families[words[2]][0] = words[3]
        else:
            name, labels, value = SAMPLE.match(line).groups()
            family = list(families)[-1]
            kind = families[family][0]
            assert name == family + {"counter": "_total", "gauge": ""}[kind]
            families[family][1][labels] = int(value)
    return families


def test_metrics_of_several_guests(make_guest, listen, directory, ask):
    listen(directory / "a.sock", echo)
    one = start(make_guest("tap"), f"600:unix:{directory}/a.sock,name=one", name="vm1")
    start(make_guest("netns"), "601:null", name='vm"2\\')
    with one.connect() as g:
        g.sendall(bytes(5000))
        receive_exactly(g, 5000)
        families = families_of(ask("metrics"))
    here = 'guest="vm1",port="600",inward="false",name="one"'
    assert families["vmchannel_channel_bytes_from_guest"][1][here] == 5000
    assert families["vmchannel_channel_bytes_to_guest"][1][here] == 5000
    assert families["vmchannel_channel_connections"] == [
        "gauge", {here: 1, r'guest="vm\"2\\x5c",port="601",inward="false",name=""': 0}]
    assert families["vmchannel_link_frames_in"][1]['guest="vm1"'] > 0
    assert families["vmchannel_link_up"][1]['guest="vm1"'] == 1


def test_metrics_of_nobody(ask):
    assert all(not samples for _, samples in families_of(ask("metrics")).values())


def test_top_shows_rates(make_guest, listen, directory, ask, processes, vmchannel):
    listen(directory / "a.sock", echo)
    guest = start(make_guest("tap"), f"600:unix:{directory}/a.sock")
    top = processes.start([vmchannel, "top", "vm1", "--interval", "1", "--count", "2"],
                          stdout=subprocess.PIPE, text=True)
    assert top.stdout.readline().split()[0] == "GUEST"
    assert top.stdout.readline().split()[5:7] == ["0", "0"]
    with guest.connect() as g:
        g.sendall(bytes(100000))
        receive_exactly(g, 100000)
        rows = top.stdout.read().splitlines()
    assert top.wait(5) == 0
    row = rows[2].split()
    assert row[:5] == ["vm1", "600", "1", "1", "0"] and row[7] == f"unix:{directory}/a.sock"
    assert 10000 < int(row[5]) <= 101000 and row[5] == row[6]
    assert "\x1b" not in "".join(rows), "no terminal"
    assert "vm2" in ask("top", "vm2", code=1)


def captured(path):
    """Frames as (bytes, length on the link, time)."""
    reader = scapy.utils.RawPcapNgReader(str(path))
    try:
        return [(data, meta.wirelen, (meta.tshigh << 32 | meta.tslow) / 1e6)
                for data, meta in reader]
    finally:
        reader.close()


@pytest.mark.parametrize("kind", ["tap", "packet", "stream"])
def test_pcap_has_the_frames_of_both_ways(make_guest, listen, directory, ask, processes, vmchannel,
                                          kind):
    listen(directory / "a.sock", echo)
    guest = start(make_guest(kind), f"600:unix:{directory}/a.sock")
    talker = processes.start([vmchannel, "pcap", "vm1", directory / "f.pcapng"],
                             stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (directory / "f.pcapng").exists(), what="the file")
    began = time.time()
    with guest.connect() as g:
        port = g.getsockname()[1]
        g.sendall(b"from the guest")
        receive_exactly(g, 14)
        g.shutdown(socket.SHUT_WR)
        assert receive_all(g) == b""
    time.sleep(0.1)
    talker.send_signal(signal.SIGINT)
    told = talker.stderr.read()
    assert talker.wait(5) == 0 and "0 left out" in told
    frames = captured(directory / "f.pcapng")
    assert f"{len(frames)} frames" in told
    assert all(began - 5 < at < time.time() + 5 for _, _, at in frames)
    packets = [scapy.layers.l2.Ether(data) for data, length, _ in frames if len(data) == length]
    assert len(packets) == len(frames)
    tcp = [p for p in packets if p.haslayer("TCP") and port in (p["TCP"].sport, p["TCP"].dport)]
    lengths = [p["IP"].len - 4 * p["IP"].ihl - 4 * p["TCP"].dataofs for p in tcp]
    payloads = {p["TCP"].dport == 600: bytes(p["TCP"].payload)[:n]
                for p, n in zip(tcp, lengths) if n > 0}
    assert payloads == {True: b"from the guest", False: b"from the guest"}
    flags = [str(p["TCP"].flags) for p in tcp]
    assert flags[:3] == ["S", "SA", "A"] and sum("F" in f for f in flags) == 2
    assert stat.S_IMODE(os.stat(directory / "f.pcapng").st_mode) == 0o600


def test_pcap_cuts_frames_and_ends_by_itself(make_guest, listen, directory, ask, processes,
                                             vmchannel):
    listen(directory / "a.sock", echo)
    guest = start(make_guest("tap"), f"600:unix:{directory}/a.sock")
    pcap = processes.start([vmchannel, "pcap", "vm1", "-", "--snaplen", "60", "--count", "10"],
                           stdout=open(directory / "f.pcapng", "wb"), stderr=subprocess.PIPE)
    wait_until(lambda: pcap.poll() is not None or not guest.connect().sendall(bytes(9000)),
               what="ten frames")
    while pcap.poll() is None:
        guest.connect().close()
    assert pcap.returncode == 0
    frames = captured(directory / "f.pcapng")
    assert len(frames) == 10 and all(len(data) == min(60, n) for data, n, _ in frames)
    assert any(n > 60 for _, n, _ in frames)


def test_pcap_that_is_not_read_holds_nothing_up(make_guest, listen, directory, ask, processes,
                                                vmchannel, runtime):
    """The watcher's socket is full for ever: frames are left out, and told when there is room."""
    listen(directory / "a.sock", echo)
    guest = start(make_guest("tap"), f"600:unix:{directory}/a.sock")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with Varlink(runtime / "vm1" / "control") as v:
        assert v.call(f"{INTERFACE}.Capture", {"snaplen": 65550}, fds=[theirs.fileno()]) == {}
    theirs.close()
    header = struct.Struct("=QIIIxxxx")
    with guest.connect() as g:
        for _ in range(50):
            g.sendall(bytes(100000))
            receive_exactly(g, 100000)
        first = header.unpack(ours.recv(70000)[:24])
        assert first[1] >= 42 and first[3] == 0
        left_out = 0
        while left_out == 0:  # what stood there, then one that tells
            if not select.select([ours], [], [], 0)[0]:
                g.sendall(b"x")
                receive_exactly(g, 1)
            left_out = header.unpack(ours.recv(70000)[:24])[3]
    assert left_out > 10
    ours.close()


def test_pcap_where_there_is_nothing_to_see(make_guest, directory, ask, runtime):
    start(make_guest("netns"), "600:null")
    path = directory / "f.pcapng"
    assert "no frames" in ask("pcap", "vm1", str(path), code=1)
    assert not path.exists()
    tap = start(make_guest("tap"), "600:null", name="vm2")
    assert "/nonexistent/f" in ask("pcap", "vm2", "/nonexistent/f", code=1)
    with Varlink(runtime / "vm2" / "control") as v:
        call = f"{INTERFACE}.Capture"
        assert "descriptor" in v.call(call, {"snaplen": 96})[1]["reason"]
        with open(path, "wb") as f, socket.socket() as tcp:
            for fd in (f.fileno(), tcp.fileno()):
                assert "SEQPACKET" in v.call(call, {"snaplen": 96}, fds=[fd])[1]["reason"]
        for snaplen in (0, -1, 65551, "1", None):
            assert v.call(call, {"snaplen": snaplen}) == (
                "org.varlink.service.InvalidParameter", {"parameter": "snaplen"})
    assert tap.daemon.process.poll() is None


def test_pcap_ends_with_the_worker(make_guest, directory, processes, vmchannel, runtime):
    guest = start(make_guest("tap"), "600:null")
    pcap = processes.start([vmchannel, "pcap", "vm1", directory / "f.pcapng"],
                           stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (directory / "f.pcapng").exists(), what="the file")
    os.kill(guest.daemon.worker(), signal.SIGKILL)
    assert pcap.wait(5) == 1 and "ended there" in pcap.stderr.read()
    captured(directory / "f.pcapng")  # whole

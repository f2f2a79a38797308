# SPDX-License-Identifier: BSD-3-Clause
"""Bad input: the exit code (2 for usage, 1 for what the world refused), and one line that names the
thing, the reason, and what is accepted."""

import os
import socket

import pytest

LONG = "/tmp/" + "x" * 103  # 108 bytes: one more than sun_path holds
LINK = ["--link", "stream,path=/nonexistent/link.sock"]

CHANNEL = ["-vmchannel", "600:unix:/p"]


def expect_one_line(done, code, words):
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("vmchannel: ")
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert done.stdout == ""


BAD_CHANNELS = [
    # PORT:DEVICE, words that the line must have
    ("0:unix:/p", ["0", "1", "65535"]),
    ("65536:unix:/p", ["65536", "65535"]),
    ("99999999999999999999:unix:/p", ["99999999999999999999", "65535"]),
    ("-1:unix:/p", ["-1", "65535"]),
    ("abc:unix:/p", ["abc", "65535"]),
    ("600x:unix:/p", ["600x", "65535"]),
    (" 600:unix:/p", ["600"]),
    (":unix:/p", ["port"]),
    ("600", ["600"]),
    ("600:", ["600", "unix"]),
    ("", ["PORT:DEV"]),
    (f"600:unix:{LONG}", ["107"]),
    ("600:unix:", ["unix", "path"]),
    ("600:unix:,server", ["unix", "path"]),
    ("600:bogus:/p", ["bogus", "unix"]),
    ("600:vc", ["vc"]),
    ("600:unix", ["unix"]),
    ("600:unix:/p,bogus=1", ["bogus", "server", "reconnect"]),
    ("600:unix:/p,bogus", ["bogus", "server", "reconnect"]),
    ("600:unix:/p,server=maybe", ["server", "maybe", "on", "off"]),
    ("600:unix:/p,reconnect=abc", ["reconnect", "abc"]),
    ("600:unix:/p,reconnect=-1", ["reconnect", "-1"]),
    ("600:unix:/p,reconnect=99999999999", ["reconnect", "99999999999"]),
    ("600:unix:/p,server=on,reconnect=1", ["reconnect", "server"]),
    ("600:unix:/p,wait=off", ["wait", "server"]),
    ("600:unix:/p,nowait", ["wait", "server"]),
    ("600:unix:/p,tight=on", ["tight", "abstract"]),
    ("600:unix:/p,nodelay", ["nodelay"]),
    ("600:unix:/p,max=0x", ["max", "0x"]),
]


@pytest.mark.parametrize("command", ["serve", "run", "qemu"])
@pytest.mark.parametrize("channel, words", BAD_CHANNELS, ids=[c[:40] for c, _ in BAD_CHANNELS])
def test_bad_channel(processes, vmchannel, command, channel, words):
    argv = {
        "serve": ["serve", *LINK, "-vmchannel", channel],
        "run": ["run", "-vmchannel", channel, "--", "true"],
        "qemu": ["qemu", "qemu-system-x86_64", "-vmchannel", channel],
    }[command]
    expect_one_line(processes.run([vmchannel, *argv], timeout=5), 2, words)


BAD_COMMAND_LINES = [
    (["serve", *LINK, "-vmchannel", "600:unix:/p", "-vmchannel", "600:unix:/q"], ["600", "twice"]),
    (["run", "-vmchannel", "600:unix:/p", "-vmchannel", "600:unix:/p", "true"], ["600", "twice"]),
    (["qemu", "qemu-system-x86_64", "-vmchannel", "600:unix:/p", *CHANNEL],
     ["600", "twice"]),
    (["serve", *LINK], ["-vmchannel"]),
    (["serve", *CHANNEL], ["--link"]),
    (["serve", *LINK, "-vmchannel"], ["-vmchannel"]),
    (["serve", *LINK, *CHANNEL, "--bogus"], ["--bogus"]),
    (["serve", *LINK, "-vmchannel", "600:unix:/p", "extra"], ["extra"]),
    (["serve", "--link", "bogus,x=1", *CHANNEL], ["bogus", "stream", "tap"]),
    (["serve", "--link", "stream", *CHANNEL], ["stream", "path"]),
    (["serve", "--link", "stream,bogus=1", *CHANNEL], ["bogus", "path"]),
    (["serve", "--link", f"stream,path={LONG}", *CHANNEL], ["107"]),
    (["serve", "--link", "tap", *CHANNEL], ["tap", "ifname"]),
    (["serve", "--link", "tap,ifname=sixteen-bytes-xx", *CHANNEL], ["ifname", "15"]),
    (["serve", "--link", "netns", *CHANNEL], ["netns", "path"]),
    (["serve", *LINK, *CHANNEL, "--net", "10.0.2.0"], ["10.0.2.0"]),
    (["serve", *LINK, *CHANNEL, "--net", "10.0.2.1/24"], ["10.0.2.1/24"]),
    (["serve", *LINK, *CHANNEL, "--mtu", "10"], ["mtu", "576", "65520"]),
    (["serve", *LINK, *CHANNEL, "--name", ""], ["name"]),
    (["serve", *LINK, *CHANNEL, "--user", ""], ["--user", "''", "name or number)\n"]),
    (["serve", *LINK, *CHANNEL, "--group", "no such"], ["--group", "no such", "name or number)\n"]),
    (["serve", *LINK, *CHANNEL, "--mode", "8"], ["--mode", "8", "octal)\n"]),
    (["list", "-v"], ["-v", "--help"]),
    (["metrics", "-vv"], ["-vv", "--help"]),
    (["run", *CHANNEL], ["command"]),
    (["run", *CHANNEL, "--"], ["command"]),
    (["run", "--link", "bogus", *CHANNEL, "true"], ["bogus", "tap", "netns"]),
    (["qemu", *CHANNEL], ["qemu"]),
    (["qemu", "--nic", "", "qemu-system-x86_64", *CHANNEL], ["--nic"]),
    (["bogus"], ["bogus", "serve"]),
    ([], ["serve"]),
]


@pytest.mark.parametrize(
    "argv, words", BAD_COMMAND_LINES, ids=[" ".join(a)[:60] for a, _ in BAD_COMMAND_LINES])
def test_bad_command_line(processes, vmchannel, argv, words):
    expect_one_line(processes.run([vmchannel, *argv], timeout=5), 2, words)


def test_behind_two_dashes_all_are_words(processes, vmchannel):
    argv = [vmchannel, "pcap", "--", "-no-such-guest", "-x"]
    expect_one_line(processes.run(argv, timeout=5), 1, ["-no-such-guest", "no such guest"])


BAD_WORLD = [
    ("tap,ifname=vmc0,netns=/nonexistent/ns", ["/nonexistent/ns", "No such file"]),
    ("tap,ifname=vmc0,netns=nosuchname", ["nosuchname", "No such file"]),
    ("tap,fd=77", ["77"]),
    ("packet,ifname=nosuchif0", ["nosuchif0", "No such device"]),
    ("netns,path=/nonexistent/ns", ["/nonexistent/ns", "No such file"]),
    ("netns,path=/dev/null", ["/dev/null"]),
    ("stream,path=/nonexistent/dir/link.sock,server=on", ["/nonexistent/dir", "No such file"]),
    ("stream,fd=77", ["77"]),
    ("stream,fd=0", ["fd 0", "not a stream socket"]),
    ("tap,fd=0", ["fd 0", "tap"]),
    ("packet,fd=0", ["fd 0", "AF_PACKET"]),
    ("stream,addr=192.0.2.77:7777,server=on", ["192.0.2.77", "Cannot assign"]),
]


@pytest.mark.parametrize("link, words", BAD_WORLD, ids=[l for l, _ in BAD_WORLD])
def test_link_that_cannot_be_opened(processes, vmchannel, link, words):
    argv = [vmchannel, "serve", "--link", link, *CHANNEL]
    expect_one_line(processes.run(argv, timeout=5), 1, words)


def test_server_socket_that_cannot_be_made(processes, vmchannel, directory):
    path = "/nonexistent/dir/service.sock"
    argv = [vmchannel, "serve", "--link", f"stream,path={directory}/link.sock,server=on",
            "-vmchannel", f"600:unix:{path},server=on"]
    expect_one_line(processes.run(argv, timeout=5), 1, [path, "No such file"])


@pytest.mark.parametrize("length", [106, 107])
def test_longest_path_works(make_guest, listen, length):
    path = "/tmp/" + f"vmce2e-{os.getpid()}-".ljust(length - 5, "x")
    service = listen(path)
    guest = make_guest("netns").start(f"600:unix:{path}")
    g = guest.connect()
    service.accept().sendall(b"!")
    assert g.recv(1) == b"!"


def test_literal_comma_in_a_path(make_guest, listen, directory):
    service = listen(directory / "a,b.sock")
    guest = make_guest("netns").start(f"600:unix:{directory}/a,,b.sock")
    g = guest.connect()
    service.accept().sendall(b"!")
    assert g.recv(1) == b"!"


def test_path_as_an_option(make_guest, listen, socket_path):
    service = listen(socket_path)
    guest = make_guest("netns").start(f"600:unix:path={socket_path}")
    g = guest.connect()
    service.accept().sendall(b"!")
    assert g.recv(1) == b"!"


@pytest.mark.parametrize("argv", [
    ["--help"], ["--version"], ["serve", "--help"], ["run", "--help"], ["qemu", "--help"]])
def test_help_and_version(processes, vmchannel, argv):
    done = processes.run([vmchannel, *argv], timeout=5)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "vmchannel" in done.stdout
    if argv == ["--version"]:
        assert len(done.stdout.splitlines()) == 1
    else:
        assert done.stdout.startswith("usage: vmchannel")


@pytest.mark.parametrize("argv", [
    ["--help"], ["--version"], ["run", "--help"], ["qemu", "--nic", "help"], ["metrics"],
    ["serve", "--dry-run", *LINK, *CHANNEL]], ids=lambda argv: argv[0])
def test_output_that_cannot_be_written(processes, vmchannel, argv):
    done = processes.run(["sh", "-c", 'exec "$@" >/dev/full', "sh", vmchannel, *argv])
    assert done.returncode == 1
    assert done.stderr == "vmchannel: standard output: No space left on device\n"

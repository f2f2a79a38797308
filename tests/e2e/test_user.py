# SPDX-License-Identifier: BSD-3-Clause
"""--user, --group and --mode: who the daemon is once it serves, whose its sockets are, and that
devices are opened with that user's permissions and no other."""

import grp
import os
import pwd
import socket
import stat

import pytest

from harness.daemon import Daemon
from harness.guests import CHANNEL
from harness.processes import wait_until
from harness.services import answer_lines

NOBODY = pwd.getpwnam("nobody")
DAEMON_GROUP = grp.getgrnam("daemon")
AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


def status_of(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def assert_is_nobody(pid):
    status = status_of(pid)
    assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert status["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name


@pytest.fixture
def service(listen, open_directory):
    service = listen(open_directory / "service.sock", answer_lines)
    os.chown(service.path, NOBODY.pw_uid, -1)
    os.chmod(service.path, 0o700)
    return service


# stream-client's peer is a socket of root's; its bridge would refuse nobody.
@pytest.mark.parametrize("kind", ["tap", "packet", "netns", "stream"])
def test_serves_as_that_user(make_guest, open_directory, service, kind):
    guest = make_guest(kind).start(f"600:unix:{service.path}", options=["--user", "nobody"])
    assert guest.probe("talk", CHANNEL, 600, 3)["error"] == ""
    assert_is_nobody(guest.daemon.process.pid)
    assert_is_nobody(guest.daemon.worker())
    if kind == "stream":
        return  # its bridge ends with the link
    # Again with a worker that root did not start.
    first = guest.daemon.worker()
    os.kill(first, 9)
    guest.daemon.wait_for_log("worker: ended by")
    wait_until(lambda: first != guest.daemon.worker(), what="a new worker")
    wait_until(lambda: guest.probe("talk", CHANNEL, 600, 1)["error"] == "", what="an answer")
    assert_is_nobody(guest.daemon.worker())
    assert guest.daemon.stop() == 0


def test_devices_are_opened_with_its_permissions(make_guest, listen, open_directory):
    """Root's socket, which root could have connected to, is refused and the log says why."""
    service = listen(open_directory / "roots.sock", answer_lines)
    os.chmod(service.path, 0o700)
    guest = make_guest("packet").start(f"600:unix:{service.path}", options=["--user=nobody"])
    error, _ = guest.refusal()
    assert os.strerror(error) == "Connection refused"
    guest.daemon.wait_for_log("roots.sock", "Permission denied")


def test_file_of_roots_is_refused_at_start(processes, vmchannel, open_directory):
    """What opens at start is opened as the user too: no file that it could not open later."""
    path = open_directory / "roots.txt"
    path.write_text("kept")
    path.chmod(0o600)
    done = processes.run(
        [vmchannel, "serve", "--user=nobody", "--link", f"stream,path={open_directory}/l,server",
         "-vmchannel", f"600:file:{path}"], timeout=10)
    assert done.returncode == 1
    assert "roots.txt: Permission denied" in done.stderr
    assert path.read_text() == "kept"


def start_with_sockets(processes, vmchannel, directory, *options, prefix=()):
    daemon = Daemon(processes, vmchannel,
                    ["--link", f"vhost-user,path={directory}/link.sock,server=on", "-vmchannel",
                     f"600:unix:{directory}/channel.sock,server=on", *options], prefix=prefix)
    daemon.wait_for_log("ready")
    return daemon, [os.lstat(directory / name) for name in ("link.sock", "channel.sock")]


def test_sockets_are_their_users_alone(processes, vmchannel, open_directory):
    daemon, sockets = start_with_sockets(processes, vmchannel, open_directory, "--user=nobody")
    for st in sockets:
        assert (st.st_uid, st.st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
        assert stat.S_IMODE(st.st_mode) == 0o700
    assert daemon.stop() == 0


def test_mode_and_group_widen(processes, vmchannel, open_directory):
    daemon, sockets = start_with_sockets(processes, vmchannel, open_directory, "--user=nobody",
                                         "--group=daemon", "--mode=0660")
    for st in sockets:
        assert (st.st_uid, st.st_gid) == (NOBODY.pw_uid, DAEMON_GROUP.gr_gid)
        assert stat.S_IMODE(st.st_mode) == 0o660
    assert stat.S_IMODE(os.lstat(open_directory / "link.sock.lock").st_mode) == 0o600
    # Another user in that group gets in, one who is not in it does not.
    script = f"import socket; socket.socket(socket.AF_UNIX).connect('{open_directory}/link.sock')"
    for group, code in (("daemon", 0), ("nogroup", 1)):
        done = processes.run(["setpriv", "--reuid", "games", "--regid", group, "--clear-groups",
                              "/usr/bin/python3", "-c", script], timeout=10)
        assert done.returncode == code, done.stderr
    assert daemon.stop() == 0


def test_link_socket_where_only_root_may_make_one(processes, vmchannel, directory):
    """As in /run: nobody can go through the directory, but not write in it."""
    directory.chmod(0o755)
    daemon = Daemon(processes, vmchannel,
                    ["--link", f"stream,path={directory}/link.sock,server=on", "--user=nobody",
                     "-vmchannel", "600:null"])
    daemon.wait_for_log("ready")
    assert os.lstat(directory / "link.sock").st_uid == NOBODY.pw_uid
    done = processes.run([*AS_NOBODY, "/usr/bin/python3", "-c", "import socket; socket.socket("
                          f"socket.AF_UNIX).connect('{directory}/link.sock')"], timeout=10)
    assert done.returncode == 0, done.stderr
    assert daemon.stop() == 0
    # What it could not remove, the next one replaces.
    assert os.path.exists(directory / "link.sock")
    daemon = Daemon(processes, vmchannel,
                    ["--link", f"stream,path={directory}/link.sock,server=on", "-vmchannel",
                     "600:null"])
    daemon.wait_for_log("ready")
    assert daemon.stop() == 0


def test_hybrid_sockets_too(processes, vmchannel, open_directory):
    daemon = Daemon(processes, vmchannel,
                    ["--link", f"hybrid,path={open_directory}/v", "--user=nobody", "--mode=0600",
                     "-vmchannel", "600-601:null"])
    daemon.wait_for_log("ready")
    for port in (600, 601):
        st = os.lstat(open_directory / f"v_{port}")
        assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (NOBODY.pw_uid, 0o600)
    assert daemon.stop() == 0


def test_mode_without_privilege(processes, program, open_directory):
    run = processes.start(
        [*AS_NOBODY, program, "run", "--mode=0666", "-vmchannel",
         f"600:unix:{open_directory}/channel.sock,server=on", "--", "sleep", "60"])

    def mode():
        try:
            return stat.S_IMODE(os.lstat(open_directory / "channel.sock").st_mode) == 0o666
        except FileNotFoundError:
            assert run.poll() is None
            return False

    wait_until(mode, what="a socket for all")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(open_directory / "channel.sock"))


REFUSED = [
    (["--user=nosuchuser"], 2, ["nosuchuser", "accepted"]),
    (["--user="], 2, ["--user", "accepted"]),
    (["--group=nosuchgroup"], 2, ["nosuchgroup", "accepted"]),
    (["--mode=0"], 2, ["--mode", "octal"]),
    (["--mode=0999"], 2, ["0999", "octal"]),
    (["--mode=u+rw"], 2, ["u+rw", "octal"]),
    (["--mode=1777"], 2, ["1777", "777"]),
    (["--mode=00000000777"], 2, ["--mode", "octal"]),
]


@pytest.mark.parametrize("options, code, words", REFUSED, ids=[r[0][0] for r in REFUSED])
def test_bad_value_is_told(processes, vmchannel, directory, options, code, words):
    done = processes.run([vmchannel, "serve", "--link", f"stream,path={directory}/l,server",
                          "-vmchannel", "600:null", *options], timeout=10)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_only_root_becomes_another(processes, program, open_directory):
    argv = [*AS_NOBODY, program, "serve", "--link", f"stream,path={open_directory}/l,server",
            "-vmchannel", "600:null"]
    done = processes.run([*argv, "--user=daemon"], timeout=10)
    assert done.returncode == 1
    assert "--user: cannot become daemon: Operation not permitted" in done.stderr
    daemon = Daemon(processes, program, [*argv[argv.index("--link"):], "--user=nobody"],
                    prefix=AS_NOBODY)
    daemon.wait_for_log("ready")
    assert daemon.stop() == 0


def test_group_that_is_not_ours(processes, program, open_directory):
    done = processes.run([*AS_NOBODY, program, "serve", "--group=daemon", "--link",
                          f"stream,path={open_directory}/link.sock,server", "-vmchannel",
                          "600:null"], timeout=10)
    assert done.returncode == 1
    assert "link.sock: cannot set its owner, group or mode: Operation not permitted" in done.stderr

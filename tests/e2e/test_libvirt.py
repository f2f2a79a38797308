# SPDX-License-Identifier: BSD-3-Clause
"""Domains of a real libvirtd: what the thread of 2009 asks for in its XML, and what becomes of the
channels when libvirtd, the daemon or the domain goes and comes back. The tests of one domain share
it, in the order in which they stand."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import libvirtd, machine
from harness.guests import CHANNEL
from harness.libvirtd import QEMU_USER, SESSION, Host, Virsh
from harness.processes import Processes, wait_until
from harness.services import Service, answer_lines

pytestmark = pytest.mark.skipif(libvirtd.packages_missing(), reason="no libvirt here")

THREAD_XML = """\
    <interface type='vmchannel'>
      <source port='600'/>
      <target path='/some/path'/>
    </interface>
"""


@pytest.fixture(scope="module")
def host(vmchannel):
    with tempfile.TemporaryDirectory(prefix="vmce2e-") as d:
        os.chmod(d, 0o755)  # QEMU's user finds its sockets here
        processes = Processes(Path(d))
        h = Host(processes, vmchannel, Path(d))
        try:
            h.start_daemon("virtlogd")
            h.start_libvirtd()
            done = h.expect(h.vmchannel, "install-hook")
            assert "installed, libvirt's daemon reloaded" in done
            yield h
        finally:
            h.close()
            processes.end_all()
        assert processes.left_behind() == []


@pytest.fixture(scope="module")
def services(host):
    """path -> Service, made on demand, for QEMU's user."""
    made = {}

    def service(path, handler=answer_lines):
        if path not in made:
            inside = host.path(path)
            inside.parent.mkdir(parents=True, exist_ok=True)
            made[path] = Service(inside, handler)
            inside.chmod(0o777)
        return made[path]

    yield service
    for s in made.values():
        s.close()


@pytest.fixture(scope="module")
def virsh(host):
    return Virsh(host)


@pytest.fixture(scope="module")
def domain(host, virsh, services, system):
    """The thread's domain, running, and a second channel at port 601."""
    services("/some/path")
    services("/some/other/path")
    xml = virsh.xml("dom", system, {600: "/some/path", 601: "/some/other/path"})
    assert THREAD_XML in xml.read_text(), "what the thread says, to the letter"
    assert virsh.define(xml) == f"Domain 'dom' defined from {xml}\n"
    virsh("start", "dom")
    m = virsh.machine("dom")
    m.dhcp()
    return m


def expect_talk(m, port=600, count=3):
    told = m.probe("talk", CHANNEL, port, count)
    assert told["error"] == ""
    assert [a.split(" heard ")[1] for a in told["answers"]] == [f"guest {i}" for i in range(count)]


def recovers(m, port=600, timeout=15):
    def works():
        told = m.probe("talk", CHANNEL, port, 1)
        return told["error"] == "" and told["answers"]

    wait_until(works, timeout, "a connection of the guest")


def processes_of(host, words=""):
    """pid (inside) of the processes that are `vmchannel WORDS...`."""
    lines = host.expect("ps", "-e", "-o", "pid=,args=").splitlines()
    return [int(pid) for pid, args in (line.split(None, 1) for line in lines)
            if args.startswith(f"{host.vmchannel} {words}")]


def expect_nothing_left(host):
    assert processes_of(host) == []
    assert not host.path("/run/vmchannel").exists()


@pytest.mark.timeout(120)
def test_thread_domain_talks_at_its_path(domain, services, host):
    service = services("/some/path")
    before = len(service.peers)
    expect_talk(domain)
    assert len(service.peers) == before + 3
    assert service.peers[-1].startswith(b"\0vmchannel/dom/600/")


def test_five_connections_at_once_on_each_of_two_channels(domain):
    code, output = domain.sh(
        "for port in 600 601; do for i in 1 2 3 4 5; do "
        f"(sleep 1; echo $port-$i; sleep 2) | nc {CHANNEL} $port >/tmp/o.$port.$i & done; done; "
        "wait; cat /tmp/o.*")
    assert code == 0
    heard = sorted(line.split(" heard ")[1] for line in output.splitlines() if line)
    assert heard == sorted(f"{port}-{i}" for port in (600, 601) for i in range(1, 6))
    ends = {line.split(" heard ")[0] for line in output.splitlines() if "600-" in line}
    assert len(ends) == 5, "five host connections"


def test_daemon_is_qemus_user(domain, host):
    users = host.expect("ps", "-e", "-o", "user:20=,args=").splitlines()
    daemons = [line.split()[0] for line in users if " serve --xml " in line]
    assert len(daemons) == 3, "broker, its starter, worker"
    assert daemons[0] == QEMU_USER


def test_dumpxml_is_what_the_user_wrote(domain, virsh):
    for options in ([], ["--inactive"]):
        text = virsh.vmchannel("dumpxml", *options, "dom").stdout
        assert text.count("vmchannel") == 2 and text.count("<interface") == 2
        assert "vhostuser" not in text and "<metadata" not in text


def test_libvirtd_restarts_and_channels_work(domain, host, virsh):
    daemons = processes_of(host, "serve --xml")
    host.stop_libvirtd()
    expect_talk(domain)
    host.start_libvirtd()
    assert virsh("domstate", "dom").strip() == "running"
    expect_talk(domain)
    assert processes_of(host, "serve --xml") == daemons, "the daemon was left alone"


def pid_of_daemon(host):
    (pid_file,) = host.path("/run/vmchannel").glob("*.pid")
    return int(pid_file.read_text())


@pytest.mark.timeout(120)
def test_killed_daemon_is_back_at_once(domain, host):
    before = pid_of_daemon(host)
    host.expect("kill", "-9", str(before))
    wait_until(lambda: pid_of_daemon(host) != before, 1, "another daemon")
    recovers(domain)
    log = host.path("/var/log/libvirt/qemu/dom-vmchannel.log").read_text()
    assert "dom: daemon: killed by signal 9" in log


@pytest.mark.timeout(120)
def test_keeper_and_daemon_killed_are_back_when_libvirtd_is(domain, host):
    for pid in processes_of(host):
        host.run("kill", "-9", str(pid))
    wait_until(lambda: processes_of(host) == [], what="their end")
    host.stop_libvirtd()
    host.start_libvirtd()
    recovers(domain)


@pytest.mark.timeout(120)
def test_domain_survives_a_reconnect_without_its_service(domain, host, virsh):
    """libvirtd kills a QEMU whose hook fails then."""
    for pid in processes_of(host):
        host.run("kill", "-9", str(pid))
    path = host.path("/some/path")
    path.rename(path.with_name("away"))
    host.stop_libvirtd()
    host.start_libvirtd()
    assert virsh("domstate", "dom").strip() == "running"
    recovers(domain, 601)
    path.with_name("away").rename(path)
    expect_talk(domain, 600)


@pytest.mark.timeout(120)
def test_destroyed_domain_leaves_nothing(domain, host, virsh):
    virsh("destroy", "dom")
    expect_nothing_left(host)


@pytest.mark.timeout(120)
def test_domain_whose_keeper_was_killed_leaves_nothing(domain, host, virsh):
    virsh("start", "dom")
    (keeper,) = processes_of(host, "hook -- dom")
    host.expect("kill", "-9", str(keeper))
    virsh("destroy", "dom")
    expect_nothing_left(host)


HASH_LOOP = """\
dd if=/dev/urandom of=/tmp/known bs=1M count=4 2>/dev/null
sha256sum /tmp/known >/tmp/known.sum
cat >/tmp/loop <<'SCRIPT'
while [ ! -e /tmp/stop ]; do
    if sha256sum -c /tmp/known.sum >/dev/null; then echo memory-good; else echo memory-BAD; fi
done >>/tmp/hashes
SCRIPT
cat >/tmp/traffic <<'SCRIPT'
while [ ! -e /tmp/stop ]; do
    i=$(((i + 1) % 16))
    timeout 5 nc {address} {port} </dev/null >/tmp/part 2>/dev/null || sleep 0.1
    [ $(wc -c </tmp/part) = {size} ] && mv /tmp/part /tmp/piece.$i && echo whole
done >>/tmp/pieces
SCRIPT
cat >/tmp/holders <<'SCRIPT'
for i in $(seq 50); do
    [ -e /tmp/enough ] && exit
    for j in 1 2 3 4; do
        guestprobe script {address} 603 sleep:{held_ms} recv >/tmp/held.$i.$j &
    done
    sleep 0.02
done
SCRIPT
"""
HELD_MS = 8000
HELD = "".join(f"{i:07x}-" for i in range(4096))  # 32 KiB
HELD_TOLD = (f'{{"error": "", "steps": [{{"step": "sleep:{HELD_MS}", "end": ""}}, '
             f'{{"step": "recv", "got": "{HELD}", "end": "eof"}}]}}\n')
PIECE = b"".join(i.to_bytes(4, "big") * 64 for i in range(1024))  # 256 KiB
PIECE_HASH = hashlib.sha256(PIECE).hexdigest()


def send_piece(connection, number):
    connection.sendall(PIECE)
    connection.shutdown(socket.SHUT_WR)


def send_held(connection, number):
    connection.sendall(HELD.encode())
    connection.shutdown(socket.SHUT_WR)


def counted(m, file, word):
    return int(m.sh(f"grep -c {word} /tmp/{file}")[1].split()[0])


def wait_for_more(m, file, word, count=2):
    """Of the lines that are written from now on."""
    target = counted(m, file, word) + count
    wait_until(lambda: counted(m, file, word) >= target, 30, f"{count} more {word}")


@pytest.fixture(scope="module")
def busy_domain(host, virsh, services, system):
    """One whose guest checks its memory all the time, and what it receives."""
    services("/some/path")
    services("/some/pieces", send_piece)
    services("/some/held", send_held)
    virsh.define(virsh.xml("busy", system, {600: "/some/path", 602: "/some/pieces",
                                            603: "/some/held"}))
    virsh("start", "busy")
    m = virsh.machine("busy")
    m.dhcp()
    script = HASH_LOOP.format(address=CHANNEL, port=602, size=len(PIECE), held_ms=HELD_MS)
    for line in shell_file("/tmp/setup", script):
        assert m.sh(line)[0] == 0
    assert m.sh("sh /tmp/setup; sh /tmp/loop & sh /tmp/traffic &")[0] == 0
    expect_good_memory(m)
    return m


def shell_file(path, text):
    """Commands, one line each, that write the text: the agent takes lines."""
    yield f": >{path}"
    for line in text.splitlines():
        quoted = line.replace("'", "'\\''")
        yield f"echo '{quoted}' >>{path}"


def expect_good_memory(m):
    """Both what the guest made, and what it received, before and lately."""
    wait_for_more(m, "hashes", "memory-good", 1)
    wait_for_more(m, "pieces", "whole")
    assert counted(m, "hashes", "BAD") == 0
    _, sums = m.sh("sha256sum /tmp/piece.*")
    assert {line.split()[0] for line in sums.splitlines() if line} == {PIECE_HASH}


def expect_held_as_sent(m):
    """Of the connections whose end had arrived."""
    m.sh("touch /tmp/enough; while pidof guestprobe >/dev/null; do sleep 0.2; done", 60)
    _, sums = m.sh("sha256sum $(grep -l '\"eof\"' /tmp/held.*)")
    found = [line.split()[0] for line in sums.splitlines()]
    assert len(found) > 5
    assert set(found) == {hashlib.sha256(HELD_TOLD.encode()).hexdigest()}


@pytest.mark.timeout(120)
def test_saved_and_restored_domain(busy_domain, host, virsh):
    virsh("managedsave", "busy")
    expect_nothing_left(host)
    virsh("start", "busy")
    busy_domain.connect_agent()
    busy_domain.sh(" true")  # the serial port may lose its first byte
    recovers(busy_domain)
    expect_good_memory(busy_domain)


@pytest.mark.timeout(120)
def test_snapshot_of_a_running_domain_can_be_restored(busy_domain, host, virsh):
    """What the daemon writes into memory while that is saved is in the dirty log. To show it takes
    bytes that lie where the daemon put them: received in that time, and not read until later. How
    many there are is chance here; test_migration decides when QEMU copies what."""
    memory = virsh.guests / "memory.save"
    assert busy_domain.sh("sh /tmp/holders >/dev/null 2>&1 & sleep 0.5")[0] == 0
    virsh("snapshot-create-as", "busy", "s1", "--live", "--memspec",
          f"file={memory},snapshot=external")
    expect_good_memory(busy_domain)
    virsh("destroy", "busy")
    expect_nothing_left(host)
    virsh("snapshot-delete", "busy", "s1", "--metadata")
    virsh("restore", memory)
    busy_domain.connect_agent()
    busy_domain.sh(" touch /tmp/enough")  # the serial port may lose its first byte
    expect_good_memory(busy_domain)
    expect_held_as_sent(busy_domain)
    virsh("destroy", "busy")
    virsh("undefine", "busy")
    expect_nothing_left(host)


@pytest.mark.timeout(120)
def test_renamed_and_undefined_domain_leaves_nothing(host, virsh, services, system):
    services("/some/path")
    virsh.define(virsh.xml("first", system, {600: "/some/path"}))
    virsh("domrename", "first", "second")
    virsh("start", "second", "--paused")
    assert "hook -- second" in host.expect("ps", "-e", "-o", "args=")
    virsh("destroy", "second")
    assert virsh.vmchannel("undefine", "second").stdout == "Domain 'second' has been undefined\n"
    expect_nothing_left(host)
    assert "second" not in virsh("list", "--all", "--name").split()


# What was done to the path, or what else is in the XML; what `virsh start` or `define` then says.
def make_file(path):
    path.write_text("")


def make_private(path):
    Service(path, answer_lines)
    path.chmod(0o600)


REFUSED_AT_START = [
    ("missing", lambda path: None,
     "bad: channel 600: {path}: no such socket: its service must be started first"),
    ("file", make_file, "bad: channel 600: {path}: not a socket"),
    ("private", make_private,
     "bad: channel 600: {path}: QEMU's user libvirt-qemu may not connect to it"),
]


@pytest.mark.parametrize("name, prepare, line", REFUSED_AT_START, ids=lambda v: str(v)[:20])
def test_refused_before_the_start(host, virsh, system, name, prepare, line):
    path = f"/some/bad/{name}"
    host.path("/some/bad").mkdir(parents=True, exist_ok=True)
    prepare(host.path(path))
    virsh.define(virsh.xml("bad", system, {600: path}))
    said = virsh.fails("start", "bad").strip()
    assert said.endswith("vmchannel: " + line.format(path=path)), said
    assert processes_of(host) == []
    virsh("undefine", "bad")


REFUSED_AT_DEFINE = [
    ({600: "relative"}, None, ["relative", "absolute"]),
    ({0: "/p"}, None, ["port", "0", "65535"]),
    ({70000: "/p"}, None, ["port", "70000", "65535"]),
    ({600: "/p"}, ("</memory>", "</memory><memoryBacking><access mode='private'/></memoryBacking>"),
     ["private", "shared"]),
    ({600: "/p"}, ("port='600'/>", "port='600'/><source port='601'/>"), ["source"]),
    ({600: "/p"}, ("<target path='/p'/>", "<target path='/p'/><mac address='52:54:00:00:00:01'/>"
                   "</interface><interface type='user'><mac address='52:54:00:00:00:01'/>"),
     ["mac '52:54:00:00:00:01'", "the interface at line", "has it too"]),
]


@pytest.mark.parametrize("channels, replace, words", REFUSED_AT_DEFINE, ids=lambda v: str(v)[:30])
def test_refused_by_define(virsh, system, channels, replace, words):
    xml = virsh.xml("bad", system, channels)
    if replace:
        xml.write_text(xml.read_text().replace(*replace))
    done = virsh.vmchannel("define", xml)
    assert done.returncode == 1
    assert done.stderr.startswith(f"vmchannel: {xml}:") and done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    assert "bad" not in virsh("list", "--all", "--name").split()


def test_edited_domain_keeps_its_uuid(host, virsh, system):
    virsh.define(virsh.xml("edited", system, {600: "/some/path"}))
    uuid = virsh("domuuid", "edited")
    done = virsh.vmchannel("edit", "edited", env={"EDITOR": "sed -i s,/some/path,/other/path,"})
    assert done.stdout == "Domain 'edited' XML configuration edited.\n", done.stderr
    text = virsh.vmchannel("dumpxml", "edited").stdout
    assert "/other/path" in text and "/some/path" not in text
    assert virsh("domuuid", "edited") == uuid
    virsh.define(virsh.xml("edited", system, {601: "/third/path"}))
    assert virsh("domuuid", "edited") == uuid
    done = virsh.vmchannel("edit", "edited", env={"EDITOR": "true"})
    assert done.stdout == "Domain 'edited' XML configuration not changed.\n"
    virsh("undefine", "edited")


def test_domain_with_a_user_of_its_own(host, virsh, services, system):
    services("/some/path")
    xml = virsh.xml("own", system, {600: "/some/path"})
    xml.write_text(xml.read_text().replace("</domain>", """\
  <seclabel type='static' model='dac' relabel='no'><label>nobody:nogroup</label></seclabel>
</domain>"""))
    virsh.define(xml)
    virsh("start", "own", "--paused")
    users = host.expect("ps", "-e", "-o", "user:20=,args=").splitlines()
    ours = [l.split()[0] for l in users if "serve --xml" in l or "guest=own" in l]
    assert ours == ["nobody"] * 4, "broker, its starter, worker, QEMU"
    virsh("destroy", "own")
    virsh("undefine", "own")


def test_without_its_libvirt_program(processes, vmchannel, directory):
    alone = directory / "vmchannel"
    shutil.copy(vmchannel, alone)
    done = processes.run([alone, "define", "/dev/null"])
    assert done.returncode == 1
    assert re.fullmatch(r"vmchannel: define: the program \S+/vmchannel-libvirt is not installed "
                        r".*\n", done.stderr)


def test_stock_libvirt_refuses_live_attach(domain, host, virsh):
    element = host.directory / "element.xml"
    element.write_text(THREAD_XML)
    virsh("start", "dom")
    said = virsh.fails("attach-device", "dom", element)
    assert "error: Failed to attach device from" in said
    assert "vmchannel" in said
    virsh("destroy", "dom")


def test_hook_of_a_domain_without_channels_does_nothing(host, virsh, system):
    xml = virsh.xml("plain", system, {})
    virsh("define", xml)
    virsh("start", "plain", "--paused")
    assert processes_of(host) == []
    virsh("destroy", "plain")
    virsh("undefine", "plain")


@pytest.mark.timeout(120)
def test_session(host, services, system):
    virsh = Virsh(host, SESSION)
    services("/some/path")
    virsh.define(virsh.xml("mine", system, {600: "/some/path"}))
    virsh("start", "mine")
    m = virsh.machine("mine")
    m.dhcp()
    expect_talk(m)
    users = host.expect("ps", "-e", "-o", "user:20=,args=").splitlines()
    assert {l.split()[0] for l in users if str(host.vmchannel) in l} == {virsh.user}
    assert host.path(f"{libvirtd.SESSION_ENV['HOME']}/.cache/libvirt/qemu/log/mine-vmchannel.log"
                     ).exists()
    virsh("destroy", "mine")
    assert processes_of(host) == []
    assert not host.path(f"{libvirtd.SESSION_ENV['XDG_RUNTIME_DIR']}/vmchannel").exists()
    virsh("undefine", "mine")


@pytest.fixture(scope="module")
def system_with_virsh(session_directory, helpers):
    """A kernel and an initramfs with the real virsh in it."""
    ldd = subprocess.run(["ldd", "/usr/bin/virsh"], check=True, stdout=subprocess.PIPE, text=True)
    libraries = re.findall(r"(/\S+) \(0x", ldd.stdout)
    directory = session_directory / "with-virsh"
    directory.mkdir()
    files = {"bin/virsh": "/usr/bin/virsh", **{path[1:]: path for path in libraries}}
    return machine.unpack_kernel(directory), machine.build_initramfs(
        directory / "initramfs.cpio", helpers["guestprobe"], files=files)


@pytest.mark.timeout(120)
def test_guest_sees_itself_through_the_hosts_libvirtd(host, virsh, system_with_virsh):
    """The thread's own use case."""
    virsh.define(virsh.xml("monitor", system_with_virsh,
                           {600: "/var/run/libvirt/libvirt-sock",
                            601: "/var/run/libvirt/libvirt-sock-ro"}, memory=512))
    said = virsh.fails("start", "monitor")
    assert "/var/run/libvirt/libvirt-sock: QEMU's user libvirt-qemu may not connect" in said
    host.path("/run/libvirt/libvirt-sock").chmod(0o777)
    virsh("start", "monitor")
    m = virsh.machine("monitor")
    m.dhcp()
    code, output = m.sh(f"virsh -c qemu+tcp://{CHANNEL}:600/system list --name", 60)
    assert (code, output.split()) == (0, ["monitor"])
    code, output = m.sh(f"virsh -c qemu+tcp://{CHANNEL}:601/system list --name", 60)
    assert (code, output.split()) == (0, ["monitor"])
    code, output = m.sh(f"virsh -c qemu+tcp://{CHANNEL}:601/system destroy monitor", 60)
    assert code == 1 and "read only access prevents" in output
    virsh("destroy", "monitor")
    expect_nothing_left(host)


@pytest.fixture(scope="module")
def plugged(host, virsh, services, system):
    """A domain with one channel at its start."""
    services("/some/path")
    services("/some/other/path")
    virsh.define(virsh.xml("plug", system, {600: "/some/path"}))
    virsh("start", "plug")
    m = virsh.machine("plug")
    m.dhcp()
    yield m
    virsh("destroy", "plug")
    expect_nothing_left(host)
    virsh("undefine", "plug")


def starts_again(virsh, m):
    virsh("destroy", "plug")
    virsh("start", "plug")
    m.connect_agent()
    m.wait_booted()
    m.dhcp()


USERS_ELEMENT = """    <interface type=.vmchannel.>
      <source port=.([0-9]+)./>
      <target path=.([^'"]*)./>
    </interface>
"""


def expect_channels(virsh, channels):
    """In libvirt's XML of the domain as it runs and as it will start, and in the user's."""
    for options in ([], ["--inactive"]):
        text = virsh("dumpxml", *options, "plug")
        assert set(re.findall(r" path=.(/some/[^'\"]*)", text)) == set(channels.values())
        text = virsh.vmchannel("dumpxml", *options, "plug").stdout
        assert "vmchannel:" not in text and "<metadata>" not in text
        found = re.findall(USERS_ELEMENT, text)
        assert {int(port): path for port, path in found} == channels, text


@pytest.mark.timeout(120)
def test_channel_added_while_the_domain_runs(plugged, host, virsh):
    """Kept by the daemon's successor, and by the domain."""
    assert plugged.probe("connect", CHANNEL, 601)["error"] == "ECONNREFUSED"
    host.expect(host.vmchannel, "add", "plug", "601:unix:/some/other/path")
    expect_talk(plugged, 601)
    both = {600: "/some/path", 601: "/some/other/path"}
    expect_channels(virsh, both)
    host.expect("kill", "-9", str(pid_of_daemon(host)))
    recovers(plugged, 601)
    starts_again(virsh, plugged)
    expect_talk(plugged, 600)
    expect_talk(plugged, 601)
    expect_channels(virsh, both)


ADD_REFUSED = [
    ("601:unix:/some/third/path", 1, "channel 601: is there already"),
    ("602:pty", 1, "domain XML has Unix sockets"),
    ("602:unix:relative", 1, "not absolute"),
    ("602:unix:/some/third/path,max=1", 1, "has no form in domain XML"),
    ("602:unix:/some/third/path,server,nowait", 1, "not in the sandbox"),
    ("602-603:unix:/some/%p", 1, "602-603"),
    ("602:nothing:/some/third/path", 2, "nothing"),
    ("0:unix:/some/third/path", 2, "1 to 65535"),
]


@pytest.mark.parametrize("channel, code, words", ADD_REFUSED, ids=lambda v: str(v)[:40])
def test_what_cannot_be_added_is_not_recorded(plugged, host, virsh, channel, code, words):
    done = host.run(host.vmchannel, "add", "plug", channel)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("vmchannel: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
    expect_channels(virsh, {600: "/some/path", 601: "/some/other/path"})


@pytest.mark.timeout(120)
def test_channel_deleted_while_the_domain_runs(plugged, host, virsh):
    host.expect(host.vmchannel, "del", "plug", "600")
    assert plugged.probe("connect", CHANNEL, 600)["error"] == "ECONNREFUSED"
    done = host.run(host.vmchannel, "del", "plug", "600")
    assert done.returncode == 1 and "channel 600: there is none" in done.stderr
    expect_channels(virsh, {601: "/some/other/path"})
    starts_again(virsh, plugged)
    assert plugged.probe("connect", CHANNEL, 600)["error"] == "ECONNREFUSED"
    expect_talk(plugged, 601)


@pytest.mark.timeout(120)
def test_last_channel_goes_and_one_comes_back(plugged, host, virsh):
    host.expect(host.vmchannel, "del", "plug", "601")
    assert plugged.probe("connect", CHANNEL, 601)["error"] == "ECONNREFUSED"
    expect_channels(virsh, {})
    host.expect(host.vmchannel, "add", "plug", "600:unix:/some/path")
    expect_talk(plugged, 600)
    expect_channels(virsh, {600: "/some/path"})


def test_hook_removed_and_installed_again(host, virsh, system):
    hook = host.path("/etc/libvirt/hooks/qemu.d/vmchannel")
    said = host.expect(host.vmchannel, "install-hook", "--remove")
    assert said == ("/etc/libvirt/hooks/qemu.d/vmchannel: removed, libvirt's daemon reloaded\n")
    assert not hook.exists()
    host.expect(host.vmchannel, "install-hook", "--remove")
    done = virsh.vmchannel("define", virsh.xml("unhooked", system, {600: "/some/path"}))
    assert done.returncode == 0 and "install-hook" in done.stderr
    assert "installed, libvirt's daemon reloaded" in host.expect(host.vmchannel, "install-hook")
    assert hook.exists()
    virsh("undefine", "unhooked")

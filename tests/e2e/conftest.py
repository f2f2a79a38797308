# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the end-to-end tests. Every test has a timeout (@pytest.mark.timeout(SECONDS), 30 by
default) for each of its phases and a directory of its own, and fails when it leaves a process, a
namespace, an interface, a socket or a lock file behind."""

import os
import shutil
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness import control, devices, guests, machine, namespace, programs  # noqa: E402
from harness.processes import Processes  # noqa: E402
from harness.services import Listener, Service, answer_lines  # noqa: E402

DEFAULT_TIMEOUT = 30


def pytest_configure(config):
    config.addinivalue_line("markers", "timeout(seconds): fail a test that takes longer")
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", returncode=2)
    # Ended from outside, the run cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _under_alarm(item, phase):
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else DEFAULT_TIMEOUT

    def on_alarm(signum, frame):
        pytest.fail(f"{phase} took over {seconds} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    yield from _under_alarm(item, "setup")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield from _under_alarm(item, "test")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield from _under_alarm(item, "teardown")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The logs of a failed test belong to its report."""
    report = (yield).get_result()
    directory = item.funcargs.get("directory") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and directory:
        for log in sorted(Path(directory).glob("*.log")):
            text = log.read_text(errors="replace")[-4000:]
            report.sections.append((log.name, text))


@pytest.fixture(scope="session")
def vmchannel():
    return programs.find_vmchannel()


@pytest.fixture(scope="session")
def session_directory():
    with tempfile.TemporaryDirectory(prefix="vmce2e-") as d:
        os.chmod(d, 0o755)  # the tests of the unprivileged start programs from here
        yield Path(d)


@pytest.fixture(scope="session", autouse=True)
def control_sockets(session_directory):
    """Named guests of the tests have their control sockets here, not where the machine's are."""
    os.environ["VMCHANNEL_RUNTIME_DIR"] = str(session_directory / "control")


@pytest.fixture
def program(vmchannel, session_directory):
    """A copy where anybody may execute it."""
    copy = session_directory / "vmchannel"
    if not copy.exists():
        shutil.copy(vmchannel, copy)
    return copy


@pytest.fixture(scope="session")
def helpers(session_directory):
    """The compiled C helpers: name -> path."""
    return {name: programs.compile_helper(name, session_directory) for name in programs.SOURCES}


@pytest.fixture(scope="session")
def system(session_directory, helpers):
    """What QEMU guests boot: (kernel, initramfs)."""
    kernel = machine.unpack_kernel(session_directory)
    return kernel, machine.build_initramfs(
        session_directory / "initramfs.cpio", helpers["guestprobe"])


def _interfaces():
    return set(os.listdir("/sys/class/net"))


def _own_namespaces():
    prefix = f"vmce2e-{os.getpid()}-"
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return {n for n in names if n.startswith(prefix)}


def _sockets_and_locks(directory):
    return [p.name for p in Path(directory).rglob("*")
            if stat.S_ISSOCK(p.lstat().st_mode) or p.name.endswith(".lock")]


def tracked_directory():
    """Of a fixture: gives a directory, and fails when anything stays."""
    interfaces, namespaces = _interfaces(), _own_namespaces()
    with tempfile.TemporaryDirectory(prefix="vmce2e-") as d:
        yield Path(d)
        assert _sockets_and_locks(d) == [], "left in the file system"
    assert _own_namespaces() - namespaces == set(), "network namespaces left behind"
    new = {i for i in _interfaces() - interfaces if "vmc" in i}
    assert new == set(), "interfaces left behind"


@pytest.fixture
def directory():
    yield from tracked_directory()


@pytest.fixture
def open_directory(directory):
    """The same, where anybody may make files."""
    directory.chmod(0o777)
    return directory


def _tracked_processes(directory):
    p = Processes(directory)
    yield p
    stubborn = p.end_all()
    assert p.left_behind() == [], "processes left behind"
    assert stubborn == [], "processes that SIGTERM did not end"
    assert p.forbidden == [], "ended by a forbidden system call"


@pytest.fixture
def processes(directory):
    yield from _tracked_processes(directory)


@pytest.fixture
def make_guest(processes, vmchannel, helpers, directory):
    """make_guest(KIND) -> a namespace guest, not started; see harness/guests.py."""
    made = []

    def make(kind):
        cls = kind if isinstance(kind, type) else guests.KINDS[kind]
        made.append(cls(processes, vmchannel, helpers, directory))
        return made[-1]

    yield make
    stubborn = processes.end_all()
    for guest in made:
        guest.close()
    assert stubborn == [], "processes that SIGTERM did not end"


@pytest.fixture
def socket_path(directory):
    """A path for the host program of channel 600."""
    return directory / "service.sock"


@pytest.fixture
def listen(request, directory):
    """listen(PATH) -> Listener; listen(PATH, HANDLER) -> Service."""

    def make(path, handler=None, **kwargs):
        made = Service(path, handler, **kwargs) if handler else Listener(path, **kwargs)
        request.addfinalizer(made.close)
        return made

    return make


@pytest.fixture
def service(listen, open_directory):
    """One that answers lines, and that anybody may connect to."""
    service = listen(open_directory / "service.sock", answer_lines)
    os.chmod(service.path, 0o777)
    return service


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


@pytest.fixture
def idle_guest(make_guest, runtime):
    """vm1, whose one channel swallows all."""
    return control.start(make_guest("tap"), "600:null")


@pytest.fixture(params=list(guests.KINDS))
def guest(request, make_guest):
    """One guest of each kind: what the semantics of a channel are tested on."""
    return make_guest(request.param)


@pytest.fixture(params=guests.FRAME_KINDS)
def frame_guest(request, make_guest):
    """Guests whose TCP peer is our own stack."""
    return make_guest(request.param)


@pytest.fixture
def make_device(processes, directory):
    """make_device(KIND) of harness/devices.py: a device's text and its host program."""
    made = []

    def make(kind):
        made.append(devices.KINDS[kind](processes, directory))
        return made[-1]

    yield make
    processes.end_all()
    for device in made:
        device.close()

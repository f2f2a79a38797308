# SPDX-License-Identifier: BSD-3-Clause
"""`--link vhost-user` with a guest of our own (tests/vhost_guest): every byte, both ways, in every
combination of what drivers and hypervisors settle on."""

import itertools
import json
import socket
import time

import pytest

from harness.daemon import Daemon

MIB = 1 << 20


@pytest.fixture
def vhost_guest(vmchannel):
    """The program, which is built beside vmchannel."""
    program = vmchannel.parents[2] / "tests/vhost_guest/vhost-guest"
    if not program.exists():
        pytest.skip(f"no {program}: vmchannel is not in its build directory")
    return program


@pytest.fixture
def run_guest(vhost_guest, vmchannel, processes, listen, directory):
    """run_guest(OPTION..., MODE...) -> what it printed; one daemon for all."""
    listen(directory / "echo", echo)
    daemon = Daemon(processes, vmchannel, [
        "--link", f"vhost-user,path={directory}/vhost.sock,server=on",
        "-vmchannel", f"600:unix:{directory}/echo"])
    daemon.wait_until_up((directory / "vhost.sock").exists, "the socket")

    def run(*words):
        done = processes.run([vhost_guest, directory / "vhost.sock", "600", *words], timeout=40)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{daemon.log()}"
        return json.loads(done.stdout)

    run.daemon = daemon
    return run


def echo(connection, number):
    """Gives back what comes; now and then it sleeps, so that all that is between fills up."""
    count = 0
    while data := connection.recv(1 << 18):
        connection.sendall(data)
        count += 1
        if (count + number) % 7 == 0:
            time.sleep(0.003)
    connection.shutdown(socket.SHUT_WR)


def expect_exact(told, connections, size):
    assert told["whole"] == connections, told
    assert told["received"] == connections * size
    assert told["wrong"] == told["bad_frames"] == 0, told


@pytest.mark.timeout(60)
@pytest.mark.parametrize("layout", ["no-packed", "packed"])
@pytest.mark.parametrize("events", ["no-event-idx", "event-idx"])
def test_bytes_are_exact_in_all_shapes_of_rings(run_guest, layout, events):
    worker = run_guest.daemon.worker()
    shapes = itertools.product(["no-indirect", "indirect"], ["no-mergeable", "mergeable"])
    for table, merge in shapes:
        told = run_guest(layout, events, table, merge, "exact", 4, 2 * MIB)
        expect_exact(told, 4, 2 * MIB)
    assert run_guest.daemon.worker() == worker
    assert "broken" not in run_guest.daemon.log()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("layout", ["no-packed", "packed"])
def test_rings_of_any_size_and_buffers_of_any_size(run_guest, layout):
    for ring, buffer in [(64, 1536), (128, 2048), (256, 1040), (1024, 65536)]:
        told = run_guest(layout, f"ring={ring}", f"buffer={buffer}", "exact", 3, MIB)
        expect_exact(told, 3, MIB)
    assert "broken" not in run_guest.daemon.log()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("layout", ["no-packed", "packed"])
def test_many_connections_share_the_rings(run_guest, layout):
    expect_exact(run_guest(layout, "exact", 100, 40000), 100, 40000)
    assert run_guest(layout, "trip", 64, 200)["count"] > 20
    assert run_guest(layout, "connect", 300, 50)["count"] > 5
    assert run_guest.daemon.worker() > 0

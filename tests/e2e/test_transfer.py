# SPDX-License-Identifier: BSD-3-Clause
"""Byte-exactness: many parallel connections, both directions at once, random write sizes, hashed at
both ends; also where the link drops, duplicates and reorders."""

import json
import subprocess

import pytest

from harness.exchange import expect_exact
from harness.guests import CHANNEL, KINDS, ImpairedGuest

MIB = 1 << 20


def transfer(guest, helpers, processes, path, connections, size, timeout,
             addr=CHANNEL):
    """Runs both ends; gives nothing, but fails unless each got what the other sent."""
    host = processes.start(
        [helpers["hostpeer"], path, connections, size, 2], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout.readline() == "ready\n"
    in_guest = guest.probe("transfer", addr, 600, connections, size, 1, timeout=timeout)
    assert in_guest.get("error") is None and in_guest["finished"], in_guest
    on_host = json.loads(host.communicate(timeout=timeout)[0])
    expect_exact(in_guest, on_host, connections, size)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
def test_64_times_16_mib_each_way(make_guest, helpers, processes, socket_path, kind):
    guest = make_guest(kind).start(f"600:unix:{socket_path}")
    transfer(guest, helpers, processes, socket_path, 64, 16 * MIB, 110)


# Retransmission timers, not processors, decide how long this takes: a minute or two at 10 %.
@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "seed, drop, duplicate, reorder",
    [(1, 2, 2, 10), (3, 100, 100, 100)],
    ids=["0.2% loss", "10% of everything"],
)
def test_64_times_16_mib_through_an_impaired_stream(
    make_guest, helpers, processes, socket_path, seed, drop, duplicate, reorder
):
    guest = make_guest(ImpairedGuest)
    guest.impairment = (seed, drop, duplicate, reorder)
    guest.start(f"600:unix:{socket_path}")
    transfer(guest, helpers, processes, socket_path, 64, 16 * MIB, 400)


@pytest.mark.parametrize("mtu", [576, 9000, 65520])
def test_other_mtus(make_guest, helpers, processes, socket_path, mtu):
    guest = make_guest("tap").start(f"600:unix:{socket_path}", options=["--mtu", str(mtu)])
    guest.ns.ip("link", "set", "vmc0", "mtu", str(mtu))
    transfer(guest, helpers, processes, socket_path, 8, 2 * MIB, 25)

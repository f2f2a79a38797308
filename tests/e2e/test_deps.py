# SPDX-License-Identifier: BSD-3-Clause
"""scripts/deps.sh, with stand-ins for Debian's programs and a /usr/sbin of its own."""

import os
import signal

import pytest

from harness.processes import wait_until
from harness.programs import ROOT

STAND_INS = {"dpkg-query": "exit 1", "apt-get": 'ls /usr/sbin >"${0%/*}/seen"; exec sleep 20'}
# The shell itself stays, to look at what is left.
RUN = 'trap : INT TERM HUP; mount -t tmpfs none /usr/sbin; "$@"; echo $? $(ls /usr/sbin)'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_services_may_be_started_again_when_it_is_interrupted(processes, directory, number):
    for name, body in STAND_INS.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    log = directory / "log"
    with open(log, "w") as out:
        process = processes.start(
            ["unshare", "-m", "sh", "-c", RUN, "sh", ROOT / "scripts/deps.sh", "build"], stdout=out,
            env=os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}, start_new_session=True)
    seen = directory / "seen"
    wait_until(lambda: seen.exists() and seen.read_text() == "policy-rc.d\n", what="apt-get")
    os.killpg(process.pid, number)
    process.wait(5)
    assert log.read_text().splitlines()[-1] == "1"

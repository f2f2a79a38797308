# SPDX-License-Identifier: BSD-3-Clause
"""`--link vhost-user` with DPDK as the front-end: testpmd carries frames between net_virtio_user
and a tap, so that a kernel's TCP is the guest. An implementation of its own, next to QEMU's;
skipped where dpdk-testpmd (Debian: dpdk-dev) is not installed."""

import shutil

import pytest

from harness.guests import Guest
from harness.processes import wait_until
from harness.services import answer_lines
from test_transfer import MIB, transfer

TESTPMD = shutil.which("dpdk-testpmd")
pytestmark = pytest.mark.skipif(not TESTPMD, reason="no dpdk-testpmd (package dpdk-dev)")


class DpdkGuest(Guest):
    kind = "dpdk"
    role, options = "listen", ""  # the daemon's role; what net_virtio_user negotiates

    def link(self):
        self.path = self.directory / "vhost.sock"
        return f"vhost-user,path={self.path}" + (",server=on" if self.role == "listen" else "")

    def attach(self, ports):
        if self.role == "listen":
            self.daemon.wait_until_up(self.path.exists, "the socket")
        server = "" if self.role == "listen" else ",server=1"
        self.prefix = self.directory.name
        argv = [
            TESTPMD, "--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "-l", "0,1",
            f"--file-prefix={self.prefix}", "--vdev",
            f"net_virtio_user0,path={self.path},queues=1,queue_size=256{server}{self.options}",
            "--vdev", "net_tap0,iface=vmc0", "--", "--total-num-mbufs=4096", "--nb-cores=1",
            "--forward-mode=io", "--auto-start", "--stats-period", "60"]
        with open(self.directory / "testpmd.log", "wb") as log:
            self.processes.start(self.ns.enter(argv), stdout=log, stderr=log)
        wait_until(lambda: "io packet forwarding" in (self.directory / "testpmd.log").read_text(),
                   15, "testpmd")
        self.configure("vmc0")

    def close(self):
        super().close()
        shutil.rmtree(f"/var/run/dpdk/{self.prefix}", ignore_errors=True)
        if self.path.exists():
            self.path.unlink()  # testpmd's


@pytest.mark.timeout(60)
@pytest.mark.parametrize("role,options", [
    *((role, options) for role in ("listen", "connect") for options in ("", ",mrg_rxbuf=0",
                                                                        ",in_order=0")),
    *(("listen", f",packed_vq=1{options}") for options in ("", ",mrg_rxbuf=0", ",in_order=0",
                                                           ",in_order=0,mrg_rxbuf=0"))])
def test_bytes_are_exact(make_guest, listen, helpers, processes, directory, role, options):
    guest = make_guest(DpdkGuest)
    guest.role, guest.options = role, options
    guest.start(f"600:unix:{directory}/bulk", f"601:unix:{directory}/lines", options=["-v"])
    wait_until(guest.pings, 10, "an answer to a ping")
    listen(directory / "lines", answer_lines)
    with guest.connect(601) as s:
        s.sendall(b"hello\n")
        assert s.recv(100).endswith(b"heard hello\n")
    assert guest.refusal(666)[0] == 111
    transfer(guest, helpers, processes, directory / "bulk", 8, 4 * MIB, 40)
    assert ("packed ring 1 runs" in guest.daemon.log()) == ("packed" in options)

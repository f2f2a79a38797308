# SPDX-License-Identifier: BSD-3-Clause
"""The page that tells vmchannel-faults what to let fail (faults.h has its layout), and which faults
there are to try."""

import errno
import mmap
import os
import struct
import subprocess
from dataclasses import dataclass

HEAD = struct.Struct("=IIIIIiI")  # armed, role, call, nth, more, errnum, injected
CALLS_MAX = 96
ROLES = ("broker", "worker")
SHORT = 10000
NO_CALL = 0xffffffff
FOR_EVER = 1 << 30
# A signal comes again, but not for ever; what is tried again at once must end some time.
EINTR_TIMES = 20


def read_calls(program):
    """[(name, [errno...])], in the order of the page's numbers."""
    done = subprocess.run([program], env={**os.environ, "VMCHANNEL_FAULTS": "list"},
                          capture_output=True, text=True, check=True, timeout=10)
    words = [line.split() for line in done.stdout.splitlines()]
    return [(name, [int(e) for e in errnums]) for name, *errnums in words]


@dataclass(frozen=True)
class Fault:
    role: str
    call: int
    name: str
    nth: int
    errnum: int
    persistent: bool

    def __str__(self):
        what = "short" if self.errnum == SHORT else errno.errorcode[self.errnum]
        return f"{self.role}: {self.name} number {self.nth}{' and on' * self.persistent}: {what}"


class Page:
    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(4096))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def close(self):
        self.map.close()
        self.file.close()

    def arm(self, fault):
        more = 0
        if fault.persistent:
            more = EINTR_TIMES if fault.errnum == errno.EINTR else FOR_EVER
        self._write(ROLES.index(fault.role), fault.call, fault.nth, more, fault.errnum)

    def count(self):
        """From here on calls are counted, and none fails."""
        self._write(0, NO_CALL, 0, 0, 0)

    def _write(self, *fields):
        self.disarm()
        self.map[HEAD.size:HEAD.size + 8 * CALLS_MAX] = bytes(8 * CALLS_MAX)
        self.map[4:HEAD.size] = HEAD.pack(0, *fields, 0)[4:]
        self.map[0:4] = struct.pack("=I", 1)

    def disarm(self):
        self.map[0:4] = bytes(4)

    def injected(self):
        return HEAD.unpack_from(self.map)[6]

    def counts(self, role):
        return struct.unpack_from(f"={CALLS_MAX}I", self.map,
                                  HEAD.size + 4 * CALLS_MAX * ROLES.index(role))


def faults(calls, counts, role, most=FOR_EVER, persistent=(False, True)):
    """All for the calls that were counted: each up to `most` of one call, each errno."""
    for number, (name, errnums) in enumerate(calls):
        for nth in range(1, min(counts[number], most) + 1):
            for errnum in errnums:
                for whether in persistent:
                    yield Fault(role, number, name, nth, errnum, whether)

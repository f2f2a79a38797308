#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Shows that each rule of the worker's filter of system calls is needed, each that the starter has
beyond those, and each of the broker's: without it a test fails, since that process was killed for a
bad system call. `make check-seccomp`, as root.

usage: check.py VMCHANNEL-WITHOUT [RULE...]
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import broker_rules

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
REACH = "tests/e2e/test_sandbox_reach.py"
VHOST = "tests/e2e/test_vhost_user.py::test_bytes_are_exact[listen]"
UNIT = "tests/unit/broker/test_sandbox_calls.c"
KILLED = "signal 31 (Bad system call)"
STARTER = "starter "
BROKER = "broker "
BROKER_KILLED = "ended by a forbidden system call"  # as tests/e2e/conftest.py has it
# That it was killed, or the helper that it forks to enter a network namespace.
STARTER_GONE = ("its starter is gone", "no answer from the helper")
# A worker is made, by several users; a link is opened anew.
STARTERS = [["tests/e2e/test_sandbox_broker.py", "-k", "with_a_user or of_root_keeps"],
            ["tests/e2e/test_sandbox.py", "-k", "user"],
            ["tests/e2e/test_worker.py", "-k", "reported_and_replaced"],
            ["tests/e2e/test_link.py", "-k",
             "tap_deleted_comes_back or made_anew"]]

# Where to look first; else all of REACH, in order.
FIRST = {
    "ioctl TUN": f"{REACH}::test_frame_link[tap]",
    "ioctl SIOCGIFFLAGS": f"{REACH}::test_packet_link_whose_interface_goes_down",
    "ioctl SIOCOUTQ": f"{REACH}::test_guest_that_reads_late",
    "recvmmsg": f"{REACH}::test_message_link_by_seqpacket",
    "sendmmsg": f"{REACH}::test_message_link_by_seqpacket",
    "getpeername": f"{REACH}::test_message_link_by_seqpacket",
    "getsockopt SO_TYPE": f"{REACH}::test_message_link_by_seqpacket",
    "newfstatat": VHOST,
    "brk": f"{REACH}::test_many_connections_with_a_codec",
    "madvise": f"{REACH}::test_memory_is_given_back",
}
ABORT = ("rt_sigprocmask", "getpid", "gettid", "tgkill", "exit_group")

# What is shown elsewhere, or cannot be shown to be needed on this machine.
UNSHOWN = {
    "mremap": "realloc(3) calls it for more than 128 KiB, thousands of connections on: shown by "
              + UNIT,
    "fstat": "fstat(3) is this or newfstatat, by the version of libc",
    "rt_sigaction SIGBUS": f"shown by {UNIT}",
    "rt_sigreturn": f"shown by {UNIT}",
    "clock_gettime": "the vdso reads the clock without a call, where the clock source allows it",
    "setsockopt SO_SNDBUFFORCE": "the broker has grown the buffers already, where it could",
    "setsockopt SO_RCVBUFFORCE": "the broker has grown the buffers already, where it could",
    "starter poll": "where memory is scarce; this or ppoll, by the architecture",
    "starter ppoll": "where memory is scarce; this or poll, by the architecture",
    "starter restart_syscall": "after SIGSTOP and SIGCONT",
    "starter clock_gettime": "the vdso reads the clock without a call, where the source allows it",
}


def run_tests(binary, rule, where):
    """Output of the tests, until one fails."""
    env = {**os.environ, "VMCHANNEL": str(binary), "VMCHANNEL_WITHOUT": rule,
           "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([PYTHON, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *where],
                          cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def log_of_abort(binary, rule):
    env = {**os.environ, "VMCHANNEL_WITHOUT": rule, "VMCHANNEL_ABORT": "worker"}
    return subprocess.run([binary, "run", "-vmchannel", "600:null", "--", "true"], env=env,
                          capture_output=True, text=True, timeout=30).stderr


def starter_needs(binary, rule):
    for where in STARTERS:
        code, output = run_tests(binary, rule, where)
        if code == 1 and any(sign in output for sign in (KILLED, *STARTER_GONE)):
            return True
    return False


def end_of_aborting_broker(binary, rule):
    env = {**os.environ, "VMCHANNEL_WITHOUT": rule, "VMCHANNEL_ABORT": "broker"}
    with tempfile.TemporaryDirectory() as directory:
        return -subprocess.run(
            [binary, "serve", "--link", f"stream,path={directory}/link,server=on", "-vmchannel",
             "600:null"], env=env, capture_output=True, timeout=30).returncode


def broker_needs(binary, rule):
    name = rule.removeprefix(BROKER)
    if name in broker_rules.ABORT:
        return end_of_aborting_broker(binary, rule) == signal.SIGSYS
    where = broker_rules.WHERE.get(name, broker_rules.SERVES)
    for _ in range(2):  # a test may end before the call that is missing
        code, output = run_tests(binary, rule, [where])
        if code == 1 and BROKER_KILLED in output:
            return True
    return False


def is_needed(binary, rule):
    if rule.startswith(STARTER):
        return starter_needs(binary, rule)
    if rule.startswith(BROKER):
        return broker_needs(binary, rule)
    if rule.startswith(ABORT):
        return KILLED in log_of_abort(binary, rule)
    first = next((node for start, node in FIRST.items() if rule.startswith(start)), None)
    places = [[first], [REACH]] if first else [[REACH]]
    for where in places * 2:  # a test may fail before the broker has told why
        code, output = run_tests(binary, rule, where)
        if code == 1 and KILLED in output:
            return True
    return False


def works_with_all_rules(binary):
    """Whether what is run below passes when nothing is left out."""
    brokers = sorted({broker_rules.SERVES, *broker_rules.WHERE.values()})
    for where in ([REACH], brokers):
        code, output = run_tests(binary, "", where)
        if code != 0:
            print(f"with all rules the tests fail:\n{output}")
            return False
    if "ended by an abort" not in log_of_abort(binary, ""):
        print("with all rules an abort is not told as one")
        return False
    if end_of_aborting_broker(binary, "") != signal.SIGABRT:
        print("with all rules a broker's abort does not end it as one")
        return False
    return True


def unshown(rule):
    if rule.startswith(BROKER):
        return broker_rules.UNSHOWN.get(rule.removeprefix(BROKER))
    return UNSHOWN.get(rule)


def main(argv):
    binary = Path(argv[1]).resolve()
    listing = subprocess.run([binary], env={**os.environ, "VMCHANNEL_WITHOUT": "list"},
                             capture_output=True, text=True, check=True).stdout
    rules = argv[2:] or listing.splitlines()
    if not works_with_all_rules(binary):
        return 1
    failed = left = 0
    for rule in rules:
        began = time.monotonic()
        if why := unshown(rule):
            print(f"unshown  {rule}: {why}", flush=True)
            left += 1
            continue
        needed = is_needed(binary, rule)
        failed += not needed
        print(f"{'needed ' if needed else 'NOT NEEDED'}  {rule} ({time.monotonic() - began:.1f} s)",
              flush=True)
    print(f"{len(rules)} rules, {left} unshown, {failed} that no test needs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

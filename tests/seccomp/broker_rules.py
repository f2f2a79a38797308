# SPDX-License-Identifier: BSD-3-Clause
"""Which test has a live broker make each call of its filter; for check.py. What a broker may do
depends on its devices and its link, so that many rules need a test of their own."""

E2E = "tests/e2e/test_"
SERVES = f"{E2E}sandbox_broker.py::test_broker_with_a_user[stream]"  # what is not named below
CONTROL = f"{E2E}control.py::test_list_shows_every_guest_and_no_dead_one"
COMES_BACK = f"{E2E}control.py::test_added_channels_outlive_a_worker[tap-options0]"
CAPTURE = f"{E2E}watching.py::test_pcap_has_the_frames_of_both_ways[stream]"
TCP = f"{E2E}devices.py::test_16_mib_each_way[tcp-tap]"
TELNET = f"{E2E}devices.py::test_16_mib_each_way[telnet-server-tap]"
PIPE = f"{E2E}devices.py::test_next_connection_of_an_exclusive_device[pipe]"
PTY = f"{E2E}devices_faults.py::test_pty_link_is_removed_at_the_end"
TERMINAL = f"{E2E}sandbox_broker_reach.py::test_terminal_of_ours_is_put_back_at_the_end"
HANGS_UP = f"{E2E}devices_faults.py::test_tty_that_hangs_up"
IPV6 = f"{E2E}sandbox_broker_reach.py::test_tcp_by_ipv6"
VSOCK = f"{E2E}sandbox_broker_reach.py::test_vsock_where_nobody_listens"
HOSTS = f"{E2E}names.py::test_name_of_the_hosts_file"
NAMES = f"{E2E}names.py::test_name_that_a_server_knows[udp]"
NAMES_BY_TCP = f"{E2E}names.py::test_name_that_a_server_knows[tcp]"
BOTH = f"{E2E}names.py::test_name_of_both_families"
MODULE = f"{E2E}names.py::test_module_that_the_library_loads"
DATAGRAMS = f"{E2E}links.py::test_a_killed_worker_finds_the_datagram_peer_again"

WHERE = {
    "pidfd_send_signal": COMES_BACK,
    "fcntl F_DUPFD_CLOEXEC": CONTROL,
    "brk": COMES_BACK,
    "recvfrom": NAMES,
    "sendto": CONTROL,
    "getsockname": DATAGRAMS,
    "getpeername": HOSTS,
    "getsockopt SO_ERROR": TCP,
    "setsockopt SO_PASSRIGHTS": COMES_BACK,
    "setsockopt SO_OOBINLINE": TELNET,
    "setsockopt TCP_NODELAY": TCP,
    "fcntl F_SETFL": TERMINAL,
    "socket AF_INET": TCP,
    "socket AF_INET6": IPV6,
    "socket AF_VSOCK": VSOCK,
    "openat": PIPE,
    "ioctl FIONREAD": PIPE,
    "ioctl TCGETS": TERMINAL,
    "ioctl TCSETS": TERMINAL,
    "rmdir": CONTROL,
    "readlink": PTY,
    "getsockopt SO_PEERCRED": CONTROL,
    "getsockopt SO_DOMAIN": CAPTURE,
    "getsockopt SO_TYPE": CAPTURE,
    "geteuid": CONTROL,
    "pipe2": COMES_BACK,
    "socket AF_UNIX for names": HOSTS,
    "socket AF_INET for names": NAMES,
    "socket AF_INET6 for names": BOTH,
    "socket AF_NETLINK": NAMES,
    "read for names": HOSTS,
    "writev for names": NAMES_BY_TCP,
    "mmap for names": MODULE,
    "mprotect for names": MODULE,
    "lseek for names": HOSTS,
    "futex for names": HOSTS,
    "sendmmsg for names": NAMES,
    "setsockopt for names": NAMES,
    "uname for names": HOSTS,
}

# What a failed assertion calls, after its line in the log.
ABORT = ("rt_sigprocmask", "getpid", "gettid", "tgkill SIGABRT")

UNSHOWN = {
    "clock_gettime": "the vdso reads the clock without a call, where the clock source allows it",
    "shutdown": "of the starter's socket, where memory was scarce for as long as it waits",
    "mremap": "realloc(3) calls it for more than 128 KiB: of a long reply, where Jansson grows its"
              " buffers so (from 2.15)",
    "ppoll": "this or poll, by the architecture",
    "restart_syscall": "after SIGSTOP and SIGCONT",
    "stat": "stat(3) is this or newfstatat, by the version of libc",
    "lstat": "lstat(3) is this or newfstatat, by the version of libc",
    "fstat": "fstat(3) is this or newfstatat, by the version of libc",
    "pread64 for names": "how a module is loaded whose program headers are not within its first"
                         " 832 bytes",
    "getrandom for names": "the hash tables of systemd's modules, which this machine may lack",
}

// SPDX-License-Identifier: BSD-3-Clause
// The system calls of a broker that is locked up. A rule with a need is there for the devices and
// links that have it. What a call may be used on is sandbox_broker_landlock.c's to say, where it is
// about files; what the filter cannot see is behind pointers, so a broker that was taken over and
// has a family of sockets could connect to any address of it (but for TCP ports, see there).
#include "broker/sandbox_broker.h"
#include "broker/sandbox_rules.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define OPENS   (NEED_NAMES | NEED_PIPE | NEED_TERMINAL)
#define CONNECT (NEED_UNIX | NEED_INET | NEED_VSOCK | NEED_NAMES)

static const struct rule rules[] = {
// The loop.
#ifdef __NR_epoll_wait
    CALL(epoll_wait),
#else
    CALL(epoll_pwait),
#endif
    CALL(epoll_ctl),
    CALL(clock_gettime),
    // The worker: messages with descriptors, another one's socket pair, and its end.
    CALL(recvmsg),
    CALL(sendmsg),
    {"socketpair", SCMP_SYS(socketpair), 1, {IS(0, AF_UNIX)}, 0},
    CALL(wait4),
    {"pidfd_send_signal", SCMP_SYS(pidfd_send_signal), 1, {IS(1, SIGKILL)}, 0},
    FCNTL(F_DUPFD_CLOEXEC),
    CALL(close),
    CALL(shutdown),
#ifdef __NR_poll
    CALL(poll),
#endif
    CALL(ppoll),
    CALL(restart_syscall), // either, after SIGSTOP and SIGCONT
    // Log lines; stopping.
    CALL(write),
    CALL(writev),
    CALL(read),
    // Memory.
    {"mmap", SCMP_SYS(mmap), 1, {LACKS(2, PROT_EXEC)}, 0},
    CALL(munmap),
    CALL(brk),
    {"mremap", SCMP_SYS(mremap), 1, {IS(3, MREMAP_MAYMOVE)}, 0},
    {"madvise DONTNEED", SCMP_SYS(madvise), 1, {IS(2, MADV_DONTNEED)}, 0},
    // Clients of sockets that listen; whether they are still there. Datagram peers.
    {"accept4", SCMP_SYS(accept4), 1, {IS(3, SOCK_CLOEXEC | SOCK_NONBLOCK)}, 0},
    CALL(recvfrom),
    CALL(sendto),
    CALL(getsockname),
    CALL(getpeername),
    GETSOCKOPT(SO_ERROR),
    SETSOCKOPT(SOL_SOCKET, SO_SNDBUF),
    SETSOCKOPT(SOL_SOCKET, SO_OOBINLINE),
    SETSOCKOPT(IPPROTO_TCP, TCP_NODELAY),
    FCNTL(F_GETFL),
    FCNTL(F_SETFL),
    // Sockets that connect; a Unix one has a name as identity.
    SOCKET_IF(NEED_UNIX, AF_UNIX),
    SOCKET_IF(NEED_INET | NEED_NAMES, AF_INET),
    SOCKET_IF(NEED_INET | NEED_NAMES, AF_INET6),
    SOCKET_IF(NEED_VSOCK, AF_VSOCK),
    CALL_IF(CONNECT, connect),
    CALL_IF(NEED_UNIX | NEED_NAMES, bind),
// What files are, and opening them again.
#ifdef __NR_stat
    CALL(stat),
    CALL(lstat),
#endif
    CALL(fstat),
    CALL(newfstatat),
    CALL_IF(OPENS, openat),
    IOCTL_IF(NEED_PIPE | NEED_NAMES, FIONREAD),
    IOCTL_IF(NEED_TERMINAL, TCGETS),
    IOCTL_IF(NEED_TERMINAL, TCSETS),
    IOCTL_IF(NEED_TERMINAL, TIOCGPGRP),
    CALL_IF(NEED_TERMINAL, getpgrp),
#ifdef __NR_unlink
    CALL_IF(NEED_REMOVE_DIR | NEED_CONTROL, rmdir),
    CALL_IF(NEED_REMOVE, unlink),
    CALL_IF(NEED_REMOVE, readlink),
#else
    CALL_IF(NEED_REMOVE, unlinkat),
    CALL_IF(NEED_REMOVE, readlinkat),
#endif
    // Control clients: who they are, what they send, and how the worker is told.
    GETSOCKOPT_IF(NEED_CONTROL, SO_PEERCRED),
    GETSOCKOPT_IF(NEED_CONTROL, SO_DOMAIN),
    GETSOCKOPT_IF(NEED_CONTROL, SO_TYPE),
    CALL_IF(NEED_CONTROL, geteuid),
    {"pipe2", SCMP_SYS(pipe2), 1, {IS(1, O_CLOEXEC | O_NONBLOCK)}, NEED_CONTROL},
    // The C library's resolver, and the modules it loads.
    SOCKET_IF(NEED_NAMES, AF_UNIX),
    SOCKET_IF(NEED_NAMES, AF_NETLINK),
    CALL_IF(NEED_NAMES, mmap),
    CALL_IF(NEED_NAMES, mprotect),
    CALL_IF(NEED_NAMES, pread64),
    CALL_IF(NEED_NAMES, lseek),
    CALL_IF(NEED_NAMES, futex),
    CALL_IF(NEED_NAMES, sendmmsg),
    CALL_IF(NEED_NAMES, setsockopt),
    CALL_IF(NEED_NAMES, uname),
    CALL_IF(NEED_NAMES, getuid),
    CALL_IF(NEED_NAMES, geteuid),
    CALL_IF(NEED_NAMES, getrandom),
    CALL_IF(NEED_NAMES, prlimit64),
#ifdef __NR_access
    CALL_IF(NEED_NAMES, access),
#endif
    // The end: in order, or by abort(3).
    CALL(exit_group),
    CALL(rt_sigreturn),
    CALL(rt_sigprocmask),
    CALL(getpid),
    CALL(gettid),
    {"tgkill SIGABRT", SCMP_SYS(tgkill), 1, {IS(2, SIGABRT)}, 0},
#ifdef SANITIZED // the run-time's own, in test builds alone
    CALL(madvise),
    CALL(sigaltstack),
    CALL(rt_sigaction),
    CALL(futex),
    CALL(sched_yield),
    CALL(mmap),
    CALL(mprotect),
    CALL(openat),
    CALL(readlink),
    CALL(lseek),
    CALL(getrusage),
    CALL(prctl),
    CALL(clone),
    CALL(gettimeofday),
#endif
};

#ifdef SANITIZED
// It would trace us, which is one of the things that are given up.
int __lsan_is_turned_off(void);
int
__lsan_is_turned_off(void)
{
    return prctl(PR_GET_SECCOMP) != 0;
}
#endif

#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

int
sandbox_broker_filter(unsigned needs, struct error *err)
{
    return sandbox_load(rules, RULE_COUNT, SIZE_MAX, needs, err);
}

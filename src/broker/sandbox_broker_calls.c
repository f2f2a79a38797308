// SPDX-License-Identifier: BSD-3-Clause
// The system calls of a broker that is locked up. A rule with a need is there for the devices and
// links that have it. What a call may be used on is sandbox_broker_landlock.c's to say, where it is
// about files; what the filter cannot see is behind pointers, so a broker that was taken over and
// has a family of sockets could connect to any address of it (but for TCP ports, see there).
#include "broker/sandbox_broker.h"
#include "broker/sandbox_rules.h"
#include "broker/worker_process.h"

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

#define TYPE_MASK 0xf // of socket(2); the rest are flags

// Told apart by name from the rule of another need.
// clang-format off
#define FOR_NAMES(call) {#call " for names", SCMP_SYS(call), 0, {{0}}, NEED_NAMES}
// TCP alone: neither datagrams nor streams of other protocols heed the ports that Landlock allows.
#define TCP_IF(when, domain)                                                                       \
    {"socket " #domain, SCMP_SYS(socket), 3,                                                       \
     {IS(0, domain), SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, TYPE_MASK, SOCK_STREAM), IS(2, 0)}, (when)}
// clang-format on

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
    {"sendmsg", SCMP_SYS(sendmsg), 1, {LACKS(2, MSG_FASTOPEN)}, 0}, // which connects, to any port
    {"socketpair", SCMP_SYS(socketpair), 1, {IS(0, AF_UNIX)}, 0},
    SETSOCKOPT(SOL_SOCKET, SO_PASSRIGHTS),
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
    CALL(write),           // log lines
    // Memory.
    {"mmap", SCMP_SYS(mmap), 1, {LACKS(2, PROT_EXEC)}, 0},
    CALL(munmap),
    CALL(brk),
    {"mremap", SCMP_SYS(mremap), 1, {IS(3, MREMAP_MAYMOVE)}, 0},
    // Clients of sockets that listen; whether they are still there. Datagram peers.
    {"accept4", SCMP_SYS(accept4), 1, {IS(3, SOCK_CLOEXEC | SOCK_NONBLOCK)}, 0},
    CALL(recvfrom),
    {"sendto", SCMP_SYS(sendto), 1, {LACKS(3, MSG_FASTOPEN)}, 0},
    CALL(getsockname),
    CALL(getpeername),
    GETSOCKOPT(SO_ERROR),
    SETSOCKOPT(SOL_SOCKET, SO_SNDBUF),
    SETSOCKOPT(SOL_SOCKET, SO_OOBINLINE),
    SETSOCKOPT(IPPROTO_TCP, TCP_NODELAY),
    FCNTL(F_SETFL),
    // Sockets that connect; a Unix one has a name as identity.
    SOCKET_IF(NEED_UNIX, AF_UNIX),
    TCP_IF(NEED_INET, AF_INET),
    TCP_IF(NEED_INET, AF_INET6),
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
    {"socket AF_UNIX for names", SCMP_SYS(socket), 1, {IS(0, AF_UNIX)}, NEED_NAMES},
    {"socket AF_INET for names", SCMP_SYS(socket), 1, {IS(0, AF_INET)}, NEED_NAMES},
    {"socket AF_INET6 for names", SCMP_SYS(socket), 1, {IS(0, AF_INET6)}, NEED_NAMES},
    SOCKET_IF(NEED_NAMES, AF_NETLINK),
    FOR_NAMES(read),
    FOR_NAMES(writev),
    FOR_NAMES(mmap),
    FOR_NAMES(mprotect),
    FOR_NAMES(pread64),
    FOR_NAMES(lseek),
    FOR_NAMES(futex),
    FOR_NAMES(sendmmsg),
    FOR_NAMES(setsockopt),
    FOR_NAMES(uname),
    FOR_NAMES(getrandom),
    // The end: in order, or by abort(3).
    CALL(exit_group),
    CALL(rt_sigprocmask),
    CALL(getpid),
    CALL(gettid),
    {"tgkill SIGABRT", SCMP_SYS(tgkill), 1, {IS(2, SIGABRT)}, 0},
#ifdef SANITIZED // the run-time's own, in test builds alone
    CALL(read),
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

const char *
sandbox_broker_rule_name(size_t index)
{
    return index < RULE_COUNT ? rules[index].name : NULL;
}

int
sandbox_broker_filter_without(size_t without, unsigned needs, struct error *err)
{
    return sandbox_load(rules, RULE_COUNT, without, needs, err);
}

int
sandbox_broker_filter(unsigned needs, struct error *err)
{
    return sandbox_broker_filter_without(SIZE_MAX, needs, err);
}

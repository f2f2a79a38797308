// SPDX-License-Identifier: BSD-3-Clause
// The system calls of a worker: all that it needs once it serves, and no other. It is loaded when
// everything of the worker's own is made and before it is given a link; the rest of the sandbox is
// sandbox_namespaces.c's.
//
// It gives up: opening, making or connecting anything; processes and threads; memory that can be
// executed; most of ioctl, fcntl and the socket options, of which each that is used has its line.
// Another call, or one for another architecture, ends the process at once by SIGSYS, which the
// broker logs; an errno would leave an attacker in charge of it. What the filter cannot see is
// behind pointers: with a datagram socket it has been given, the worker could address other peers.
//
// Those that move bytes have no conditions on purpose: the kernel passes such calls by a bitmap,
// without running the filter.
#include "broker/sandbox.h"
#include "broker/sandbox_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

static const struct rule rules[] = {
// The loop.
#ifdef __NR_epoll_wait
    CALL(epoll_wait),
#else
    CALL(epoll_pwait),
#endif
    CALL(epoll_ctl),
    {"clock_gettime", SCMP_SYS(clock_gettime), 1, {IS(0, CLOCK_MONOTONIC)}, 0}, // where no vdso can
    // Bytes, and what ends them.
    CALL(read),
    CALL(write), // logs too
    CALL(readv),
    CALL(writev),
    CALL(recvfrom),
    CALL(sendto),
    CALL(recvmsg), // from the broker: with descriptors
    CALL(sendmsg),
    CALL(recvmmsg),
    CALL(sendmmsg),
    CALL(shutdown),
    CALL(close),
    // Memory: malloc, and the rings.
    {"mmap", SCMP_SYS(mmap), 1, {LACKS(2, PROT_EXEC)}, 0},
    CALL(munmap),
    CALL(brk),
    {"mremap", SCMP_SYS(mremap), 1, {IS(3, MREMAP_MAYMOVE)}, 0},
    {"madvise DONTNEED", SCMP_SYS(madvise), 1, {IS(2, MADV_DONTNEED)}, 0},
    // Links: what kind of socket it is, how much it takes, whether its interface is there.
    FCNTL(F_GETFL),
    // A terminal with O_ASYNC would signal its jobs, the broker among them.
    {"fcntl F_SETFL", SCMP_SYS(fcntl), 2, {IS(1, F_SETFL), LACKS(2, O_ASYNC)}, 0},
    CALL(getsockname),
    CALL(getpeername),
    GETSOCKOPT(SO_ERROR),
    GETSOCKOPT(SO_TYPE),
    GETSOCKOPT(SO_SNDBUF),
    GETSOCKOPT(SO_RCVBUF),
    SETSOCKOPT(SOL_SOCKET, SO_SNDBUF),
    SETSOCKOPT(SOL_SOCKET, SO_RCVBUF),
    SETSOCKOPT(SOL_SOCKET, SO_SNDBUFFORCE),
    SETSOCKOPT(SOL_SOCKET, SO_RCVBUFFORCE),
    SETSOCKOPT(SOL_PACKET, PACKET_VNET_HDR),
    SETSOCKOPT(SOL_PACKET, PACKET_IGNORE_OUTGOING),
    SETSOCKOPT(SOL_PACKET, PACKET_AUXDATA),
    SETSOCKOPT(IPPROTO_TCP, TCP_NODELAY),
    IOCTL(SIOCGIFNAME),
    IOCTL(SIOCGIFFLAGS),
    IOCTL(SIOCGIFMTU),
    IOCTL(TUNSETVNETHDRSZ),
    IOCTL(TUNSETOFFLOAD),
    // Socket links: accepted sockets, spliced through pipes.
    {"accept4", SCMP_SYS(accept4), 1, {IS(3, SOCK_CLOEXEC | SOCK_NONBLOCK)}, 0},
    {"pipe2", SCMP_SYS(pipe2), 1, {IS(1, O_CLOEXEC | O_NONBLOCK)}, 0},
    FCNTL(F_SETPIPE_SZ),
    CALL(splice),
    GETSOCKOPT(SO_PROTOCOL),
    SETSOCKOPT(SOL_SOCKET, SO_LINGER),
    IOCTL(SIOCOUTQ),
    // vhost-user: what a descriptor of memory is, and the SIGBUS of a file that was shortened.
    CALL(fstat),
    {"newfstatat", SCMP_SYS(newfstatat), 1, {IS(3, AT_EMPTY_PATH)}, 0},
    {"rt_sigaction SIGBUS", SCMP_SYS(rt_sigaction), 1, {IS(0, SIGBUS)}, 0},
    CALL(rt_sigreturn),
    // The end: in order, or by abort(3), which signals pid 1, ourselves.
    CALL(exit_group),
    CALL(rt_sigprocmask),
    CALL(getpid),
    CALL(gettid),
    {"tgkill SIGABRT", SCMP_SYS(tgkill), 3, {IS(0, 1), IS(1, 1), IS(2, SIGABRT)}, 0},
#ifdef SANITIZED // the run-time's own, in test builds alone
    CALL(madvise),
    CALL(sigaltstack),
    CALL(rt_sigaction),
    CALL(futex),
    CALL(sched_yield),
#endif
};

#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

const char *
sandbox_rule_name(size_t index)
{
    return index < RULE_COUNT ? rules[index].name : NULL;
}

const struct rule *
sandbox_worker_rules(size_t *count)
{
    *count = RULE_COUNT;
    return rules;
}

int
sandbox_load(const struct rule *list, size_t count, size_t without, unsigned needs,
             struct error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return error_set(err, ENOMEM, "system call filter");
    // The caller has set no_new_privs; and a tree is shorter to walk than a list.
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    const char *step = "system call filter";
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct rule *r = &list[i];
        if (i == without || (r->when != 0 && !(r->when & needs)))
            continue;
        rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, r->call, r->conditions, r->condition);
        if (rc < 0)
            step = r->name;
    }
    if (rc == 0)
        rc = seccomp_load(filter);
    if (rc < 0)
        error_set(err, -rc,
                  "%s (the kernel forbids it here: see SECURITY in vmchannel(1), or use "
                  "--sandbox=off)",
                  step);
    seccomp_release(filter);
    return rc;
}

int
sandbox_filter_without(size_t without, struct error *err)
{
    return sandbox_load(rules, RULE_COUNT, without, 0, err);
}

int
sandbox_filter(struct error *err)
{
    return sandbox_filter_without(SIZE_MAX, err);
}

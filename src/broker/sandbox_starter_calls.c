// SPDX-License-Identifier: BSD-3-Clause
// The system calls of the starter, and of a worker until it has loaded its own filter: then both
// hold for it, so that each of the worker's rules is in this one. Those below are what making a
// worker takes beyond that, and what opening a tap or packet link anew takes where there is one.
//
// It gives up: executing, tracing, signals to others, sockets (but for those of such a link),
// removing and renaming files, io_uring, bpf, keys, modules, memory that can be executed. What it
// cannot give up, since a worker is made by them, is opening files (its ids are written into
// /proc), new namespaces, and mounting and another root in those.
#include "broker/sandbox.h"
#include "broker/sandbox_rules.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define NEED_QUEUE 1u
#define RULES_MAX  160

static const struct rule rules[] = {
// Requests; waiting where there is no memory for an answer.
#ifdef __NR_poll
    CALL(poll),
#endif
    CALL(ppoll),
    CALL(restart_syscall),
    // A process in namespaces of its own, and its ids.
    CALL(clone3),
    CALL(pipe2),
    CALL(prctl),
    CALL(openat),
    CALL(geteuid),
    CALL(getegid),
    CALL(setgroups),
    CALL(setresgid),
    CALL(setresuid),
#ifdef __NR_dup2
    CALL(dup2),
#endif
    CALL(dup3),
    FCNTL(F_DUPFD_CLOEXEC),
    CALL(close_range),
    // Its root, capabilities, limits and signals.
    CALL(mount),
    CALL(chdir),
    CALL(pivot_root),
    CALL(umount2),
    CALL(capset),
    CALL(prlimit64),
    CALL(rt_sigaction),
    // Its tables and loop, and its filter.
    CALL(epoll_create1),
    CALL(getrandom),
    CALL(madvise),
    CALL(clock_gettime),
    CALL(seccomp),
    // The link's queue: a device, or a socket of its interface, by a helper in its namespace.
    CALL_IF(NEED_QUEUE, socket),
    CALL_IF(NEED_QUEUE, bind),
    CALL_IF(NEED_QUEUE, ioctl),
    CALL_IF(NEED_QUEUE, setns),
    CALL_IF(NEED_QUEUE, clone),
    CALL_IF(NEED_QUEUE, set_robust_list),
    CALL_IF(NEED_QUEUE, socketpair),
    CALL_IF(NEED_QUEUE, wait4),
#ifdef SANITIZED // the run-time's own, in test builds alone
    CALL(sigaltstack),
    CALL(futex),
    CALL(sched_yield),
    CALL(mprotect),
    CALL(readlink),
    CALL(lseek),
    CALL(getrusage),
    CALL(clone),
    CALL(gettimeofday),
#endif
};

#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

const char *
sandbox_starter_rule_name(size_t index)
{
    return index < RULE_COUNT ? rules[index].name : NULL;
}

int
sandbox_starter_filter_without(size_t without, bool opens_queue, struct error *err)
{
    struct rule all[RULES_MAX];
    size_t count;
    const struct rule *workers = sandbox_worker_rules(&count);
    assert(count + RULE_COUNT <= RULES_MAX);
    memcpy(all, workers, count * sizeof(*workers));
    memcpy(all + count, rules, sizeof(rules));
    size_t left_out = without < RULE_COUNT ? count + without : SIZE_MAX;
    return sandbox_load(all, count + RULE_COUNT, left_out, opens_queue ? NEED_QUEUE : 0, err);
}

int
sandbox_starter_filter(bool opens_queue, struct error *err)
{
    return sandbox_starter_filter_without(SIZE_MAX, opens_queue, err);
}

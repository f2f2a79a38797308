// SPDX-License-Identifier: BSD-3-Clause
// The filter of system calls: each forbidden one kills by SIGSYS, tried in a process of its own.
#include "test.h"

#include "broker/sandbox.h"
#include "link/guest_memory_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __has_feature // gcc has a macro instead
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#define CALLS_MAX 600 // more than the kernel has
// The trampolines of uprobes on x86-64, which newer kernels pass by every filter. Called from
// elsewhere they fail.
#define URETPROBE 335
#define UPROBE    336

_Noreturn static void
call_filtered(long call, const long arg[6])
{
    struct error err;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || sandbox_filter(&err) < 0)
        _exit(2);
    syscall(call, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    _exit(0);
}

// The signal that the call ended a process by, 0: none.
static int
signal_of(long call, const long arg[6])
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        call_filtered(call, arg);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status);
    assert_int_not_equal(WEXITSTATUS(status), 2);
    return 0;
}

#if !SANITIZED // whose run-time has calls of its own
// What the worker may call with any arguments.
static bool
is_allowed(long call)
{
    static const int allowed[] = {
        SCMP_SYS(epoll_wait), SCMP_SYS(epoll_ctl),  SCMP_SYS(read),           SCMP_SYS(write),
        SCMP_SYS(readv),      SCMP_SYS(writev),     SCMP_SYS(recvfrom),       SCMP_SYS(sendto),
        SCMP_SYS(recvmsg),    SCMP_SYS(sendmsg),    SCMP_SYS(recvmmsg),       SCMP_SYS(sendmmsg),
        SCMP_SYS(shutdown),   SCMP_SYS(close),      SCMP_SYS(munmap),         SCMP_SYS(brk),
        SCMP_SYS(splice),     SCMP_SYS(exit_group), SCMP_SYS(getsockname),    SCMP_SYS(getpeername),
        SCMP_SYS(getpid),     SCMP_SYS(gettid),     SCMP_SYS(rt_sigprocmask), SCMP_SYS(fstat)};
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        if (allowed[i] == call)
            return true;
    return false;
}

// Every number there is, with arguments that no condition lets through.
TEST(no_call_but_those_of_the_list_is_allowed)
{
    static const long minus_ones[6] = {-1, -1, -1, -1, -1, -1};
    for (long call = 0; call < CALLS_MAX; call++) {
        if (call == URETPROBE || call == UPROBE ||
            call == SYS_rt_sigreturn) // allowed, to a handler
            continue;
        int wanted = is_allowed(call) ? 0 : SIGSYS;
        int got = signal_of(call, minus_ones);
        if (got != wanted)
            fail_msg("call %ld: signal %d, not %d", call, got, wanted);
    }
}
#endif

struct attempt {
    const char *what;
    long call, arg[6];
};

// What a worker that was taken over would try, as it would.
static const struct attempt attempts[] = {
    {"open a file", SYS_openat, {AT_FDCWD, (long)"/etc/passwd", O_RDONLY}},
    {"open a file anew", SYS_openat2, {AT_FDCWD, (long)"/etc/passwd", 0, 0}},
    {"make a socket", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
    {"make a socket pair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, 0}},
    {"connect", SYS_connect, {0, 0, 0}},
    {"bind", SYS_bind, {0, 0, 0}},
    {"listen", SYS_listen, {0, 1}},
    {"execute", SYS_execve, {(long)"/bin/sh", 0, 0}},
    {"execute a descriptor", SYS_execveat, {0, (long)"", 0, 0, AT_EMPTY_PATH}},
    {"trace", SYS_ptrace, {0, 0, 0, 0}},
    {"clone", SYS_clone, {SIGCHLD, 0, 0, 0, 0}},
    {"clone3", SYS_clone3, {0, 0}},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}},
    {"enter a namespace", SYS_setns, {0, 0}},
    {"mount", SYS_mount, {0, (long)"/", 0, MS_SYNC, 0}},
    {"change the root", SYS_chroot, {(long)"/"}},
    {"read another's memory", SYS_process_vm_readv, {1, 0, 0, 0, 0, 0}},
    {"take another's descriptor", SYS_pidfd_getfd, {0, 0, 0}},
    {"signal", SYS_kill, {-1, SIGKILL}},
    {"load a program", SYS_bpf, {0, 0, 0}},
    {"begin io_uring", SYS_io_uring_setup, {1, 0}},
    {"use keys", SYS_keyctl, {0, 0, 0}},
    {"set a flag of the process", SYS_prctl, {PR_SET_DUMPABLE, 1, 0, 0, 0}},
    {"raise a limit", SYS_prlimit64, {0, RLIMIT_NPROC, 0, 0}},
    {"make code", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
    {"make memory code", SYS_mprotect, {0, 4096, PROT_EXEC}},
    {"type on a terminal", SYS_ioctl, {0, TIOCSTI, 0}},
    {"attach a tap", SYS_ioctl, {0, 0x400454ca /* TUNSETIFF */, 0}},
    {"copy a descriptor", SYS_fcntl, {0, F_DUPFD, 0}},
    {"get signals", SYS_fcntl, {0, F_SETOWN, 1}},
    {"have a terminal's jobs signalled", SYS_fcntl, {0, F_SETFL, O_NONBLOCK | O_ASYNC}},
    {"leave its network namespace", SYS_setsockopt, {0, SOL_SOCKET, SO_BINDTODEVICE, 0, 0}},
    {"attach a filter", SYS_setsockopt, {0, SOL_SOCKET, SO_ATTACH_FILTER, 0, 0}},
    {"see whose socket it is", SYS_getsockopt, {0, SOL_SOCKET, SO_PEERCRED, 0, 0}},
    {"accept without close-on-exec", SYS_accept4, {0, 0, 0, 0}},
    {"make such a pipe", SYS_pipe2, {0, 0}},
    {"signal a thread of another", SYS_tgkill, {2, 2, SIGKILL}},
    {"stop itself", SYS_tgkill, {1, 1, SIGSTOP}},
    {"read another clock", SYS_clock_gettime, {CLOCK_REALTIME, 0}},
};

TEST(what_an_intruder_would_try_kills)
{
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        int got = signal_of(attempts[i].call, attempts[i].arg);
        if (got != SIGSYS)
            fail_msg("%s: signal %d", attempts[i].what, got);
    }
}

#ifdef __x86_64__
TEST(calls_by_another_architectures_number_kill)
{
    static const long none[6];
    assert_int_equal(signal_of(0x40000000 | SYS_getpid, none), SIGSYS); // x32
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error err;
        long result;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (sandbox_filter(&err) == 0)
            __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); // i386: getpid
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    // A kernel without 32-bit programs has no such gate.
    assert_true(WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV);
}
#endif

TEST(allowed_calls_work)
{
    static const long close_none[6] = {-1};
    static const long now[6] = {CLOCK_MONOTONIC, 0};
    static const long map[6] = {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0};
    assert_int_equal(signal_of(SYS_close, close_none), 0);
    assert_int_equal(signal_of(SYS_clock_gettime, now), 0);
    assert_int_equal(signal_of(SYS_mmap, map), 0);
}

static size_t
rule_number(const char *name)
{
    size_t rule = 0;
    while (strcmp(sandbox_rule_name(rule), name) != 0)
        rule++;
    return rule;
}

// A table that grows beyond what malloc(3) takes from the heap.
static int
signal_of_growing(size_t without)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error err;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // volatile: a compiler that sees all uses may do without the memory.
        char *volatile table = sandbox_filter_without(without, &err) < 0 ? NULL : malloc(1 << 20);
        char *volatile grown = table ? realloc(table, 4 << 20) : NULL;
        _exit(grown ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status);
    assert_int_equal(WEXITSTATUS(status), 0);
    return 0;
}

TEST(tables_that_grow_need_mremap)
{
    assert_int_equal(signal_of_growing(SIZE_MAX), 0);
    if (!SANITIZED) // whose malloc has its own ways
        assert_int_equal(signal_of_growing(rule_number("mremap")), SIGSYS);
}

#if !SANITIZED // which has signal handlers of its own
_Noreturn static void
use_memory(int memory, size_t without, const int go[2], const int ready[2])
{
    struct error err;
    char byte;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    volatile char *start = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (start == MAP_FAILED || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        sandbox_filter_without(without, &err) < 0)
        _exit(1);
    int guard = guard_add((void *)start, 4096);
    if (guard < 0 || write(ready[1], "r", 1) != 1 || read(go[0], &byte, 1) != 1)
        _exit(1);
    start[0] = 1;
    _exit(guard_is_lost(guard) ? 0 : 1);
}

// Of a worker whose guest's memory is a file that is shortened.
static int
signal_of_shortened_memory(size_t without)
{
    int go[2], ready[2], status;
    char byte;
    int memory = memfd_create("memory", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory, 4096), 0);
    assert_int_equal(pipe(go) | pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0)
        use_memory(memory, without, go, ready);
    close(ready[1]);
    if (read(ready[0], &byte, 1) == 1)
        assert_int_equal(ftruncate(memory, 0), 0);
    assert_int_equal(write(go[1], "g", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(memory);
    close(go[0]);
    close(go[1]);
    close(ready[0]);
    if (WIFSIGNALED(status))
        return WTERMSIG(status);
    assert_int_equal(WEXITSTATUS(status), 0);
    return 0;
}

TEST(shortened_guest_memory_needs_its_handler)
{
    assert_int_equal(signal_of_shortened_memory(SIZE_MAX), 0);
    assert_int_equal(signal_of_shortened_memory(rule_number("rt_sigaction SIGBUS")), SIGSYS);
    assert_int_equal(signal_of_shortened_memory(rule_number("rt_sigreturn")), SIGSYS);
}
#endif

TEST(filter_that_cannot_be_loaded_is_an_error_that_says_so)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = {""};
        scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
        const struct scmp_arg_cmp filters = SCMP_CMP64(0, SCMP_CMP_EQ, 1 /* a filter */, 0);
        seccomp_rule_add_array(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(seccomp), 1, &filters);
        const struct scmp_arg_cmp mode = SCMP_CMP64(0, SCMP_CMP_EQ, PR_SET_SECCOMP, 0);
        seccomp_rule_add_array(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1, &mode);
        seccomp_load(f);
        int rc = sandbox_filter(&err);
        _exit(rc < 0 && strstr(err.text, "system call filter") && strstr(err.text, "--sandbox=off")
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

// SPDX-License-Identifier: BSD-3-Clause
// A broker that was taken over, played by a process that has just been locked up as one: what it
// would try is refused or kills it, and what its devices need still works.
#include "test.h"

#include "broker/sandbox.h"
#include "broker/sandbox_broker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __has_feature // gcc has a macro instead
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#define LOCK_UP_FAILED 200

static char dir[64];

// A guest with that device, on a link that needs nothing.
static int
lock_up(const char *device)
{
    struct guest_config guest;
    struct error err;
    guest_config_init(&guest);
    if (guest_config_add_channel(&guest, device, &err) < 0)
        return -1;
    struct broker_config config = {.guest = &guest, .link = {.kind = LINK_STREAM, .fd = 3}};
    int rc = sandbox_broker(&config, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    return rc;
}

// What became of a process that was locked up for `device` and then ran try: 0 or the errno that it
// gave, or minus the signal that ended it.
static int
fate_of(const char *device, int (*try)(const void *arg), const void *arg)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        _exit(lock_up(device) < 0 ? LOCK_UP_FAILED : try(arg));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return -WTERMSIG(status);
    assert_int_not_equal(WEXITSTATUS(status), LOCK_UP_FAILED);
    return WEXITSTATUS(status);
}

struct call {
    const char *what;
    long number, arg[6];
};

static int
make_call(const void *arg)
{
    const struct call *c = arg;
    long rc = syscall(c->number, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
    return rc < 0 ? errno : 0;
}

// With Unix sockets as devices, the most usual broker.
#if !SANITIZED // whose run-time has calls of its own
static const struct call killing[] = {
    {"open a file", SYS_openat, {AT_FDCWD, (long)"/etc/shadow", O_RDONLY}},
    {"open a file anew", SYS_openat2, {AT_FDCWD, (long)"/etc/shadow", 0, 0}},
    {"make a file", SYS_openat, {AT_FDCWD, (long)"/tmp/made", O_CREAT | O_WRONLY, 0600}},
    {"remove a file", SYS_unlinkat, {AT_FDCWD, (long)"/nonexistent", 0}},
    {"rename", SYS_renameat2, {AT_FDCWD, (long)"/a", AT_FDCWD, (long)"/b", 0}},
    {"change a mode", SYS_fchmodat, {AT_FDCWD, (long)"/nonexistent", 0777}},
    {"change an owner", SYS_fchownat, {AT_FDCWD, (long)"/nonexistent", 0, 0, 0}},
    {"execute", SYS_execve, {(long)"/bin/sh", 0, 0}},
    {"execute a descriptor", SYS_execveat, {0, (long)"", 0, 0, AT_EMPTY_PATH}},
    {"trace", SYS_ptrace, {PTRACE_ATTACH, 1, 0, 0}},
    {"read another's memory", SYS_process_vm_readv, {1, 0, 0, 0, 0, 0}},
    {"take another's descriptor", SYS_pidfd_getfd, {0, 0, 0}},
    {"name another process", SYS_pidfd_open, {1, 0}},
    {"signal", SYS_kill, {1, SIGKILL}},
    {"stop its worker", SYS_pidfd_send_signal, {0, SIGSTOP, 0, 0}},
    {"fork", SYS_clone, {SIGCHLD, 0, 0, 0, 0}},
    {"clone3", SYS_clone3, {0, 0}},
    {"leave its namespaces", SYS_unshare, {CLONE_NEWUSER}},
    {"enter a namespace", SYS_setns, {0, 0}},
    {"mount", SYS_mount, {0, (long)"/", 0, MS_PRIVATE, 0}},
    {"change the root", SYS_chroot, {(long)"/"}},
    {"become another", SYS_setresuid, {0, 0, 0}},
    {"get capabilities", SYS_capset, {0, 0}},
    {"be traceable", SYS_prctl, {PR_SET_DUMPABLE, 1, 0, 0, 0}},
    {"reach the network", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
    {"make a raw socket", SYS_socket, {AF_PACKET, SOCK_RAW, 0}},
    {"make a netlink socket", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}},
    {"listen", SYS_listen, {0, 1}},
    {"type on a terminal", SYS_ioctl, {0, 0x5412 /* TIOCSTI */, 0}},
    {"attach a tap", SYS_ioctl, {0, 0x400454ca /* TUNSETIFF */, 0}},
    {"make code", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
    {"make memory code", SYS_mprotect, {0, 4096, PROT_EXEC}},
    {"load a program", SYS_bpf, {0, 0, 0}},
    {"begin io_uring", SYS_io_uring_setup, {1, 0}},
    {"use keys", SYS_keyctl, {0, 0, 0}},
};

TEST(what_an_intruder_would_try_kills)
{
    for (size_t i = 0; i < sizeof(killing) / sizeof(killing[0]); i++) {
        int fate = fate_of("600:unix:/run/s", make_call, &killing[i]);
        if (fate != -SIGSYS)
            fail_msg("%s: %d", killing[i].what, fate);
    }
}
#endif

// The same of a starter, which has to open files, mount and make processes.
static int
fate_of_starter(bool opens_queue, const struct call *c)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error err;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            sandbox_starter_filter(opens_queue, &err) < 0)
            _exit(LOCK_UP_FAILED);
        _exit(make_call(c));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return -WTERMSIG(status);
    assert_int_not_equal(WEXITSTATUS(status), LOCK_UP_FAILED);
    return WEXITSTATUS(status);
}

#if !SANITIZED
static const struct call killing_starter[] = {
    {"open a file anew", SYS_openat2, {AT_FDCWD, (long)"/etc/shadow", 0, 0}},
    {"remove a file", SYS_unlinkat, {AT_FDCWD, (long)"/nonexistent", 0}},
    {"rename", SYS_renameat2, {AT_FDCWD, (long)"/a", AT_FDCWD, (long)"/b", 0}},
    {"make a directory", SYS_mkdirat, {AT_FDCWD, (long)"/nonexistent/d", 0700}},
    {"change a mode", SYS_fchmodat, {AT_FDCWD, (long)"/nonexistent", 0777}},
    {"change an owner", SYS_fchownat, {AT_FDCWD, (long)"/nonexistent", 0, 0, 0}},
    {"execute", SYS_execve, {(long)"/bin/sh", 0, 0}},
    {"execute a descriptor", SYS_execveat, {0, (long)"", 0, 0, AT_EMPTY_PATH}},
    {"trace", SYS_ptrace, {PTRACE_ATTACH, 1, 0, 0}},
    {"read another's memory", SYS_process_vm_readv, {1, 0, 0, 0, 0, 0}},
    {"write another's memory", SYS_process_vm_writev, {1, 0, 0, 0, 0, 0}},
    {"take another's descriptor", SYS_pidfd_getfd, {0, 0, 0}},
    {"name another process", SYS_pidfd_open, {1, 0}},
    {"signal", SYS_kill, {1, SIGKILL}},
    {"signal by a descriptor", SYS_pidfd_send_signal, {0, SIGSTOP, 0, 0}},
    {"leave its namespaces", SYS_unshare, {CLONE_NEWUSER}},
    {"change the root", SYS_chroot, {(long)"/"}},
    {"connect", SYS_connect, {0, 0, 0}},
    {"listen", SYS_listen, {0, 1}},
    {"make code", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
    {"make memory code", SYS_mprotect, {0, 4096, PROT_EXEC}},
    {"load a program", SYS_bpf, {0, 0, 0}},
    {"load a module", SYS_finit_module, {0, 0, 0}},
    {"begin io_uring", SYS_io_uring_setup, {1, 0}},
    {"use keys", SYS_keyctl, {0, 0, 0}},
    {"count events", SYS_perf_event_open, {0, 0, 0, 0, 0}},
    {"type on a terminal", SYS_ioctl, {-1, 0x5412 /* TIOCSTI */, 0}},
    {"reach the network", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
    {"enter a namespace", SYS_setns, {-1, 0}},
};

TEST(what_an_intruder_would_try_kills_a_starter)
{
    for (size_t i = 0; i < sizeof(killing_starter) / sizeof(killing_starter[0]); i++) {
        int fate = fate_of_starter(false, &killing_starter[i]);
        if (fate != -SIGSYS)
            fail_msg("%s: %d", killing_starter[i].what, fate);
    }
}
#endif

static size_t
number_of(const char *name, const char *name_of(size_t index))
{
    size_t number = 0;
    while (strcmp(name_of(number), name) != 0)
        number++;
    return number;
}

static int
load_without(bool is_broker, size_t without, struct error *err)
{
    return is_broker ? sandbox_broker_filter_without(without, 0, err)
                     : sandbox_starter_filter_without(without, false, err);
}

TEST(rule_that_is_left_out_is_missing)
{
    const size_t left_out[] = {number_of("chdir", sandbox_starter_rule_name),
                               number_of("accept4", sandbox_broker_rule_name)};
    const struct call calls[] = {
        {"", SYS_chdir, {(long)"/nonexistent"}},
        {"", SYS_accept4, {-1, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK}},
    };
    static const int errors[] = {ENOENT, EBADF};
    for (int i = 0; i < 4; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            struct error err;
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                load_without(i & 1, i < 2 ? SIZE_MAX : left_out[i & 1], &err) < 0)
                _exit(LOCK_UP_FAILED);
            _exit(make_call(&calls[i & 1]));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (i < 2)
            assert_int_equal(WEXITSTATUS(status), errors[i & 1]);
        else
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    }
}

TEST(only_a_starter_with_a_link_to_open_makes_sockets)
{
    const struct call socket = {"", SYS_socket, {AF_UNIX, SOCK_DGRAM, 0}};
    const struct call enter = {"", SYS_setns, {-1, 0}};
    assert_int_equal(fate_of_starter(false, &socket), -SIGSYS);
    assert_int_equal(fate_of_starter(true, &socket), 0);
    assert_int_equal(fate_of_starter(true, &enter), EBADF);
}

TEST(families_of_sockets_are_those_of_the_devices)
{
    static const struct {
        const char *device;
        int allowed;
    } cases[] = {{"600:unix:/run/s", AF_UNIX},
                 {"600:tcp:127.0.0.1:9", AF_INET},
                 {"600:null", AF_UNSPEC},
                 {"600:unix:/run/s,server", AF_UNSPEC}};
    static const int families[] = {AF_UNIX, AF_INET, AF_VSOCK, AF_PACKET};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
            struct call c = {"", SYS_socket, {families[f], SOCK_STREAM, 0}};
            int fate = fate_of(cases[i].device, make_call, &c);
            int wanted = families[f] == cases[i].allowed ? 0 : -SIGSYS;
            if (fate != wanted)
                fail_msg("%s: family %d: %d", cases[i].device, families[f], fate);
        }
}

// FIFOs are opened again for each connection: the call is there, the files are not.
static const struct call refused[] = {
    {"open a secret", SYS_openat, {AT_FDCWD, (long)"/etc/shadow", O_RDONLY}},
    {"write a file", SYS_openat, {AT_FDCWD, (long)"/etc/passwd", O_WRONLY}},
    {"make a file", SYS_openat, {AT_FDCWD, (long)"/tmp/vmc-made", O_CREAT | O_WRONLY, 0600}},
    {"see a directory", SYS_openat, {AT_FDCWD, (long)"/etc", O_RDONLY | O_DIRECTORY}},
    {"look at its memory", SYS_openat, {AT_FDCWD, (long)"/proc/self/mem", O_RDWR}},
    {"open a disk", SYS_openat, {AT_FDCWD, (long)"/dev/kmsg", O_RDWR}},
};

static char fifo[96], pipe_device[128];

static void
with_fifos(void)
{
    snprintf(dir, sizeof(dir), "/tmp/test-sandbox-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(fifo, sizeof(fifo), "%s/p", dir);
    snprintf(pipe_device, sizeof(pipe_device), "600:pipe:%s", fifo);
    assert_int_equal(mkfifo(fifo, 0600), 0);
}

static void
without_fifos(void)
{
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(rmdir(dir), 0);
}

TEST(files_are_those_of_the_devices)
{
    with_fifos();
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int fate = fate_of(pipe_device, make_call, &refused[i]);
        if (fate != EACCES)
            fail_msg("%s: %d", refused[i].what, fate);
    }
    struct call own = {"", SYS_openat, {AT_FDCWD, (long)fifo, O_RDWR | O_NONBLOCK}};
    assert_int_equal(fate_of(pipe_device, make_call, &own), 0);
    without_fifos();
}

static int
connect_to_port(const void *arg)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(*(const uint16_t *)arg)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? errno : 0;
}

TEST(tcp_ports_are_those_of_the_devices)
{
    const uint16_t ours = 9, other = 22;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 4)
        skip(); // an older kernel
    int fate = fate_of("600:tcp:127.0.0.1:9", connect_to_port, &ours);
    assert_true(fate == 0 || fate == ECONNREFUSED);
    assert_int_equal(fate_of("600:tcp:127.0.0.1:9", connect_to_port, &other), EACCES);
}

// Landlock knows ports of connect(2), by TCP.
static const struct call around_ports[] = {
    {"send datagrams", SYS_socket, {AF_INET, SOCK_DGRAM, 0}},
    {"send datagrams by IPv6", SYS_socket, {AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0}},
    {"have several paths", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_MPTCP}},
    {"have several streams", SYS_socket, {AF_INET6, SOCK_STREAM, IPPROTO_SCTP}},
    {"connect as it sends", SYS_sendto, {-1, (long)"", 0, MSG_NOSIGNAL | MSG_FASTOPEN, 0, 0}},
    {"connect with a message", SYS_sendmsg, {-1, 0, MSG_FASTOPEN}},
};

TEST(there_is_no_way_around_tcp_ports)
{
    static const char *const devices[] = {"600:tcp:127.0.0.1:9", "600:tcp:127.0.0.1:9,server"};
    for (size_t d = 0; d < 2; d++)
        for (size_t i = 0; i < sizeof(around_ports) / sizeof(around_ports[0]); i++) {
            int fate = fate_of(devices[d], make_call, &around_ports[i]);
            if (fate != -SIGSYS)
                fail_msg("%s: %s: %d", devices[d], around_ports[i].what, fate);
        }
}

TEST(a_guest_with_commands_is_told_apart)
{
    struct guest_config guest;
    guest_config_init(&guest);
    assert_int_equal(guest_config_add_channel(&guest, "600:unix:/run/s", NULL), 0);
    assert_true(sandbox_broker_is_possible(&guest));
    assert_int_equal(guest_config_add_channel(&guest, "601:cmd:cat", NULL), 0);
    assert_false(sandbox_broker_is_possible(&guest));
    guest_config_fini(&guest);
}

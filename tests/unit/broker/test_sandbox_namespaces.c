// SPDX-License-Identifier: BSD-3-Clause
// What a process in the sandbox can still see and do, told by itself; and what is said when the
// kernel forbids a step.
#include "test.h"

#include "broker/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED_TO_ENTER 99

// Runs probe in a sandbox without the filter; gives its exit status. Skips the test where the
// kernel has no such namespaces for us.
static int
status_of(int (*probe)(void))
{
    struct error err;
    int status;
    pid_t pid = sandbox_fork(&err);
    if (pid == 0) {
        if (sandbox_give_up(&err) < 0)
            _exit(FAILED_TO_ENTER);
        _exit(probe());
    }
    if (pid < 0)
        skip();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), FAILED_TO_ENTER);
    return WEXITSTATUS(status);
}

static int
probe_root(void)
{
    DIR *root = opendir("/");
    const struct dirent *entry;
    struct statvfs fs;
    if (!root)
        return 1;
    while ((entry = readdir(root)))
        if (entry->d_name[0] != '.')
            return 2;
    if (mkdir("/d", 0700) == 0 || open("/f", O_CREAT | O_WRONLY, 0600) >= 0)
        return 3;
    if (statvfs("/", &fs) < 0 || !(fs.f_flag & ST_RDONLY))
        return 4;
    return open("/../etc/passwd", O_RDONLY) >= 0 || open("/proc/1", O_RDONLY) >= 0 ? 5 : 0;
}

TEST(root_is_empty_and_stays_so)
{
    assert_int_equal(status_of(probe_root), 0);
}

static int
probe_rights(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &head, sets) < 0)
        return 1;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        if (sets[i].effective || sets[i].permitted || sets[i].inheritable)
            return 2;
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0)
            return 3;
    if (mount("x", "/", "tmpfs", 0, NULL) == 0 || sethostname("x", 1) == 0)
        return 4;
    return prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0 ? 5 : 0;
}

TEST(no_capability_is_left_or_can_come_back)
{
    assert_int_equal(status_of(probe_rights), 0);
}

static int
probe_processes(void)
{
    if (getpid() != 1 || getppid() != 0)
        return 1;
    if (kill(-1, 0) == 0)
        return 2;
    return 0;
}

TEST(it_is_alone_among_processes)
{
    assert_int_equal(status_of(probe_processes), 0);
}

static int
probe_network(void)
{
    struct if_nameindex *all = if_nameindex();
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    for (int i = 0; all && all[i].if_index; i++) {
        struct ifreq ifr = {.ifr_flags = 0};
        snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", all[i].if_name);
        if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0 || ifr.ifr_flags & IFF_UP)
            return 1;
    }
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    return ioctl(s, SIOCSIFFLAGS, &up) == 0 ? 2 : 0;
}

TEST(its_network_is_a_loopback_that_stays_down)
{
    assert_int_equal(status_of(probe_network), 0);
}

static int
probe_limits(void)
{
    static const int resources[] = {RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_MSGQUEUE};
    struct rlimit l;
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
        if (getrlimit((__rlimit_resource_t)resources[i], &l) < 0 || l.rlim_max != 0)
            return 1;
    return 0;
}

TEST(no_core_dump_no_process_no_message_queue)
{
    assert_int_equal(status_of(probe_limits), 0);
}

TEST(death_of_the_sandboxed_is_seen_as_of_any_child)
{
    struct error err;
    int status;
    pid_t pid = sandbox_fork(&err);
    if (pid == 0) {
        pause();
        _exit(0);
    }
    if (pid < 0)
        skip();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(parent_that_is_not_dumpable_stays_so)
{
    struct error err;
    int was = prctl(PR_GET_DUMPABLE);
    prctl(PR_SET_DUMPABLE, 0);
    pid_t pid = sandbox_fork(&err);
    if (pid == 0)
        _exit(0);
    int is = prctl(PR_GET_DUMPABLE);
    prctl(PR_SET_DUMPABLE, was);
    if (pid < 0)
        skip();
    waitpid(pid, NULL, 0);
    assert_int_equal(is, 0);
}

// --- what the kernel forbids ---------------------------------------------------------------------

struct step {
    int call;
    unsigned conditions;
    struct scmp_arg_cmp condition;
    const char *words; // in the message
};

static void
forbid(const struct step *s)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    seccomp_rule_add_array(f, SCMP_ACT_ERRNO(EPERM), s->call, s->conditions, &s->condition);
    seccomp_load(f);
    seccomp_release(f);
}

static const struct step steps[] = {
    {SCMP_SYS(mount), 1, SCMP_CMP64(3, SCMP_CMP_EQ, MS_PRIVATE | MS_REC, 0), "private mounts"},
    {SCMP_SYS(mount), 1,
     SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, MS_RDONLY | MS_NOEXEC, MS_NOEXEC | MS_RDONLY),
     "empty file system"},
    {SCMP_SYS(pivot_root), 0, {0}, "pivot_root"},
    {SCMP_SYS(umount2), 0, {0}, "detaching the old root"},
    {SCMP_SYS(prctl), 1, SCMP_CMP64(0, SCMP_CMP_EQ, PR_SET_SECUREBITS, 0), "securebits"},
    {SCMP_SYS(prctl), 1, SCMP_CMP64(0, SCMP_CMP_EQ, PR_CAPBSET_DROP, 0), "capability 0"},
    {SCMP_SYS(prctl), 1, SCMP_CMP64(0, SCMP_CMP_EQ, PR_CAP_AMBIENT, 0), "ambient capabilities"},
    {SCMP_SYS(capset), 0, {0}, "capabilities"},
    {SCMP_SYS(prlimit64), 0, {0}, "resource limit"},
};

TEST(each_step_that_is_forbidden_is_named)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct error err = {""};
        int status;
        pid_t pid = sandbox_fork(&err);
        if (pid == 0) {
            forbid(&steps[i]);
            int rc = sandbox_give_up(&err);
            _exit(rc == -EPERM && strstr(err.text, steps[i].words) &&
                          strstr(err.text, "Operation not permitted")
                      ? 0
                      : 1);
        }
        if (pid < 0)
            skip();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
            fail_msg("%s: status 0x%x", steps[i].words, status);
    }
}

static int
fork_where(void (*prepare)(void), const char *words)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = {""};
        prepare();
        pid_t child = sandbox_fork(&err);
        if (child == 0)
            _exit(0);
        _exit(child < 0 && strstr(err.text, words) && strstr(err.text, "--sandbox=off") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

// As user.max_user_namespaces of 0 does, but for this process alone.
static void
limit_namespaces(void)
{
    if (unshare(CLONE_NEWUSER) < 0)
        _exit(FAILED_TO_ENTER);
    int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(FAILED_TO_ENTER);
    close(fd);
}

static void
forbid_clone3(void)
{
    const struct step s = {SCMP_SYS(clone3), 0, {0}, ""};
    forbid(&s);
}

TEST(forbidden_namespaces_are_refused_with_advice)
{
    assert_int_equal(fork_where(forbid_clone3, "Operation not permitted"), 0);
    int status = fork_where(limit_namespaces, "namespace");
    if (WEXITSTATUS(status) == FAILED_TO_ENTER)
        skip();
    assert_int_equal(status, 0);
}

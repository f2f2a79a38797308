// SPDX-License-Identifier: BSD-3-Clause
// A network namespace for a test, held open by a child process: as root a bare one, else inside a
// user namespace of its own, as an unprivileged user has it. All work in it goes by netns_run.
#pragma once

#include "link/netns.h"

#include "../test.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct ns {
    pid_t pid;
    int hold; // closing it ends the child
    char path[64];
};

static inline bool
ns_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

static inline bool
ns_enter_new(void)
{
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (uid == 0)
        return unshare(CLONE_NEWNET) == 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 || !ns_write("/proc/self/setgroups", "deny"))
        return false;
    snprintf(map, sizeof(map), "0 %u 1", uid);
    if (!ns_write("/proc/self/uid_map", map))
        return false;
    snprintf(map, sizeof(map), "0 %u 1", gid);
    return ns_write("/proc/self/gid_map", map);
}

// Skips the test where namespaces cannot be made.
static inline struct ns
ns_open(void)
{
    int hold[2], ready[2];
    char ok = 0;
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    struct ns ns = {.pid = fork(), .hold = hold[1]};
    assert_true(ns.pid >= 0);
    if (ns.pid == 0) {
        close(hold[1]);
        ok = ns_enter_new();
        ssize_t n = write(ready[1], &ok, 1);
        n = read(hold[0], &ok, 1);
        _exit(n != 0);
    }
    close(hold[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &ok, 1), 1);
    close(ready[0]);
    snprintf(ns.path, sizeof(ns.path), "/proc/%d/ns/net", ns.pid);
    if (!ok) {
        close(ns.hold);
        waitpid(ns.pid, NULL, 0);
        print_message("no namespaces for us here\n");
        skip();
    }
    return ns;
}

static inline void
ns_close(struct ns *ns)
{
    close(ns->hold);
    assert_int_equal(waitpid(ns->pid, NULL, 0), ns->pid);
}

// netns_run that must succeed; fds may be NULL when none is wanted.
static inline void
ns_do(const struct ns *ns, int (*fn)(void *, int *, size_t *, struct error *), void *arg, int *fd)
{
    int fds[NETNS_FDS_MAX];
    size_t count;
    struct error err = {{0}};
    if (netns_run(ns->path, fn, arg, fds, &count, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(count, fd ? 1 : 0);
    if (fd)
        *fd = fds[0];
}

// Runs the tests of this executable whose names begin with ns_ once more, by a user who is nobody.
static inline void
ns_rerun_as_nobody(void)
{
    enum { NOBODY = 65534 };
    if (getuid() != 0)
        skip();
    FILE *output = tmpfile();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fileno(output), STDOUT_FILENO);
        dup2(fileno(output), STDERR_FILENO);
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
            _exit(126);
        execl("/proc/self/exe", "as-nobody", "ns_*", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    char text[1024];
    rewind(output);
    while (status != 0 && fgets(text, sizeof(text), output))
        print_message("nobody: %s", text);
    fclose(output);
    assert_int_equal(status, 0);
}

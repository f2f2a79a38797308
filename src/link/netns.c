// SPDX-License-Identifier: BSD-3-Clause
// The helper process that enters a network namespace: fork, setns, work, descriptors and the error
// text back over a socketpair. What the work is, is the caller's; the interfaces' side of netns.h
// is in netns_iface.c, the sockets' in netns_socket.c.
#include "link/netns.h"

#include "base/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static_assert(NETNS_FDS_MAX <= FDPASS_MAX, "all descriptors go in one message");

// What the helper sends, with the descriptors beside it.
struct result {
    int rc;
    struct error err; // meaningful when rc < 0
};

// Privilege over a namespace that an unprivileged user made is had inside the user namespace that
// owns it.
static int
enter(const char *path, struct error *err)
{
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0)
        return error_set(err, errno, "%s", path);
    int rc = setns(ns, CLONE_NEWNET) == 0 ? 0 : -errno;
    if (rc == -EPERM) {
        int user_ns = ioctl(ns, NS_GET_USERNS);
        if (user_ns >= 0) {
            if (setns(user_ns, CLONE_NEWUSER) == 0)
                rc = setns(ns, CLONE_NEWNET) == 0 ? 0 : -errno;
            close(user_ns);
        }
    }
    close(ns);
    if (rc == -EINVAL)
        return error_set(err, EINVAL, "%s: not a network namespace", path);
    if (rc < 0)
        return error_set(err, -rc, "%s: cannot enter the namespace", path);
    return 0;
}

static _Noreturn void
help(int sock, const char *path, int (*fn)(void *arg, int *fds, size_t *count, struct error *err),
     void *arg)
{
    struct result result;
    int fds[NETNS_FDS_MAX];
    size_t count = 0;
    memset(&result, 0, sizeof(result));
    result.rc = enter(path, &result.err);
    if (result.rc == 0)
        result.rc = fn(arg, fds, &count, &result.err);
    if (result.rc < 0)
        count = 0;
    assert(count <= NETNS_FDS_MAX);
    ssize_t n = fdpass_send(sock, &result, sizeof(result), fds, count);
    _exit(n == (ssize_t)sizeof(result) ? 0 : 1);
}

static void
reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int
netns_run(const char *path, int (*fn)(void *arg, int *fds, size_t *count, struct error *err),
          void *arg, int *fds, size_t *count, struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, errno, "%s: cannot make a socket for the helper", path);
    pid_t pid = fork();
    if (pid == 0)
        help(pair[1], path, fn, arg);
    int fork_errno = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return error_set(err, fork_errno, "%s: cannot start the helper", path);
    }
    struct result result;
    *count = NETNS_FDS_MAX;
    ssize_t n = fdpass_recv(pair[0], &result, sizeof(result), fds, count);
    close(pair[0]);
    reap(pid);
    if (n != (ssize_t)sizeof(result)) {
        assert(n <= 0); // the helper sends all or nothing, and what is cut short is refused
        *count = 0;
        return error_set(err, n < 0 ? (int)-n : EIO, "%s: no answer from the helper", path);
    }
    if (result.rc < 0 && err)
        *err = result.err;
    return result.rc;
}

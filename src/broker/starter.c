// SPDX-License-Identifier: BSD-3-Clause
// Why there is a process more: Landlock and a filter of system calls are inherited, and a worker is
// made by calls (clone3, mount, pivot_root) that a broker must not have. So that this process stays
// simple it never waits for its workers: they are the broker's children (CLONE_PARENT), to be
// waited for and ended there. It gives up the capabilities that its two duties do not take, new
// privileges, and the system calls that neither they nor a worker take (sandbox_starter_calls.c);
// it keeps the file system.
#include "broker/starter.h"

#include "base/fdpass.h"
#include "base/log.h"
#include "broker/sandbox.h"
#include "broker/worker.h"
#include "link/open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCK_FD 3
#define NULL_FD 4

#define MEMORY_TRIES   100
#define MEMORY_WAIT_MS 1

enum request {
    REQUEST_WORKER = 1, // with the worker's end of the broker's socket pair
    REQUEST_QUEUE,
};

// With the descriptor that was asked for, unless it failed. Or for a worker that was made and is of
// no use: pid and rc.
struct answer {
    int rc;
    pid_t pid;
    struct error err;
};

// Without memory a message stays where it is. It is waited for a little: lost, the answer would be
// taken for that of the next request.
static bool
may_come(ssize_t n)
{
    return n == -ENOMEM || n == -ENOBUFS || n == -EAGAIN;
}

static ssize_t
receive_patiently(int sock, void *data, size_t len, int *fd, size_t *nfds)
{
    ssize_t n = -ENOMEM;
    for (int i = 0; i < MEMORY_TRIES && may_come(n); i++) {
        if (i > 0)
            poll(NULL, 0, MEMORY_WAIT_MS);
        *nfds = 1;
        *fd = -1;
        n = fdpass_recv(sock, data, len, fd, nfds);
    }
    return n;
}

// --- the starter -------------------------------------------------------------------------------

static bool
is_queue(const struct link_spec *link)
{
    return (link->kind == LINK_TAP || link->kind == LINK_PACKET) && link->fd < 0;
}

static int
open_queue(const struct link_spec *link, struct error *err)
{
    if (!is_queue(link))
        return error_set(err, EINVAL, "link: no queue");
    return link->kind == LINK_TAP ? link_open_tap(link, err) : link_open_packet(link, err);
}

static void
answer(const struct answer *a, int fd)
{
    ssize_t n = fdpass_send(SOCK_FD, a, sizeof(*a), &fd, fd >= 0 ? 1 : 0);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        _exit(1); // no broker, no starter
}

static void
make_worker(const struct guest_config *guest, struct hub_counters *counters, int sock)
{
    struct answer a = {.rc = 0};
    int pidfd = -1;
    a.rc = sandbox_fork_sibling(&a.pid, &pidfd, &a.err);
    if (a.rc == 0 && a.pid == 0)
        worker_main(guest, counters, sock, NULL_FD);
    if (a.rc < 0 && pidfd >= 0) {
        close(pidfd);
        pidfd = -1;
    }
    close(sock);
    answer(&a, pidfd);
}

// Ids for a worker's namespace; what opening a link takes. Without privilege there are none.
static uint64_t
capabilities_for(const struct link_spec *link)
{
    uint64_t keep = CAP(CAP_SETUID) | CAP(CAP_SETGID) | CAP(CAP_SETFCAP);
    if (is_queue(link))
        keep |= CAP(CAP_NET_ADMIN) | CAP(CAP_NET_RAW) | CAP(CAP_SYS_ADMIN) | CAP(CAP_DAC_OVERRIDE);
    return keep;
}

// False, and errno, when one could not be put in its place.
static bool
keep_own_descriptors(int sock, int null_fd)
{
    int s = fcntl(sock, F_DUPFD_CLOEXEC, NULL_FD + 1);
    int n = fcntl(null_fd, F_DUPFD_CLOEXEC, NULL_FD + 1);
    return s >= 0 && n >= 0 && dup2(n, 0) == 0 && dup2(n, 1) == 1 &&
           dup3(s, SOCK_FD, O_CLOEXEC) == SOCK_FD && dup3(n, NULL_FD, O_CLOEXEC) == NULL_FD &&
           close_range(NULL_FD + 1, ~0U, 0) == 0;
}

static int
settle(const struct link_spec *link, struct error *err)
{
    for (int i = 1; i < NSIG; i++)
        if (i != SIGCHLD)
            signal(i, SIG_IGN);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, errno, "process flags");
    int rc = sandbox_keep_capabilities(capabilities_for(link), err);
    return rc == 0 ? sandbox_starter_filter(is_queue(link), err) : rc;
}

_Noreturn static void
starter_main(const struct guest_config *guest, struct hub_counters *counters,
             const struct link_spec *link, int sock, int null_fd)
{
    struct answer a = {.rc = 0};
    prctl(PR_SET_NAME, STARTER_NAME);
    // Without a place of our own for the socket there is nobody to tell.
    if (!keep_own_descriptors(sock, null_fd)) {
        log_error("starter: descriptors: %s", strerror(errno));
        _exit(1);
    }
    a.rc = settle(link, &a.err);
    answer(&a, -1);
    if (a.rc < 0)
        _exit(1);
    for (;;) {
        int fd;
        size_t nfds;
        uint8_t request = 0;
        if (receive_patiently(SOCK_FD, &request, sizeof(request), &fd, &nfds) != sizeof(request))
            _exit(0); // the broker has ended
        if (request == REQUEST_WORKER && nfds == 1) {
            make_worker(guest, counters, fd);
            continue;
        }
        a = (struct answer){.rc = -EINVAL};
        int queue = request == REQUEST_QUEUE ? open_queue(link, &a.err) : -1;
        a.rc = queue < 0 ? queue : 0;
        answer(&a, queue);
        if (nfds == 1)
            close(fd);
    }
}

// --- the broker --------------------------------------------------------------------------------

static int
receive(const struct starter *s, struct answer *a, int *fd, struct error *err)
{
    size_t nfds;
    ssize_t n = receive_patiently(s->sock, a, sizeof(*a), fd, &nfds);
    if (may_come(n))
        shutdown(s->sock, SHUT_RDWR);
    if (n == -EMSGSIZE) // whole, but for a descriptor that we had no room for
        *fd = -1;
    else if (n != sizeof(*a))
        return error_set(err, EPIPE, "worker: its starter is gone");
    if (a->rc < 0 && err)
        *err = a->err;
    return a->rc;
}

static int
ask(const struct starter *s, enum request what, int given, struct answer *a, int *fd,
    struct error *err)
{
    uint8_t request = (uint8_t)what;
    ssize_t n = fdpass_send(s->sock, &request, sizeof(request), &given, given >= 0 ? 1 : 0);
    if (n < 0)
        return error_set(err, (int)-n, "worker: its starter");
    return receive(s, a, fd, err);
}

int
starter_start(struct starter *s, const struct guest_config *guest, struct hub_counters *counters,
              const struct link_spec *link, int null_fd, struct error *err)
{
    int sv[2], none;
    struct answer a;
    *s = (struct starter){.sock = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
        return error_set(err, errno, "worker: cannot make a socket pair");
    pid_t pid = fork();
    if (pid == 0)
        starter_main(guest, counters, link, sv[1], null_fd);
    int why = errno;
    close(sv[1]);
    if (pid < 0) {
        close(sv[0]);
        return error_set(err, why, "worker: cannot fork its starter");
    }
    *s = (struct starter){.pid = pid, .sock = sv[0]};
    int rc = receive(s, &a, &none, err);
    if (rc < 0) {
        error_prefix(err, "starter: sandbox");
        starter_stop(s);
    }
    return rc;
}

int
starter_fork_worker(struct starter *s, int sock, pid_t *pid, struct error *err)
{
    struct answer a = {.rc = 0};
    int pidfd = -1;
    int rc = ask(s, REQUEST_WORKER, sock, &a, &pidfd, err);
    close(sock);
    if (rc == 0 && pidfd < 0)
        rc = error_set(err, EMFILE, "worker: no descriptor left to watch it");
    *pid = a.pid;
    return rc < 0 ? rc : pidfd;
}

int
starter_open_queue(struct starter *s, struct error *err)
{
    struct answer a;
    int fd = -1;
    int rc = ask(s, REQUEST_QUEUE, -1, &a, &fd, err);
    if (rc == 0 && fd < 0)
        rc = error_set(err, EMFILE, "link");
    return rc < 0 ? rc : fd;
}

void
starter_stop(struct starter *s)
{
    if (s->pid <= 0)
        return;
    close(s->sock);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *s = (struct starter){.sock = -1};
}

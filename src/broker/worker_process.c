// SPDX-License-Identifier: BSD-3-Clause
// Starts, watches and ends the worker process. What is said to it is broker's; what it does is
// worker.c's.
#include "broker/worker_process.h"

#include "broker/sandbox.h"
#include "broker/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE_EXTRA 16 // messages that are not answers: links and the like
#define STOP_MS     1000

static void
describe_end(char *out, size_t size, int status)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == WORKER_ABORTED)
        snprintf(out, size, "an abort, as by a failed assertion");
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}

static void
reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void
forget(struct worker_process *w)
{
    loop_remove(w->loop, &w->pid_io);
    close(w->pid_io.fd);
    w->pid_io.fd = -1;
    w->pid = 0;
    courier_fini(&w->courier);
}

static void
on_pidfd(void *ctx, unsigned events)
{
    struct worker_process *w = ctx;
    char cause[80] = "unknown cause";
    int status;
    pid_t pid = waitpid(w->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR))
        return;
    if (pid > 0)
        describe_end(cause, sizeof(cause), status);
    forget(w);
    w->on_exit(w->ctx, cause);
}

// The parent's half, once there is a child: watching it, and a courier. 0 or -errno; on failure the
// caller ends the child and closes pidfd. sock is taken over.
static int
adopt(struct worker_process *w, int pidfd, int sock, const struct courier_events *events)
{
    const struct guest_config *g = w->guest;
    w->pid_io = (struct loop_io){.fd = pidfd, .on_event = on_pidfd, .ctx = w};
    int rc = loop_add(w->loop, &w->pid_io, LOOP_READ);
    if (rc < 0) {
        close(sock);
        return rc;
    }
    struct message_limits limits = {.from_worker = true, .channels = g->channel_count};
    uint32_t queue = g->max_conns + WORKER_QUEUE_PER_CHANNEL * GUEST_CHANNELS_MAX + QUEUE_EXTRA;
    rc = courier_init(&w->courier, w->loop, sock, queue, &limits, events, w->ctx);
    if (rc < 0)
        loop_remove(w->loop, &w->pid_io);
    return rc;
}

// A child with its end of the socket pair: its pidfd, or -errno with err. sock is taken over.
static int
fork_worker(const struct guest_config *guest, struct hub_counters *counters, int null_fd, int sock,
            pid_t *pid, struct error *err)
{
    *pid = guest->sandbox_off ? fork() : sandbox_fork(err);
    if (*pid == 0)
        worker_main(guest, counters, sock, null_fd);
    int rc = (int)*pid;
    if (*pid < 0 && guest->sandbox_off)
        rc = error_set(err, errno, "worker: cannot fork");
    close(sock);
    if (*pid < 0)
        return rc;
    int pidfd = pidfd_open(*pid, 0);
    if (pidfd >= 0)
        return pidfd;
    rc = error_set(err, errno, "worker: cannot watch it");
    kill(*pid, SIGKILL);
    return rc;
}

int
worker_process_start(struct worker_process *w, struct loop *loop, const struct guest_config *guest,
                     struct hub_counters *counters, struct starter *starter, int null_fd,
                     const struct courier_events *events,
                     void (*on_exit)(void *ctx, const char *cause), void *ctx, struct error *err)
{
    int sv[2];
    *w = (struct worker_process){.loop = loop,
                                 .guest = guest,
                                 .counters = counters,
                                 .pid_io = {.fd = -1},
                                 .started_us = loop_clock_us(),
                                 .on_exit = on_exit,
                                 .ctx = ctx};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
        return error_set(err, errno, "worker: cannot make a socket pair");
    // A worker sends no descriptors. The last close of one may take as long as who made it likes
    // (SO_LINGER), so older kernels, which have no way to refuse them, let it hold us up.
    setsockopt(sv[0], SOL_SOCKET, SO_PASSRIGHTS, &(int){0}, sizeof(int));
    int pidfd = starter ? starter_fork_worker(starter, sv[1], &w->pid, err)
                        : fork_worker(guest, counters, null_fd, sv[1], &w->pid, err);
    if (pidfd < 0) {
        close(sv[0]);
        if (w->pid > 0) // made, and ends without us
            reap(w->pid);
        w->pid = 0;
        return pidfd;
    }
    int rc = adopt(w, pidfd, sv[0], events);
    if (rc < 0) {
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        reap(w->pid);
        close(pidfd);
        w->pid = 0;
        return error_set(err, -rc, "worker: cannot watch it");
    }
    return 0;
}

void
worker_process_kill(struct worker_process *w)
{
    // No change to how a process ends that is ending already: its cause is set by then.
    if (w->pid > 0)
        pidfd_send_signal(w->pid_io.fd, SIGKILL, NULL, 0);
}

void
worker_process_stop(struct worker_process *w)
{
    if (w->pid <= 0)
        return;
    courier_fini(&w->courier);
    struct pollfd p = {.fd = w->pid_io.fd, .events = POLLIN};
    if (poll(&p, 1, STOP_MS) != 1)
        worker_process_kill(w);
    reap(w->pid);
    forget(w);
}

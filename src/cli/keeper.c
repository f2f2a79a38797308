// SPDX-License-Identifier: BSD-3-Clause
// See keeper.h. The process itself; who starts and stops it from outside is in keeper_start.c.
#include "cli/keeper.h"

#include "base/log.h"
#include "cli/keeper_files.h"
#include "cli/notify.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETRY_MS     1000 // after a daemon that never got ready
#define END_MS       3000 // the daemon's patience with its worker, and then some
#define CANNOT_RUN   126
#define PROCESS_NAME "vmchannel-keep"

struct state {
    const struct keeper *keeper;
    int signal_fd; // SIGCHLD, SIGTERM
    int notify_fd;
    int report_fd; // who started us waits for a byte here; -1 when it has been told
    sigset_t old_mask;
    pid_t daemon; // 0: none
    bool ready;   // the daemon is
    bool stopping;
};

_Noreturn static void
become_daemon(const struct state *s)
{
    struct error err;
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    if (keeper_files_lock_daemon(s->keeper->socket, &err) < 0) {
        log_error("%s: %s", s->keeper->name, err.text);
        _exit(CANNOT_RUN);
    }
    execv(s->keeper->argv[0], s->keeper->argv);
    log_error("%s: %s: %s", s->keeper->name, s->keeper->argv[0], strerror(errno));
    _exit(CANNOT_RUN);
}

static void
start_daemon(struct state *s)
{
    s->ready = false;
    s->daemon = fork();
    if (s->daemon == 0)
        become_daemon(s);
    if (s->daemon < 0) {
        log_error("%s: fork: %s", s->keeper->name, strerror(errno));
        s->daemon = 0;
    }
}

static void
on_ready(struct state *s)
{
    s->ready = true;
    if (s->report_fd < 0)
        return;
    (void)!write(s->report_fd, "", 1);
    close(s->report_fd);
    s->report_fd = -1;
}

static void
reap(struct state *s)
{
    int status;
    if (s->daemon == 0 || waitpid(s->daemon, &status, WNOHANG) != s->daemon)
        return;
    s->daemon = 0;
    if (s->stopping)
        return;
    if (WIFSIGNALED(status))
        log_error("%s: daemon: killed by signal %d", s->keeper->name, WTERMSIG(status));
    else
        log_error("%s: daemon: ended with status %d", s->keeper->name, WEXITSTATUS(status));
}

// One thing that happened, or timeout_ms (-1: for ever) have passed.
static void
wait_for_event(struct state *s, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->notify_fd, .events = POLLIN}};
    struct signalfd_siginfo si;
    if (poll(fds, 2, timeout_ms) <= 0)
        return;
    // First: the message of a daemon that has ended since is still its own.
    if (fds[1].revents && notify_receive(s->notify_fd, s->daemon) && s->daemon > 0)
        on_ready(s);
    if (fds[0].revents && read(s->signal_fd, &si, sizeof(si)) == sizeof(si)) {
        if (si.ssi_signo == SIGTERM)
            s->stopping = true;
        reap(s);
    }
}

static void
end_daemon(struct state *s)
{
    if (s->daemon == 0)
        return;
    kill(s->daemon, SIGTERM);
    for (int ms = 0; s->daemon > 0 && ms < END_MS; ms += 100)
        wait_for_event(s, 100);
    if (s->daemon > 0) {
        kill(s->daemon, SIGKILL);
        waitpid(s->daemon, NULL, 0);
    }
}

static void
keep(struct state *s)
{
    while (!s->stopping) {
        start_daemon(s);
        while (s->daemon > 0 && !s->stopping)
            wait_for_event(s, -1);
        if (s->stopping)
            return;
        if (s->report_fd >= 0)
            return; // the first one failed: who started us tells why
        if (!s->ready)
            wait_for_event(s, RETRY_MS);
        if (!s->stopping)
            log_warn("%s: daemon: starting it again", s->keeper->name);
    }
}

static int
open_events(struct state *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &s->old_mask);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0)
        return -errno;
    s->notify_fd = notify_listen();
    return s->notify_fd < 0 ? s->notify_fd : 0;
}

void
keeper_run(const struct keeper *k, int report_fd)
{
    struct state s = {.keeper = k, .report_fd = report_fd};
    struct error err;
    prctl(PR_SET_NAME, PROCESS_NAME);
    int rc = keeper_files_lock_keeper(k->socket, &err);
    if (rc < 0) {
        log_error("%s: %s", k->name, err.text);
        return;
    }
    keeper_files_tell_directory(k->socket);
    if (keeper_files_make_control(k, &err) < 0 ||
        keeper_files_write(k->socket, ".xml", k->xml, k->xml_len, &err) < 0) {
        log_error("%s: %s", k->name, err.text);
    } else if ((rc = open_events(&s)) < 0) {
        log_error("%s: %s", k->name, strerror(-rc));
    } else {
        keep(&s);
        end_daemon(&s);
    }
    keeper_files_remove(k->socket, k->guest);
}

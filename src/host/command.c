// SPDX-License-Identifier: BSD-3-Clause
// A command in a process group of its own, from fork to wait. When and for whom it runs is
// open_cmd.c's. The zombie of a command that exited is kept until its connection is over: its
// number stands for the group until then.
#include "host/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_US     (2 * UINT64_C(1000000))
#define STDERR_TURN (16 * 1024) // bytes of stderr read before others get their turn

// --- its last words ------------------------------------------------------------------------------

static void
log_said(struct command *c, const char *what)
{
    uint32_t left_out;
    if (!log_limit_pass(c->limit, loop_now_us(c->loop), &left_out))
        return;
    if (left_out > 0)
        log_warn("%s: command %d: %s (%u lines left out)", c->label, (int)c->pid, what, left_out);
    else
        log_warn("%s: command %d: %s", c->label, (int)c->pid, what);
}

static void
log_line_of(struct command *c)
{
    char text[4 * COMMAND_LINE_MAX + 1];
    if (c->line_len > 0)
        log_said(c, log_escape(text, sizeof(text), c->line, c->line_len));
    c->line_len = 0;
}

static void
take_stderr(struct command *c, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '\n')
            c->line[c->line_len++] = bytes[i];
        if (bytes[i] == '\n' || c->line_len == sizeof(c->line))
            log_line_of(c);
    }
}

static void
close_stderr(struct command *c)
{
    if (c->err_io.fd < 0)
        return;
    loop_remove(c->loop, &c->err_io);
    close(c->err_io.fd);
    c->err_io.fd = -1;
    log_line_of(c);
}

// Always read, never waited for: a command must not stall on what nobody wants to know.
static void
read_stderr(struct command *c)
{
    char bytes[4096];
    for (size_t total = 0; total < STDERR_TURN;) {
        ssize_t n = read(c->err_io.fd, bytes, sizeof(bytes));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close_stderr(c);
            return;
        }
        total += (size_t)n;
        take_stderr(c, bytes, (size_t)n);
    }
}

static void
on_stderr(void *ctx, unsigned events)
{
    read_stderr(ctx);
}

// --- its end -------------------------------------------------------------------------------------

// The group, or, should the child not have got so far as to make one, the child.
static void
signal_group(const struct command *c, int sig)
{
    if (kill(-c->pid, sig) < 0 && errno == ESRCH && !c->exited)
        kill(c->pid, sig);
}

static void
stop_watching(struct command *c)
{
    if (c->pid_io.fd < 0)
        return;
    loop_remove(c->loop, &c->pid_io);
    close(c->pid_io.fd);
    c->pid_io.fd = -1;
}

void
command_kill(struct command *c)
{
    stop_watching(c);
    if (c->err_io.fd >= 0)
        read_stderr(c);
    close_stderr(c);
    if (c->timer >= 0)
        loop_timer_free(c->loop, c->timer);
    c->timer = -1;
    signal_group(c, SIGKILL);
    // One that became another user is not ours to kill, and may run on for ever.
    bool may_stay = !c->exited && kill(c->pid, SIGKILL) < 0;
    while (waitpid(c->pid, NULL, may_stay ? WNOHANG : 0) < 0 && errno == EINTR)
        ;
}

static void
finish(struct command *c)
{
    command_kill(c);
    c->on_ended(c->ctx);
}

static void
log_exit(struct command *c, const siginfo_t *si)
{
    char text[80];
    if (si->si_code == CLD_EXITED && si->si_status == 0)
        return;
    if (si->si_code == CLD_EXITED)
        snprintf(text, sizeof(text), "exit status %d", si->si_status);
    else
        snprintf(text, sizeof(text), "ended by signal %d (%s)", si->si_status,
                 strsignal(si->si_status));
    log_said(c, text);
}

static void
on_pidfd(void *ctx, unsigned events)
{
    struct command *c = ctx;
    siginfo_t si = {.si_pid = 0};
    if (waitid(P_PID, (id_t)c->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
        return;
    c->exited = true;
    stop_watching(c);
    if (c->err_io.fd >= 0)
        read_stderr(c); // before the line that tells its end
    if (c->ending)
        finish(c);
    else
        log_exit(c, &si);
}

// Its end is waited for as before: it may have become another user, or be stuck in the kernel.
static void
on_kill_timer(void *ctx)
{
    signal_group(ctx, SIGKILL);
}

bool
command_ask_to_end(struct command *c)
{
    if (c->exited)
        return false;
    if (!c->ending)
        signal_group(c, SIGTERM);
    c->ending = true;
    siginfo_t si = {.si_pid = 0};
    c->exited = waitid(P_PID, (id_t)c->pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid;
    return !c->exited;
}

void
command_end(struct command *c)
{
    if (c->exited) {
        finish(c);
        return;
    }
    signal_group(c, SIGTERM);
    c->ending = true;
    loop_timer_set(c->loop, c->timer, loop_clock_us() + KILL_US);
}

// --- its beginning -------------------------------------------------------------------------------

// In the child, which has nothing to come back to: what of ours it must not have is closed, undone
// or set to the default.
_Noreturn static void
become(const char *text, int sock, int err_fd, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Out of the way of 0 to 2 first.
    int s = fcntl(sock, F_DUPFD, 3), e = fcntl(err_fd, F_DUPFD, 3);
    if (s < 0 || e < 0 || dup2(s, 0) < 0 || dup2(s, 1) < 0 || dup2(e, 2) < 0)
        _exit(127);
    close_range(3, ~0U, 0);
    execl("/bin/sh", "sh", "-c", text, (char *)NULL);
    _exit(127);
}

struct ends {
    int sock[2]; // ours, its
    int err[2];  // ours, its
};

static void
close_ends(struct ends *e)
{
    for (int i = 0; i < 2; i++) {
        if (e->sock[i] >= 0)
            close(e->sock[i]);
        if (e->err[i] >= 0)
            close(e->err[i]);
    }
}

// Ours do not block; its do, as a command expects.
static int
make_ends(struct ends *e)
{
    *e = (struct ends){{-1, -1}, {-1, -1}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->sock) < 0 ||
        pipe2(e->err, O_CLOEXEC) < 0 || fcntl(e->sock[0], F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(e->err[0], F_SETFL, O_NONBLOCK) < 0) {
        int why = errno;
        close_ends(e);
        return -why;
    }
    return 0;
}

// Watches what was forked. On failure the caller kills it.
static int
watch(struct command *c)
{
    c->timer = loop_timer_new(c->loop, on_kill_timer, c);
    c->pid_io.fd = pidfd_open(c->pid, 0);
    int rc = c->timer < 0 ? -ENOMEM : c->pid_io.fd < 0 ? -errno : 0;
    if (rc == 0) {
        rc = loop_add(c->loop, &c->pid_io, LOOP_READ);
        if (rc < 0) {
            close(c->pid_io.fd);
            c->pid_io.fd = -1;
        }
    }
    int err_rc = loop_add(c->loop, &c->err_io, LOOP_READ);
    if (err_rc < 0) {
        close(c->err_io.fd);
        c->err_io.fd = -1;
    }
    return rc < 0 ? rc : err_rc;
}

int
command_start(struct command *c, const char *text, int *fd, struct error *err)
{
    struct ends e;
    int rc = make_ends(&e);
    if (rc < 0)
        return error_set(err, -rc, "cmd:%.100s: cannot make a socket pair", text);
    pid_t self = getpid();
    c->pid = fork();
    if (c->pid == 0)
        become(text, e.sock[1], e.err[1], self);
    if (c->pid < 0) {
        int why = errno;
        close_ends(&e);
        return error_set(err, why, "cmd:%.100s: cannot fork", text);
    }
    close(e.sock[1]);
    close(e.err[1]);
    c->exited = c->ending = false;
    c->line_len = 0;
    c->pid_io = (struct loop_io){.fd = -1, .on_event = on_pidfd, .ctx = c};
    c->err_io = (struct loop_io){.fd = e.err[0], .on_event = on_stderr, .ctx = c};
    rc = watch(c);
    if (rc < 0) {
        command_kill(c);
        close(e.sock[0]);
        return error_set(err, -rc, "cmd:%.100s: cannot watch it", text);
    }
    *fd = e.sock[0];
    return 0;
}

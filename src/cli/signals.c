// SPDX-License-Identifier: BSD-3-Clause
// See signals.h. Nothing here runs in a signal handler: signals are blocked and read from a
// signalfd, so that each is treated at one place and none is lost.
#include "cli/signals.h"

#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS         50
#define REAP_TIMEOUT_MS 3000
#define KILL_TIMEOUT_MS 1000

int
signals_stop_fd(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

// All but those that tell of a fault of our own.
static void
forwarded_set(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE,  SIGILL,
                                 SIGTRAP, SIGSYS, SIGABRT, SIGPIPE};
    sigfillset(set);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(set, faults[i]);
}

void
signals_block(sigset_t *old)
{
    sigset_t set;
    forwarded_set(&set);
    sigprocmask(SIG_BLOCK, &set, old);
}

static void
broker_ended(const siginfo_t *si)
{
    if (si->si_code == CLD_EXITED)
        log_error("broker: ended with status %d, the channels are gone", si->si_status);
    else
        log_error("broker: killed by signal %d, the channels are gone", si->si_status);
}

// Looks at every child that changed. The exit status once `command` has ended, else -1.
static int
reap_changed(pid_t command, pid_t broker)
{
    for (;;) {
        siginfo_t si = {.si_pid = 0};
        if (waitid(P_ALL, 0, &si, WEXITED | WSTOPPED | WNOHANG) < 0 || si.si_pid == 0)
            return -1;
        bool ended =
            si.si_code == CLD_EXITED || si.si_code == CLD_KILLED || si.si_code == CLD_DUMPED;
        if (si.si_pid != command) {
            if (ended && si.si_pid == broker)
                broker_ended(&si);
            continue;
        }
        if (si.si_code == CLD_EXITED)
            return si.si_status;
        if (ended)
            return 128 + si.si_status;
        // The shell that started us waits for us, not for COMMAND: it must see us stopped too. A
        // plain SIGSTOP is somebody else's business with COMMAND.
        if (si.si_status == SIGTSTP || si.si_status == SIGTTIN || si.si_status == SIGTTOU)
            raise(SIGSTOP);
    }
}

int
signals_supervise(pid_t command, pid_t broker)
{
    sigset_t set;
    forwarded_set(&set);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0)
        die_errno(errno, "signalfd");

    int status = reap_changed(command, broker);
    while (status < 0) {
        struct signalfd_siginfo si;
        if (read(fd, &si, sizeof(si)) != sizeof(si))
            continue;
        if (si.ssi_signo == SIGCHLD)
            status = reap_changed(command, broker);
        else if (si.ssi_code != SI_KERNEL) // the terminal told our process group, COMMAND included
            kill(command, (int)si.ssi_signo);
    }
    close(fd);
    return status;
}

static void
wait_for_sigchld(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = POLL_MS * 1000 * 1000});
}

void
signals_reap(pid_t child)
{
    for (int ms = 0; ms < REAP_TIMEOUT_MS; ms += POLL_MS) {
        if (waitpid(child, NULL, WNOHANG) != 0)
            return;
        wait_for_sigchld();
    }
    log_error("broker: did not end, killed");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

// True if there was one.
static bool
kill_current_children(pid_t except)
{
    char path[64];
    int pid, others = 0;
    // The one place where the kernel lists them (proc(5)).
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (fscanf(f, "%d", &pid) == 1) {
        if (pid == except)
            continue;
        kill(pid, SIGKILL);
        others++;
    }
    fclose(f);
    return others > 0;
}

void
signals_kill_children(pid_t except)
{
    // Bounded: a set-uid child of an ordinary user cannot be killed.
    for (int ms = 0; ms < KILL_TIMEOUT_MS; ms += POLL_MS) {
        if (!kill_current_children(except))
            return;
        siginfo_t si = {0};
        while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid > 0 &&
               si.si_pid != except) {
            waitpid(si.si_pid, NULL, WNOHANG);
            si.si_pid = 0;
        }
        if (si.si_pid == except)
            return; // it has ended by itself and hides the others; its reaper comes next
        wait_for_sigchld();
    }
}

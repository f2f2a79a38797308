// SPDX-License-Identifier: BSD-3-Clause
// See signals.h. Nothing here runs in a signal handler: signals are blocked and read from a
// signalfd, so that each is treated at one place and none is lost.
#include "cli/signals.h"

#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REAP_TIMEOUT_S 3

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
reap_changed(pid_t command)
{
    for (;;) {
        siginfo_t si = {.si_pid = 0};
        if (waitid(P_ALL, 0, &si, WEXITED | WSTOPPED | WNOHANG) < 0 || si.si_pid == 0)
            return -1;
        bool ended =
            si.si_code == CLD_EXITED || si.si_code == CLD_KILLED || si.si_code == CLD_DUMPED;
        if (si.si_pid != command) {
            if (ended)
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
signals_supervise(pid_t command)
{
    sigset_t set;
    forwarded_set(&set);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0)
        die_errno(errno, "signalfd");

    int status = reap_changed(command);
    while (status < 0) {
        struct signalfd_siginfo si;
        if (read(fd, &si, sizeof(si)) != sizeof(si))
            continue;
        if (si.ssi_signo == SIGCHLD)
            status = reap_changed(command);
        else if (si.ssi_code != SI_KERNEL) // the terminal told our process group, COMMAND included
            kill(command, (int)si.ssi_signo);
    }
    close(fd);
    return status;
}

void
signals_reap(pid_t child)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (int i = 0; i < REAP_TIMEOUT_S * 10; i++) {
        if (waitpid(child, NULL, WNOHANG) != 0)
            return;
        sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = 100 * 1000 * 1000});
    }
    log_error("broker: did not end, killed");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

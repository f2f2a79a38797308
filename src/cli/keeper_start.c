// SPDX-License-Identifier: BSD-3-Clause
// See keeper.h: how keeper and daemon are started and stopped from outside.
#include "base/log.h"
#include "cli/cli.h"
#include "cli/keeper.h"
#include "cli/keeper_files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 20000
#define END_MS   5000 // the keeper waits for the daemon meanwhile

// In the new process. Whoever waits for the end of our caller's output must not wait for us.
_Noreturn static void
run_detached(const struct keeper *k, int report_fd)
{
    setsid();
    umask(077);
    if (chdir("/") < 0)
        die_errno(errno, "/");
    detach_stdio();
    dup2(k->log_fd, STDERR_FILENO);
    keeper_run(k, report_fd);
    exit(EXIT_SUCCESS);
}

int
keeper_start(const struct keeper *k, struct error *err)
{
    int report[2];
    char byte;
    err->text[0] = '\0';
    if (pipe2(report, O_CLOEXEC) < 0)
        return error_set(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(report[0]);
        run_detached(k, report[1]);
    }
    close(report[1]);
    int rc = pid < 0 ? error_set(err, errno, "fork") : 0;
    struct pollfd wait = {.fd = report[0], .events = POLLIN};
    if (rc == 0 && poll(&wait, 1, READY_MS) == 0)
        rc = error_set(err, ETIMEDOUT, "daemon: not ready in %d s", READY_MS / 1000);
    else if (rc == 0 && read(report[0], &byte, 1) != 1)
        rc = -ECHILD;
    close(report[0]);
    if (rc == -ETIMEDOUT)
        keeper_stop(k->socket, k->guest, NULL);
    if (rc < 0 && pid > 0)
        waitpid(pid, NULL, 0);
    return rc;
}

static bool
has_ended(int pidfd, int timeout_ms)
{
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    return poll(&wait, 1, timeout_ms) > 0;
}

// Takes ownership of pidfd; -1: there is none.
static bool
end_process(int pidfd)
{
    if (pidfd < 0)
        return true;
    pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
    bool ended = has_ended(pidfd, END_MS);
    if (!ended) {
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        ended = has_ended(pidfd, END_MS);
    }
    close(pidfd);
    return ended;
}

bool
keeper_is_running(const char *socket)
{
    int pidfd = keeper_files_find_keeper(socket);
    if (pidfd >= 0)
        close(pidfd);
    return pidfd >= 0;
}

int
keeper_stop(const char *socket, const char *guest, struct error *err)
{
    // In this order, or the one would start the other again.
    if (!end_process(keeper_files_find_keeper(socket)))
        return error_set(err, ETIMEDOUT, "%s: the keeper does not end", socket);
    if (!end_process(keeper_files_find_daemon(socket)))
        return error_set(err, ETIMEDOUT, "%s: the daemon does not end", socket);
    keeper_files_remove(socket, guest);
    return 0;
}

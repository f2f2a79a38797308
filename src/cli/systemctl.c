// SPDX-License-Identifier: BSD-3-Clause
// See systemctl.h. Its environment is empty: it is to find the system's systemd, whatever our own
// says.
#include "cli/systemctl.h"

#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const programs[] = {"/usr/bin/systemctl", "/bin/systemctl"};

bool
systemctl_is_there(void)
{
    struct stat st;
    return lstat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode);
}

_Noreturn static void
become(const char *verb, const char *unit, int stderr_fd)
{
    char *const argv[] = {"systemctl", "--no-ask-password", "--no-pager", (char *)verb,
                          "--",        (char *)unit,        NULL};
    char *const environment[] = {"LC_ALL=C", NULL};
    detach_stdio();
    dup2(stderr_fd, STDERR_FILENO);
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
        execve(programs[i], argv, environment);
    dprintf(STDERR_FILENO, "%s: %s\n", programs[0], strerror(errno));
    _exit(EXIT_NOT_FOUND);
}

// Nothing that it writes fills a pipe.
static void
first_line(int fd, char *out, size_t size)
{
    ssize_t len = read(fd, out, size - 1);
    out[len > 0 ? len : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static int
wait_for(pid_t pid, int limit_ms, const char *verb, const char *unit, struct error *err)
{
    int pidfd = pidfd_open(pid, 0), status = 0;
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    int rc = pidfd < 0 ? -1 : poll(&wait, 1, limit_ms);
    if (rc <= 0)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (pidfd >= 0)
        close(pidfd);
    if (rc <= 0)
        return error_set(err, ETIMEDOUT, "systemctl %s %s: no answer in %d s", verb, unit,
                         limit_ms / 1000);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
systemctl(const char *verb, const char *unit, int limit_ms, struct error *err)
{
    int complaints[2];
    char said[256];
    if (pipe2(complaints, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0)
        become(verb, unit, complaints[1]);
    close(complaints[1]);
    int rc = pid < 0 ? error_set(err, errno, "fork") : wait_for(pid, limit_ms, verb, unit, err);
    if (rc > 0) {
        first_line(complaints[0], said, sizeof(said));
        error_set(err, 0, "systemctl %s: %s", verb, said[0] ? said : "failed");
    }
    close(complaints[0]);
    return rc;
}

// SPDX-License-Identifier: BSD-3-Clause
// See hook_check.h. Nothing is connected to: the service would see a guest that is none. A path
// nobody listens at is let through; the guest's connect is refused then, until somebody does.
#include "cli/hook_check.h"

#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool
check_path(const char *name, const struct domain_channel *c, const char *user)
{
    struct stat st;
    int why = stat(c->path, &st) < 0 ? errno : 0;
    if (why == 0 && !S_ISSOCK(st.st_mode)) {
        log_error("%s: channel %u: %s: not a socket", name, c->port, c->path);
        return false;
    }
    if (why == 0 && access(c->path, W_OK) < 0)
        why = errno;
    if (why == EACCES)
        log_error("%s: channel %u: %s: QEMU's user %s may not connect to it", name, c->port,
                  c->path, user);
    else if (why == ENOENT)
        log_error("%s: channel %u: %s: no such socket: its service must be started first", name,
                  c->port, c->path);
    else if (why != 0)
        log_error("%s: channel %u: %s: %s", name, c->port, c->path, strerror(why));
    return why == 0;
}

static bool
check_all(const struct domain_info *domain, const char *user)
{
    bool good = true;
    for (size_t i = 0; i < domain->channel_count; i++)
        if (!domain->channels[i].server && !check_path(domain->name, &domain->channels[i], user))
            good = false;
    return good;
}

// In a process of its own, as there is no way back.
static bool
check_as(const struct domain_info *domain, const struct run_as *user)
{
    struct error err;
    pid_t pid = fork();
    if (pid < 0)
        die_errno(errno, "fork");
    if (pid == 0) {
        if (run_as_become(user, &err) < 0)
            die(&err);
        _exit(check_all(domain, user->name) ? EXIT_SUCCESS : EXIT_FAILED);
    }
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool
hook_check_channels(const struct domain_info *domain, const struct run_as *user)
{
    if (user)
        return check_as(domain, user);
    const struct passwd *self = getpwuid(geteuid());
    return check_all(domain, self ? self->pw_name : "");
}

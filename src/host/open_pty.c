// SPDX-License-Identifier: BSD-3-Clause
// The back end of pty: a new pseudo-terminal, raw, whose name is told on stderr (QEMU tells it on
// stdout, which is not ours) and linked to. We hold its user's side open too: the pair lives on
// when its user closes and reopens it, and what is written while nobody has it open waits in the
// kernel until its buffer is full, then the guest waits (QEMU drops it).
#include "host/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PTY_DIR "/dev/pts/"

struct pty {
    const struct channel_spec *spec;
    int fd;        // the master
    int user_fd;   // the slave
    char name[64]; // the slave's path
    bool linked;
};

static void
pty_close(struct pty *p)
{
    char target[sizeof(p->name)] = "";
    const char *link = p->spec->device.path;
    if (p->linked && readlink(link, target, sizeof(target) - 1) > 0 && !strcmp(target, p->name))
        unlink(link);
    if (p->user_fd >= 0)
        close(p->user_fd);
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

static int
pty_make(struct pty *p, struct error *err)
{
    struct termios tty;
    p->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->fd < 0 || grantpt(p->fd) < 0 || unlockpt(p->fd) < 0 ||
        ptsname_r(p->fd, p->name, sizeof(p->name)) != 0)
        return error_set(err, errno, "pty: cannot make one");
    p->user_fd = open(p->name, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->user_fd < 0 || tcgetattr(p->user_fd, &tty) < 0)
        return error_set(err, errno, "pty: %s", p->name);
    cfmakeraw(&tty);
    return tcsetattr(p->user_fd, TCSANOW, &tty) < 0 ? error_set(err, errno, "pty: %s", p->name) : 0;
}

// A link to a terminal, left behind by somebody who was killed, is replaced; anything else is not.
static int
pty_link(struct pty *p, struct error *err)
{
    const char *link = p->spec->device.path;
    char target[sizeof(p->name)] = "";
    if (readlink(link, target, sizeof(target) - 1) > 0 &&
        strncmp(target, PTY_DIR, strlen(PTY_DIR)) == 0)
        unlink(link);
    if (symlink(p->name, link) < 0)
        return error_set(err, errno, "pty: cannot make the link %s", link);
    p->linked = true;
    return 0;
}

static int
pty_start(const struct backend_env *env, void **state, struct error *err)
{
    struct pty *p = calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, ENOMEM, "pty");
    *p = (struct pty){.spec = env->spec, .fd = -1, .user_fd = -1};
    int rc = pty_make(p, err);
    if (rc == 0 && env->spec->device.path[0] != '\0')
        rc = pty_link(p, err);
    if (rc < 0) {
        pty_close(p);
        return rc;
    }
    // The beginning of this line is what management programs look for in QEMU's output.
    if (env->spec->device.name[0] != '\0')
        fprintf(stderr, "char device redirected to %s (label %s)\n", p->name,
                env->spec->device.name);
    else
        fprintf(stderr, "char device redirected to %s (label vmchannel%u)\n", p->name,
                env->spec->port);
    *state = p;
    return 0;
}

static void
pty_stop(void *state)
{
    pty_close(state);
}

static int
pty_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct pty *p = state;
    return backend_dup(p->fd, p->spec, out, err);
}

const struct backend backend_pty = {.start = pty_start, .stop = pty_stop, .open = pty_open};

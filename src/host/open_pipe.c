// SPDX-License-Identifier: BSD-3-Clause
// The back end of pipe: as in QEMU PATH.in is read and PATH.out is written; where the two cannot be
// opened both, PATH is both. QEMU opens all of them for both ways and so never learns that a reader
// has gone. We do that with what is read (its writers may come and go); what is written is opened
// for writing alone while somebody reads it, so that the guest's connection is reset when the
// reader leaves. With no reader there, what is written waits in the pipe as in QEMU, also for a
// reader that comes when the guest has left.
#include "host/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BOTH_WAYS (O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

struct pipe {
    const struct channel_spec *spec;
    int in_fd;   // PATH.in, or PATH
    int hold_fd; // PATH.out for both ways while nobody else reads it; else -1
    bool single; // PATH is both
    char out_path[DEVICE_TEXT_MAX + sizeof(".out")];
};

static void
pipe_close(struct pipe *p)
{
    if (p->in_fd >= 0)
        close(p->in_fd);
    if (p->hold_fd >= 0)
        close(p->hold_fd);
    free(p);
}

static int
pipe_start(const struct backend_env *env, void **state, struct error *err)
{
    const char *path = env->spec->device.path;
    char in_path[DEVICE_TEXT_MAX + sizeof(".in")];
    struct pipe *p = calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, ENOMEM, "pipe:%s", path);
    p->spec = env->spec;
    snprintf(in_path, sizeof(in_path), "%s.in", path);
    snprintf(p->out_path, sizeof(p->out_path), "%s.out", path);
    p->in_fd = open(in_path, BOTH_WAYS);
    p->hold_fd = open(p->out_path, BOTH_WAYS);
    if (p->in_fd < 0 || p->hold_fd < 0) {
        if (p->in_fd >= 0)
            close(p->in_fd);
        if (p->hold_fd >= 0)
            close(p->hold_fd);
        p->hold_fd = -1;
        p->single = true;
        p->in_fd = open(path, BOTH_WAYS);
    }
    if (p->in_fd < 0) {
        int why = errno;
        pipe_close(p);
        return error_set(err, why, "pipe:%s: nor %s.in and %s.out", path, path, path);
    }
    *state = p;
    return 0;
}

static void
pipe_stop(void *state)
{
    pipe_close(state);
}

static bool
has_reader(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) < 0 || !(p.revents & POLLERR); // pipe(7)
}

// A descriptor to write with: one that learns of the reader's end, or the one that keeps the pipe
// alive without a reader. Bytes that wait there must not go with it. The new one is opened before
// the old one is closed: without a writer in between, a reader would see an end of file.
static int
pipe_open_out(struct pipe *p, struct end_fds *out, struct error *err)
{
    int waiting = 0;
    if (p->hold_fd >= 0 && (ioctl(p->hold_fd, FIONREAD, &waiting) < 0 || waiting > 0))
        return backend_dup(p->hold_fd, p->spec, out, err);
    int fd = open(p->out_path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno != ENXIO)
        return error_set(err, errno, "pipe: %s", p->out_path);
    if (p->hold_fd >= 0)
        close(p->hold_fd);
    p->hold_fd = -1;
    if (fd >= 0 && has_reader(fd)) {
        out->fd[out->count++] = fd;
        return 0;
    }
    p->hold_fd = open(p->out_path, BOTH_WAYS);
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (p->hold_fd >= 0)
        return backend_dup(p->hold_fd, p->spec, out, err);
    return error_set(err, why, "pipe: %s", p->out_path);
}

static int
pipe_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    struct pipe *p = state;
    int rc = backend_dup(p->in_fd, p->spec, out, err);
    if (rc < 0 || p->single)
        return rc;
    rc = pipe_open_out(p, out, err);
    if (rc < 0)
        close(out->fd[0]);
    return rc;
}

const struct backend backend_pipe = {.start = pipe_start, .stop = pipe_stop, .open = pipe_open};

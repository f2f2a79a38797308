// SPDX-License-Identifier: BSD-3-Clause
// The back ends of file, opened at start and written by one connection after the other, and of
// null, which has nothing to open.
#include "host/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct file {
    const struct channel_spec *spec;
    int fd; // its offset is shared with the ends handed out
};

static int
file_start(const struct backend_env *env, void **state, struct error *err)
{
    const struct device *dev = &env->spec->device;
    struct file *f = calloc(1, sizeof(*f));
    if (!f)
        return error_set(err, ENOMEM, "%s", env->spec->text);
    // Non-blocking for what is a FIFO or a device by that name.
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    f->spec = env->spec;
    f->fd = open(dev->path, flags | (dev->append ? O_APPEND : O_TRUNC), 0666);
    if (f->fd < 0) {
        int why = errno;
        free(f);
        return error_set(err, why, "file:%s", dev->path);
    }
    *state = f;
    return 0;
}

static void
file_stop(void *state)
{
    struct file *f = state;
    close(f->fd);
    free(f);
}

static int
file_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct file *f = state;
    return backend_dup(f->fd, f->spec, out, err);
}

static int
null_start(const struct backend_env *env, void **state, struct error *err)
{
    *state = NULL;
    return 0;
}

static void
null_stop(void *state)
{
}

static int
null_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    return 0;
}

const struct backend backend_file = {.start = file_start, .stop = file_stop, .open = file_open};

const struct backend backend_null = {.start = null_start, .stop = null_stop, .open = null_open};

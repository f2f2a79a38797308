// SPDX-License-Identifier: BSD-3-Clause
// The back ends of devices that may be terminals: a tty or another character device by path, opened
// at start, and our own standard input and output. A terminal is made raw, its speed is kept (QEMU
// sets 115200), and what it was is put back at the end. A device that hung up (unplugged) is opened
// anew for the next connection.
#include "host/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

struct terminal {
    const struct channel_spec *spec;
    int fd[2];    // read, written; the same for a device
    int flags[2]; // of stdio, as they were
    bool is_tty;
    struct termios was;
};

// What cfmakeraw(3) does; Ctrl-C stays a signal where it is asked for, and output of our own
// terminal keeps its line ends (as in QEMU).
static int
make_raw(struct terminal *t)
{
    const struct device *dev = &t->spec->device;
    t->is_tty = isatty(t->fd[0]) && tcgetattr(t->fd[0], &t->was) == 0;
    // Changing a terminal from its background would stop us (SIGTTOU).
    if (dev->kind == DEVICE_STDIO && t->is_tty)
        t->is_tty = tcgetpgrp(t->fd[0]) == getpgrp();
    if (!t->is_tty)
        return 0;
    struct termios raw = t->was;
    cfmakeraw(&raw);
    if (dev->kind == DEVICE_STDIO) {
        raw.c_oflag |= t->was.c_oflag & OPOST;
        if (dev->signal)
            raw.c_lflag |= ISIG;
    } else {
        raw.c_cflag |= CLOCAL | CREAD; // no modem to wait for
    }
    return tcsetattr(t->fd[0], TCSANOW, &raw) < 0 ? -errno : 0;
}

static int
tty_reopen(struct terminal *t, struct error *err)
{
    const char *path = t->spec->device.path;
    struct stat st;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "%s", path);
    t->fd[0] = t->fd[1] = fd;
    int rc = 0;
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
        rc = error_set(err, ENODEV, "%s: not a character device", path);
    else if (make_raw(t) < 0)
        rc = error_set(err, errno, "%s: cannot be made raw", path);
    if (rc < 0) {
        close(fd);
        t->fd[0] = t->fd[1] = -1;
    }
    return rc;
}

static int
tty_start(const struct backend_env *env, void **state, struct error *err)
{
    struct terminal *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(err, ENOMEM, "%s", env->spec->text);
    t->spec = env->spec;
    int rc = tty_reopen(t, err);
    if (rc < 0)
        free(t);
    else
        *state = t;
    return rc;
}

static void
tty_close(struct terminal *t)
{
    if (t->fd[0] < 0)
        return;
    if (t->is_tty)
        tcsetattr(t->fd[0], TCSANOW, &t->was);
    close(t->fd[0]);
    t->fd[0] = t->fd[1] = -1;
}

static void
tty_stop(void *state)
{
    tty_close(state);
    free(state);
}

static bool
has_hung_up(int fd)
{
    struct pollfd p = {.fd = fd};
    return fd < 0 || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)));
}

static int
tty_open(void *state, const struct backend_try *try, struct end_fds *out, struct error *err)
{
    struct terminal *t = state;
    if (has_hung_up(t->fd[0])) {
        tty_close(t);
        int rc = tty_reopen(t, err);
        if (rc < 0)
            return rc;
    }
    return backend_dup(t->fd[0], t->spec, out, err);
}

static int
stdio_start(const struct backend_env *env, void **state, struct error *err)
{
    if (!env->has_stdio)
        return error_set(err, 0,
                         "stdio: standard input and output are not ours here; "
                         "use it with vmchannel serve, or a pty or a socket");
    struct terminal *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(err, ENOMEM, "stdio");
    *t = (struct terminal){.spec = env->spec, .fd = {STDIN_FILENO, STDOUT_FILENO}};
    for (int i = 0; i < 2; i++) {
        t->flags[i] = fcntl(t->fd[i], F_GETFL);
        if (t->flags[i] >= 0)
            continue;
        int why = errno;
        free(t);
        return error_set(err, why, "stdio: descriptor %d", i);
    }
    for (int i = 0; i < 2; i++)
        fcntl(t->fd[i], F_SETFL, t->flags[i] | O_NONBLOCK);
    make_raw(t);
    *state = t;
    return 0;
}

static void
stdio_stop(void *state)
{
    struct terminal *t = state;
    if (t->is_tty)
        tcsetattr(t->fd[0], TCSANOW, &t->was);
    // What others share with us is left as it was found; in reverse, for the two may be one.
    for (int i = 1; i >= 0; i--)
        fcntl(t->fd[i], F_SETFL, t->flags[i]);
    free(t);
}

static int
stdio_open(void *state, const struct backend_try *try, struct end_fds *out, struct error *err)
{
    const struct terminal *t = state;
    int rc = backend_dup(t->fd[0], t->spec, out, err);
    if (rc == 0)
        rc = backend_dup(t->fd[1], t->spec, out, err);
    if (rc < 0 && out->count > 0)
        close(out->fd[0]);
    return rc;
}

const struct backend backend_tty = {.start = tty_start, .stop = tty_stop, .open = tty_open};

const struct backend backend_stdio = {.start = stdio_start, .stop = stdio_stop, .open = stdio_open};

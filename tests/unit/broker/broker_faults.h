// SPDX-License-Identifier: BSD-3-Clause
// Brokers that are started, lose a worker, serve a control client and end, while one call after the
// other fails: what the tests of each kind of broker share.
#pragma once

#include "test.h"

#include "base/fdpass.h"
#include "broker/internal.h"
#include "faults.h"
#include "link/ns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACK_US  4000000
#define REPLY_US 100000
#define NTH_MAX  3 // of one call: those beyond are of the same places

struct setup {
    char dir[64];
    char control[80]; // the path, for be_controlled()
    struct guest_config guest;
    struct broker_config config;
    unsigned nth_max;                                     // of one call; 0: all
    bool (*meanwhile)(struct setup *s, struct broker *b); // false: it must not come to this
};

static inline void
setup_init(struct setup *s, bool locked_up)
{
    memset(s, 0, sizeof(*s));
    snprintf(s->dir, sizeof(s->dir), "/tmp/test-faults-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    guest_config_init(&s->guest);
    s->config = (struct broker_config){
        .guest = &s->guest, .lock_up = locked_up, .link = {.kind = LINK_STREAM, .fd = -1}};
    s->guest.sandbox_off = !locked_up;
}

static inline void
add(struct setup *s, const char *before_dir, const char *after_dir)
{
    char text[200];
    struct error err = {{0}};
    snprintf(text, sizeof(text), "%s%s%s", before_dir, after_dir ? s->dir : "",
             after_dir ? after_dir : "");
    if (guest_config_add_channel(&s->guest, text, &err) < 0)
        fail_msg("%s: %s", text, err.text);
}

static inline void
setup_fini(struct setup *s)
{
    static const char *const made[] = {"out", "log", "fifo"};
    char path[96];
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", s->dir, made[i]);
        unlink(path);
    }
    guest_config_fini(&s->guest);
    assert_int_equal(rmdir(s->dir), 0);
}

// Sockets, locks and links are gone; but for those whose removal failed, or that were not seen to
// be ours.
static inline void
check_left(void *ctx, const char *failed_call)
{
    static const char *const of_names[] = {"unlink", "lstat64", "fstat64", "flock", "malloc"};
    const struct setup *s = ctx;
    bool may_stay = false;
    for (size_t i = 0; i < sizeof(of_names) / sizeof(of_names[0]); i++)
        may_stay |= strcmp(failed_call, of_names[i]) == 0;
    DIR *dir = opendir(s->dir);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[400];
        if (e->d_type == DT_DIR || e->d_type == DT_REG || e->d_type == DT_FIFO)
            if (!strstr(e->d_name, ".lock"))
                continue;
        snprintf(path, sizeof(path), "%s/%s", s->dir, e->d_name);
        unlink(path);
        if (!may_stay)
            fail_msg("%s: left behind when %s failed", e->d_name, failed_call);
    }
    closedir(dir);
}

// --- what a broker goes through meanwhile --------------------------------------------------------

static inline bool
is_back(const struct broker *b)
{
    return b->finished || (b->restarts > 0 && b->worker.ready);
}

// Its worker is killed: another one comes, or the broker ends.
static inline bool
lose_worker(struct setup *s, struct broker *b)
{
    uint64_t end = loop_clock_us() + BACK_US;
    while (!is_back(b) && loop_clock_us() < end) {
        if (b->restarts == 0) // again, should that have failed
            worker_process_kill(&b->worker);
        loop_turn(b->loop, 10);
    }
    return is_back(b);
}

// Until the reply has come, or the connection has ended: the call may have failed.
static inline void
await_reply(struct broker *b, int fd)
{
    char reply[4096] = "";
    uint64_t end = loop_clock_us() + REPLY_US;
    ssize_t n = -1;
    while (loop_clock_us() < end && n != 0 && (n < 0 || reply[n - 1] != '\0')) {
        loop_turn(b->loop, 1);
        n = recv(fd, reply, sizeof(reply), MSG_DONTWAIT);
    }
}

static inline void
ask(struct broker *b, int fd, const char *method, const char *parameters)
{
    char call[300];
    int len = snprintf(call, sizeof(call),
                       "{\"method\":\"org.vmchannel.Control.%s\",\"parameters\":{%s}}", method,
                       parameters);
    int sv[2] = {-1, -1};
    bool sends_fd = strcmp(method, "Capture") == 0 &&
                    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) == 0;
    fdpass_send(fd, call, (size_t)len + 1, &sv[1], sends_fd ? 1 : 0);
    await_reply(b, fd);
    for (size_t i = 0; sends_fd && i < 2; i++)
        close(sv[i]);
}

static inline bool
be_asked(struct setup *s, struct broker *b)
{
    struct sockaddr_un sa;
    char device[150];
    int len = unix_address(&sa, s->config.control_path, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    if (connect(fd, (struct sockaddr *)&sa, (socklen_t)len) == 0) {
        ask(b, fd, "Info", "");
        ask(b, fd, "List", "");
        ask(b, fd, "Stats", "");
        snprintf(device, sizeof(device), "\"channel\":\"610-612:unix:%s/x%%p\"", s->dir);
        ask(b, fd, "Add", device);
        snprintf(device, sizeof(device), "\"channel\":\"613:unix:%s/y,server\"", s->dir);
        ask(b, fd, "Add", device);
        ask(b, fd, "Delete", "\"port\":611");
        ask(b, fd, "Capture", "\"snaplen\":100");
    }
    close(fd);
    return lose_worker(s, b);
}

// It is stopped, and its worker has nothing to hand over any more.
static inline bool
drain(struct setup *s, struct broker *b)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return true;
    close(fds[1]);
    int rc = broker_run(b, fds[0]);
    close(fds[0]);
    return rc == 0 || b->worker_died || rc == -ENOMEM || rc == -ENOSPC;
}

static inline enum faults_end
serve(void *ctx)
{
    struct setup *s = ctx;
    struct error err = {{0}};
    struct broker *b = broker_start(&s->config, &err);
    if (!b)
        return faults_failed(&err);
    bool ok = !s->meanwhile || s->meanwhile(s, b);
    broker_free(b);
    return ok ? FAULTS_WENT_WELL : FAULTS_WRONG;
}

static inline void
try_all(struct setup *s, unsigned at_least)
{
    struct faults f = {.work = serve,
                       .check = check_left,
                       .ctx = s,
                       .errors = FAULTS_FIRST,
                       .nth_max = s->nth_max,
                       .locked_up = s->config.lock_up || s->config.listeners};
    assert_true(faults_try_all(&f) >= at_least);
    setup_fini(s);
}

static inline void
listen_at_path(struct setup *s)
{
    snprintf(s->config.link.path, sizeof(s->config.link.path), "%s/l", s->dir);
    s->config.link.server = true;
}

static inline void
be_controlled(struct setup *s)
{
    snprintf(s->control, sizeof(s->control), "%s/c", s->dir);
    s->config.control_path = s->control;
}

// SPDX-License-Identifier: BSD-3-Clause
// The control socket while one call after the other fails, with each error it can have: whoever
// can be served is, nobody hangs the loop, nothing is left.
#include "test.h"

#include "broker/control_server.h"
#include "control/fake_guest.h"

#include "base/unix_listener.h"
#include "faults.h"

#define LIST  "{\"method\":\"org.vmchannel.Control.List\"}"
#define PAUSE "{\"method\":\"org.vmchannel.Control.Delete\",\"parameters\":{\"port\":600}}"

struct bench {
    char path[64];
    struct loop *loop;
    struct control_server *server;
};

static int
removes_later(void *ctx, uint16_t port, struct error *err)
{
    struct bench *b = ctx;
    control_server_hold(b->server, 1);
    return 0;
}

// As much of text, and its 0, as the socket takes.
static void
say(struct bench *b, const char *text)
{
    struct sockaddr_un sa;
    char reply[4096];
    int len = unix_address(&sa, b->path, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (struct sockaddr *)&sa, (socklen_t)len) == 0) {
        send(fd, text, strlen(text) + 1, MSG_NOSIGNAL);
        for (int i = 0; i < 4; i++)
            loop_turn(b->loop, 0);
        control_server_release(b->server, 1);
        loop_turn(b->loop, 0);
        recv(fd, reply, sizeof(reply), 0);
        send(fd, LIST, sizeof(LIST), MSG_NOSIGNAL);
        loop_turn(b->loop, 0);
    }
    close(fd);
    loop_turn(b->loop, 0);
}

static enum faults_end
serve(void *ctx)
{
    struct bench *b = ctx;
    struct control_ops ops = fake_ops;
    struct error err = {{0}};
    ops.remove = removes_later;
    b->loop = loop_new();
    if (!b->loop)
        return FAULTS_FAILED;
    b->server = control_server_new(b->loop, "vm1", b->path, &ops, b, &err);
    enum faults_end end = b->server ? FAULTS_WENT_WELL : faults_failed(&err);
    if (b->server) {
        say(b, LIST);
        say(b, PAUSE);
    }
    control_server_free(b->server);
    loop_free(b->loop);
    return end;
}

static void
remove_left(void *ctx, const char *failed_call)
{
    struct bench *b = ctx;
    char lock[80];
    snprintf(lock, sizeof(lock), "%s.lock", b->path);
    unlink(b->path);
    unlink(lock);
}

TEST(control_server_goes_on)
{
    struct bench b = {.loop = NULL};
    snprintf(b.path, sizeof(b.path), "/tmp/test-control-faults-%d", (int)getpid());
    struct faults f = {.work = serve, .check = remove_left, .ctx = &b, .errors = FAULTS_ALL};
    assert_true(faults_try_all(&f) > 100);
}

// SPDX-License-Identifier: BSD-3-Clause
// The control socket within a loop: clients that are slow, silent, too many or gone.
#include "test.h"

#include "broker/control_server.h"
#include "control/fake_guest.h"

#include "base/fdpass.h"
#include "base/unix_listener.h"

#include <fcntl.h>
#include <sys/resource.h>

#define LIST "{\"method\":\"org.vmchannel.Control.List\"}"

static struct loop *loop;
static struct control_server *server;
static struct fake_guest guest;
static struct control_ops ops;
static char path[64];

static void
start(void)
{
    struct error err;
    ops = fake_ops;
    guest = (struct fake_guest){.removed = 0};
    snprintf(path, sizeof(path), "/tmp/test-control-%d", (int)getpid());
    loop = loop_new();
    server = control_server_new(loop, "vm1", path, &ops, &guest, &err);
    assert_non_null(server);
}

static void
stop(void)
{
    control_server_free(server);
    loop_free(loop);
    assert_int_equal(access(path, F_OK), -1);
}

static void
turns(int count)
{
    for (int i = 0; i < count; i++)
        loop_turn(loop, 0);
}

static int
client(void)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    return fd;
}

static void
say(int fd, const char *text, size_t len)
{
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

// A whole reply has come; its length.
static size_t
hear(int fd)
{
    char reply[4096];
    turns(4);
    ssize_t n = recv(fd, reply, sizeof(reply), 0);
    assert_true(n > 1 && reply[n - 1] == '\0');
    assert_memory_equal(reply, "{\"parameters\":", 14);
    return (size_t)n;
}

static bool
is_dropped(int fd)
{
    char byte;
    turns(4);
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

TEST(call_in_pieces_and_calls_in_one)
{
    start();
    int fd = client();
    for (size_t i = 0; i < sizeof(LIST); i++) {
        say(fd, &LIST[i], 1);
        turns(1);
    }
    size_t one = hear(fd);
    char three[3 * sizeof(LIST)];
    for (size_t i = 0; i < 3; i++)
        memcpy(three + i * sizeof(LIST), LIST, sizeof(LIST));
    say(fd, three, sizeof(three));
    assert_int_equal(hear(fd), 3 * one);
    close(fd);
    turns(2);
    stop();
}

TEST(call_that_is_too_long_is_dropped)
{
    start();
    int fd = client(), other = client();
    char *text = malloc(1 << 20);
    memset(text, ' ', 1 << 20);
    size_t sent = 0;
    while (sent < 1 << 20) {
        ssize_t n = send(fd, text, (1 << 20) - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break;
        sent += n > 0 ? (size_t)n : 0;
        turns(1);
    }
    assert_true(sent < 1 << 20);
    assert_true(is_dropped(fd));
    say(other, LIST, sizeof(LIST));
    hear(other);
    // The longest that there may be, in spaces.
    memcpy(text, LIST, sizeof(LIST) - 1);
    text[CONTROL_CALL_MAX - 1] = '\0';
    say(other, text, CONTROL_CALL_MAX);
    turns(10);
    hear(other);
    free(text);
    close(fd);
    close(other);
    turns(2);
    stop();
}

TEST(silent_clients_give_way)
{
    struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
    setrlimit(RLIMIT_NOFILE, &limit);
    start();
    int good = client(), silent[1000];
    for (int i = 0; i < 1000; i++) {
        silent[i] = client();
        if (i == 900)
            say(silent[i], LIST, sizeof(LIST)); // among others, and served
    }
    turns(1000 / 8 + 10);
    hear(silent[900]);
    assert_true(is_dropped(good)); // it said nothing either
    int dropped = 0;
    for (int i = 0; i < 1000; i++) {
        char byte;
        dropped += recv(silent[i], &byte, 1, 0) == 0;
        close(silent[i]);
    }
    assert_int_equal(dropped, 1000 - 32);
    close(good);
    turns(40);
    stop();
}

TEST(client_that_reads_nothing_is_read_no_more)
{
    start();
    int fd = client(), other = client();
    size_t calls = 0;
    for (int idle = 0; idle < 20; idle++) {
        while (send(fd, LIST, sizeof(LIST), MSG_NOSIGNAL) == sizeof(LIST)) {
            calls++;
            idle = 0;
        }
        turns(1);
    }
    assert_true(calls < 100000); // bounded by the sockets
    say(other, LIST, sizeof(LIST));
    hear(other);
    close(fd); // in the middle of a reply
    close(other);
    turns(2);
    stop();
}

TEST(descriptors_that_nobody_wants_are_closed)
{
    start();
    int fd = client(), pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    char byte;
    assert_int_equal(fdpass_send(fd, LIST, sizeof(LIST), &pipe_fds[1], 1), sizeof(LIST));
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), -1); // on its way
    hear(fd);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
    // Two for one call.
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fdpass_send(fd, "{", 1, &pipe_fds[1], 1), 1);
    turns(2);
    assert_int_equal(fdpass_send(fd, "}", 1, &pipe_fds[1], 1), 1);
    close(pipe_fds[1]);
    assert_true(is_dropped(fd));
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
    close(fd);
    stop();
}

static int
held_remove(void *ctx, uint16_t port, struct error *err)
{
    control_server_hold(server, port);
    return 0;
}

TEST(reply_waits_until_it_is_released)
{
    static const char first[] = "{\"method\":\"org.vmchannel.Control.Delete\",\"parameters\":"
                                "{\"port\":1}}";
    static const char second[] = "{\"method\":\"org.vmchannel.Control.Delete\",\"parameters\":"
                                 "{\"port\":2}}";
    char byte;
    start();
    ops.remove = held_remove;
    int a = client(), b = client(), c = client();
    say(a, first, sizeof(first));
    say(b, second, sizeof(second));
    say(a, LIST, sizeof(LIST)); // behind it
    turns(4);
    assert_int_equal(recv(a, &byte, 1, 0), -1);
    assert_int_equal(recv(b, &byte, 1, 0), -1);
    say(c, LIST, sizeof(LIST));
    hear(c); // others are not held up
    control_server_release(server, 1);
    assert_true(hear(a) > sizeof("{\"parameters\":{}}"));
    assert_int_equal(recv(b, &byte, 1, 0), -1);
    close(b); // leaves before its reply
    turns(2);
    control_server_release(server, 2);
    close(a);
    close(c);
    turns(2);
    stop();
}

TEST(client_whose_reply_had_to_wait_may_be_silent_as_long_as_others)
{
    static const char call[] = "{\"method\":\"org.vmchannel.Control.Delete\",\"parameters\":"
                               "{\"port\":1}}";
    start();
    ops.remove = held_remove;
    int fd = client();
    say(fd, call, sizeof(call));
    turns(4);
    control_server_release(server, 1);
    hear(fd);
    uint64_t until_us = loop_next_deadline(loop);
    close(fd);
    turns(2);
    fd = client();
    say(fd, LIST, sizeof(LIST));
    hear(fd);
    assert_in_range(loop_next_deadline(loop), until_us, until_us + 1000000);
    close(fd);
    turns(2);
    stop();
}

// --- replies that a client takes its time for ----------------------------------------------------

#define CHANNELS 4000 // whose list no socket takes at once

static bool
next_of_many(void *ctx, size_t *at, struct control_channel *out)
{
    if (*at == CHANNELS)
        return false;
    *out = (struct control_channel){.port = (uint16_t)++ * at};
    memset(out->device, 'd', sizeof(out->device) - 1);
    return true;
}

// Whole replies that come until there is nothing more; bytes of all.
static size_t
hear_slowly(int fd, int *replies)
{
    static char bytes[4096];
    size_t all = 0;
    *replies = 0;
    for (int silent = 0; silent < 10;) {
        turns(1);
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        silent = n > 0 ? 0 : silent + 1;
        for (ssize_t i = 0; i < n; i++)
            *replies += bytes[i] == '\0';
        all += n > 0 ? (size_t)n : 0;
    }
    return all;
}

TEST(long_reply_goes_as_it_is_taken_and_the_next_call_waits)
{
    char two[2 * sizeof(LIST)];
    int replies;
    start();
    ops.next_channel = next_of_many;
    int fd = client();
    memcpy(two, LIST, sizeof(LIST));
    memcpy(two + sizeof(LIST), LIST, sizeof(LIST));
    say(fd, two, sizeof(two));
    turns(4);
    say(fd, LIST, sizeof(LIST)); // not read before the others' replies are taken
    assert_true(hear_slowly(fd, &replies) > 3 * CHANNELS * 100);
    assert_int_equal(replies, 3);
    close(fd);
    turns(2);
    stop();
}

TEST(client_that_leaves_its_reply_is_dropped)
{
    start();
    ops.next_channel = next_of_many;
    int fd = client(), other = client();
    say(fd, LIST, sizeof(LIST));
    turns(4);
    close(fd);
    turns(4);
    ops.next_channel = fake_ops.next_channel;
    say(other, LIST, sizeof(LIST));
    hear(other);
    close(other);
    turns(2);
    stop();
}

TEST(client_that_says_no_call_behind_a_long_reply_is_dropped_after_it)
{
    static const char no_call[] = "[1]";
    int replies;
    start();
    ops.next_channel = next_of_many;
    int fd = client();
    say(fd, LIST, sizeof(LIST));
    say(fd, no_call, sizeof(no_call));
    assert_true(hear_slowly(fd, &replies) > CHANNELS * 100);
    assert_int_equal(replies, 1);
    assert_true(is_dropped(fd));
    close(fd);
    stop();
}

// SPDX-License-Identifier: BSD-3-Clause
// Requests for host ends: pairing in order, retrying, cancelling, and the bound on what waits.
#include "test.h"

#include "base/log.h"
#include "host/opener.h"
#include "host/unix_end.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define ANSWERS_MAX 256

struct answer {
    uint64_t session;
    int fd;  // >= 0: opened
    int why; // refused
};

struct bench {
    char dir[64];
    char guest[32]; // this process's alone: abstract sockets have it
    char path[100];
    struct channel_spec spec[2];
    struct loop *loop;
    struct opener *opener;
    struct answer answers[ANSWERS_MAX];
    size_t count;
    char log[4096];
};

static void
on_opened(void *ctx, uint64_t session, const int *fds, size_t nfds)
{
    struct bench *b = ctx;
    assert_true(b->count < ANSWERS_MAX);
    assert_int_equal(nfds, 1);
    b->answers[b->count++] = (struct answer){.session = session, .fd = fds[0]};
}

static void
on_refused(void *ctx, uint64_t session, int why)
{
    struct bench *b = ctx;
    assert_true(b->count < ANSWERS_MAX);
    b->answers[b->count++] = (struct answer){.session = session, .fd = -1, .why = why};
}

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    struct bench *b = ctx;
    size_t len = strlen(b->log);
    snprintf(b->log + len, sizeof(b->log) - len, "%s\n", line);
}

// One channel, 600, whose device is unix:PATH and `options`.
static void
setup(struct bench *b, const char *options, uint32_t max_pending)
{
    char text[200];
    struct error err = {{0}};
    memset(b, 0, sizeof(*b));
    snprintf(b->dir, sizeof(b->dir), "/tmp/test-opener-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->path, sizeof(b->path), "%s/s", b->dir);
    snprintf(b->guest, sizeof(b->guest), "vm%d", (int)getpid());
    snprintf(text, sizeof(text), "600:unix:%s%s", b->path, options);
    assert_int_equal(channel_spec_parse(text, &b->spec[0], NULL), 0);
    log_set_sink(on_log, b);
    log_set_level(LOG_INFO);
    b->loop = loop_new();
    struct opener_config config = {.loop = b->loop,
                                   .guest = b->guest,
                                   .channels = b->spec,
                                   .channel_count = 1,
                                   .max_pending = max_pending,
                                   .events = {on_opened, on_refused},
                                   .ctx = b};
    b->opener = opener_new(&config, &err);
    if (!b->opener)
        fail_msg("%s", err.text);
}

static void
teardown(struct bench *b)
{
    opener_free(b->opener);
    loop_free(b->loop);
    for (size_t i = 0; i < b->count; i++)
        if (b->answers[i].fd >= 0)
            close(b->answers[i].fd);
    unlink(b->path);
    assert_int_equal(rmdir(b->dir), 0); // nothing of the opener's is left there
    log_set_sink(NULL, NULL);
}

static void
turns(struct bench *b, int ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)ms * 1000;
    do
        loop_turn(b->loop, 1);
    while (loop_clock_us() < end);
}

static int
listen_at(const char *path, int backlog)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, true);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static int
client_of(const char *path)
{
    struct device dev = {.kind = DEVICE_UNIX};
    snprintf(dev.path, sizeof(dev.path), "%s", path);
    int fd = unix_end_connect(&dev, "", NULL);
    assert_true(fd >= 0);
    return fd;
}

// Occurrences of a log line's part.
static int
logged(const struct bench *b, const char *part)
{
    int n = 0;
    for (const char *p = b->log; (p = strstr(p, part)); p++)
        n++;
    return n;
}

TEST(client_is_connected_at_once_under_its_identity)
{
    struct bench b;
    setup(&b, "", 4);
    int l = listen_at(b.path, 4);
    assert_true(opener_open(b.opener, 7, 0, NULL));
    assert_int_equal(b.count, 1);
    assert_int_equal(b.answers[0].session, 7);
    assert_true(b.answers[0].fd >= 0);
    struct sockaddr_un sa = {0};
    socklen_t len = sizeof(sa);
    char name[64];
    assert_int_equal(getsockname(b.answers[0].fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(name, sizeof(name), "vmchannel/%s/600/1", b.guest);
    assert_int_equal(sa.sun_path[0], 0);
    assert_string_equal(sa.sun_path + 1, name);
    assert_int_equal(opener_pending(b.opener), 0);
    close(l);
    teardown(&b);
}

TEST(refusal_is_logged_once_until_it_changes_or_recovers)
{
    struct bench b;
    char line[200];
    setup(&b, "", 4);
    for (uint32_t i = 0; i < 10; i++)
        opener_open(b.opener, i, 0, NULL);
    assert_int_equal(b.count, 10);
    assert_int_equal(b.answers[9].why, -ENOENT);
    snprintf(line, sizeof(line), "%s: channel 600: unix:%s: No such file or directory", b.guest,
             b.path);
    assert_int_equal(logged(&b, line), 1);

    close(listen_at(b.path, 1));
    opener_open(b.opener, 20, 0, NULL);
    opener_open(b.opener, 21, 0, NULL);
    assert_int_equal(logged(&b, "Connection refused"), 1);
    unlink(b.path);
    int l = listen_at(b.path, 1);
    opener_open(b.opener, 22, 0, NULL);
    assert_int_equal(logged(&b, "answers again"), 1);
    close(l);
    unlink(b.path);
    opener_open(b.opener, 23, 0, NULL);
    assert_int_equal(logged(&b, line), 2);
    teardown(&b);
}

TEST(flapping_service_does_not_flood_the_log)
{
    struct bench b;
    setup(&b, "", 4);
    for (uint32_t i = 0; i < 100; i++) {
        int l = listen_at(b.path, 1);
        opener_open(b.opener, 2 * i, 0, NULL);
        close(l);
        unlink(b.path);
        opener_open(b.opener, 2 * i + 1, 0, NULL);
    }
    assert_int_equal(b.count, 200);
    assert_in_range(logged(&b, ": channel 600"), 2, 10);
    teardown(&b);
}

TEST(full_backlog_is_refused_at_once)
{
    struct bench b;
    setup(&b, "", 4);
    int l = listen_at(b.path, 0);
    opener_open(b.opener, 1, 0, NULL);
    opener_open(b.opener, 2, 0, NULL);
    assert_true(b.answers[0].fd >= 0);
    assert_int_equal(b.answers[1].why, -EAGAIN);
    assert_int_equal(logged(&b, "backlog full"), 1);
    close(l);
    teardown(&b);
}

TEST(reconnect_holds_until_the_service_is_there)
{
    struct bench b;
    setup(&b, ",reconnect=1", 8);
    for (uint32_t i = 1; i <= 3; i++)
        opener_open(b.opener, i, 0, NULL);
    assert_int_equal(b.count, 0);
    assert_int_equal(opener_pending(b.opener), 3);
    opener_cancel(b.opener, 2);
    int l = listen_at(b.path, 8);
    uint64_t start = loop_clock_us();
    while (b.count < 2 && loop_clock_us() - start < 3000000)
        loop_turn(b.loop, 50);
    assert_in_range(loop_clock_us() - start, 500000, 1500000);
    assert_int_equal(b.count, 2);
    assert_int_equal(b.answers[0].session, 1);
    assert_int_equal(b.answers[1].session, 3);
    assert_true(b.answers[0].fd >= 0 && b.answers[1].fd >= 0);
    assert_int_equal(logged(&b, "No such file"), 1);
    close(l);
    teardown(&b);
}

TEST(newcomer_that_gets_through_brings_those_who_wait)
{
    struct bench b;
    setup(&b, ",reconnect=60", 8);
    opener_open(b.opener, 1, 0, NULL);
    opener_open(b.opener, 2, 0, NULL);
    int l = listen_at(b.path, 8);
    opener_open(b.opener, 3, 0, NULL);
    assert_int_equal(b.count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(b.answers[i].session, i + 1);
    close(l);
    teardown(&b);
}

TEST(more_than_one_turns_worth_of_waiters_is_served)
{
    struct bench b;
    setup(&b, ",reconnect=60", 200);
    for (uint32_t i = 0; i < 199; i++)
        opener_open(b.opener, i, 0, NULL);
    int l = listen_at(b.path, 256);
    opener_open(b.opener, 199, 0, NULL);
    assert_in_range(b.count, 1, 100);
    turns(&b, 100);
    assert_int_equal(b.count, 200);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(b.answers[i].session, i);
    close(l);
    teardown(&b);
}

TEST(clients_and_requests_are_paired_in_order)
{
    struct bench b;
    int c[4];
    setup(&b, ",server", 8);
    c[0] = client_of(b.path);
    c[1] = client_of(b.path);
    opener_open(b.opener, 10, 0, NULL);
    assert_int_equal(b.count, 1); // it was there already
    opener_open(b.opener, 11, 0, NULL);
    opener_open(b.opener, 12, 0, NULL);
    opener_open(b.opener, 13, 0, NULL);
    turns(&b, 10);
    assert_int_equal(b.count, 2);
    c[2] = client_of(b.path);
    c[3] = client_of(b.path);
    turns(&b, 10);
    assert_int_equal(b.count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        char byte = 0;
        assert_int_equal(b.answers[i].session, 10 + i);
        assert_int_equal(write(c[i], &"abcd"[i], 1), 1);
        assert_int_equal(read(b.answers[i].fd, &byte, 1), 1);
        assert_int_equal(byte, "abcd"[i]);
        close(c[i]);
    }
    teardown(&b);
}

TEST(no_client_is_accepted_before_a_request_waits)
{
    struct bench b;
    setup(&b, ",server,nowait", 8);
    int c = client_of(b.path);
    turns(&b, 20);
    close(c); // left before anybody asked
    opener_open(b.opener, 1, 0, NULL);
    turns(&b, 20);
    assert_int_equal(b.count, 0);
    c = client_of(b.path);
    turns(&b, 20);
    assert_int_equal(b.count, 1);
    struct pollfd p = {.fd = b.answers[0].fd};
    assert_int_equal(poll(&p, 1, 0), 0); // not the one that hung up
    close(c);
    teardown(&b);
}

TEST(cancelled_request_gives_way_to_the_next)
{
    struct bench b;
    setup(&b, ",server", 8);
    opener_open(b.opener, 1, 0, NULL);
    opener_open(b.opener, 2, 0, NULL);
    opener_cancel(b.opener, 1);
    opener_cancel(b.opener, 1);
    opener_cancel(b.opener, 99);
    int c = client_of(b.path);
    turns(&b, 20);
    assert_int_equal(b.count, 1);
    assert_int_equal(b.answers[0].session, 2);
    // With nobody waiting the next client stays in the backlog.
    int d = client_of(b.path);
    turns(&b, 20);
    assert_int_equal(b.count, 1);
    opener_open(b.opener, 3, 0, NULL);
    opener_cancel_all(b.opener);
    assert_int_equal(opener_pending(b.opener), 0);
    close(c);
    close(d);
    teardown(&b);
}

TEST(what_waits_is_bounded)
{
    struct bench b;
    setup(&b, ",server", 3);
    for (uint32_t i = 0; i < 5; i++)
        opener_open(b.opener, i, 0, NULL);
    assert_int_equal(opener_pending(b.opener), 3);
    assert_int_equal(b.count, 2);
    assert_int_equal(b.answers[1].why, -ENOSPC);
    assert_int_equal(logged(&b, "too many"), 1);
    opener_cancel(b.opener, 1);
    opener_open(b.opener, 9, 0, NULL);
    assert_int_equal(opener_pending(b.opener), 3);
    teardown(&b);
}

TEST(session_under_way_is_not_taken_twice)
{
    struct bench b;
    setup(&b, ",server", 4);
    assert_true(opener_open(b.opener, 5, 0, NULL));
    assert_false(opener_open(b.opener, 5, 0, NULL));
    assert_true(opener_open(b.opener, 5 + 16, 0, NULL)); // the same bucket
    assert_int_equal(opener_pending(b.opener), 2);
    assert_int_equal(b.count, 0);
    teardown(&b);
}

TEST(out_of_descriptors_refuses_and_goes_on)
{
    struct bench b;
    struct rlimit was, now;
    setup(&b, ",server", 8);
    opener_open(b.opener, 1, 0, NULL);
    int c = client_of(b.path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    close(next);
    now = was;
    now.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    turns(&b, 20);
    opener_open(b.opener, 2, 0, NULL);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(b.count, 2);
    assert_int_equal(b.answers[0].why, -EMFILE);
    assert_int_equal(b.answers[1].why, -EMFILE);
    opener_open(b.opener, 3, 0, NULL); // the client is still in the backlog
    assert_int_equal(b.count, 3);
    assert_true(b.answers[2].fd >= 0);
    close(c);
    teardown(&b);
}

TEST(path_that_cannot_be_listened_on_fails_the_start)
{
    struct channel_spec spec;
    struct error err = {{0}};
    struct loop *loop = loop_new();
    assert_int_equal(channel_spec_parse("601:unix:/nonexistent/s,server,nowait", &spec, NULL), 0);
    struct opener_config config = {.loop = loop,
                                   .guest = "vm1",
                                   .channels = &spec,
                                   .channel_count = 1,
                                   .max_pending = 1,
                                   .events = {on_opened, on_refused}};
    assert_null(opener_new(&config, &err));
    assert_non_null(strstr(err.text, "channel 601: "));
    assert_non_null(strstr(err.text, "/nonexistent/s"));
    assert_non_null(strstr(err.text, "No such file or directory"));
    loop_free(loop);
}

TEST(channel_comes_and_goes)
{
    struct bench b;
    char text[200];
    struct error err;
    setup(&b, "", 4);
    struct channel_spec specs[3] = {b.spec[0]};
    struct opener_config config = {.loop = b.loop,
                                   .guest = b.guest,
                                   .channels = specs,
                                   .channel_count = 1,
                                   .channels_max = 3,
                                   .max_pending = 4,
                                   .events = {on_opened, on_refused},
                                   .ctx = &b};
    struct opener *o = opener_new(&config, &err);
    for (int round = 0; round < 3; round++) {
        snprintf(text, sizeof(text), "601:unix:%s,server=on", b.path);
        assert_int_equal(channel_spec_parse(text, &specs[2], NULL), 0);
        assert_true(opener_is_free(o, 2));
        assert_int_equal(opener_add(o, 2, &err), 0);
        assert_false(opener_is_free(o, 2));
        size_t before = b.count;
        assert_true(opener_open(o, 1, 2, NULL)); // waits for a host client
        assert_int_equal(opener_remove(o, 2), 0);
        assert_int_equal(b.count, before); // without an answer
        assert_int_equal(opener_pending(o), 0);
        assert_int_equal(access(b.path, F_OK), -1);
    }
    // What cannot be opened is not there, and says why.
    assert_int_equal(channel_spec_parse("601:unix:/nonexistent/s,server", &specs[1], NULL), 0);
    assert_int_equal(opener_add(o, 1, &err), -ENOENT);
    assert_non_null(strstr(err.text, "channel 601: "));
    assert_true(opener_is_free(o, 1));
    opener_free(o);
    teardown(&b);
}

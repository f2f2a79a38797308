// SPDX-License-Identifier: BSD-3-Clause
// Stream and message links when the kernel refuses a call: what passes is waited out,
// what does not ends the link, a frame that cannot be sent is dropped, and nothing leaks.
#include "failing_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

// Two UDP sockets on the loopback, connected to each other.
static struct pair
pair_udp(void)
{
    int fds[2];
    struct sockaddr_in sin[2];
    for (int i = 0; i < 2; i++) {
        socklen_t len = sizeof(sin[i]);
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sin[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        assert_int_equal(bind(fds[i], (struct sockaddr *)&sin[i], len), 0);
        assert_int_equal(getsockname(fds[i], (struct sockaddr *)&sin[i], &len), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(connect(fds[i], (struct sockaddr *)&sin[!i], sizeof(sin[i])), 0);
    return pair_of(link_new_message, fds[0], fds[1]);
}

// Whether the peer has a frame of send_frame's; reads it.
static bool
peer_has_frame(struct pair *p, size_t prefix)
{
    uint8_t got[200];
    return recv(p->peer, got, prefix + 100, MSG_DONTWAIT) == (ssize_t)(prefix + 100);
}

static void
expect_down(struct pair *p, const char *why)
{
    turns(p->loop, 2);
    assert_int_equal(p->r->down, 1);
    assert_string_equal(p->r->why, why);
    pair_close(p);
}

// --- making --------------------------------------------------------------------------------------

// Each call that a new link makes fails: it is refused, and its descriptor closed.
static void
expect_refused(new_link *new, int domain, int type, const char *call, uint32_t nth, int errnum)
{
    int fds[2];
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    assert_int_equal(socketpair(domain, type | SOCK_CLOEXEC, 0, fds), 0);
    fail_some(call, nth, 0, errnum);
    assert_null(new (loop, fds[0], &receiver_events, r));
    failed(1);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    loop_free(loop);
    free(r);
    close(fds[1]);
}

TEST(link_that_cannot_be_made_is_refused)
{
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "calloc", 1, ENOMEM);
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "fcntl64", 1, EPERM);
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "fcntl64", 2, EPERM);
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "epoll_ctl", 1, ENOSPC);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "calloc", 1, ENOMEM);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "getsockopt", 1, ENOMEM);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "getpeername", 1, ENOTCONN);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "epoll_ctl", 1, ENOSPC);
}

TEST(link_without_room_for_its_timer_is_refused)
{
    int fds[2], timers[64], count = 0;
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fail_some("realloc", 1, 1000, ENOMEM);
    while (count < 64 && (timers[count] = loop_timer_new(loop, (void (*)(void *))abort, r)) >= 0)
        count++;
    assert_true(count < 64);
    assert_null(link_new_stream(loop, fds[0], &receiver_events, r));
    fail_page()->armed = 0;
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    while (count > 0)
        loop_timer_free(loop, timers[--count]);
    loop_free(loop);
    free(r);
    close(fds[1]);
}

TEST(message_link_refuses_other_families)
{
    struct loop *loop = loop_new();
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_null(link_new_message(loop, fd, &receiver_events, NULL));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    loop_free(loop);
}

// --- receiving -----------------------------------------------------------------------------------

static void
expect_interrupted_read(int type, const char *call, uint32_t times)
{
    struct pair p = pair_open(type);
    static const uint8_t stream[64] = {0, 0, 0, 60};
    const uint8_t *bytes = type == SOCK_STREAM ? stream : stream + 4;
    size_t len = type == SOCK_STREAM ? 64 : 60;
    assert_int_equal(send(p.peer, bytes, len, 0), len);
    fail_some(call, 1, times - 1, EINTR);
    turns(p.loop, 2);
    failed(times);
    assert_int_equal(p.r->count, 1);
    pair_close(&p);
}

TEST(interrupted_read_is_repeated_now_or_in_the_next_turn)
{
    expect_interrupted_read(SOCK_STREAM, "read", 1);
    expect_interrupted_read(SOCK_STREAM, "read", 4);
    expect_interrupted_read(SOCK_DGRAM, "recvmmsg", 1);
    expect_interrupted_read(SOCK_DGRAM, "recvmmsg", 4);
}

// A read that fails with something behind it to be read.
static struct pair
failing_read(int type, const char *call, int errnum)
{
    struct pair p = pair_open(type);
    assert_int_equal(send(p.peer, "x", 1, 0), 1);
    fail_next(call, errnum);
    turns(p.loop, 1);
    failed(1);
    return p;
}

TEST(read_that_fails_for_good_ends_a_link)
{
    struct pair p = failing_read(SOCK_STREAM, "read", EIO);
    expect_down(&p, "read: Input/output error");
    p = failing_read(SOCK_DGRAM, "recvmmsg", ECONNRESET);
    expect_down(&p, "read: Connection reset by peer");
}

TEST(read_that_fails_for_now_does_not)
{
    const int errnums[] = {EAGAIN, ENOBUFS, ENOMEM};
    for (int i = 0; i < 3; i++) {
        struct pair p = failing_read(SOCK_DGRAM, "recvmmsg", errnums[i]);
        turns(p.loop, 2);
        assert_int_equal(p.r->count, 1);
        pair_close(&p);
    }
    struct pair p = failing_read(SOCK_STREAM, "read", EAGAIN);
    turns(p.loop, 2);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

// A socket that has hung up and has nothing to read, not even its end.
static void
expect_end_without_end(int type, const char *call)
{
    struct pair p = pair_open(type);
    close(p.peer);
    p.peer = -1;
    fail_next(call, EAGAIN);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "peer is gone");
}

TEST(hung_up_without_an_end_to_read_is_the_end)
{
    expect_end_without_end(SOCK_STREAM, "read");
    expect_end_without_end(SOCK_SEQPACKET, "recvmmsg");
}

TEST(udp_link_lives_on_whatever_a_read_says)
{
    struct pair p = pair_udp();
    assert_int_equal(send(p.peer, "x", 1, 0), 1);
    fail_next("recvmmsg", EIO);
    assert_int_equal(loop_turn(p.loop, 1000), 0);
    failed(1);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1);
    // The same where it hangs up: a refusal that nobody has fetched.
    close(p.peer);
    p.peer = -1;
    send_frame(&p);
    fail_next("recvmmsg", EAGAIN);
    assert_int_equal(loop_turn(p.loop, 1000), 0);
    failed(1);
    turns(p.loop, 2);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

// --- sending -------------------------------------------------------------------------------------

TEST(interrupted_send_is_repeated)
{
    struct pair p = pair_open(SOCK_STREAM);
    fail_next("sendmsg", EINTR);
    assert_true(send_frame(&p));
    failed(1);
    assert_true(peer_has_frame(&p, 4));
    pair_close(&p);
    p = pair_open(SOCK_DGRAM);
    fail_next("sendmmsg", EINTR);
    assert_true(send_frame(&p));
    failed(1);
    assert_true(peer_has_frame(&p, 0));
    pair_close(&p);
}

// A send that has no room for now: kept, and sent by the next turn, without a word to who did not
// ask.
static void
expect_kept(int type, const char *call, int errnum, const char *later, int later_errnum)
{
    struct pair p = pair_open(type);
    fail_next(call, errnum);
    assert_true(send_frame(&p));
    failed(1);
    assert_false(peer_has_frame(&p, type == SOCK_STREAM ? 4 : 0));
    fail_next(later, later_errnum);
    turns(p.loop, 1);
    failed(1);
    turns(p.loop, 2);
    assert_true(peer_has_frame(&p, type == SOCK_STREAM ? 4 : 0));
    assert_int_equal(p.r->writable, 0);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

TEST(send_without_room_keeps_the_frame)
{
    const int errnums[] = {EAGAIN, ENOBUFS, ENOMEM};
    for (int i = 0; i < 3; i++)
        expect_kept(SOCK_STREAM, "sendmsg", errnums[i], "sendmsg", EAGAIN);
    expect_kept(SOCK_DGRAM, "sendmmsg", EAGAIN, "send", EAGAIN);
    expect_kept(SOCK_DGRAM, "sendmmsg", EAGAIN, "send", EINTR);
}

TEST(frame_that_nobody_takes_is_dropped_and_the_link_lives)
{
    struct pair p = pair_open(SOCK_DGRAM);
    fail_next("sendmmsg", ENOBUFS);
    send_frame(&p);
    failed(1);
    // Kept first, dropped then.
    fail_next("sendmmsg", EAGAIN);
    send_frame(&p);
    failed(1);
    fail_next("send", ENOBUFS);
    turns(p.loop, 1);
    failed(1);
    assert_int_equal(link_stats_of(p.r->link)->dropped_out, 2);
    send_frame(&p);
    assert_true(peer_has_frame(&p, 0));
    pair_close(&p);
}

TEST(peer_that_is_gone_ends_a_unix_link_not_one_of_udp)
{
    const int errnums[] = {ENOTCONN, ECONNRESET, EPIPE, ECONNREFUSED};
    for (int i = 0; i < 4; i++) {
        char why[64];
        snprintf(why, sizeof(why), "write: %s", strerror(errnums[i]));
        struct pair p = pair_open(SOCK_DGRAM);
        fail_next("sendmmsg", errnums[i]);
        send_frame(&p);
        failed(1);
        assert_true(send_frame(&p)); // dropped
        expect_down(&p, why);
        p = pair_udp();
        fail_next("sendmmsg", errnums[i]);
        send_frame(&p);
        failed(1);
        assert_int_equal(link_stats_of(p.r->link)->dropped_out, 1);
        turns(p.loop, 2);
        assert_int_equal(p.r->down, 0);
        pair_close(&p);
    }
}

TEST(peer_that_goes_while_frames_are_kept)
{
    struct pair p = pair_open(SOCK_DGRAM);
    fail_next("sendmmsg", EAGAIN);
    send_frame(&p);
    failed(1);
    fail_next("send", EPIPE);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "write: Broken pipe");
    p = pair_open(SOCK_STREAM);
    fail_next("sendmsg", EAGAIN);
    send_frame(&p);
    failed(1);
    fail_next("sendmsg", EPIPE);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "write: Broken pipe");
}

// --- a queue that is full ------------------------------------------------------------------------

// Frames of len bytes in one or two pieces, sent without a flush until the link has sent some of
// its own accord: the queue is bounded by count, by headers and by bytes.
static size_t
queued_at_most(int type, size_t len, size_t head)
{
    struct pair p = pair_open(type);
    static uint8_t bytes[FRAME_MAX];
    const struct iovec iov[2] = {{bytes, head}, {bytes + head, len - head}};
    const struct frame f = {.iov = iov, .iovcnt = 2, .len = len};
    uint8_t byte;
    size_t sent = 0;
    while (sent < 1000 && recv(p.peer, &byte, 1, MSG_DONTWAIT) < 0) {
        if (link_send(p.r->link, &f))
            sent++;
    }
    pair_close(&p);
    return sent;
}

TEST(queue_is_bounded_by_frames_headers_and_bytes)
{
    const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(queued_at_most(types[i], 100, 14), 257);
        assert_in_range(queued_at_most(types[i], 60000, 60000), 4, 6);
        assert_in_range(queued_at_most(types[i], 60000, 14), 17, 19);
    }
}

static void
expect_broken_by_queue(int type, const char *call)
{
    struct pair p = pair_open(type);
    fail_some(call, 1, 10, EPIPE);
    for (int i = 0; i < 300; i++)
        assert_true(link_send(p.r->link, frame_fill(&frame, 100, 1)));
    failed(1);
    expect_down(&p, "write: Broken pipe");
}

TEST(link_that_breaks_while_its_queue_is_emptied_drops_the_rest)
{
    expect_broken_by_queue(SOCK_STREAM, "sendmsg");
    expect_broken_by_queue(SOCK_DGRAM, "sendmmsg");
}

// --- from within ---------------------------------------------------------------------------------

static void
expect_freed_when_writable(int type, const char *call)
{
    static const struct link_events events = {
        .on_frames = receiver_frames, .on_writable = free_link, .on_down = receiver_down};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    struct pair p = {.loop = loop_new(), .r = receiver_new(), .peer = fds[1]};
    p.r->link =
        (type == SOCK_STREAM ? link_new_stream : link_new_message)(p.loop, fds[0], &events, p.r);
    fail_next(call, EAGAIN);
    send_frame(&p);
    failed(1);
    assert_false(send_frame(&p));
    turns(p.loop, 2);
    assert_int_equal(p.r->writable, 1);
    pair_close(&p);
}

TEST(link_may_be_freed_when_it_is_writable)
{
    expect_freed_when_writable(SOCK_STREAM, "sendmsg");
    expect_freed_when_writable(SOCK_DGRAM, "sendmmsg");
}

static void
expect_broken_by_echo(int type, const char *call)
{
    struct pair p = pair_open(type);
    static const uint8_t stream[64] = {0, 0, 0, 60};
    p.r->echo = true;
    assert_int_equal(
        send(p.peer, type == SOCK_STREAM ? stream : stream + 4, type == SOCK_STREAM ? 64 : 60, 0),
        type == SOCK_STREAM ? 64 : 60);
    fail_next(call, EPIPE);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "write: Broken pipe");
}

TEST(link_may_break_while_frames_are_handed_up)
{
    expect_broken_by_echo(SOCK_STREAM, "sendmsg");
    expect_broken_by_echo(SOCK_DGRAM, "sendmmsg");
}

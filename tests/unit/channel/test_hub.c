// SPDX-License-Identifier: BSD-3-Clause
// The semantics of a channel, on a hub whose host ends the test holds in its hand.
#include "guest.h"
#include "test.h"

#include "base/log.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct rig r;

static void
expect_eof(int fd)
{
    char byte;
    for (int i = 0; i < 500; i++) {
        ssize_t n = read(fd, &byte, 1);
        if (n == 0)
            return;
        assert_true(n < 0 && errno == EAGAIN);
        rig_turns(&r, 2);
    }
    fail_msg("no end of file");
}

TEST(bytes_go_both_ways)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd;
    uint32_t conn = rig_join(&r, 600, &fd);
    rig_send(&r, conn, "ping", 4);
    char got[4];
    rig_host_reads(&r, fd, got, 4);
    assert_memory_equal(got, "ping", 4);
    assert_int_equal(write(fd, "pong!", 5), 5);
    rig_until_count(&r, &r.conns[conn].len, 5);
    assert_memory_equal(r.conns[conn].data, "pong!", 5);
    assert_int_equal(r.opens[0].peer.addr, 0x0a00020f);
    assert_int_equal(r.opens[0].peer.local_port, 600);
    close(fd);
    rig_fini(&r);
}

TEST(connect_is_held_until_the_opener_answers)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    uint32_t conn = rig_connect(&r, 600);
    rig_until_count(&r, &r.open_count, 1);
    rig_turns(&r, 50);
    assert_false(r.conns[conn].established);
    int fd = rig_open(&r);
    rig_until(&r, &r.conns[conn].established);
    close(fd);
    rig_fini(&r);
}

TEST(refused_means_refused)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    uint32_t conn = rig_connect(&r, 600);
    rig_until_count(&r, &r.open_count, 1);
    hub_refused(r.hub, r.opens[0].session, -ENOENT);
    rig_until(&r, &r.conns[conn].closed);
    assert_int_equal(r.conns[conn].reason, STACK_REFUSED);
    assert_int_equal(hub_session_count(r.hub), 0);
    rig_fini(&r);
}

TEST(unknown_port_is_refused_without_asking)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    uint32_t conn = rig_connect(&r, 601);
    rig_until(&r, &r.conns[conn].closed);
    assert_int_equal(r.conns[conn].reason, STACK_REFUSED);
    assert_int_equal(r.open_count, 0);
    rig_fini(&r);
}

TEST(max_refuses_the_next_one_until_the_first_is_gone)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600, .max = 1});
    int fd;
    uint32_t first = rig_join(&r, 600, &fd);
    uint32_t second = rig_connect(&r, 600);
    rig_until(&r, &r.conns[second].closed);
    assert_int_equal(r.conns[second].reason, STACK_REFUSED);
    stack_abort(r.guest, first, loop_now_us(r.loop));
    expect_eof(fd);
    close(fd);
    rig_join(&r, 600, &fd);
    close(fd);
    rig_fini(&r);
}

TEST(conn_rate_refuses_what_comes_too_fast)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600, .conn_rate = 2});
    rig_channel(&r, (struct hub_channel){.port = 601});
    int fds[4];
    rig_join(&r, 600, &fds[0]);
    rig_join(&r, 600, &fds[1]);
    uint32_t third = rig_connect(&r, 600);
    rig_until(&r, &r.conns[third].closed);
    assert_int_equal(r.conns[third].reason, STACK_REFUSED);
    rig_join(&r, 601, &fds[2]); // the other channel has its own
    rig_turns(&r, 600);
    rig_join(&r, 600, &fds[3]);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    rig_fini(&r);
}

TEST(idle_connection_is_reset_and_a_busy_one_is_not)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600, .idle_s = 1});
    rig_channel(&r, (struct hub_channel){.port = 601});
    int idle_fd, sending_fd, receiving_fd, other_fd;
    uint32_t idle = rig_join(&r, 600, &idle_fd);
    uint32_t sending = rig_join(&r, 600, &sending_fd);
    uint32_t receiving = rig_join(&r, 600, &receiving_fd);
    uint32_t other = rig_join(&r, 601, &other_fd); // has no such limit
    uint64_t from_us = loop_clock_us();
    while (!r.conns[idle].closed) {
        assert_true(loop_clock_us() - from_us < 4000000);
        rig_send(&r, sending, "x", 1);
        assert_int_equal(write(receiving_fd, "y", 1), 1);
        rig_turns(&r, 100);
    }
    assert_true(loop_clock_us() - from_us >= 1000000);
    assert_int_equal(r.conns[idle].reason, STACK_RESET);
    expect_eof(idle_fd);
    assert_false(r.conns[sending].closed || r.conns[receiving].closed || r.conns[other].closed);
    close(idle_fd);
    close(sending_fd);
    close(receiving_fd);
    close(other_fd);
    rig_fini(&r);
}

TEST(early_guest_writes_and_nothing_is_dropped)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600, .accept_early = true});
    uint32_t conn = rig_connect(&r, 600);
    rig_until(&r, &r.conns[conn].established);
    rig_send(&r, conn, "early bird", 10);
    rig_turns(&r, 20);
    int fd = rig_open(&r);
    char got[10];
    rig_host_reads(&r, fd, got, 10);
    assert_memory_equal(got, "early bird", 10);
    close(fd);
    rig_fini(&r);
}

TEST(early_guest_is_reset_when_the_opener_refuses)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600, .accept_early = true});
    uint32_t conn = rig_connect(&r, 600);
    rig_until(&r, &r.conns[conn].established);
    hub_refused(r.hub, r.opens[0].session, -EACCES);
    rig_until(&r, &r.conns[conn].closed);
    assert_int_equal(r.conns[conn].reason, STACK_RESET);
    rig_fini(&r);
}

TEST(guest_that_leaves_early_cancels_the_request)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600, .accept_early = true});
    uint32_t conn = rig_connect(&r, 600);
    rig_until(&r, &r.conns[conn].established);
    stack_abort(r.guest, conn, loop_now_us(r.loop));
    rig_until_count(&r, &r.cancel_count, 1);
    assert_int_equal(r.cancelled[0], r.opens[0].session);
    int fd = rig_open(&r); // the answer comes too late: the host end is closed
    expect_eof(fd);
    close(fd);
    rig_fini(&r);
}

TEST(guest_closes_then_host_answers)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd;
    uint32_t conn = rig_join(&r, 600, &fd);
    rig_send(&r, conn, "request", 7);
    stack_shutdown(r.guest, conn);
    char got[7];
    rig_host_reads(&r, fd, got, 7);
    expect_eof(fd);
    assert_int_equal(write(fd, "response", 8), 8);
    rig_until_count(&r, &r.conns[conn].len, 8);
    assert_false(r.conns[conn].eof);
    close(fd);
    rig_until(&r, &r.conns[conn].eof);
    rig_turns(&r, 20);
    assert_int_equal(hub_session_count(r.hub), 0);
    rig_fini(&r);
}

TEST(host_half_closes_then_guest_sends)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd;
    uint32_t conn = rig_join(&r, 600, &fd);
    assert_int_equal(write(fd, "banner", 6), 6);
    shutdown(fd, SHUT_WR);
    rig_until(&r, &r.conns[conn].eof);
    assert_memory_equal(r.conns[conn].data, "banner", 6);
    rig_send(&r, conn, "after", 5);
    char got[5];
    rig_host_reads(&r, fd, got, 5);
    assert_memory_equal(got, "after", 5);
    stack_shutdown(r.guest, conn);
    expect_eof(fd);
    close(fd);
    rig_fini(&r);
}

TEST(host_dies_while_the_guest_sends_after_its_last_bytes)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd;
    uint32_t conn = rig_join(&r, 600, &fd);
    assert_int_equal(write(fd, "last words", 10), 10);
    close(fd);
    rig_send(&r, conn, "to nobody", 9);
    rig_until(&r, &r.conns[conn].closed);
    assert_int_equal(r.conns[conn].reason, STACK_RESET);
    assert_int_equal(r.conns[conn].len, 10);
    assert_memory_equal(r.conns[conn].data, "last words", 10);
    rig_fini(&r);
}

TEST(host_that_drops_unread_bytes_resets_the_guest)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd;
    uint32_t conn = rig_join(&r, 600, &fd);
    rig_send(&r, conn, "unread", 6);
    rig_turns(&r, 20);
    close(fd); // with bytes unread: ECONNRESET on our side
    rig_until(&r, &r.conns[conn].closed);
    assert_int_equal(r.conns[conn].reason, STACK_RESET);
    rig_fini(&r);
}

TEST(stalled_host_end_stalls_itself_alone)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int stalled_fd, fd;
    uint32_t stalled = rig_join(&r, 600, &stalled_fd);
    static uint8_t block[1 << 16];
    for (int i = 0; i < 64; i++) { // fills the socket, the hub's ring, the guest's ring
        struct iovec iov[2];
        rig_turns(&r, 2);
        if (stack_send_iov(r.guest, stalled, iov) > 0)
            stack_send_commit(r.guest, stalled, iov[0].iov_len);
    }
    uint32_t conn = rig_join(&r, 600, &fd);
    rig_send(&r, conn, "ping", 4);
    char got[4];
    rig_host_reads(&r, fd, got, 4);
    // And when the host reads at last, every byte is there.
    uint64_t n = 0;
    for (int i = 0; i < 2000 && stack_send_iov(r.guest, stalled, (struct iovec[2]){0}) == 0; i++) {
        ssize_t got_now = read(stalled_fd, block, sizeof block);
        n += got_now > 0 ? (uint64_t)got_now : 0;
        rig_turns(&r, 1);
    }
    assert_true(n > sizeof block);
    close(fd);
    close(stalled_fd);
    rig_fini(&r);
}

TEST(link_down_closes_every_host_end)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd[3];
    for (int i = 0; i < 3; i++)
        rig_join(&r, 600, &fd[i]);
    rig_cut(&r);
    rig_until(&r, &r.link_down);
    for (int i = 0; i < 3; i++) {
        expect_eof(fd[i]);
        close(fd[i]);
    }
    assert_int_equal(hub_session_count(r.hub), 0);
    rig_fini(&r);
}

TEST(bulk_each_way_is_byte_exact)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    int fd;
    uint32_t conn = rig_join(&r, 600, &fd);
    static uint8_t out[1 << 20], in[1 << 20];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(i * 2654435761u >> 13);
    size_t sent = 0, got = 0;
    while (got < sizeof in) {
        struct iovec iov[2];
        if (sent < sizeof out && stack_send_iov(r.guest, conn, iov) > 0) {
            size_t n = sizeof out - sent < iov[0].iov_len ? sizeof out - sent : iov[0].iov_len;
            memcpy(iov[0].iov_base, out + sent, n);
            stack_send_commit(r.guest, conn, n);
            sent += n;
        }
        ssize_t n = read(fd, in + got, sizeof in - got);
        got += n > 0 ? (size_t)n : 0;
        assert_int_equal(loop_turn(r.loop, 1), 0);
    }
    assert_memory_equal(in, out, sizeof in);

    for (size_t off = 0; off < 60000;) {
        ssize_t n = write(fd, out + off, 60000 - off);
        off += n > 0 ? (size_t)n : 0;
        assert_int_equal(loop_turn(r.loop, 1), 0);
    }
    rig_until_count(&r, &r.conns[conn].len, 60000);
    assert_memory_equal(r.conns[conn].data, out, 60000);
    close(fd);
    rig_fini(&r);
}

// Else the late answer to one that the guest gave up would be taken for that of another channel.
TEST(number_of_a_session_does_not_come_again)
{
    rig_init(&r);
    rig_channel(&r, (struct hub_channel){.port = 600});
    rig_connect(&r, 600);
    rig_until_count(&r, &r.open_count, 1);
    const uint64_t first = r.opens[0].session;
    hub_refused(r.hub, r.opens[0].session, -EBUSY);
    for (int i = 0; i < 20000; i++) {
        r.open_count = 0;
        uint32_t conn = rig_connect(&r, 600);
        rig_until_count(&r, &r.open_count, 1);
        assert_true(r.opens[0].session != first);
        hub_refused(r.hub, r.opens[0].session, -EBUSY);
        assert_int_equal(loop_turn(r.loop, 0), 0);
        rig_until(&r, &r.conns[conn].closed);
    }
    rig_fini(&r);
}

TEST(removed_channel_is_refused_and_its_connections_reset)
{
    rig_init(&r);
    uint16_t kept = rig_channel(&r, (struct hub_channel){.port = 600});
    uint16_t index = rig_channel(&r, (struct hub_channel){.port = 601});
    int kept_fd, fd, byte = 'x';
    uint32_t other = rig_join(&r, 600, &kept_fd);
    uint32_t open = rig_join(&r, 601, &fd);
    uint32_t asked = rig_connect(&r, 601); // whose SYN is not answered
    rig_until_count(&r, &r.open_count, 3);
    uint64_t session = r.opens[2].session;

    hub_remove_channel(r.hub, index);
    rig_until(&r, &r.conns[open].closed);
    rig_until(&r, &r.conns[asked].closed);
    assert_int_equal(r.conns[open].reason, STACK_RESET);
    assert_int_equal(r.conns[asked].reason, STACK_REFUSED);
    assert_int_equal(r.cancel_count, 1);
    assert_int_equal(r.cancelled[0], session);
    expect_eof(fd);
    assert_int_equal(hub_session_count(r.hub), 1);
    uint32_t late = rig_connect(&r, 601);
    rig_until(&r, &r.conns[late].closed);
    assert_int_equal(r.conns[late].reason, STACK_REFUSED);
    assert_int_equal(r.open_count, 3);

    // The other one does not notice, and the index can be had again.
    assert_int_equal(write(kept_fd, &byte, 1), 1);
    rig_until_count(&r, &r.conns[other].len, 1);
    hub_remove_channel(r.hub, index);
    assert_int_equal(rig_channel(&r, (struct hub_channel){.port = 602}), index);
    assert_int_equal(hub_put_channel(r.hub, 7, &(struct hub_channel){.port = 600}), -EEXIST);
    assert_int_equal(hub_put_channel(r.hub, 7, &(struct hub_channel){.port = 601}), 0);
    uint32_t again = rig_connect(&r, 601);
    rig_until_count(&r, &r.open_count, 4);
    assert_int_equal(r.opens[3].channel, 7);
    close(rig_open(&r));
    rig_until(&r, &r.conns[again].established);
    assert_int_equal(kept, 0);
    close(fd);
    close(kept_fd);
    rig_fini(&r);
}

static void
count_line(void *ctx, enum log_level level, const char *line)
{
    unsigned *lines = ctx;
    *lines += strstr(line, "channel 600: accept: ") != NULL;
}

// Tried again ten times per second, for as long as the guest keeps its connections.
TEST(accepting_without_descriptors_is_told_now_and_then)
{
    rig_init(&r);
    uint16_t index = rig_channel(&r, (struct hub_channel){.port = 600});
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa);
    struct rlimit before, none;
    unsigned lines = 0;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int guest = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa.sun_family)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(guest, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(hub_attach_listener(r.hub, index, listener), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    log_set_sink(count_line, &lines);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig_turns(&r, 1500);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    log_set_sink(NULL, NULL);
    assert_in_range(lines, 1, 8);
    rig_until_count(&r, &r.open_count, 1);
    close(guest);
    rig_fini(&r);
}

TEST(early_connection_of_a_removed_channel_is_reset)
{
    rig_init(&r);
    uint16_t index = rig_channel(&r, (struct hub_channel){.port = 600, .accept_early = true});
    uint32_t conn = rig_connect(&r, 600);
    rig_until(&r, &r.conns[conn].established);
    hub_remove_channel(r.hub, index);
    rig_until(&r, &r.conns[conn].closed);
    assert_int_equal(r.conns[conn].reason, STACK_RESET);
    assert_int_equal(r.cancel_count, 1);
    int fd = rig_open(&r); // the answer finds nobody
    expect_eof(fd);
    close(fd);
    rig_fini(&r);
}

// SPDX-License-Identifier: BSD-3-Clause
// Devices that are sockets, each behind a channel on both kinds of link: unix, tcp, udp, vsock; and
// null and logfile=, which belong to no family.
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BULK (16 << 20)

static struct bench b;
static struct guest_end g, h;

static int
unix_listener_at(const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    bench_path(&b, name, sa.sun_path, sizeof(sa.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int
inet_socket(int type, int family, int *port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
    socklen_t len = family == AF_INET ? sizeof(four) : sizeof(six);
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, sa, len), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, sa, &len), 0);
    *port = ntohs(family == AF_INET ? four.sin_port : six.sin6_port);
    return fd;
}

static int
accept_of(int listener)
{
    int fd = -1;
    for (int i = 0; i < 500 && fd < 0; i++) {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        bench_turn(&b);
    }
    assert_true(fd >= 0);
    return fd;
}

static void
expect_end(int fd)
{
    char byte;
    ssize_t n = -1;
    for (int i = 0; i < 1000 && (n = read(fd, &byte, 1)) != 0; i++)
        bench_turn(&b);
    assert_int_equal(n, 0);
}

static void
remove_socket(const char *name)
{
    char path[128];
    bench_path(&b, name, path, sizeof(path));
    unlink(path);
}

static void
carry_bulk_and_half_close(int listener)
{
    guest_join(&g, &b);
    int fd = accept_of(listener);
    exchange(&g, fd, fd, BULK);
    guest_shutdown(&g);
    expect_end(fd);
    assert_int_equal(write(fd, "late", 4), 4);
    guest_expect(&g, "late", 4);
    close(fd);
    guest_close(&g);
}

ON_BOTH_LINKS(unix_carries_bulk_and_half_closes)
{
    bench_init(&b, socket_link, "unix:%s/s");
    int l = unix_listener_at("s");
    carry_bulk_and_half_close(l);
    close(l);
    remove_socket("s");
    bench_fini(&b);
}

ON_BOTH_LINKS(logfile_has_what_the_guest_sent_and_no_more)
{
    char path[128];
    bench_init(&b, socket_link, "unix:%s/s,logfile=/tmp/test-devices-log");
    bench_path(&b, "s", path, sizeof(path));
    int l = unix_listener_at("s");
    guest_join(&g, &b);
    int fd = accept_of(l);
    exchange(&g, fd, fd, 1 << 20);
    guest_shutdown(&g);
    expect_end(fd);
    close(fd);
    guest_close(&g);
    bench_fini((close(l), unlink(path), &b));

    static uint8_t logged[(1 << 20) + 1], wanted[1 << 20];
    int log = open("/tmp/test-devices-log", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(log, logged, sizeof(logged)), sizeof(wanted));
    stream_fill(1, 0, wanted, sizeof(wanted));
    assert_memory_equal(logged, wanted, sizeof(wanted));
    close(log);
    unlink("/tmp/test-devices-log");
}

ON_BOTH_LINKS(log_that_fails_is_told_and_harms_nothing)
{
    bench_init(&b, socket_link, "unix:%s/s,logfile=/dev/full");
    int l = unix_listener_at("s");
    guest_join(&g, &b);
    int fd = accept_of(l);
    exchange(&g, fd, fd, 1 << 20);
    assert_in_range(bench_logged(&b, "logfile lacks some of the traffic: No space left"), 1, 16);
    close(fd);
    guest_close(&g);
    close(l);
    remove_socket("s");
    bench_fini(&b);
}

static void
tcp_client(bool socket_link, int family, const char *format)
{
    int port;
    char text[64];
    int l = inet_socket(SOCK_STREAM, family, &port);
    snprintf(text, sizeof(text), format, port);
    bench_init(&b, socket_link, text);
    carry_bulk_and_half_close(l);
    close(l);
    bench_fini(&b);
}

ON_BOTH_LINKS(tcp_carries_bulk_and_half_closes)
{
    tcp_client(socket_link, AF_INET, "tcp:127.0.0.1:%d,nodelay");
}

ON_BOTH_LINKS(name_with_two_addresses_is_tried_in_turn)
{
    tcp_client(socket_link, AF_INET, "tcp:localhost:%d"); // nobody is at ::1
}

ON_BOTH_LINKS(v6_literal_is_connected_to)
{
    tcp_client(socket_link, AF_INET6, "tcp:[::1]:%d");
}

ON_BOTH_LINKS(tcp_without_a_listener_is_refused)
{
    int port;
    char text[64];
    int l = inet_socket(SOCK_STREAM, AF_INET, &port);
    snprintf(text, sizeof(text), "tcp:127.0.0.1:%d", port);
    bench_init(&b, socket_link, text);
    close(l);
    guest_expect_refusal(&g, &b);
    guest_expect_refusal(&g, &b);
    assert_int_equal(bench_logged(&b, "Connection refused"), 1);
    bench_fini(&b);
}

ON_BOTH_LINKS(tcp_client_that_reconnects_holds_the_guest)
{
    int port, wanted;
    char text[64];
    int l = inet_socket(SOCK_STREAM, AF_INET, &port);
    close(l);
    snprintf(text, sizeof(text), "tcp:127.0.0.1:%d,reconnect=1", port);
    bench_init(&b, socket_link, text);
    guest_connect(&g, &b);
    bench_turns(&b, 100);
    guest_poll(&g);
    assert_int_equal(g.state, socket_link ? GUEST_CONNECTED : GUEST_CONNECTING);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(wanted));
    assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(l, 8), 0);
    bench_turns(&b, 1300);
    int fd = accept_of(l);
    guest_send(&g, "hello", 5);
    host_expect(&b, fd, "hello");
    close(fd);
    guest_close(&g);
    close(l);
    bench_fini(&b);
}

ON_BOTH_LINKS(tcp_server_pairs_its_clients)
{
    int port;
    char text[64];
    int l = inet_socket(SOCK_STREAM, AF_INET, &port);
    close(l);
    snprintf(text, sizeof(text), "tcp:127.0.0.1:%d,server=on,wait=off,nodelay", port);
    bench_init(&b, socket_link, text);
    guest_join(&g, &b);
    guest_send(&g, "early", 5);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    host_expect(&b, fd, "early");
    exchange(&g, fd, fd, 1 << 20);
    close(fd);
    guest_close(&g);
    bench_fini(&b);
}

TEST(address_that_does_not_resolve_fails_the_start)
{
    struct error err = {{0}};
    assert_false(bench_try_init(&b, false, "tcp:127.0.0.1:no-such-service", &err));
    assert_non_null(strstr(err.text, "channel 600: "));
    assert_non_null(strstr(err.text, "127.0.0.1:no-such-service"));
    assert_false(bench_try_init(&b, false, "tcp:203.0.113.1:1,server=on", &err)); // not ours
    assert_non_null(strstr(err.text, "Cannot assign requested address"));
}

// --- udp -----------------------------------------------------------------------------------------

static struct sockaddr_in remote_of;

// Datagrams until `wanted` bytes of them came; the number of datagrams.
static size_t
receive_datagrams(int fd, size_t wanted, size_t *largest)
{
    static uint8_t bytes[70000];
    size_t count = 0, total = 0;
    *largest = 0;
    for (int i = 0; i < 3000 && total < wanted; i++) {
        socklen_t len = sizeof(remote_of);
        ssize_t n = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&remote_of, &len);
        if (n >= 0) {
            for (ssize_t at = 0; at < n; at++)
                assert_int_equal(bytes[at], stream_byte(1, total + (size_t)at));
            total += (size_t)n;
            count++;
            *largest = (size_t)n > *largest ? (size_t)n : *largest;
        }
        bench_turn(&b);
    }
    assert_int_equal(total, wanted);
    return count;
}

static int
udp_init(bool socket_link)
{
    int port;
    char text[64];
    int fd = inet_socket(SOCK_DGRAM, AF_INET, &port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4 << 20}, sizeof(int));
    snprintf(text, sizeof(text), "udp:127.0.0.1:%d", port);
    bench_init(&b, socket_link, text);
    return fd;
}

ON_BOTH_LINKS(udp_sends_a_datagram_per_segment_and_takes_whole_ones)
{
    static uint8_t bytes[65507];
    size_t largest;
    int fd = udp_init(socket_link);
    guest_join(&g, &b);
    stream_fill(1, 0, bytes, sizeof(bytes));
    guest_send(&g, bytes, 100);
    assert_int_equal(receive_datagrams(fd, 100, &largest), 1);
    // Of an empty datagram, which is no end, and of the longest there is.
    struct sockaddr *sa = (struct sockaddr *)&remote_of;
    assert_int_equal(sendto(fd, "", 0, 0, sa, sizeof(remote_of)), 0);
    for (size_t sent = 1; sent <= 20; sent++) {
        assert_int_equal(sendto(fd, bytes, sizeof(bytes), 0, sa, sizeof(remote_of)), sizeof(bytes));
        for (int i = 0; i < 1000 && g.received < sent * sizeof(bytes); i++) {
            bench_turn(&b);
            guest_poll(&g);
        }
        assert_int_equal(g.received, sent * sizeof(bytes));
    }
    guest_close(&g);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(udp_cuts_what_is_longer_than_a_datagram)
{
    static uint8_t bytes[200000];
    size_t largest;
    int fd = udp_init(socket_link);
    guest_join(&g, &b);
    stream_fill(1, 0, bytes, sizeof(bytes));
    guest_send(&g, bytes, sizeof(bytes));
    assert_true(receive_datagrams(fd, sizeof(bytes), &largest) >= 4);
    assert_in_range(largest, 1, 65507);
    guest_close(&g);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(udp_survives_a_remote_that_is_not_there)
{
    size_t largest;
    int fd = udp_init(socket_link);
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    getsockname(fd, (struct sockaddr *)&sa, &len);
    close(fd);
    guest_join(&g, &b);
    for (int i = 0; i < 5; i++) {
        guest_send(&g, "lost", 4);
        bench_turns(&b, 10);
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    uint8_t bytes[10];
    stream_fill(1, 0, bytes, sizeof(bytes));
    guest_send(&g, bytes, sizeof(bytes));
    receive_datagrams(fd, sizeof(bytes), &largest);
    guest_poll(&g);
    assert_false(g.eof || g.reset);
    // And a stranger is not taken for the remote.
    int stranger = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sendto(stranger, "boo", 3, 0, (struct sockaddr *)&remote_of, sizeof(remote_of));
    bench_turns(&b, 20);
    guest_poll(&g);
    assert_int_equal(g.received, 0);
    close(stranger);
    guest_close(&g);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(udp_serves_one_guest_at_a_time)
{
    int fd = udp_init(socket_link);
    guest_join(&g, &b);
    guest_expect_refusal(&h, &b);
    guest_poll(&g);
    assert_false(g.eof || g.reset);
    guest_close(&g);
    guest_join(&g, &b);
    guest_close(&g);
    close(fd);
    bench_fini(&b);
}

// --- others --------------------------------------------------------------------------------------

ON_BOTH_LINKS(null_swallows_all_and_ends_with_the_guest)
{
    bench_init(&b, socket_link, "null");
    guest_join(&g, &b);
    guest_join(&h, &b); // not exclusive
    static uint8_t bytes[1 << 20];
    for (int i = 0; i < 16; i++)
        guest_send(&h, bytes, sizeof(bytes));
    guest_poll(&h);
    assert_int_equal(h.received, 0);
    assert_false(h.eof);
    guest_close(&h);
    assert_true(h.eof && !h.reset);
    guest_close(&g);
    bench_fini(&b);
}

ON_BOTH_LINKS(vsock_that_nobody_listens_on_is_refused_with_the_reason)
{
    bench_init(&b, socket_link, "vsock:1:4242"); // ourselves, where the kernel can do that at all
    guest_expect_refusal(&g, &b);
    assert_int_equal(bench_logged(&b, "channel 600: vsock:1:4242"), 1);
    bench_fini(&b);
}

TEST(stdio_is_refused_where_it_is_not_ours)
{
    struct error err = {{0}};
    assert_false(bench_try_init(&b, false, "stdio", &err));
    assert_non_null(strstr(err.text, "channel 600: stdio: "));
    assert_non_null(strstr(err.text, "vmchannel serve"));
}

TEST(log_that_cannot_be_opened_fails_the_start)
{
    struct error err = {{0}};
    assert_false(bench_try_init(&b, false, "null,logfile=/nonexistent/log", &err));
    assert_string_equal(err.text, "channel 600: logfile /nonexistent/log: No such file or "
                                  "directory");
}

// SPDX-License-Identifier: BSD-3-Clause
// telnet and websocket behind a channel on both kinds of link: what the codecs do to the bytes is
// tested beside them, here is what the relay makes of it: bulk, ends, a peer that reads late.
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define IAC 255

static struct bench b;
static struct guest_end g;

static int
connect_to(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int
free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

// A channel with a server of that protocol, and a client of it.
static int
server_init(bool socket_link, const char *protocol, const char *options)
{
    char text[128];
    int port = free_port();
    snprintf(text, sizeof(text), "%s:127.0.0.1:%d,server=on%s", protocol, port, options);
    bench_init(&b, socket_link, text);
    return connect_to(port);
}

// Reads len bytes, or up to the end; the number.
static size_t
read_wire(int fd, uint8_t *out, size_t len)
{
    size_t got = 0;
    uint64_t end = loop_clock_us() + 10000000;
    while (got < len && loop_clock_us() < end) {
        ssize_t n = read(fd, out + got, len - got);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        got += n > 0 ? (size_t)n : 0;
        bench_turn(&b);
    }
    return got;
}

static void
write_wire(int fd, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, (const uint8_t *)data + at, len - at);
        at += n > 0 ? (size_t)n : 0;
        bench_turn(&b);
    }
}

// Whether the wire holds the stream of `seed` with each IAC doubled, behind what the server said
// first. Returns the stream bytes found.
static size_t
undouble(const uint8_t *wire, size_t len, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (wire[i] != IAC) {
            out[n++] = wire[i];
        } else if (i + 1 < len && wire[i + 1] == IAC) {
            out[n++] = wire[i++];
        } else {
            i += 2; // a negotiation
        }
    }
    return n;
}

static uint8_t wire[12 << 20], stream[12 << 20];

// A peer that reads nothing until the guest has sent all and gone finds every byte.
ON_BOTH_LINKS(telnet_doubles_and_loses_nothing_to_a_late_reader)
{
    enum { LEN = 300000 };
    int fd = server_init(socket_link, "telnet", "");
    guest_join(&g, &b);
    uint8_t all[LEN];
    memset(all, IAC, sizeof(all)); // twice as long on the wire
    for (size_t i = 0; i < sizeof(all); i += 3)
        all[i] = (uint8_t)i;
    guest_send(&g, all, sizeof(all));
    shutdown(fd, SHUT_WR); // the host has nothing more to say
    guest_expect_eof(&g);
    guest_close(&g);
    size_t len = read_wire(fd, wire, sizeof(wire));
    assert_int_equal(undouble(wire, len, stream), LEN);
    assert_memory_equal(stream, all, LEN);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(telnet_carries_bulk_to_the_guest)
{
    int fd = server_init(socket_link, "telnet", ",nodelay");
    guest_join(&g, &b);
    g.seed = 7;
    uint8_t doubled[2 * 65536];
    for (size_t at = 0; at < 4 << 20; at += 65536) {
        size_t n = 0;
        for (size_t i = 0; i < 65536; i++) {
            doubled[n++] = stream_byte(7, at + i);
            if (doubled[n - 1] == IAC)
                doubled[n++] = IAC;
        }
        write_wire(fd, doubled, n);
        guest_poll(&g);
    }
    for (int i = 0; i < 5000 && g.received < 4 << 20; i++) {
        bench_turn(&b);
        guest_poll(&g);
    }
    assert_int_equal(g.received, 4 << 20);
    shutdown(fd, SHUT_WR); // a close would leave what telnet said first unread
    guest_expect_eof(&g);
    guest_close(&g);
    close(fd);
    bench_fini(&b);
}

// A Synch (RFC 854): its DM is sent urgent, and belongs to the stream of commands all the same.
ON_BOTH_LINKS(telnet_synch_takes_no_byte_with_it)
{
    static const uint8_t synch[2] = {IAC, 242};
    int fd = server_init(socket_link, "telnet", "");
    guest_join(&g, &b);
    write_wire(fd, "A", 1);
    assert_int_equal(send(fd, synch, sizeof(synch), MSG_OOB), sizeof(synch));
    write_wire(fd, "B", 1);
    guest_expect(&g, "AB", 2);
    shutdown(fd, SHUT_WR);
    guest_expect_eof(&g);
    guest_close(&g);
    close(fd);
    bench_fini(&b);
}

// --- websocket -----------------------------------------------------------------------------------

static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                              "Sec-WebSocket-Protocol: binary\r\n\r\n";

static void
shake_hands(int fd)
{
    char answer[1024] = "";
    write_wire(fd, request, sizeof(request) - 1);
    for (size_t len = 0; !strstr(answer, "\r\n\r\n") && len < sizeof(answer) - 1; len++)
        assert_int_equal(read_wire(fd, (uint8_t *)answer + len, 1), 1);
    assert_non_null(strstr(answer, " 101 "));
    assert_non_null(strstr(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

// One masked frame, mask zero (RFC 6455 5.3 leaves its choice to the client).
static void
send_frame(int fd, uint8_t opcode, const void *data, uint16_t len)
{
    uint8_t head[8] = {(uint8_t)(0x80 | opcode), 0x80 | 126, (uint8_t)(len >> 8), (uint8_t)len};
    if (len < 126) {
        uint8_t small[6] = {(uint8_t)(0x80 | opcode), (uint8_t)(0x80 | len)};
        write_wire(fd, small, sizeof(small));
    } else {
        write_wire(fd, head, sizeof(head));
    }
    write_wire(fd, data, len);
}

// Payload of the next frame, its opcode in *opcode.
static size_t
receive_frame(int fd, uint8_t *opcode, uint8_t *out)
{
    uint8_t head[10];
    assert_int_equal(read_wire(fd, head, 2), 2);
    size_t len = head[1], more = len == 126 ? 2 : len == 127 ? 8 : 0;
    assert_true((head[1] & 0x80) == 0);
    assert_int_equal(read_wire(fd, head + 2, more), more);
    if (more > 0)
        len = 0;
    for (size_t i = 0; i < more; i++)
        len = len << 8 | head[2 + i];
    *opcode = head[0] & 0x0f;
    assert_int_equal(read_wire(fd, out, len), len);
    return len;
}

ON_BOTH_LINKS(guest_that_is_early_waits_for_the_handshake)
{
    uint8_t opcode;
    int fd = server_init(socket_link, "websocket", ",wait=off");
    guest_join(&g, &b);
    guest_send(&g, "early", 5);
    bench_turns(&b, 50);
    shake_hands(fd);
    assert_int_equal(receive_frame(fd, &opcode, stream), 5);
    assert_int_equal(opcode, 2);
    assert_memory_equal(stream, "early", 5);
    send_frame(fd, 2, "answer", 6);
    guest_expect(&g, "answer", 6);
    send_frame(fd, 9, "ping", 4);
    assert_int_equal(receive_frame(fd, &opcode, stream), 4);
    assert_int_equal(opcode, 10);
    // The guest ends: Close; the client answers it and is closed.
    guest_shutdown(&g);
    receive_frame(fd, &opcode, stream);
    assert_int_equal(opcode, 8);
    send_frame(fd, 8, "\3\350", 2);
    guest_expect_eof(&g);
    guest_close(&g);
    assert_false(g.reset);
    assert_int_equal(read_wire(fd, stream, 1), 0);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(guest_that_ends_before_the_handshake_leaves_it_whole)
{
    uint8_t opcode;
    int fd = server_init(socket_link, "websocket", ",wait=off");
    guest_join(&g, &b);
    guest_shutdown(&g);
    bench_turns(&b, 50);
    shake_hands(fd);
    receive_frame(fd, &opcode, stream);
    assert_int_equal(opcode, 8);
    send_frame(fd, 8, "\3\350", 2);
    guest_expect_eof(&g);
    guest_close(&g);
    assert_int_equal(read_wire(fd, stream, 1), 0);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(close_of_the_client_is_an_end_and_then_a_reset)
{
    uint8_t opcode;
    int fd = server_init(socket_link, "websocket", "");
    guest_join(&g, &b);
    shake_hands(fd);
    send_frame(fd, 2, "bye", 3);
    send_frame(fd, 8, "\3\350", 2);
    guest_expect(&g, "bye", 3);
    guest_expect_eof(&g);
    receive_frame(fd, &opcode, stream);
    assert_int_equal(opcode, 8);
    assert_int_equal(read_wire(fd, stream, 1), 0); // the server closes first (RFC 6455 7.1.1)
    guest_send(&g, "to nobody", 9);
    g.eof = false;
    for (int i = 0; i < 500 && !g.reset; i++) {
        bench_turn(&b);
        if (!socket_link)
            guest_poll(&g);
        else
            g.reset = guest_try_send(&g, "x", 1) == 0;
    }
    assert_true(g.reset);
    guest_abort(&g);
    close(fd);
    bench_turns(&b, 20);
    bench_fini(&b);
}

ON_BOTH_LINKS(connection_cut_without_close_is_a_reset)
{
    int fd = server_init(socket_link, "websocket", "");
    guest_join(&g, &b);
    shake_hands(fd);
    send_frame(fd, 2, "last", 4);
    guest_expect(&g, "last", 4);
    close(fd);
    guest_expect_reset(&g);
    bench_fini(&b);
}

ON_BOTH_LINKS(client_that_is_no_websocket_is_a_reset)
{
    int fd = server_init(socket_link, "websocket", "");
    guest_join(&g, &b);
    write_wire(fd, "hello there\r\n\r\n", 15);
    guest_expect_reset(&g);
    close(fd);
    bench_fini(&b);
}

ON_BOTH_LINKS(websocket_carries_bulk)
{
    static uint8_t chunk[32768];
    uint8_t opcode;
    int fd = server_init(socket_link, "websocket", "");
    guest_join(&g, &b);
    shake_hands(fd);
    g.seed = 9;
    size_t sent = 0, got = 0;
    for (size_t at = 0; at < 4 << 20; at += sizeof(chunk)) {
        stream_fill(9, at, chunk, sizeof(chunk));
        send_frame(fd, 2, chunk, sizeof(chunk));
        guest_poll(&g);
        stream_fill(1, sent, chunk, sizeof(chunk));
        sent += guest_try_send(&g, chunk, sizeof(chunk));
        bench_turn(&b);
        if (got < sent) {
            size_t n = receive_frame(fd, &opcode, stream);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(stream[i], stream_byte(1, got + i));
            got += n;
        }
    }
    while (got < sent)
        got += receive_frame(fd, &opcode, stream);
    for (int i = 0; i < 3000 && g.received < 4 << 20; i++) {
        bench_turn(&b);
        guest_poll(&g);
    }
    assert_int_equal(g.received, 4 << 20);
    assert_int_equal(got, sent);
    guest_abort(&g);
    close(fd);
    bench_turns(&b, 20);
    bench_fini(&b);
}

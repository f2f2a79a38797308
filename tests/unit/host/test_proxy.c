// SPDX-License-Identifier: BSD-3-Clause
// The PROXY header, byte by byte as section 2.2 of its specification has it.
#include "test.h"

#include "host/proxy.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const struct proxy_header with_all = {
    .guest = {.addr = 0x0a00020f, .port = 40000},
    .channel = {.addr = 0x0a000204, .port = 600},
    .id = "vmchannel/vm1/600/7",
    .guest_name = "vm1",
    .guest_uuid = "5b0d",
    .channel_name = "db",
};

TEST(header_of_a_guest_with_an_address)
{
    static const char expected[] = SIGNATURE "\x21\x11\x00\x34"
                                             "\x0a\x00\x02\x0f\x0a\x00\x02\x04\x9c\x40\x02\x58"
                                             "\x05\x00\x13vmchannel/vm1/600/7"
                                             "\xe0\x00\x03vm1"
                                             "\xe1\x00\x04"
                                             "5b0d"
                                             "\xe2\x00\x02"
                                             "db";
    uint8_t out[PROXY_HEADER_MAX];
    size_t len = proxy_header_write(&with_all, out);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(out, expected, len);
}

TEST(header_of_a_guest_that_came_by_ipv6)
{
    static const char expected[] = SIGNATURE "\x21\x21\x00\x28"
                                             "\xfd\x10\0\0\0\x02\0\0\0\0\0\0\0\0\0\x15"
                                             "\xfd\x10\0\0\0\x02\0\0\0\0\0\0\0\0\0\x04"
                                             "\x9c\x40\x02\x58"
                                             "\x05\x00\x01x";
    const struct proxy_header h = {
        .guest = {.port = 40000, .addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 0x15}}},
        .channel = {.addr = 0x0a000204, .port = 600, .addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}}},
        .id = "x",
        .guest_name = "",
        .guest_uuid = "",
        .channel_name = ""};
    uint8_t out[PROXY_HEADER_MAX];
    size_t len = proxy_header_write(&h, out);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(out, expected, len);
}

TEST(header_without_addresses_and_without_what_is_not_known)
{
    static const char expected[] = SIGNATURE "\x21\x00\x00\x0a"
                                             "\x05\x00\x01x"
                                             "\xe0\x00\x03vm1";
    const struct proxy_header h = {.channel = {.addr = 0x0a000204, .port = 600},
                                   .id = "x",
                                   .guest_name = "vm1",
                                   .guest_uuid = "",
                                   .channel_name = ""};
    uint8_t out[PROXY_HEADER_MAX];
    size_t len = proxy_header_write(&h, out);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(out, expected, len);
}

TEST(the_longest_texts_fit)
{
    char text[129];
    memset(text, 'x', 128);
    text[128] = '\0';
    const struct proxy_header h = {.guest = {.port = 2, .addr6 = {{1}}},
                                   .channel = {.port = 4, .addr6 = {{3}}},
                                   .id = text,
                                   .guest_name = text,
                                   .guest_uuid = text,
                                   .channel_name = text};
    uint8_t out[PROXY_HEADER_MAX + 100];
    size_t len = proxy_header_write(&h, out);
    assert_int_equal(len, 16 + 36 + 4 * (3 + 128));
    assert_true(len <= PROXY_HEADER_MAX);
    assert_int_equal(out[14] << 8 | out[15], len - 16);
}

TEST(it_is_sent_in_one_piece_or_not_at_all)
{
    int fds[2];
    uint8_t got[PROXY_HEADER_MAX], expected[PROXY_HEADER_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    size_t len = proxy_header_write(&with_all, expected);
    assert_int_equal(proxy_send(&with_all, fds[0]), 0);
    assert_int_equal(read(fds[1], got, sizeof(got)), len);
    assert_memory_equal(got, expected, len);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(proxy_send(&with_all, -1), -EBADF);
}

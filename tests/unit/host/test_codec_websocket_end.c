// SPDX-License-Identifier: BSD-3-Clause
// Every way in which a WebSocket ends: Close from either side, a broken protocol, a cut stream.
#include "websocket_client.h"

#include "test.h"

#include <errno.h>

static const char request[] = WEBSOCKET_REQUEST;

TEST(wrong_request_is_answered_and_ends)
{
    struct driver d;
    driver_init(&d, DEVICE_WEBSOCKET, true);
    driver_decode(&d, "POST / HTTP/1.1\r\n\r\nmore", 23, 64, 64);
    assert_int_equal(d.result, -EPROTO);
    assert_memory_equal(d.wire, "HTTP/1.1 405 ", 13);
    assert_memory_equal(d.wire + d.wire_len - 9, "only GET\n", 9);
    codec_finish(d.codec);
    driver_clear(&d);
    driver_reply(&d, 64);
    assert_int_equal(d.wire_len, 0); // no Close to one who speaks no WebSocket
    assert_false(codec_is_open(d.codec));
    assert_false(codec_may_end(d.codec));
    driver_fini(&d);
}

TEST(truncation_is_not_an_end)
{
    struct client c = {0};
    client_conversation(&c);
    for (size_t len = 0; len < c.len; len++) {
        struct driver d;
        websocket_init(&d);
        driver_decode(&d, c.bytes, len, 4096, 64);
        assert_int_equal(d.result, 0);
        assert_false(codec_may_end(d.codec));
        driver_fini(&d);
    }
}

struct wrong {
    const char *name;
    unsigned first;
    uint64_t len;
    size_t extra;
};

TEST(wrong_headers_close_with_1002)
{
    static const struct wrong wrongs[] = {
        {"RSV1", FIN | 0x40 | BINARY, 1, 0},
        {"RSV2", FIN | 0x20 | BINARY, 1, 0},
        {"RSV3", FIN | 0x10 | BINARY, 1, 0},
        {"opcode 3", FIN | 3, 1, 0},
        {"opcode 7", FIN | 7, 1, 0},
        {"opcode 11", FIN | 11, 1, 0},
        {"opcode 15", FIN | 15, 1, 0},
        {"continuation of nothing", FIN | CONTINUATION, 1, 0},
        {"fragmented ping", PING, 1, 0},
        {"fragmented close", CLOSE, 2, 0},
        {"long ping", FIN | PING, 126, 2},
        {"very long close", FIN | CLOSE, 70000, 8},
        {"16 bits for 125", FIN | BINARY, 125, 2},
        {"16 bits for 0", FIN | BINARY, 0, 2},
        {"64 bits for 65535", FIN | BINARY, 65535, 8},
        {"64 bits for 1", FIN | BINARY, 1, 8},
        {"highest bit", FIN | BINARY, UINT64_C(1) << 63, 8},
        {"all bits", FIN | BINARY, UINT64_MAX, 8},
        {"close code 999", FIN | CLOSE, 2, 0}, // the payload below is 0x....: never a code
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        for (size_t piece = 1; piece < 20; piece++) {
            struct driver d;
            struct client c = {0};
            websocket_init(&d);
            client_frame(&c, FIN | BINARY, "good", 4);
            client_header(&c, wrongs[i].first, wrongs[i].len, wrongs[i].extra);
            client_byte(&c, 0xa1); // unmasked: 0
            client_byte(&c, 0xb8); // unmasked: 0
            driver_decode(&d, c.bytes, c.len, piece, 64);
            if (d.result != -EPROTO)
                print_error("%s\n", wrongs[i].name);
            assert_int_equal(d.result, -EPROTO);
            EXPECT_STREAM(&d, "good");
            EXPECT_WIRE(&d, "\x88\x02\x03\xea");
            assert_true(codec_is_shut(d.codec));
            assert_int_equal(driver_encode(&d, "x", 1, 1, 64), 0);
            driver_fini(&d);
        }
    }
}

TEST(unmasked_frames_close_with_1002)
{
    struct driver d;
    websocket_init(&d);
    driver_decode(&d, "\x82\x01x", 3, 3, 64);
    assert_int_equal(d.result, -EPROTO);
    EXPECT_WIRE(&d, "\x88\x02\x03\xea");
    driver_fini(&d);
}

TEST(new_message_inside_of_another_closes_with_1002)
{
    for (unsigned opcode = TEXT; opcode <= BINARY; opcode++) {
        struct driver d;
        struct client c = {0};
        websocket_init(&d);
        client_frame(&c, BINARY, "a", 1);
        client_frame(&c, FIN | opcode, "b", 1);
        driver_decode(&d, c.bytes, c.len, 64, 64);
        assert_int_equal(d.result, -EPROTO);
        EXPECT_STREAM(&d, "a");
        driver_fini(&d);
    }
}

TEST(close_codes_are_echoed_or_wrong)
{
    for (unsigned code = 0; code <= 65535; code++) {
        bool good = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                    (code >= 3000 && code <= 4999);
        // All up to where they mean something, a sample beyond.
        if (code > 5100 && code % 509 != 0 && code != 65535)
            continue;
        struct driver d;
        struct client c = {0};
        websocket_init(&d);
        client_close(&c, code);
        driver_decode(&d, c.bytes, c.len, 64, 64);
        assert_int_equal(d.result, good ? CODEC_END : -EPROTO);
        unsigned answer = good ? code : 1002;
        uint8_t wanted[4] = {0x88, 2, (uint8_t)(answer >> 8), (uint8_t)answer};
        expect_bytes(d.wire, d.wire_len, wanted, sizeof(wanted));
        driver_fini(&d);
    }
}

TEST(close_bodies)
{
    struct driver d;
    struct client c = {0};
    websocket_init(&d);
    client_frame(&c, FIN | CLOSE, "", 0);
    driver_decode(&d, c.bytes, c.len, 64, 64);
    assert_int_equal(d.result, CODEC_END);
    EXPECT_WIRE(&d, "\x88\x00");
    driver_fini(&d);

    c.len = 0;
    websocket_init(&d);
    client_frame(&c, FIN | PING, "\x03\xe8", 2); // what a short Close must not read again
    client_frame(&c, FIN | CLOSE, "\x03", 1);
    driver_decode(&d, c.bytes, c.len, 64, 64);
    assert_int_equal(d.result, -EPROTO);
    EXPECT_WIRE(&d, "\x8a\x02\x03\xe8\x88\x02\x03\xea");
    driver_fini(&d);

    c.len = 0;
    websocket_init(&d);
    client_frame(&c, FIN | CLOSE, "\x03\xe8with a reason", 15);
    client_frame(&c, FIN | BINARY, "late", 4);
    driver_decode(&d, c.bytes, c.len, 64, 64);
    assert_int_equal(d.result, CODEC_END);
    EXPECT_STREAM(&d, "");
    EXPECT_WIRE(&d, "\x88\x02\x03\xe8");
    assert_true(codec_is_shut(d.codec));
    driver_fini(&d);
}

TEST(finish_says_1000_and_decodes_on)
{
    struct driver d;
    struct client c = {0};
    websocket_init(&d);
    codec_finish(d.codec);
    codec_finish(d.codec);
    assert_int_equal(driver_encode(&d, "late", 4, 4, 64), 0);
    EXPECT_WIRE(&d, "\x88\x02\x03\xe8");
    assert_true(codec_may_end(d.codec)); // hung up without a Close of its own

    driver_clear(&d);
    client_frame(&c, BINARY, "rest", 4);
    client_frame(&c, FIN | PING, "x", 1);
    driver_decode(&d, c.bytes, c.len, 64, 64);
    assert_false(codec_may_end(d.codec));
    EXPECT_STREAM(&d, "rest");
    c.len = 0;
    client_close(&c, 1000);
    driver_decode(&d, c.bytes, c.len, 64, 64);
    assert_int_equal(d.result, CODEC_END);
    EXPECT_WIRE(&d, ""); // nothing after a Close, not even a pong
    driver_fini(&d);
}

TEST(finish_before_the_handshake_waits_for_it)
{
    struct driver d;
    driver_init(&d, DEVICE_WEBSOCKET, true);
    codec_finish(d.codec);
    driver_reply(&d, 64);
    assert_int_equal(d.wire_len, 0);
    driver_decode(&d, request, sizeof(request) - 1, 64, 64);
    assert_memory_equal(d.wire, "HTTP/1.1 101 ", 13);
    assert_memory_equal(d.wire + d.wire_len - 4, "\x88\x02\x03\xe8", 4);
    driver_fini(&d);
}

// SPDX-License-Identifier: BSD-3-Clause
// WebSocket frames both ways: handshake first, fragments, control frames between them, masks and
// lengths, split everywhere, and random bytes. How connections end is in
// test_codec_websocket_end.c.
#include "websocket_client.h"

#include "test.h"

static const char request[] = WEBSOCKET_REQUEST;

TEST(opens_byte_by_byte)
{
    for (size_t piece = 1; piece < 8; piece++) {
        struct driver d;
        driver_init(&d, DEVICE_WEBSOCKET, true);
        assert_int_equal(driver_encode(&d, "early", 5, 5, 64), 0);
        driver_decode(&d, request, sizeof(request) - 1, piece, 1);
        assert_true(codec_is_open(d.codec));
        assert_int_equal(d.stream_len, 0);
        assert_memory_equal(d.wire + d.wire_len - 4, "\r\n\r\n", 4);
        driver_fini(&d);
    }
}

TEST(answer_goes_before_data)
{
    struct driver d;
    struct codec_step step;
    uint8_t out[16];
    driver_init(&d, DEVICE_WEBSOCKET, true);
    codec_decode(d.codec, request, sizeof(request) - 1, out, sizeof(out), &step);
    assert_int_equal(driver_encode(&d, "data", 4, 4, 40), 4);
    assert_memory_equal(d.wire, "HTTP/1.1 101 ", 13);
    assert_memory_equal(d.wire + d.wire_len - 10,
                        "\r\n\r\n\x82\x04"
                        "data",
                        10);
    driver_fini(&d);
}

TEST(conversation_split_anywhere)
{
    struct client c = {0};
    client_conversation(&c);
    for (size_t split = 0; split <= c.len; split++) {
        struct driver d;
        websocket_init(&d);
        size_t n = driver_decode(&d, c.bytes, split, 4096, 64);
        assert_int_equal(n, split);
        driver_decode(&d, c.bytes + split, c.len - split, 4096, 64);
        assert_int_equal(d.result, CODEC_END);
        EXPECT_STREAM(&d, "one two three four");
        EXPECT_WIRE(&d, "\x8a\x02p1\x88\x02\x03\xe9");
        assert_true(codec_may_end(d.codec));
        driver_fini(&d);
    }
}

TEST(conversation_in_pieces_into_little_room)
{
    struct client c = {0};
    client_conversation(&c);
    for (size_t piece = 1; piece < 20; piece++) {
        for (size_t room = 1; room < 8; room++) {
            struct driver d;
            websocket_init(&d);
            assert_int_equal(driver_decode(&d, c.bytes, c.len, piece, room), c.len);
            assert_int_equal(d.result, CODEC_END);
            EXPECT_STREAM(&d, "one two three four");
            EXPECT_WIRE(&d, "\x8a\x02p1\x88\x02\x03\xe9");
            driver_fini(&d);
        }
    }
}

TEST(no_room_takes_headers_and_pings_only)
{
    struct driver d;
    struct codec_step step;
    struct client c = {0};
    websocket_init(&d);
    client_frame(&c, FIN | PING, "x", 1);
    client_frame(&c, FIN | BINARY, "y", 1);
    assert_int_equal(codec_decode(d.codec, c.bytes, c.len, NULL, 0, &step), 0);
    assert_int_equal(step.consumed, c.len - 1);
    driver_reply(&d, 64);
    EXPECT_WIRE(&d, "\x8a\x01x");
    driver_fini(&d);
}

TEST(newest_of_many_pings_is_answered)
{
    struct driver d;
    struct codec_step step;
    struct client c = {0};
    uint8_t big[125];
    memset(big, 'b', sizeof(big));
    websocket_init(&d);
    client_frame(&c, FIN | PING, "first", 5);
    client_frame(&c, FIN | PING, big, sizeof(big));
    client_frame(&c, FIN | PING, "", 0);
    codec_decode(d.codec, c.bytes, c.len, NULL, 0, &step);
    driver_reply(&d, 3);
    EXPECT_WIRE(&d, "\x8a\x00");

    c.len = 0;
    driver_clear(&d);
    client_frame(&c, FIN | PING, big, sizeof(big));
    driver_decode(&d, c.bytes, c.len, 7, 3);
    assert_int_equal(d.wire_len, 2 + sizeof(big));
    assert_memory_equal(d.wire, "\x8a\x7d", 2);
    assert_memory_equal(d.wire + 2, big, sizeof(big));
    driver_fini(&d);
}

TEST(pong_half_sent_is_finished_before_data)
{
    struct driver d;
    struct codec_step step;
    struct client c = {0};
    uint8_t out[64];
    websocket_init(&d);
    client_frame(&c, FIN | PING, "abcdef", 6);
    codec_decode(d.codec, c.bytes, c.len, NULL, 0, &step);
    assert_int_equal(codec_reply(d.codec, out, 3), 3);
    // A ping that comes now does not change the one that is on its way.
    c.len = 0;
    client_frame(&c, FIN | PING, "Z", 1);
    codec_decode(d.codec, c.bytes, c.len, NULL, 0, &step);
    driver_encode(&d, "data", 4, 4, 64);
    EXPECT_WIRE(&d, "bcdef\x8a\x01Z\x82\x04"
                    "data");
    driver_fini(&d);
}

TEST(frame_of_2_to_the_62_passes_through)
{
    struct driver d;
    struct client c = {0};
    uint8_t block[4096];
    websocket_init(&d);
    client_header(&c, FIN | BINARY, UINT64_C(1) << 62, 8);
    driver_decode(&d, c.bytes, c.len, 64, 64);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (uint8_t)(0xa1 + 0x17 * (i % 4));
    for (int i = 0; i < 256; i++) {
        driver_clear(&d);
        driver_decode(&d, block, sizeof(block), sizeof(block), sizeof(block));
        assert_int_equal(d.stream_len, sizeof(block));
        for (size_t k = 0; k < sizeof(block); k++)
            assert_int_equal(d.stream[k], 0);
    }
    assert_false(codec_may_end(d.codec));
    driver_fini(&d);
}

TEST(mask_goes_on_over_any_split)
{
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    struct client c = {0};
    client_frame(&c, FIN | BINARY, bytes, sizeof(bytes));
    for (size_t piece = 1; piece < c.len; piece++) {
        for (size_t room = 1; room < 24; room++) {
            struct driver d;
            websocket_init(&d);
            driver_decode(&d, c.bytes, c.len, piece, room);
            expect_bytes(d.stream, d.stream_len, bytes, sizeof(bytes));
            driver_fini(&d);
        }
    }
}

TEST(frames_out_at_every_length_border)
{
    static const size_t lens[] = {1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 70000};
    static uint8_t in[70000], out[70016], back[70000];
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 31 >> 3);
    struct driver d;
    struct codec_step step;
    websocket_init(&d);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        codec_encode(d.codec, in, lens[i], out, sizeof(out), &step);
        assert_int_equal(step.consumed, lens[i]);
        assert_int_equal(client_read(out, step.produced, back), lens[i]);
        assert_memory_equal(back, in, lens[i]);
    }
    // And whatever the room: each one near the borders, some between.
    for (size_t room = CODEC_ROOM_MIN; room <= sizeof(out); room++) {
        bool is_near = room < 300 || (room > 65500 && room < 65600) || room > 69990;
        if (!is_near && room % 997 != 0)
            continue;
        codec_encode(d.codec, in, sizeof(in), out, room, &step);
        // As much as one frame can take of the room: short, 16-bit or 64-bit length.
        size_t best = room - 2 < 125 ? room - 2 : 125;
        if (room - 4 > best)
            best = room - 4 < 65535 ? room - 4 : 65535;
        if (room - 10 > best)
            best = room - 10 < sizeof(in) ? room - 10 : sizeof(in);
        assert_int_equal(step.consumed, best);
        assert_true(step.produced <= room);
        assert_int_equal(client_read(out, step.produced, back), step.consumed);
        assert_memory_equal(back, in, step.consumed);
    }
    codec_encode(d.codec, in, sizeof(in), out, CODEC_ROOM_MIN - 1, &step);
    assert_int_equal(step.consumed + step.produced, 0);
    codec_encode(d.codec, in, 0, out, sizeof(out), &step);
    assert_int_equal(step.consumed + step.produced, 0); // no empty frames
    driver_fini(&d);
}

TEST(round_trips)
{
    uint64_t seed = 6455;
    for (int i = 0; i < 3000; i++) {
        struct driver d;
        struct client c = {0};
        uint8_t sent[2048], echo[2048];
        size_t len = 0;
        websocket_init(&d);
        bool in_message = false;
        for (uint32_t frames = 1 + random_below(&seed, 6); frames > 0; frames--) {
            size_t n = random_below(&seed, 300);
            for (size_t k = 0; k < n; k++)
                sent[len + k] = (uint8_t)random_next(&seed);
            bool final = random_below(&seed, 2);
            client_frame(&c, (final ? FIN : 0u) | (in_message ? CONTINUATION : BINARY), sent + len,
                         n);
            in_message = !final;
            len += n;
            if (random_below(&seed, 3) == 0)
                client_frame(&c, FIN | PING, "?", 1);
        }
        driver_decode(&d, c.bytes, c.len, 1 + random_below(&seed, 400),
                      1 + random_below(&seed, 400));
        expect_bytes(d.stream, d.stream_len, sent, len);
        driver_clear(&d);
        driver_encode(&d, sent, len, 1 + random_below(&seed, 400), 32 + random_below(&seed, 400));
        assert_int_equal(client_read(d.wire, d.wire_len, echo), len);
        assert_memory_equal(echo, sent, len);
        driver_fini(&d);
    }
}

// A valid start, so that random bytes are not all refused at the first: sometimes a request,
// sometimes a conversation with a few bytes changed.
static void
random_client(struct client *c, uint64_t *seed)
{
    c->len = 0;
    if (random_below(seed, 2))
        client_conversation(c);
    else
        for (uint32_t n = random_below(seed, 60); n > 0; n--)
            client_byte(c, random_below(seed, 3) ? 0x80u | random_below(seed, 16)
                                                 : random_below(seed, 256));
    for (uint32_t n = random_below(seed, 4); n > 0 && c->len > 0; n--)
        c->bytes[random_below(seed, (uint32_t)c->len)] ^= (uint8_t)(1u << random_below(seed, 8));
}

TEST(random_bytes_do_no_harm)
{
    uint64_t seed = 1002;
    struct client *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    int ends[3] = {0};
    for (int i = 0; i < 100000; i++) {
        struct driver d;
        if (i % 16 == 0) {
            char wrong[sizeof(request)];
            memcpy(wrong, request, sizeof(request));
            wrong[random_below(&seed, sizeof(request) - 1)] ^= (char)(1u << random_below(&seed, 8));
            driver_init(&d, DEVICE_WEBSOCKET, true);
            driver_decode(&d, wrong, sizeof(wrong) - 1, 64, 64);
        } else {
            websocket_init(&d);
        }
        random_client(c, &seed);
        driver_decode(&d, c->bytes, c->len, 1 + random_below(&seed, 90),
                      1 + random_below(&seed, 90));
        driver_encode(&d, "data", 4, 4, 64);
        if (random_below(&seed, 2))
            codec_finish(d.codec);
        driver_reply(&d, 64);
        ends[d.result == 0 ? 0 : d.result == CODEC_END ? 1 : 2]++;
        driver_fini(&d);
    }
    free(c);
    for (int i = 0; i < 3; i++)
        assert_in_range(ends[i], 1000, 100000); // each outcome was seen
}

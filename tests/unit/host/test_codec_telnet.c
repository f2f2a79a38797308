// SPDX-License-Identifier: BSD-3-Clause
// Telnet: negotiation from both sides, doubled IACs, CR NUL, commands and subnegotiations, split
// everywhere.
#include "codec_driver.h"

#include "test.h"

#define BYTES(literal) literal, sizeof(literal) - 1

#define IAC    "\xff"
#define SE     "\xf0"
#define NOP    "\xf1"
#define DM     "\xf2"
#define BRK    "\xf3"
#define AYT    "\xf6"
#define SB     "\xfa"
#define WILL   "\xfb"
#define WONT   "\xfc"
#define DO     "\xfd"
#define DONT   "\xfe"
#define BINARY "\x00"
#define ECHO   "\x01"
#define SGA    "\x03"
#define TTYPE  "\x18"
#define NAWS   "\x1f"

static const char opening[] = IAC WILL ECHO IAC WILL SGA IAC WILL BINARY IAC DO BINARY;

// The opening collected and forgotten.
static void
telnet_init(struct driver *d, bool server)
{
    driver_init(d, DEVICE_TELNET, server);
    driver_reply(d, 64);
    driver_clear(d);
}

static void
expect(const char *what, const uint8_t *got, size_t got_len, const char *wanted, size_t wanted_len)
{
    if (got_len != wanted_len || memcmp(got, wanted, got_len) != 0)
        print_error("in \"%s\"\n", what);
    assert_int_equal(got_len, wanted_len);
    assert_memory_equal(got, wanted, wanted_len);
}

TEST(server_opens_as_qemu_does)
{
    for (size_t room = 1; room < 20; room++) {
        struct driver d;
        driver_init(&d, DEVICE_TELNET, true);
        driver_reply(&d, room);
        expect("opening", d.wire, d.wire_len, BYTES(opening));
        driver_fini(&d);
    }
}

TEST(client_opens_with_nothing)
{
    struct driver d;
    driver_init(&d, DEVICE_TELNET, false);
    driver_reply(&d, 64);
    assert_int_equal(d.wire_len, 0);
    driver_fini(&d);
}

TEST(opening_goes_before_data)
{
    struct driver d;
    driver_init(&d, DEVICE_TELNET, true);
    assert_true(codec_is_open(d.codec));
    assert_int_equal(driver_encode(&d, BYTES("hi"), 2, 40), 2);
    assert_int_equal(d.wire_len, 12 + 2);
    assert_memory_equal(d.wire, opening, 12);
    assert_memory_equal(d.wire + 12, "hi", 2);
    driver_fini(&d);
}

struct exchange {
    bool server;
    const char *name;
    const char *in;
    size_t in_len;
    const char *stream;
    size_t stream_len;
    const char *reply;
    size_t reply_len;
};

static const struct exchange exchanges[] = {
    {true, "plain", BYTES("hello"), BYTES("hello"), BYTES("")},
    {true, "every byte but IAC", BYTES("\0\x01\r\n\r\0\x7f\x80\xf0\xfe"),
     BYTES("\0\x01\r\n\r\0\x7f\x80\xf0\xfe"), BYTES("")},
    {true, "doubled IAC", BYTES("a" IAC IAC "b" IAC IAC IAC IAC), BYTES("a" IAC "b" IAC IAC),
     BYTES("")},
    {true, "all agreed", BYTES(IAC DO ECHO IAC DO SGA IAC DO BINARY IAC WILL BINARY "x"),
     BYTES("x"), BYTES("")},
    {true, "all refused", BYTES(IAC DONT ECHO IAC DONT SGA IAC DONT BINARY IAC WONT BINARY "x"),
     BYTES("x"), BYTES("")},
    {true, "agreed, then withdrawn", BYTES(IAC DO SGA IAC DONT SGA), BYTES(""),
     BYTES(IAC WONT SGA)},
    {true, "agreed twice", BYTES(IAC DO SGA IAC DO SGA IAC DO SGA), BYTES(""), BYTES("")},
    {true, "what a client at port 23 asks for",
     BYTES(IAC DO SGA IAC WILL TTYPE IAC WILL NAWS IAC DO "\x05"
                                                          "ok"),
     BYTES("ok"), BYTES(IAC WONT "\x05" IAC DONT TTYPE IAC DONT NAWS)},
    {true, "WILL SGA", BYTES(IAC WILL SGA IAC WILL SGA), BYTES(""), BYTES(IAC DO SGA)},
    {true, "a client that would echo", BYTES(IAC WILL ECHO), BYTES(""), BYTES(IAC DONT ECHO)},
    {true, "refusals of what was never on", BYTES(IAC WONT TTYPE IAC DONT NAWS), BYTES(""),
     BYTES("")},
    {true, "commands",
     BYTES("a" IAC NOP "b" IAC BRK "c" IAC DM IAC AYT "d" IAC SE "e" IAC "\x20"
           "f"),
     BYTES("abcdef"), BYTES("")},
    {true, "subnegotiation", BYTES("a" IAC SB NAWS "\0\x50\0\x18" IAC SE "b"), BYTES("ab"),
     BYTES("")},
    {true, "IAC in a subnegotiation", BYTES("a" IAC SB NAWS IAC IAC SE IAC IAC IAC SE "b"),
     BYTES("ab"), BYTES("")},
    {true, "a subnegotiation without end before a command",
     BYTES(IAC SB TTYPE "x" IAC WILL SGA "y"), BYTES("y"), BYTES(IAC DO SGA)},
    {true, "empty subnegotiation", BYTES(IAC SB IAC SE "y"), BYTES("y"), BYTES("")},
    {true, "CR NUL without BINARY", BYTES(IAC WONT BINARY "a\r\0b\r\nc\r\r\0\0d"),
     BYTES("a\rb\r\nc\r\r\0d"), BYTES("")},
    {true, "a command between CR and NUL", BYTES(IAC WONT BINARY "\r" IAC NOP "\0x"), BYTES("\rx"),
     BYTES("")},
    {true, "BINARY after all", BYTES(IAC WONT BINARY "\r\0" IAC WILL BINARY "\r\0"),
     BYTES("\r\r\0"), BYTES(IAC DO BINARY)},
    {true, "BINARY between CR and NUL", BYTES(IAC WONT BINARY "\r" IAC WILL BINARY "\0x"),
     BYTES("\r\0x"), BYTES(IAC DO BINARY)},
    {false, "a peer that only talks", BYTES("a\r\0b" IAC IAC), BYTES("a\r\0b" IAC), BYTES("")},
    {false, "QEMU's server", opening, sizeof(opening) - 1, BYTES(""),
     BYTES(IAC WILL BINARY IAC DO BINARY IAC DO ECHO IAC DO SGA)},
    {false, "a login server", BYTES(IAC DO TTYPE IAC WILL ECHO "a\r\0b"), BYTES("a\rb"),
     BYTES(IAC WONT TTYPE IAC DO ECHO)},
    {false, "a server that wants an echo", BYTES(IAC DO ECHO), BYTES(""), BYTES(IAC WONT ECHO)},
};

TEST(exchanges_split_anywhere)
{
    for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++) {
        const struct exchange *e = &exchanges[i];
        for (size_t split = 0; split <= e->in_len; split++) {
            struct driver d;
            telnet_init(&d, e->server);
            // Answers are asked for once, as they are when all came in one read.
            struct codec_step step[2];
            uint8_t out[64];
            assert_int_equal(codec_decode(d.codec, e->in, split, out, sizeof(out), &step[0]), 0);
            assert_int_equal(step[0].consumed, split);
            assert_int_equal(codec_decode(d.codec, e->in + split, e->in_len - split,
                                          out + step[0].produced, sizeof(out) - step[0].produced,
                                          &step[1]),
                             0);
            assert_int_equal(step[1].consumed, e->in_len - split);
            driver_reply(&d, 64);
            expect(e->name, out, step[0].produced + step[1].produced, e->stream, e->stream_len);
            expect(e->name, d.wire, d.wire_len, e->reply, e->reply_len);
            assert_true(codec_may_end(d.codec));
            driver_fini(&d);
        }
    }
}

TEST(exchanges_byte_by_byte_into_one_byte)
{
    for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++) {
        const struct exchange *e = &exchanges[i];
        for (size_t piece = 1; piece < 4; piece++) {
            struct driver d;
            telnet_init(&d, e->server);
            assert_int_equal(driver_decode(&d, e->in, e->in_len, piece, 1), e->in_len);
            expect(e->name, d.stream, d.stream_len, e->stream, e->stream_len);
            driver_fini(&d);
        }
    }
}

TEST(no_room_takes_no_data)
{
    struct driver d;
    struct codec_step step;
    uint8_t out[1];
    telnet_init(&d, true);
    assert_int_equal(codec_decode(d.codec, BYTES(IAC NOP "x"), out, 0, &step), 0);
    assert_int_equal(step.consumed, 2);
    assert_int_equal(step.produced, 0);
    assert_int_equal(codec_decode(d.codec, BYTES(IAC IAC), out, 0, &step), 0);
    assert_int_equal(step.consumed, 1); // the first IAC, which may be a command's
    assert_int_equal(codec_decode(d.codec, BYTES(IAC), out, 0, &step), 0);
    assert_int_equal(step.consumed, 0);
    assert_int_equal(codec_decode(d.codec, BYTES(IAC), out, 1, &step), 0);
    assert_int_equal(step.consumed, 1);
    assert_int_equal(out[0], 0xff);
    driver_fini(&d);
}

TEST(subnegotiation_of_a_mebibyte_is_skipped)
{
    struct driver d;
    uint8_t block[4096];
    memset(block, 0x41, sizeof(block));
    telnet_init(&d, true);
    driver_decode(&d, BYTES(IAC SB TTYPE), 3, 16);
    for (int i = 0; i < 256; i++)
        assert_int_equal(driver_decode(&d, block, sizeof(block), sizeof(block), 16), sizeof(block));
    driver_decode(&d, BYTES(IAC SE "end"), 5, 16);
    expect("after it", d.stream, d.stream_len, BYTES("end"));
    assert_int_equal(d.wire_len, 0);
    driver_fini(&d);
}

TEST(flood_of_requests_is_answered_once_each)
{
    struct driver d;
    struct codec_step step;
    uint8_t out[1];
    telnet_init(&d, true);
    for (int round = 0; round < 100; round++) {
        for (int option = 0; option < 256; option++) {
            uint8_t ask[] = {0xff, 0xfd, (uint8_t)option, 0xff, 0xfb, (uint8_t)option};
            assert_int_equal(codec_decode(d.codec, ask, sizeof(ask), out, 1, &step), 0);
            assert_int_equal(step.consumed, sizeof(ask));
        }
    }
    driver_reply(&d, 64);
    // Not: DO ECHO, DO SGA, DO BINARY and WILL BINARY, which answer ours.
    assert_int_equal(d.wire_len, (512 - 4) * 3);
    driver_clear(&d);
    driver_reply(&d, 64);
    assert_int_equal(d.wire_len, 0);
    driver_fini(&d);
}

// Carries what `from` owes to `to`. Returns how many bytes.
static size_t
carry(struct driver *from, struct driver *to)
{
    driver_clear(from);
    driver_reply(from, 64);
    driver_decode(to, from->wire, from->wire_len, 64, 64);
    return from->wire_len;
}

TEST(both_sides_settle_without_a_loop)
{
    struct driver server, client;
    driver_init(&server, DEVICE_TELNET, true);
    driver_init(&client, DEVICE_TELNET, false);
    assert_int_equal(carry(&server, &client), 12);
    assert_int_equal(client.wire_len, 12); // collected while decoding
    driver_decode(&server, client.wire, client.wire_len, 64, 64);
    assert_int_equal(server.wire_len, 12); // nothing but the opening
    driver_clear(&client);
    driver_reply(&client, 64);
    assert_int_equal(client.wire_len, 0);
    driver_fini(&server);
    driver_fini(&client);
}

TEST(iac_is_doubled)
{
    struct driver d;
    telnet_init(&d, true);
    driver_encode(&d, BYTES(IAC "a" IAC IAC "\r\n\r\0\rb"), 64, 64);
    expect("doubled", d.wire, d.wire_len, BYTES(IAC IAC "a" IAC IAC IAC IAC "\r\n\r\0\rb"));
    driver_fini(&d);
}

TEST(cr_without_binary_gets_its_nul)
{
    struct driver d;
    for (size_t piece = 1; piece < 12; piece++) {
        telnet_init(&d, true);
        driver_decode(&d, BYTES(IAC DONT BINARY), 3, 8);
        driver_encode(&d, BYTES("a\r\nb\rc\r\r\0" IAC "\r" IAC "\r"), piece, 32);
        expect("CR", d.wire, d.wire_len,
               BYTES("a\r\nb\r\0c\r\0\r\0\0" IAC IAC "\r\0" IAC IAC "\r"));
        codec_finish(d.codec);
        driver_clear(&d);
        driver_reply(&d, 64);
        expect("the last CR", d.wire, d.wire_len, BYTES("\0"));
        driver_fini(&d);
    }
}

TEST(no_answer_between_cr_and_nul)
{
    struct driver d;
    telnet_init(&d, true);
    driver_decode(&d, BYTES(IAC DONT BINARY), 3, 8);
    driver_encode(&d, BYTES("\r"), 1, 64);
    driver_decode(&d, BYTES(IAC DO TTYPE), 3, 8);
    driver_encode(&d, BYTES("x"), 1, 64);
    expect("order", d.wire, d.wire_len, BYTES("\r\0" IAC WONT TTYPE "x"));
    driver_fini(&d);
}

TEST(cr_needs_nothing_once_binary)
{
    struct driver d;
    telnet_init(&d, true);
    driver_decode(&d, BYTES(IAC DONT BINARY), 3, 8);
    driver_encode(&d, BYTES("\r"), 1, 64);
    driver_decode(&d, BYTES(IAC DO BINARY), 3, 8);
    driver_encode(&d, BYTES("\rx"), 2, 64);
    expect("no NUL", d.wire, d.wire_len, BYTES("\r" IAC WILL BINARY "\rx"));
    driver_fini(&d);
}

TEST(finished_takes_nothing_and_still_decodes)
{
    struct driver d;
    telnet_init(&d, true);
    assert_false(codec_is_shut(d.codec));
    codec_finish(d.codec);
    assert_true(codec_is_shut(d.codec));
    assert_int_equal(driver_encode(&d, BYTES("x"), 1, 64), 0);
    driver_decode(&d, BYTES("still"), 5, 8);
    expect("decoded", d.stream, d.stream_len, BYTES("still"));
    driver_fini(&d);
}

// Random bytes with much of what telnet minds, through an encoder and a decoder.
static void
round_trip(struct driver *from, struct driver *to, uint64_t *seed)
{
    static const uint8_t special[] = {0xff, '\r', '\n', 0, 0xff, '\r', 0xfa, 0xf0};
    uint8_t bytes[300];
    size_t len = 1 + random_below(seed, sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] = random_below(seed, 2) ? special[random_below(seed, sizeof(special))]
                                         : (uint8_t)random_next(seed);
    driver_clear(from);
    driver_clear(to);
    assert_int_equal(
        driver_encode(from, bytes, len, 1 + random_below(seed, 80), 32 + random_below(seed, 80)),
        len);
    codec_finish(from->codec);
    driver_reply(from, 8);
    driver_decode(to, from->wire, from->wire_len, 1 + random_below(seed, 80),
                  1 + random_below(seed, 80));
    assert_int_equal(to->stream_len, len);
    assert_memory_equal(to->stream, bytes, len);
}

TEST(round_trips_with_and_without_binary)
{
    uint64_t seed = 8541983;
    for (int i = 0; i < 4000; i++) {
        struct driver server, client;
        driver_init(&server, DEVICE_TELNET, true);
        driver_init(&client, DEVICE_TELNET, false);
        if (i % 2 == 0) {
            carry(&server, &client);
            driver_decode(&server, client.wire, client.wire_len, 64, 64);
        } else {
            driver_decode(&server, BYTES(IAC DONT BINARY IAC WONT BINARY), 6, 64);
            driver_decode(&client, BYTES(IAC DONT BINARY IAC WONT BINARY), 6, 64);
        }
        round_trip(&server, &client, &seed);
        round_trip(&client, &server, &seed);
        driver_fini(&server);
        driver_fini(&client);
    }
}

TEST(random_bytes_do_no_harm)
{
    static const uint8_t special[] = {0xff, 0xff, 0xfa, 0xf0, 0xfb, 0xfc,
                                      0xfd, 0xfe, 0,    1,    3,    '\r'};
    uint64_t seed = 854855;
    struct driver d = {0};
    for (int i = 0; i < 100000; i++) {
        uint8_t bytes[48];
        size_t len = random_below(&seed, sizeof(bytes) + 1);
        for (size_t k = 0; k < len; k++)
            bytes[k] = random_below(&seed, 3) ? special[random_below(&seed, sizeof(special))]
                                              : (uint8_t)random_next(&seed);
        if (i % 10 == 0)
            telnet_init(&d, i % 20 == 0);
        driver_clear(&d);
        // Every byte is taken, whatever it is, and no answer is longer than its cause (and one
        // NUL).
        assert_int_equal(
            driver_decode(&d, bytes, len, 1 + random_below(&seed, 48), 1 + random_below(&seed, 48)),
            len);
        assert_true(d.wire_len <= len + 3);
        assert_int_equal(driver_encode(&d, bytes, len, 48, 32 + random_below(&seed, 64)), len);
        if (i % 10 == 9)
            driver_fini(&d);
    }
}

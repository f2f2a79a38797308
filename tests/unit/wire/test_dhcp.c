// SPDX-License-Identifier: BSD-3-Clause
// DHCP: every truncation, malformed and overloaded options, replies byte for byte, random bytes.
#include "test.h"

#include "base/random.h"
#include "wire/dhcp.h"

#define OPTIONS_AT 240
#define SNAME_AT   44
#define FILE_AT    108

static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

struct message {
    uint8_t bytes[600];
    size_t len;
};

// A BOOTREQUEST with these option bytes behind the cookie.
static struct message
message_with(const void *options, size_t len)
{
    struct message m = {.bytes = {1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 3, 0x80, 0}};

    memcpy(m.bytes + 12, "\12\0\2\17", 4);
    memcpy(m.bytes + 28, mac, 6);
    memcpy(m.bytes + 236, "\x63\x82\x53\x63", 4);
    memcpy(m.bytes + OPTIONS_AT, options, len);
    m.len = OPTIONS_AT + len;
    return m;
}

static bool
parse(const struct message *m, struct dhcp_message *out)
{
    struct cursor c = cursor_of(m->bytes, m->len);
    return dhcp_parse(&c, out);
}

static bool
parse_options(const void *options, size_t len, struct dhcp_message *out)
{
    struct message m = message_with(options, len);
    return parse(&m, out);
}

// As udhcpc asks for the lease it was offered.
static const uint8_t request[] = {
    53, 1,  3,  61,  7,   1,   0x52, 0x54, 0,   0x12, 0x34, 0x56, 50,  4,   10,  0,  2,  15,
    54, 4,  10, 0,   2,   4,   57,   2,    2,   0x40, 55,   7,    1,   3,   6,   12, 15, 28,
    42, 60, 12, 'u', 'd', 'h', 'c',  'p',  ' ', '1',  '.',  '3',  '5', '.', '0', 255};

TEST(a_request_of_udhcpc)
{
    struct dhcp_message m;

    assert_true(parse_options(request, sizeof(request), &m));
    assert_int_equal(m.xid, 0xdeadbeef);
    assert_int_equal(m.flags, 0x8000);
    assert_int_equal(m.ciaddr, 0x0a00020f);
    assert_memory_equal(m.chaddr.octet, mac, 6);
    assert_int_equal(m.type, DHCP_REQUEST);
    assert_int_equal(m.requested_ip, 0x0a00020f);
    assert_int_equal(m.server_id, 0x0a000204);
}

TEST(every_shorter_message_is_refused)
{
    struct message m = message_with(request, sizeof(request));
    struct dhcp_message out;

    for (size_t len = 0; len < OPTIONS_AT + sizeof(request); len++) {
        m.len = len;
        assert_false(parse(&m, &out));
    }
}

TEST(bytes_behind_the_end_option_are_ignored)
{
    struct message m = message_with(request, sizeof(request));
    struct dhcp_message out;

    memset(m.bytes + m.len, 53, 50);
    m.len += 50;
    assert_true(parse(&m, &out));
    assert_int_equal(out.type, DHCP_REQUEST);
}

TEST(plain_bootp_has_type_0)
{
    struct dhcp_message m;

    assert_true(parse_options("\377", 1, &m));
    assert_int_equal(m.type, 0);
    assert_int_equal(m.requested_ip, 0);
    assert_int_equal(m.server_id, 0);
}

TEST(only_ethernet_requests_with_the_cookie_are_taken)
{
    static const size_t fixed[] = {0, 1, 2, 236, 237, 238, 239};
    struct dhcp_message out;

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        for (int value = 0; value < 256; value++) {
            struct message m = message_with(request, sizeof(request));
            bool fine = m.bytes[fixed[i]] == value;
            m.bytes[fixed[i]] = (uint8_t)value;
            assert_int_equal(parse(&m, &out), fine);
        }
    }
}

TEST(malformed_options_are_refused)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t len;
    } cases[] = {
        {"no options at all", "", 0},
        {"no end option", "\65\1\1", 3},
        {"pads without end", "\0\0\0\0", 4},
        {"code without length", "\65", 1},
        {"length past the end", "\65\1\1\14\5abc\377", 9},
        {"length 255", "\14\377\377", 3},
        {"type without value", "\65\0\377", 3},
        {"type of two bytes", "\65\2\1\1\377", 5},
        {"type 0", "\65\1\0\377", 4},
        {"type 9", "\65\1\11\377", 4},
        {"requested address of three bytes", "\62\3\1\2\3\377", 6},
        {"requested address of five bytes", "\62\5\1\2\3\4\5\377", 8},
        {"server id of no bytes", "\66\0\377", 3},
        {"overload 0", "\64\1\0\377", 4},
        {"overload 4", "\64\1\4\377", 4},
        {"overload of two bytes", "\64\2\1\1\377", 5},
    };
    struct dhcp_message m;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (parse_options(cases[i].bytes, cases[i].len, &m))
            fail_msg("taken: %s", cases[i].what);
    }
}

TEST(options_overloaded_into_file_and_sname_are_read)
{
    struct dhcp_message out;

    for (uint8_t overload = 1; overload <= 3; overload++) {
        uint8_t options[] = {52, 1, overload, 255};
        struct message m = message_with(options, sizeof(options));
        memcpy(m.bytes + FILE_AT, "\65\1\3\377", 4);
        memcpy(m.bytes + SNAME_AT, "\62\4\12\0\2\17\377", 7);
        assert_true(parse(&m, &out));
        assert_int_equal(out.type, (overload & 1) != 0 ? DHCP_REQUEST : 0);
        assert_int_equal(out.requested_ip, (overload & 2) != 0 ? 0x0a00020f : 0);
    }
}

TEST(without_overload_file_and_sname_are_names)
{
    struct message m = message_with("\65\1\1\377", 4);
    struct dhcp_message out;

    memset(m.bytes + SNAME_AT, 'x', 64 + 128);
    assert_true(parse(&m, &out));
}

TEST(overloaded_fields_need_an_end_and_cannot_run_over)
{
    struct message m = message_with("\64\1\1\377", 4);
    struct dhcp_message out;

    assert_false(parse(&m, &out)); // all pads
    m.bytes[FILE_AT + 127] = 255;
    assert_true(parse(&m, &out));
    m.bytes[FILE_AT + 126] = 12; // takes the 255 for its length
    assert_false(parse(&m, &out));

    m = message_with("\64\1\2\377", 4);
    m.bytes[SNAME_AT + 62] = 12; // one byte, which would be in file
    m.bytes[SNAME_AT + 63] = 1;
    m.bytes[FILE_AT + 1] = 255;
    assert_false(parse(&m, &out));
}

TEST(an_overload_within_an_overload_means_nothing)
{
    struct message m = message_with("\64\1\1\377", 4);
    struct dhcp_message out;

    memcpy(m.bytes + FILE_AT, "\64\1\3\65\1\1\377", 7);
    memset(m.bytes + SNAME_AT, 'x', 64); // not options
    assert_true(parse(&m, &out));
    assert_int_equal(out.type, DHCP_DISCOVER);
}

static struct dhcp_reply
an_offer(void)
{
    return (struct dhcp_reply){.type = DHCP_OFFER,
                               .xid = 0xdeadbeef,
                               .flags = 0x8000,
                               .yiaddr = 0x0a00020f,
                               .server_id = 0x0a000204,
                               .chaddr = {{0x52, 0x54, 0, 0x12, 0x34, 0x56}},
                               .netmask = 0xffffff00,
                               .lease_s = 86400,
                               .mtu = 65520};
}

TEST(an_offer_byte_for_byte)
{
    static const uint8_t options[] = {53,   1,    2, 54, 4,   10,  0,   2, 4,  51, 4,    0,    1,
                                      0x51, 0x80, 1, 4,  255, 255, 255, 0, 26, 2,  0xff, 0xf0, 255};
    struct dhcp_reply r = an_offer();
    uint8_t out[DHCP_REPLY_MAX], expect[300] = {2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0};
    struct writer w = writer_of(out, sizeof(out));

    memcpy(expect + 16, "\12\0\2\17", 4);
    memcpy(expect + 28, mac, 6);
    memcpy(expect + 236, "\x63\x82\x53\x63", 4);
    memcpy(expect + OPTIONS_AT, options, sizeof(options));
    dhcp_emit(&w, &r);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), 300);
    assert_memory_equal(out, expect, 300);
}

TEST(a_reply_behind_other_headers_is_as_long)
{
    struct dhcp_reply r = an_offer();
    uint8_t out[400];
    struct writer w = writer_of(out, sizeof(out));

    writer_zero(&w, 42);
    dhcp_emit(&w, &r);
    assert_int_equal(writer_len(&w), 342);
}

TEST(a_nak_says_no_more_than_who_sends_it)
{
    struct dhcp_reply r = an_offer();
    uint8_t out[DHCP_REPLY_MAX];
    struct writer w = writer_of(out, sizeof(out));

    r.type = DHCP_NAK;
    r.yiaddr = 0;
    dhcp_emit(&w, &r);
    assert_int_equal(writer_len(&w), 300);
    assert_memory_equal(out + OPTIONS_AT, "\65\1\6\66\4\12\0\2\4\377\0\0", 12);
}

TEST(the_answer_to_an_inform_has_no_lease)
{
    struct dhcp_reply r = an_offer();
    uint8_t out[DHCP_REPLY_MAX];
    struct writer w = writer_of(out, sizeof(out));

    r.type = DHCP_ACK;
    r.yiaddr = 0;
    r.lease_s = 0;
    r.mtu = 0;
    r.ciaddr = 0x0a00020f;
    dhcp_emit(&w, &r);
    assert_memory_equal(out + 12, "\12\0\2\17\0\0\0\0", 8);
    assert_memory_equal(out + OPTIONS_AT, "\65\1\5\66\4\12\0\2\4\1\4\377\377\377\0\377\0\0", 18);
}

TEST(a_reply_that_does_not_fit_fails)
{
    struct dhcp_reply r = an_offer();
    uint8_t out[300];

    for (size_t room = 0; room < 300; room++) {
        struct writer w = writer_of(out, room);
        dhcp_emit(&w, &r);
        assert_true(w.failed);
    }
}

TEST(random_options_do_no_harm)
{
    static const uint8_t codes[] = {0, 50, 52, 53, 54, 55, 255, 12};
    struct random rnd = {10};
    int accepted = 0;

    for (int round = 0; round < 100000; round++) {
        uint8_t options[60];
        struct dhcp_message out;
        for (size_t i = 0; i < sizeof(options); i++)
            options[i] = random_below(&rnd, 2) ? codes[random_below(&rnd, sizeof(codes))]
                                               : (uint8_t)random_below(&rnd, 8);
        struct message m = message_with(options, random_below(&rnd, sizeof(options) + 1));
        for (size_t i = SNAME_AT; i < 236; i++)
            m.bytes[i] = codes[random_below(&rnd, sizeof(codes))];
        // On the heap and of the exact size, so that a sanitizer sees any read beyond.
        uint8_t *exact = malloc(m.len);
        memcpy(exact, m.bytes, m.len);
        struct cursor c = cursor_of(exact, m.len);
        if (dhcp_parse(&c, &out)) {
            accepted++;
            assert_in_range(out.type, 0, 8);
        }
        free(exact);
    }
    assert_true(accepted > 1000);
}

TEST(random_bytes_do_no_harm)
{
    struct random rnd = {11};
    int accepted = 0;

    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[300];
        struct dhcp_message out;
        size_t len = random_below(&rnd, sizeof(bytes) + 1);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)random_u64(&rnd);
        struct cursor c = cursor_of(bytes, len);
        accepted += dhcp_parse(&c, &out);
    }
    assert_int_equal(accepted, 0); // 56 fixed bits
}

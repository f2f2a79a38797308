// SPDX-License-Identifier: BSD-3-Clause
// Messages between broker and worker: what is valid, and that everything else is refused, by every
// field, length, direction and number of descriptors.
#include "test.h"

#include "broker/protocol.h"

#include <errno.h>
#include <limits.h>

static const struct message_limits by_broker = {.from_worker = true, .channels = 3};
static const struct message_limits by_worker = {.from_worker = false, .channels = 3};

static bool
accepted(const struct message *m, size_t nfds, const struct message_limits *limits)
{
    struct message out;
    return message_parse(&out, m, sizeof(*m), nfds, limits);
}

static const struct message worker_says[] = {
    {.type = MESSAGE_READY, .session = 3},
    {.type = MESSAGE_OPEN, .session = 1, .channel = 2, .guest_addr = 0x0a00020f, .guest_port = 9},
    {.type = MESSAGE_CANCEL, .session = UINT32_MAX},
    {.type = MESSAGE_LINK_DOWN, .link = 1},
    {.type = MESSAGE_CLOSED, .session = 7},
    {.type = MESSAGE_SYNCED, .session = 8},
};
static const struct message broker_says[] = {
    {.type = MESSAGE_OPENED, .session = 1, .fds = 1},
    {.type = MESSAGE_REFUSED, .session = 1, .why = -ENOENT},
    {.type = MESSAGE_LINK, .link = 1, .link_kind = LINK_TAP},
    {.type = MESSAGE_LISTENER, .channel = 2},
    {.type = MESSAGE_LINK, .link = 1, .link_kind = LINK_MESSAGE, .link_offload = 1},
    {.type = MESSAGE_LISTENER, .channel = 2, .guest_cid = 3},
    {.type = MESSAGE_LOG, .channel = 2},
    {.type = MESSAGE_OPENED, .session = 2},
    {.type = MESSAGE_OPENED, .session = 3, .fds = 2},
    {.type = MESSAGE_CHANNEL, .channel = 2},
    {.type = MESSAGE_REMOVE, .channel = 2},
    {.type = MESSAGE_SYNC, .session = 1},
    {.type = MESSAGE_CAPTURE, .snaplen = 96},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static size_t
fds_of(const struct message *m)
{
    if (m->type == MESSAGE_OPENED)
        return m->fds;
    return m->type == MESSAGE_LINK || m->type == MESSAGE_LISTENER || m->type == MESSAGE_LOG ||
           m->type == MESSAGE_CHANNEL || m->type == MESSAGE_CAPTURE;
}

TEST(valid_messages_are_taken_in_their_direction_alone)
{
    for (size_t i = 0; i < COUNT(worker_says); i++) {
        assert_true(accepted(&worker_says[i], 0, &by_broker));
        assert_false(accepted(&worker_says[i], 0, &by_worker));
    }
    for (size_t i = 0; i < COUNT(broker_says); i++) {
        assert_true(accepted(&broker_says[i], fds_of(&broker_says[i]), &by_worker));
        assert_false(accepted(&broker_says[i], fds_of(&broker_says[i]), &by_broker));
    }
}

TEST(descriptors_must_be_as_many_as_the_type_wants)
{
    for (size_t nfds = 1; nfds < 4; nfds++)
        for (size_t i = 0; i < COUNT(worker_says); i++)
            assert_false(accepted(&worker_says[i], nfds, &by_broker));
    for (size_t nfds = 0; nfds < 4; nfds++)
        for (size_t i = 0; i < COUNT(broker_says); i++)
            assert_int_equal(accepted(&broker_says[i], nfds, &by_worker),
                             nfds == fds_of(&broker_says[i]));
}

TEST(only_whole_messages_are_taken)
{
    unsigned char bytes[256] = {0};
    struct message out;
    memcpy(bytes, &worker_says[1], sizeof(worker_says[1]));
    for (size_t len = 0; len <= sizeof(bytes); len++)
        assert_int_equal(message_parse(&out, bytes, len, 0, &by_broker),
                         len == sizeof(struct message));
}

TEST(every_unknown_type_is_refused)
{
    for (uint32_t type = 0; type < 70000; type++) {
        struct message m = {.type = type};
        bool known = type == MESSAGE_READY || type == MESSAGE_CANCEL || type == MESSAGE_OPEN ||
                     type == MESSAGE_CLOSED || type == MESSAGE_SYNCED;
        assert_int_equal(accepted(&m, 0, &by_broker), known);
    }
    assert_false(accepted(&(struct message){.type = UINT32_MAX}, 0, &by_broker));
    assert_false(accepted(&(struct message){.type = 0x80000001}, 0, &by_broker));
    assert_string_equal(message_name(UINT32_MAX), "unknown");
    assert_string_equal(message_name(MESSAGE_OPEN), "open");
}

TEST(every_channel_index_beyond_the_last_is_refused)
{
    struct message m = worker_says[1];
    for (uint32_t channel = 0; channel < 70000; channel++) {
        m.channel = channel;
        assert_int_equal(accepted(&m, 0, &by_broker), channel < 3);
    }
    m.channel = UINT32_MAX;
    assert_false(accepted(&m, 0, &by_broker));
    m.channel = 0x80000000;
    assert_false(accepted(&m, 0, &by_broker));
    m.channel = 0;
    assert_false(accepted(&m, 0, &(struct message_limits){.from_worker = true}));
}

// A field that the type does not name must be zero, or two versions of a message would mean one.
TEST(fields_of_other_types_must_be_zero)
{
    for (size_t i = 0; i < COUNT(worker_says); i++) {
        for (size_t word = 1; word < sizeof(struct message) / 4; word++) {
            uint32_t words[sizeof(struct message) / 4];
            memcpy(words, &worker_says[i], sizeof(words));
            bool in_session = word / 2 == offsetof(struct message, session) / 8;
            if (words[word] != 0 || (in_session && worker_says[i].session != 0))
                continue;
            words[word] = UINT32_MAX;
            struct message m;
            memcpy(&m, words, sizeof(m));
            assert_false(accepted(&m, 0, &by_broker));
        }
    }
}

TEST(values_are_checked)
{
    struct message m = worker_says[1];
    m.guest_port = 65536;
    assert_false(accepted(&m, 0, &by_broker));
    m = worker_says[1]; // a guest that came by IPv6, and one that came by both
    m.guest_addr = 0;
    m.guest_addr6 = (struct ipv6_addr){{0xfd, 0x10, [15] = 0x15}};
    assert_true(accepted(&m, 0, &by_broker));
    m.guest_addr = 1;
    assert_false(accepted(&m, 0, &by_broker));
    m = worker_says[3];
    m.link = 0;
    assert_false(accepted(&m, 0, &by_broker));
    static const int32_t bad_why[] = {0, 1, ENOENT, -4096, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < COUNT(bad_why); i++) {
        m = broker_says[1];
        m.why = bad_why[i];
        assert_false(accepted(&m, 0, &by_worker));
    }
    static const uint32_t bad_kind[] = {LINK_NETNS,          LINK_HYBRID, LINK_VSOCK,
                                        LINK_VHOST_USER + 1, 99,          UINT32_MAX};
    for (size_t i = 0; i < COUNT(bad_kind); i++) {
        m = broker_says[2];
        m.link_kind = bad_kind[i];
        assert_false(accepted(&m, 1, &by_worker));
    }
    m = broker_says[2];
    m.link_offload = 2;
    assert_false(accepted(&m, 1, &by_worker));
    m = broker_says[3];
    m.link_offload = 1;
    assert_false(accepted(&m, 1, &by_worker));
    for (uint16_t fds = 0; fds < 1000; fds++)
        assert_int_equal(
            accepted(&(struct message){.type = MESSAGE_OPENED, .fds = fds}, fds, &by_worker),
            fds <= MESSAGE_FDS_MAX);
    assert_false(accepted(&(struct message){.type = MESSAGE_CAPTURE}, 1, &by_worker));
    m = broker_says[1];
    m.snaplen = 1;
    assert_false(accepted(&m, 0, &by_worker));
    m = broker_says[1];
    m.fds = 1;
    assert_false(accepted(&m, 1, &by_worker));
    m = broker_says[2];
    m.guest_cid = 3;
    assert_false(accepted(&m, 1, &by_worker));
}

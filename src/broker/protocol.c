// SPDX-License-Identifier: BSD-3-Clause
// Validation of the messages between broker and worker. After message_parse nobody checks again.
#include "broker/protocol.h"

#include <assert.h>
#include <string.h>

#define ERRNO_MAX 4095

static_assert(sizeof(struct message) == 8 + 9 * 4 + 2 * 2 + 16,
              "no padding: the struct is what is sent");

// What each type may carry; a field that is not named must be zero.
struct message_rule {
    const char *name;
    bool from_worker;
    bool has_fds; // as many as its field says
    bool has_fd, has_session, has_channel, has_peer, has_why, has_link, has_link_kind, has_cid,
        has_snaplen;
};

static const struct message_rule rules[] = {
    [MESSAGE_READY] = {.name = "ready", .from_worker = true, .has_session = true},
    [MESSAGE_OPEN] = {.name = "open",
                      .from_worker = true,
                      .has_session = true,
                      .has_channel = true,
                      .has_peer = true},
    [MESSAGE_CANCEL] = {.name = "cancel", .from_worker = true, .has_session = true},
    [MESSAGE_LINK_DOWN] = {.name = "link-down", .from_worker = true, .has_link = true},
    [MESSAGE_CLOSED] = {.name = "closed", .from_worker = true, .has_session = true},
    [MESSAGE_SYNCED] = {.name = "synced", .from_worker = true, .has_session = true},
    [MESSAGE_OPENED] = {.name = "opened", .has_fds = true, .has_session = true},
    [MESSAGE_REFUSED] = {.name = "refused", .has_session = true, .has_why = true},
    [MESSAGE_LINK] = {.name = "link", .has_fd = true, .has_link = true, .has_link_kind = true},
    [MESSAGE_LISTENER] = {.name = "listener", .has_fd = true, .has_channel = true, .has_cid = true},
    [MESSAGE_DRAIN] = {.name = "drain"},
    [MESSAGE_LOG] = {.name = "log", .has_fd = true, .has_channel = true},
    [MESSAGE_CHANNEL] = {.name = "channel", .has_fd = true, .has_channel = true},
    [MESSAGE_REMOVE] = {.name = "remove", .has_channel = true},
    [MESSAGE_SYNC] = {.name = "sync", .has_session = true},
    [MESSAGE_CAPTURE] = {.name = "capture", .has_fd = true, .has_snaplen = true},
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

static bool
is_frame_link(uint32_t kind)
{
    return kind == LINK_STREAM || kind == LINK_TAP || kind == LINK_PACKET || kind == LINK_MESSAGE ||
           kind == LINK_VHOST_USER;
}

bool
message_parse(struct message *out, const void *data, size_t len, size_t nfds,
              const struct message_limits *limits)
{
    struct message m;
    if (len != sizeof(m))
        return false;
    memcpy(&m, data, sizeof(m));
    if (m.type >= RULES || !rules[m.type].name)
        return false;
    const struct message_rule *r = &rules[m.type];
    if (r->from_worker != limits->from_worker || nfds != message_fds(&m))
        return false;
    if (r->has_fds ? m.fds > MESSAGE_FDS_MAX : m.fds != 0)
        return false;
    if (r->has_channel ? m.channel >= limits->channels : m.channel != 0)
        return false;
    if (!r->has_session && m.session != 0)
        return false;
    bool is_ipv6 = !ipv6_addr_is_none(&m.guest_addr6);
    if (r->has_peer ? m.guest_port > UINT16_MAX : (m.guest_addr != 0 || m.guest_port != 0))
        return false;
    if (is_ipv6 && (!r->has_peer || m.guest_addr != 0))
        return false;
    if (r->has_why ? (m.why > -1 || m.why < -ERRNO_MAX) : m.why != 0)
        return false;
    if (r->has_link ? m.link == 0 : m.link != 0)
        return false;
    if (r->has_link_kind ? !is_frame_link(m.link_kind) : m.link_kind != 0)
        return false;
    if (m.link_offload > (r->has_link_kind ? 1 : 0) || (!r->has_cid && m.guest_cid != 0))
        return false;
    if (r->has_snaplen ? m.snaplen == 0 : m.snaplen != 0)
        return false;
    *out = m;
    return true;
}

size_t
message_fds(const struct message *m)
{
    if (m->type >= RULES)
        return 0;
    return rules[m->type].has_fds ? m->fds : rules[m->type].has_fd;
}

const char *
message_name(uint32_t type)
{
    return type < RULES && rules[type].name ? rules[type].name : "unknown";
}

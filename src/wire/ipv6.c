// SPDX-License-Identifier: BSD-3-Clause
// IPv6 headers. Addresses are judged by the stack, and so is what is not skipped.
#include "wire/ipv6.h"

#define HOP_BY_HOP          0
#define ROUTING             43
#define DESTINATION_OPTIONS 60

#define OPTION_PAD1          0
#define OPTION_MUST_BE_KNOWN 0xc0 // either bit: not to be ignored by who does not know it

// False when one of them may not be ignored, or is cut short.
static bool
options_may_be_ignored(struct cursor options)
{
    while (options.left > 0) {
        uint8_t kind = cursor_u8(&options);
        if (kind == OPTION_PAD1)
            continue;
        if (kind & OPTION_MUST_BE_KNOWN)
            return false;
        cursor_skip(&options, cursor_u8(&options));
    }
    return !options.failed;
}

static bool
is_skippable(uint8_t protocol, bool is_first, struct cursor body)
{
    if (protocol == ROUTING) {
        cursor_skip(&body, 1);        // type
        return cursor_u8(&body) == 0; // segments left
    }
    return (protocol == DESTINATION_OPTIONS || is_first) && options_may_be_ignored(body);
}

static bool
has_length(uint8_t protocol)
{
    return protocol == HOP_BY_HOP || protocol == DESTINATION_OPTIONS || protocol == ROUTING;
}

// False when one is cut short.
static bool
skip_extensions(struct cursor *c, struct ipv6_header *out)
{
    size_t skipped = 0;
    while (has_length(out->protocol)) {
        struct cursor at = *c;
        uint8_t next = cursor_u8(&at);
        size_t len = 8 + (size_t)cursor_u8(&at) * 8;
        if (len > out->payload_len)
            return false;
        if (len > IPV6_EXTENSIONS_MAX - skipped)
            return true;
        struct cursor body = cursor_take(&at, len - 2);
        if (at.failed)
            return false;
        if (!is_skippable(out->protocol, skipped == 0, body))
            return true;
        *c = at;
        skipped += len;
        out->protocol = next;
        out->header_len = (uint8_t)(IPV6_HEADER_LEN + skipped);
        out->payload_len = (uint16_t)(out->payload_len - len);
    }
    return true;
}

bool
ipv6_parse(struct cursor *c, size_t frame_left, struct ipv6_header *out)
{
    uint32_t version_class_flow = cursor_u32(c);
    out->payload_len = cursor_u16(c);
    out->protocol = cursor_u8(c);
    out->hop_limit = cursor_u8(c);
    cursor_bytes(c, &out->src, sizeof(out->src));
    cursor_bytes(c, &out->dst, sizeof(out->dst));
    out->header_len = IPV6_HEADER_LEN;
    if (c->failed || version_class_flow >> 28 != 6)
        return false;
    if (frame_left < IPV6_HEADER_LEN || out->payload_len > frame_left - IPV6_HEADER_LEN)
        return false;
    return skip_extensions(c, out);
}

void
ipv6_emit(struct writer *w, const struct ipv6_header *h)
{
    writer_u32(w, 6u << 28);
    writer_u16(w, h->payload_len);
    writer_u8(w, h->protocol);
    writer_u8(w, h->hop_limit);
    writer_bytes(w, &h->src, sizeof(h->src));
    writer_bytes(w, &h->dst, sizeof(h->dst));
}

bool
ipv6_addr_is_multicast(const struct ipv6_addr *a)
{
    return a->octet[0] == 0xff;
}

bool
ipv6_addr_is_solicited(const struct ipv6_addr *dst, const struct ipv6_addr *a)
{
    static const uint8_t prefix[13] = {0xff, 2, [11] = 1, [12] = 0xff};
    return memcmp(dst->octet, prefix, sizeof(prefix)) == 0 &&
           memcmp(dst->octet + 13, a->octet + 13, 3) == 0;
}

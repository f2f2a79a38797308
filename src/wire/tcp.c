// SPDX-License-Identifier: BSD-3-Clause
// TCP headers and the options we use. Timestamps and all others are stepped over. What a segment
// means in a connection's state is the stack's business.
#include "wire/tcp.h"

#include <assert.h>

enum option_kind {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2,
    OPTION_WSCALE = 3,
    OPTION_SACK_PERMITTED = 4,
    OPTION_SACK = 5,
};

static bool
parse_syn_option(uint8_t kind, struct cursor *body, struct tcp_header *out)
{
    switch (kind) {
    case OPTION_MSS:
        if (body->left != 2)
            return false;
        out->mss = cursor_u16(body);
        return true;
    case OPTION_WSCALE:
        if (body->left != 1)
            return false;
        out->wscale = (int8_t)cursor_u8(body);
        if (out->wscale < 0 || out->wscale > TCP_WSCALE_MAX)
            out->wscale = TCP_WSCALE_MAX;
        return true;
    case OPTION_SACK_PERMITTED:
        if (body->left != 0)
            return false;
        out->sack_permitted = true;
        return true;
    default:
        return true;
    }
}

static_assert(TCP_HEADER_LEN_MAX - TCP_HEADER_LEN - 2 < 8 * (TCP_SACK_MAX + 1),
              "no header holds more blocks");

static bool
parse_sack(struct cursor *body, struct tcp_header *out)
{
    if (body->left == 0 || body->left % 8 != 0)
        return false;
    out->sack_count = 0;
    while (body->left > 0) {
        struct tcp_sack_block *block = &out->sack[out->sack_count++];
        block->left = cursor_u32(body);
        block->right = cursor_u32(body);
    }
    return true;
}

static void
parse_options(struct cursor *options, struct tcp_header *out)
{
    while (options->left > 0) {
        uint8_t kind = cursor_u8(options);
        if (kind == OPTION_END)
            return;
        if (kind == OPTION_NOP)
            continue;
        uint8_t len = cursor_u8(options);
        if (len < 2)
            return;
        struct cursor body = cursor_take(options, len - 2u);
        if (body.failed)
            return;
        bool ok = true;
        if ((out->flags & TCP_SYN) != 0)
            ok = parse_syn_option(kind, &body, out);
        else if (kind == OPTION_SACK)
            ok = parse_sack(&body, out);
        if (!ok)
            return;
    }
}

bool
tcp_parse(struct cursor *c, size_t ip_payload, struct tcp_header *out)
{
    *out = (struct tcp_header){.wscale = -1};
    out->src_port = cursor_u16(c);
    out->dst_port = cursor_u16(c);
    out->seq = cursor_u32(c);
    out->ack = cursor_u32(c);
    out->header_len = (uint8_t)((cursor_u8(c) >> 4) * 4);
    out->flags = cursor_u8(c) & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG);
    out->window = cursor_u16(c);
    out->checksum = cursor_u16(c);
    out->urgent = cursor_u16(c);
    if (c->failed || out->header_len < TCP_HEADER_LEN || out->header_len > ip_payload)
        return false;
    struct cursor options = cursor_take(c, (size_t)out->header_len - TCP_HEADER_LEN);
    if (c->failed)
        return false;
    parse_options(&options, out);
    return true;
}

// Options in groups of 4 bytes, NOPs in front, as most stacks write them.
static void
emit_syn_options(struct writer *w, const struct tcp_header *h)
{
    if (h->mss != 0) {
        writer_u8(w, OPTION_MSS);
        writer_u8(w, 4);
        writer_u16(w, h->mss);
    }
    if (h->sack_permitted) {
        writer_u8(w, OPTION_NOP);
        writer_u8(w, OPTION_NOP);
        writer_u8(w, OPTION_SACK_PERMITTED);
        writer_u8(w, 2);
    }
    if (h->wscale >= 0) {
        writer_u8(w, OPTION_NOP);
        writer_u8(w, OPTION_WSCALE);
        writer_u8(w, 3);
        writer_u8(w, (uint8_t)h->wscale);
    }
}

static uint8_t
sack_blocks(const struct tcp_header *h)
{
    return h->sack_count < TCP_SACK_MAX ? h->sack_count : TCP_SACK_MAX;
}

static void
emit_sack(struct writer *w, const struct tcp_header *h)
{
    uint8_t blocks = sack_blocks(h);

    if (blocks == 0)
        return;
    writer_u8(w, OPTION_NOP);
    writer_u8(w, OPTION_NOP);
    writer_u8(w, OPTION_SACK);
    writer_u8(w, (uint8_t)(2 + 8 * blocks));
    for (uint8_t i = 0; i < blocks; i++) {
        writer_u32(w, h->sack[i].left);
        writer_u32(w, h->sack[i].right);
    }
}

void
tcp_emit(struct writer *w, struct tcp_header *h)
{
    bool syn = (h->flags & TCP_SYN) != 0;
    uint32_t options_len = tcp_sack_bytes(h->sack_count);

    if (syn)
        options_len = 4 * (uint32_t)((h->mss != 0) + h->sack_permitted + (h->wscale >= 0));
    h->header_len = (uint8_t)(TCP_HEADER_LEN + options_len);
    writer_u16(w, h->src_port);
    writer_u16(w, h->dst_port);
    writer_u32(w, h->seq);
    writer_u32(w, h->ack);
    writer_u8(w, (uint8_t)(h->header_len / 4 << 4));
    writer_u8(w, h->flags);
    writer_u16(w, h->window);
    writer_u16(w, h->checksum);
    writer_u16(w, h->urgent);
    if (syn)
        emit_syn_options(w, h);
    else
        emit_sack(w, h);
}

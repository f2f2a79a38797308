// SPDX-License-Identifier: BSD-3-Clause
// DHCP messages. Which lease is given to whom is the stack's business; relays (giaddr) are not
// served, as the guest is always on the same link.
#include "wire/dhcp.h"

#include <assert.h>

#define MAGIC_COOKIE 0x63825363
#define OP_REQUEST   1
#define OP_REPLY     2
#define SNAME_LEN    64
#define FILE_LEN     128
#define REPLY_MIN    300

enum option_code {
    OPTION_PAD = 0,
    OPTION_NETMASK = 1,
    OPTION_MTU = 26,
    OPTION_REQUESTED_IP = 50,
    OPTION_LEASE_TIME = 51,
    OPTION_OVERLOAD = 52,
    OPTION_TYPE = 53,
    OPTION_SERVER_ID = 54,
    OPTION_END = 255,
};

enum overload {
    OVERLOAD_FILE = 1,
    OVERLOAD_SNAME = 2,
};

static bool
parse_ip(struct cursor *body, uint32_t *out)
{
    if (body->left != 4)
        return false;
    *out = cursor_u32(body);
    return true;
}

static bool
parse_option(uint8_t code, struct cursor *body, struct dhcp_message *out, uint8_t *overload)
{
    switch (code) {
    case OPTION_TYPE:
        if (body->left != 1 || body->at[0] < DHCP_DISCOVER || body->at[0] > DHCP_INFORM)
            return false;
        out->type = (enum dhcp_type)cursor_u8(body);
        return true;
    case OPTION_OVERLOAD:
        if (body->left != 1 || body->at[0] < 1 || body->at[0] > 3)
            return false;
        *overload = cursor_u8(body);
        return true;
    case OPTION_REQUESTED_IP:
        return parse_ip(body, &out->requested_ip);
    case OPTION_SERVER_ID:
        return parse_ip(body, &out->server_id);
    default:
        return true;
    }
}

static bool
parse_options(struct cursor *c, struct dhcp_message *out, uint8_t *overload)
{
    while (c->left > 0) {
        uint8_t code = cursor_u8(c);
        if (code == OPTION_PAD)
            continue;
        if (code == OPTION_END)
            return true;
        uint8_t len = cursor_u8(c);
        struct cursor body = cursor_take(c, len);
        if (body.failed || !parse_option(code, &body, out, overload))
            return false;
    }
    return false; // no end option
}

bool
dhcp_parse(struct cursor *c, struct dhcp_message *out)
{
    *out = (struct dhcp_message){0};
    uint8_t op = cursor_u8(c);
    uint8_t htype = cursor_u8(c);
    uint8_t hlen = cursor_u8(c);
    cursor_skip(c, 1); // hops
    out->xid = cursor_u32(c);
    cursor_skip(c, 2); // secs
    out->flags = cursor_u16(c);
    out->ciaddr = cursor_u32(c);
    cursor_skip(c, 12); // yiaddr, siaddr, giaddr
    cursor_bytes(c, &out->chaddr, sizeof(out->chaddr));
    cursor_skip(c, 16 - sizeof(out->chaddr));
    struct cursor sname = cursor_take(c, SNAME_LEN);
    struct cursor file = cursor_take(c, FILE_LEN);
    uint32_t magic = cursor_u32(c);
    if (c->failed || op != OP_REQUEST || htype != 1 || hlen != 6 || magic != MAGIC_COOKIE)
        return false;

    uint8_t overload = 0;
    uint8_t ignored; // overload within an overloaded field means nothing
    if (!parse_options(c, out, &overload))
        return false;
    if ((overload & OVERLOAD_FILE) != 0 && !parse_options(&file, out, &ignored))
        return false;
    return (overload & OVERLOAD_SNAME) == 0 || parse_options(&sname, out, &ignored);
}

static void
emit_option_u32(struct writer *w, uint8_t code, uint32_t value)
{
    writer_u8(w, code);
    writer_u8(w, 4);
    writer_u32(w, value);
}

static void
emit_options(struct writer *w, const struct dhcp_reply *r)
{
    writer_u8(w, OPTION_TYPE);
    writer_u8(w, 1);
    writer_u8(w, (uint8_t)r->type);
    emit_option_u32(w, OPTION_SERVER_ID, r->server_id);
    if (r->type != DHCP_NAK) { // RFC 2131 table 3
        if (r->lease_s != 0)
            emit_option_u32(w, OPTION_LEASE_TIME, r->lease_s);
        emit_option_u32(w, OPTION_NETMASK, r->netmask);
        if (r->mtu != 0) {
            writer_u8(w, OPTION_MTU);
            writer_u8(w, 2);
            writer_u16(w, r->mtu);
        }
    }
    writer_u8(w, OPTION_END);
}

void
dhcp_emit(struct writer *w, const struct dhcp_reply *r)
{
    size_t start = writer_len(w);

    writer_u8(w, OP_REPLY);
    writer_u8(w, 1); // Ethernet
    writer_u8(w, 6);
    writer_u8(w, 0); // hops
    writer_u32(w, r->xid);
    writer_u16(w, 0); // secs
    writer_u16(w, r->flags);
    writer_u32(w, r->ciaddr);
    writer_u32(w, r->yiaddr);
    writer_zero(w, 8); // siaddr, giaddr
    writer_bytes(w, &r->chaddr, sizeof(r->chaddr));
    writer_zero(w, 16 - sizeof(r->chaddr) + SNAME_LEN + FILE_LEN);
    writer_u32(w, MAGIC_COOKIE);
    emit_options(w, r);
    size_t len = writer_len(w) - start;
    assert(len <= REPLY_MIN); // the options are few
    writer_zero(w, REPLY_MIN - len);
}

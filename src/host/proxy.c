// SPDX-License-Identifier: BSD-3-Clause
// See proxy.h.
#include "host/proxy.h"

#include "base/cursor.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SIGNATURE     "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_LEN 12
#define VERSION_PROXY 0x21 // version 2, on behalf of somebody
#define UNSPEC        0x00
#define TCP_OVER_IPV4 0x11
#define TCP_OVER_IPV6 0x21
#define IPV4_LEN      12u
#define IPV6_LEN      36u

#define TLV_UNIQUE_ID    0x05 // PP2_TYPE_UNIQUE_ID
#define TLV_GUEST_NAME   0xe0 // 0xE0 to 0xEF: for applications
#define TLV_GUEST_UUID   0xe1
#define TLV_CHANNEL_NAME 0xe2

static size_t
tlv_len(const char *text)
{
    return text[0] == '\0' ? 0 : 3 + strlen(text);
}

static void
write_tlv(struct writer *w, uint8_t type, const char *text)
{
    size_t len = strlen(text);
    if (len == 0)
        return;
    writer_u8(w, type);
    writer_u16(w, (uint16_t)len);
    writer_bytes(w, text, len);
}

size_t
proxy_header_write(const struct proxy_header *h, uint8_t out[PROXY_HEADER_MAX])
{
    struct writer w = writer_of(out, PROXY_HEADER_MAX);
    bool is_ipv4 = h->guest.addr != 0;
    bool is_ipv6 = !is_ipv4 && !ipv6_addr_is_none(&h->guest.addr6);
    size_t len = (is_ipv4   ? IPV4_LEN
                  : is_ipv6 ? IPV6_LEN
                            : 0u) +
                 tlv_len(h->id) + tlv_len(h->guest_name) + tlv_len(h->guest_uuid) +
                 tlv_len(h->channel_name);
    writer_bytes(&w, SIGNATURE, SIGNATURE_LEN);
    writer_u8(&w, VERSION_PROXY);
    writer_u8(&w, is_ipv4 ? TCP_OVER_IPV4 : is_ipv6 ? TCP_OVER_IPV6 : UNSPEC);
    writer_u16(&w, (uint16_t)len);
    if (is_ipv4) {
        writer_u32(&w, h->guest.addr);
        writer_u32(&w, h->channel.addr);
    }
    if (is_ipv6) {
        writer_bytes(&w, &h->guest.addr6, sizeof(h->guest.addr6));
        writer_bytes(&w, &h->channel.addr6, sizeof(h->channel.addr6));
    }
    if (is_ipv4 || is_ipv6) {
        writer_u16(&w, h->guest.port);
        writer_u16(&w, h->channel.port);
    }
    write_tlv(&w, TLV_UNIQUE_ID, h->id);
    write_tlv(&w, TLV_GUEST_NAME, h->guest_name);
    write_tlv(&w, TLV_GUEST_UUID, h->guest_uuid);
    write_tlv(&w, TLV_CHANNEL_NAME, h->channel_name);
    assert(!w.failed);
    return writer_len(&w);
}

int
proxy_send(const struct proxy_header *h, int fd)
{
    uint8_t header[PROXY_HEADER_MAX];
    size_t len = proxy_header_write(h, header);
    ssize_t n = write(fd, header, len);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EAGAIN;
}

// SPDX-License-Identifier: BSD-3-Clause
// DHCP: any message to the server's port. What it answers is read by another reader than
// wire/dhcp's own: it offers the guest's address and no way out.
//
// Input: flags (checksum left out, sent to us instead of broadcast, a second message the same),
// then the UDP payload.
#include "fuzz.h"
#include "packet.h"

#include "stack/stack.h"
#include "wire/dhcp.h"
#include "wire/udp.h"

#define OPTIONS_AT 240

static unsigned answers;

static void
expect_options(const uint8_t *at, size_t left)
{
    while (left > 0 && at[0] != 255) {
        if (at[0] == 0) {
            at++;
            left--;
            continue;
        }
        assert(left >= 2 && at[1] <= left - 2u);
        assert(at[0] != 3 && at[0] != 6 && at[0] != 121); // router, DNS, routes
        left -= 2u + at[1];
        at += 2 + at[1];
    }
    assert(left > 0); // the end option
}

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct tcp_header tcp;
    uint8_t bytes[2048];
    const uint8_t *unused;
    size_t len = 0, n;
    assert(frame->len <= 14 + 1500);
    fuzz_check_sent(frame, &tcp, &unused, &n);
    for (int i = 0; i < frame->iovcnt; i++) {
        memcpy(bytes + len, frame->iov[i].iov_base, frame->iov[i].iov_len);
        len += frame->iov[i].iov_len;
    }
    const uint8_t *dhcp = bytes + 42;
    assert(len >= 42 + 300 && dhcp[0] == 2);
    uint32_t lease =
        (uint32_t)dhcp[16] << 24 | (uint32_t)dhcp[17] << 16 | (uint32_t)dhcp[18] << 8 | dhcp[19];
    assert(lease == 0 || lease == FUZZ_GUEST);
    expect_options(dhcp + OPTIONS_AT, len - 42 - OPTIONS_AT);
    answers++;
    return true;
}

static bool
on_port(void *ctx, uint16_t port)
{
    return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct stack_ops ops = {.on_emit = on_emit, .on_port = on_port};
    const struct stack_config config = {.mac = fuzz_our_mac,
                                        .addr = FUZZ_US,
                                        .guest_addr = FUZZ_GUEST,
                                        .netmask = 0xffffff00,
                                        .mtu = 1500,
                                        .max_conns = 4,
                                        .max_half_open = 4,
                                        .ring_bytes = 4096};
    static const struct mac everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    struct cursor c = cursor_of(data, size);
    uint8_t flags = cursor_u8(&c);
    size_t len = c.left < 1400 ? c.left : 1400;
    uint8_t *frame = fuzz_exact(NULL, 42 + len);
    struct writer out = writer_of(frame, 42 + len);
    bool to_us = flags & 1;
    ether_emit(
        &out, &(struct ether_header){to_us ? fuzz_our_mac : everybody, fuzz_guest_mac, ETHER_IPV4});
    ipv4_emit(&out, &(struct ipv4_header){.src = flags & 2 ? FUZZ_GUEST : 0,
                                          .dst = to_us ? FUZZ_US : UINT32_MAX,
                                          .protocol = IPV4_UDP,
                                          .ttl = 64,
                                          .total_len = (uint16_t)(28 + len)});
    udp_emit(&out, &(struct udp_header){.src_port = DHCP_CLIENT_PORT,
                                        .dst_port = DHCP_SERVER_PORT,
                                        .len = (uint16_t)(8 + len)});
    writer_bytes(&out, c.at, len);
    if (flags & 4)
        fuzz_mend(frame, 42 + len);
    struct stack *s = stack_new(&config, &ops, NULL, 1000000);
    struct iovec iov = {frame, 42 + len};
    answers = 0;
    for (int i = 0; i < (flags & 8 ? 2 : 1); i++) {
        stack_input(s, &(struct frame){.iov = &iov, .iovcnt = 1, .len = 42 + len}, 1000000);
        stack_flush(s, 1000000);
    }
    assert(answers <= 2); // no more than it was asked
    stack_free(s);
    free(frame);
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
// The bench of bench.h.
#include "bench.h"

#include "test.h"
#include "wire/checksum.h"

const struct mac guest_mac = {{0x52, 0x54, 0, 1, 2, 3}}, our_mac = {{0x52, 0x55, 10, 0, 2, 4}};

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct bench *b = ctx;
    if (b->link_full || (b->sent_most && b->sent_count == b->sent_most))
        return false;
    assert_true(b->sent_count < 64);
    struct sent_frame *out = &b->sent[b->sent_count++];
    out->len = 0;
    for (int i = 0; i < frame->iovcnt; i++) {
        memcpy(out->bytes + out->len, frame->iov[i].iov_base, frame->iov[i].iov_len);
        out->len += frame->iov[i].iov_len;
    }
    assert_int_equal(out->len, frame->len);
    out->csum = frame->csum;
    out->gso = frame->gso;
    out->gso_size = frame->gso_size;
    memset(out->payload, 0, sizeof out->payload);
    for (int i = 1; i < frame->iovcnt; i++)
        out->payload[i - 1] = frame->iov[i];
    return true;
}

static bool
on_port(void *ctx, uint16_t port)
{
    return port == OPEN_PORT;
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    struct bench *b = ctx;
    b->conn = conn;
    b->opens++;
}

static bool
aborted(struct bench *b, uint32_t conn, enum bench_event event)
{
    if (b->abort_at != event)
        return false;
    stack_abort(b->stack, conn, b->now_us);
    return true;
}

static void
on_established(void *ctx, uint32_t conn)
{
    struct bench *b = ctx;
    b->establishes++;
    aborted(b, conn, AT_ESTABLISHED);
}

static void
keep(struct bench *b, const void *data, size_t len)
{
    assert_true(b->data_len + len <= sizeof b->data);
    memcpy(b->data + b->data_len, data, len);
    b->data_len += len;
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct bench *b = ctx;
    size_t taken = 0;
    if (aborted(b, conn, AT_DATA))
        return 0;
    for (int i = 0; i < iovcnt && taken < b->take_most; i++) {
        size_t n = iov[i].iov_len;
        if (n > b->take_most - taken)
            n = b->take_most - taken;
        keep(b, iov[i].iov_base, n);
        taken += n;
    }
    return taken;
}

static void
on_readable(void *ctx, uint32_t conn)
{
    struct bench *b = ctx;
    b->readables++;
    aborted(b, conn, AT_READABLE);
}

static void
on_writable(void *ctx, uint32_t conn)
{
    struct bench *b = ctx;
    b->writables++;
    aborted(b, conn, AT_WRITABLE);
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct bench *b = ctx;
    b->closes++;
    b->reason = reason;
}

static const struct stack_ops ops = {
    .on_emit = on_emit,
    .on_port = on_port,
    .on_open = on_open,
    .on_established = on_established,
    .on_data = on_data,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

void
bench_init(struct bench *b, const struct stack_config *change)
{
    static const struct stack_config none;
    const struct stack_config *c = change ? change : &none;
    memset(b, 0, sizeof *b);
    b->now_us = 5000000;
    b->take_most = SIZE_MAX;
    b->seq = 1000;
    const struct stack_config config = {
        .mac = our_mac,
        .addr = OUR_ADDR,
        .guest_addr = GUEST_ADDR,
        .netmask = 0xffffff00,
        .addr6 = c->addr6,
        .mtu = c->mtu ? c->mtu : 1500,
        .csum_offload = c->csum_offload,
        .tso = c->tso,
        .tso6 = c->tso6,
        .max_conns = c->max_conns ? c->max_conns : 8,
        .max_half_open = c->max_half_open ? c->max_half_open : 4,
        .ring_bytes = c->ring_bytes ? c->ring_bytes : 1 << 16,
        .secret = {1, 2},
    };
    b->stack = stack_new(&config, &ops, b, b->now_us);
    assert_non_null(b->stack);
}

void
bench_fini(struct bench *b)
{
    stack_free(b->stack);
}

void
bench_clear(struct bench *b)
{
    b->sent_count = 0;
}

void
bench_wait(struct bench *b, uint64_t us)
{
    uint64_t end = b->now_us + us;
    while (stack_next_deadline(b->stack) <= end) {
        uint64_t next = stack_next_deadline(b->stack);
        b->now_us = next > b->now_us ? next : b->now_us + 1;
        stack_timers(b->stack, b->now_us);
        bench_flush(b);
    }
    b->now_us = end;
}

void
bench_input(struct bench *b, const void *bytes, size_t len)
{
    const struct iovec iov = {(void *)(uintptr_t)bytes, len};
    stack_input(b->stack, &(struct frame){.iov = &iov, .iovcnt = 1, .len = len}, b->now_us);
}

// The link writes what it has: it must be what was emitted.
static void
flush_link(struct bench *b)
{
    for (size_t i = 0; i < b->sent_count; i++) {
        struct sent_frame *f = &b->sent[i];
        size_t end = f->len;
        for (int k = FRAME_IOV_MAX - 2; k >= 0; k--) {
            const struct iovec *v = &f->payload[k];
            end -= v->iov_len;
            assert_memory_equal(v->iov_base, f->bytes + end, v->iov_len);
        }
        memset(f->payload, 0, sizeof f->payload);
    }
}

void
bench_flush(struct bench *b)
{
    stack_flush(b->stack, b->now_us);
    flush_link(b);
}

void
bench_frame(struct bench *b, const void *bytes, size_t len)
{
    bench_input(b, bytes, len);
    bench_flush(b);
}

size_t
bench_segment(struct tcp_header h, const void *payload, size_t len, uint8_t out[2048])
{
    h.src_port = h.src_port ? h.src_port : GUEST_PORT;
    h.dst_port = h.dst_port ? h.dst_port : OPEN_PORT;
    if (!(h.flags & TCP_SYN))
        h.wscale = -1;
    struct writer w = writer_of(out + 34, 2048 - 34);
    h.checksum = 0;
    tcp_emit(&w, &h);
    writer_bytes(&w, payload, len);
    assert_false(w.failed);
    size_t l4 = writer_len(&w);
    uint64_t sum =
        checksum_add(checksum_pseudo4(GUEST_ADDR, OUR_ADDR, IPV4_TCP, (uint16_t)l4), out + 34, l4);
    uint16_t field = (uint16_t)~checksum_fold(sum);
    out[34 + 16] = (uint8_t)(field >> 8);
    out[34 + 17] = (uint8_t)field;
    struct writer front = writer_of(out, 34);
    ether_emit(&front, &(struct ether_header){our_mac, guest_mac, ETHER_IPV4});
    ipv4_emit(&front, &(struct ipv4_header){.src = GUEST_ADDR,
                                            .dst = OUR_ADDR,
                                            .protocol = IPV4_TCP,
                                            .ttl = 64,
                                            .total_len = (uint16_t)(20 + l4)});
    return 34 + l4;
}

void
bench_send(struct bench *b, struct tcp_header h, const void *payload, size_t len)
{
    uint8_t bytes[2048];
    bench_frame(b, bytes, bench_segment(h, payload, len, bytes));
}

void
bench_tcp(struct bench *b, uint8_t flags, const void *payload, size_t len)
{
    bench_send(b,
               (struct tcp_header){
                   .seq = b->seq, .ack = b->ack, .flags = flags, .window = 65535, .wscale = -1},
               payload, len);
    b->seq += (uint32_t)len + (flags & TCP_SYN ? 1 : 0) + (flags & TCP_FIN ? 1 : 0);
}

struct tcp_header
bench_sent_tcp(struct bench *b, size_t i, const uint8_t **payload, size_t *len)
{
    assert_true(i < b->sent_count);
    struct sent_frame *f = &b->sent[i];
    struct cursor c = cursor_of(f->bytes, f->len);
    struct ether_header eth;
    struct ipv4_header ip;
    struct tcp_header tcp;
    assert_true(ether_parse(&c, &eth) && eth.type == ETHER_IPV4 && mac_eq(&eth.dst, &guest_mac));
    assert_true(ipv4_parse(&c, c.left, &ip) && ip.protocol == IPV4_TCP);
    assert_int_equal(ip.src, OUR_ADDR);
    assert_int_equal(ip.dst, GUEST_ADDR);
    size_t l4 = (size_t)ip.total_len - ip.header_len;
    if (f->csum == FRAME_CSUM_NONE) {
        uint64_t sum = checksum_pseudo4(ip.src, ip.dst, IPV4_TCP, (uint16_t)l4);
        assert_int_equal(checksum_fold(checksum_add(sum, c.at, l4)), 0xffff);
    }
    assert_true(tcp_parse(&c, l4, &tcp));
    if (payload)
        *payload = c.at;
    if (len)
        *len = l4 - tcp.header_len;
    return tcp;
}

void
bench_establish(struct bench *b)
{
    bench_send(b,
               (struct tcp_header){.seq = b->seq,
                                   .flags = TCP_SYN,
                                   .window = 65535,
                                   .mss = 1460,
                                   .wscale = 7,
                                   .sack_permitted = !b->no_sack},
               NULL, 0);
    b->seq++;
    stack_accept(b->stack, b->conn, b->now_us);
    bench_flush(b);
    struct tcp_header synack = bench_sent_tcp(b, b->sent_count - 1, NULL, NULL);
    assert_int_equal(synack.flags, TCP_SYN | TCP_ACK);
    b->ack = synack.seq + 1;
    bench_tcp(b, TCP_ACK, NULL, 0);
    assert_int_equal(b->establishes, 1);
    bench_clear(b);
}

void
bench_host_sends(struct bench *b, const void *text, size_t len)
{
    const uint8_t *from = text;
    while (len > 0) {
        struct iovec iov[2];
        int n = stack_send_iov(b->stack, b->conn, iov);
        assert_true(n > 0);
        size_t take = len < iov[0].iov_len ? len : iov[0].iov_len;
        memcpy(iov[0].iov_base, from, take);
        stack_send_commit(b->stack, b->conn, take);
        from += take;
        len -= take;
    }
}

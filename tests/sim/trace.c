// SPDX-License-Identifier: BSD-3-Clause
// Trace lines and pcap (the classic format, Ethernet, microseconds).

#include "trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define PCAP_MAGIC    0xa1b2c3d4u
#define PCAP_SNAPLEN  262144u
#define PCAP_ETHERNET 1u

bool
trace_init(struct trace *t, bool lines, const char *path, uint64_t epoch_us)
{
    const uint32_t header[6] = {PCAP_MAGIC, 4u << 16 | 2u, 0, 0, PCAP_SNAPLEN, PCAP_ETHERNET};

    *t = (struct trace){.lines = lines, .epoch_us = epoch_us};
    if (!path)
        return true;
    t->pcap = fopen(path, "wb");
    return t->pcap && fwrite(header, sizeof(header), 1, t->pcap) == 1;
}

void
trace_fini(struct trace *t)
{
    if (t->pcap)
        fclose(t->pcap);
    t->pcap = NULL;
}

static void
print_time(const struct trace *t, uint64_t now_us)
{
    uint64_t us = now_us - t->epoch_us;

    printf("%6" PRIu64 ".%06" PRIu64 " ", us / 1000000, us % 1000000);
}

static void
print_tcp(const struct packet *p, const struct tcp_view *v)
{
    static const char letters[] = "FSRPAU";
    char flags[8];
    int n = 0;

    for (int i = 0; i < 6; i++)
        if (v->flags >> i & 1)
            flags[n++] = letters[i];
    flags[n] = 0;
    printf("%u>%u %s seq %u ack %u win %u len %zu", v->sport, v->dport, flags, v->seq, v->ack,
           v->window, v->payload_len);
    if (v->mss)
        printf(" mss %u", v->mss);
    if (v->wscale >= 0)
        printf(" wscale %d", v->wscale);
    if (v->sack_blocks)
        printf(" sack %d", v->sack_blocks);
    for (int i = 0; i < v->sack_blocks; i++)
        if (v->l4 + 20 + 4 + (size_t)(i + 1) * 8 <= v->payload && p->data[v->l4 + 20] == 1 &&
            p->data[v->l4 + 22] == 5)
            printf(" %u-%u", packet_get32(p, v->l4 + 24 + (size_t)i * 8),
                   packet_get32(p, v->l4 + 28 + (size_t)i * 8));
    if (p->gso)
        printf(" gso %u", p->gso_size);
}

void
trace_packet(struct trace *t, uint64_t now_us, enum side from, const char *what,
             const struct packet *p)
{
    struct tcp_view v;

    if (!t->lines)
        return;
    print_time(t, now_us);
    printf("%-6s ", from == HOST ? "host>" : "guest>");
    if (packet_tcp(p, &v))
        print_tcp(p, &v);
    else
        printf("type %04x len %zu", p->len >= 14 ? packet_get16(p, 12) : 0, p->len);
    printf("%s%s\n", *what ? " : " : "", what);
}

void
trace_capture(struct trace *t, uint64_t now_us, const struct packet *p)
{
    uint32_t record[4] = {(uint32_t)(now_us / 1000000), (uint32_t)(now_us % 1000000),
                          (uint32_t)p->len, (uint32_t)p->len};

    if (!t->pcap)
        return;
    fwrite(record, sizeof(record), 1, t->pcap);
    fwrite(p->data, p->len, 1, t->pcap);
}

void
trace_line(struct trace *t, uint64_t now_us, const char *format, ...)
{
    va_list args;

    if (!t->lines)
        return;
    print_time(t, now_us);
    printf("       ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

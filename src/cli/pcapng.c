// SPDX-License-Identifier: BSD-3-Clause
// See pcapng.h. Blocks: a section header, one interface description, an enhanced packet for each
// frame, interface statistics. A block is its type, its length, its body in words of 32 bits, and
// its length again.
#include "cli/pcapng.h"

#include <string.h>

#define BLOCK_SECTION     0x0a0d0d0au
#define BLOCK_INTERFACE   1u
#define BLOCK_STATISTICS  5u
#define BLOCK_PACKET      6u
#define BYTE_ORDER_MAGIC  0x1a2b3c4du
#define LINKTYPE_ETHERNET 1

#define OPTION_END        0
#define OPTION_USER_APP   4 // of a section
#define OPTION_NAME       2 // of an interface
#define OPTION_FLAGS      2 // of a packet
#define OPTION_DROP_COUNT 4 // of a packet
#define OPTION_RECEIVED   4 // of statistics
#define OPTION_DROPPED    5 // of statistics
#define FLAG_INBOUND      1u
#define FLAG_OUTBOUND     2u

#define BODY_MAX 512 // but for the bytes of a packet

struct block {
    uint8_t bytes[BODY_MAX];
    uint32_t len;
};

static void
put(struct block *b, const void *data, size_t len)
{
    memcpy(b->bytes + b->len, data, len);
    b->len += (uint32_t)len;
}

static void
put16(struct block *b, uint16_t value)
{
    put(b, &value, sizeof(value));
}

static void
put32(struct block *b, uint32_t value)
{
    put(b, &value, sizeof(value));
}

// Times: the upper half first, whatever the byte order.
static void
put_time(struct block *b, uint64_t time_us)
{
    put32(b, (uint32_t)(time_us >> 32));
    put32(b, (uint32_t)time_us);
}

static void
put_option(struct block *b, uint16_t code, const void *value, size_t len)
{
    static const uint8_t zeros[4];
    put16(b, code);
    put16(b, (uint16_t)len);
    put(b, value, len);
    put(b, zeros, -len & 3);
}

static bool
write_block(FILE *f, uint32_t type, const struct block *head, const void *bytes, size_t len,
            const struct block *options)
{
    static const uint8_t zeros[4];
    size_t pad = -len & 3;
    uint32_t total = (uint32_t)(12 + head->len + len + pad + options->len);
    return fwrite(&type, 4, 1, f) == 1 && fwrite(&total, 4, 1, f) == 1 &&
           fwrite(head->bytes, 1, head->len, f) == head->len &&
           (len == 0 || fwrite(bytes, 1, len, f) == len) && fwrite(zeros, 1, pad, f) == pad &&
           fwrite(options->bytes, 1, options->len, f) == options->len &&
           fwrite(&total, 4, 1, f) == 1;
}

bool
pcapng_begin(FILE *f, const char *interface, uint32_t snaplen)
{
    static const char app[] = "vmchannel " VMCHANNEL_VERSION;
    struct block section = {.len = 0}, section_options = {.len = 0};
    put32(&section, BYTE_ORDER_MAGIC);
    put16(&section, 1); // version 1.0
    put16(&section, 0);
    put32(&section, UINT32_MAX); // the section's length is not known
    put32(&section, UINT32_MAX);
    put_option(&section_options, OPTION_USER_APP, app, strlen(app));
    put_option(&section_options, OPTION_END, "", 0);

    struct block description = {.len = 0}, options = {.len = 0};
    put16(&description, LINKTYPE_ETHERNET);
    put16(&description, 0);
    put32(&description, snaplen);
    put_option(&options, OPTION_NAME, interface, strnlen(interface, 255));
    put_option(&options, OPTION_END, "", 0);
    return write_block(f, BLOCK_SECTION, &section, NULL, 0, &section_options) &&
           write_block(f, BLOCK_INTERFACE, &description, NULL, 0, &options);
}

bool
pcapng_write(FILE *f, const struct pcapng_packet *p)
{
    struct block head = {.len = 0}, options = {.len = 0};
    uint32_t flags = p->to_guest ? FLAG_OUTBOUND : FLAG_INBOUND;
    put32(&head, 0); // the interface
    put_time(&head, p->time_us);
    put32(&head, p->have);
    put32(&head, p->len);
    put_option(&options, OPTION_FLAGS, &flags, sizeof(flags));
    if (p->left_out > 0)
        put_option(&options, OPTION_DROP_COUNT, &p->left_out, sizeof(p->left_out));
    put_option(&options, OPTION_END, "", 0);
    return write_block(f, BLOCK_PACKET, &head, p->bytes, p->have, &options);
}

bool
pcapng_end(FILE *f, uint64_t time_us, uint64_t taken, uint64_t left_out)
{
    struct block head = {.len = 0}, options = {.len = 0};
    uint64_t received = taken + left_out;
    put32(&head, 0);
    put_time(&head, time_us);
    put_option(&options, OPTION_RECEIVED, &received, sizeof(received));
    put_option(&options, OPTION_DROPPED, &left_out, sizeof(left_out));
    put_option(&options, OPTION_END, "", 0);
    return write_block(f, BLOCK_STATISTICS, &head, NULL, 0, &options);
}

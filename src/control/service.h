// SPDX-License-Identifier: BSD-3-Clause
// The serving half of the control protocol, without any I/O: one varlink call as text in, its reply
// as text out (varlink.org). Knows org.varlink.service and org.vmchannel.Control, whose description
// stands beside this file. What is done is the caller's, behind struct control_ops.
#pragma once

#include "base/error.h"
#include "control/types.h"

#define CONTROL_CALL_MAX    (64 * 1024)   // bytes of one call
#define CONTROL_REPLY_MAX   (1024 * 1024) // of one reply
#define CONTROL_SNAPLEN_MAX 65550         // bytes of a frame and its Ethernet header, and some

struct control_ops {
    void (*info)(void *ctx, struct control_info *out);
    void (*link)(void *ctx, struct control_link *out);
    // The channel at *at (0 at first) or behind it, of which *at is moved on. False: no more.
    bool (*next_channel)(void *ctx, size_t *at, struct control_channel *out);
    // "PORT:DEVICE" or a range; *first and *last tell which ports. 0, or -errno with err filled.
    int (*add)(void *ctx, const char *text, uint16_t *first, uint16_t *last, struct error *err);
    // 0, -ENOENT when there is no such channel, or another -errno with err filled.
    int (*remove)(void *ctx, uint16_t port, struct error *err);
    // Takes ownership of fd, also on failure. snaplen: 1 to CONTROL_SNAPLEN_MAX.
    int (*capture)(void *ctx, int fd, uint32_t snaplen, struct error *err);
};

// What is read from files at first use: to be called before there are none.
void control_service_warm(void);
// Serves one call, of len bytes without its NUL. fd: a descriptor that came with it (-1: none); -1
// afterwards when it was taken, else still the caller's. *reply: heap text of *reply_len bytes with
// its NUL, NULL for a call that wants none. False: this was no call, the connection is of no use.
bool control_serve(const struct control_ops *ops, void *ctx, const char *call, size_t len, int *fd,
                   char **reply, size_t *reply_len);

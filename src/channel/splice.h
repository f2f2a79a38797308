// SPDX-License-Identifier: BSD-3-Clause
// Joins two stream sockets. Bulk stays inside the kernel: splice(2) through a pipe each way, made
// when the first bulk comes; few bytes are copied. Ends map exactly: EOF to SHUT_WR each way,
// half-close included; an error on one side resets the other (SO_LINGER 0 on TCP) after the bytes
// already read. Back-pressure is the pipes', or that of 16 KiB kept where bytes are copied.
// splice(2) has no MSG_NOSIGNAL: the process must ignore SIGPIPE.
#pragma once

#include "base/ring.h"
#include "channel/limit.h"
#include "loop/loop.h"

struct splice;

#define SPLICE_KEPT_BYTES (16u * 1024)

// Starts relaying between two connected, non-blocking sockets; takes ownership of both, also on
// failure. on_done is called once, when both are closed, never from within splice_new; the relay
// has freed itself by then. NULL when descriptors or memory ran out (both fds are closed, the guest
// side by reset). pool has slots of SPLICE_KEPT_BYTES, two for each relay there may be, for copied
// bytes that one side has not taken yet; it outlives the relay.
struct splice *splice_new(struct loop *loop, struct ring_pool *pool, int guest_fd, int host_fd,
                          void (*on_done)(void *ctx), void *ctx);
// Bytes are added, as the other side takes them, to where these point; the caller's, outlive it.
// Nothing was counted before.
void splice_count(struct splice *s, uint64_t *from_guest, uint64_t *to_guest);
// Puts it under a channel's rate=. False when out of memory.
bool splice_limit(struct splice *s, struct limit *limit);
// The guest's last byte is with the host's side, or nobody will take it any more.
bool splice_guest_has_finished(const struct splice *s);
// When bytes were last moved, or the relay began; now, while its channel's rate holds it up.
uint64_t splice_moved_us(const struct splice *s);
// Resets and closes both sides now; no on_done.
void splice_free(struct splice *s);
// Closes a TCP socket so that its peer sees RST.
void splice_reset_fd(int fd);

// SPDX-License-Identifier: BSD-3-Clause
// A frame link: moves Ethernet frames between an open fd and the stack, knows no TCP, opens
// nothing. One vtable per kind. Socket links (netns, hybrid, vsock) have no frames and are not
// here: see link/spec.h.
#pragma once

#include "base/frame.h"
#include "loop/loop.h"

struct link;

struct link_caps {
    uint16_t mtu_max;  // largest IP packet the link can carry to the guest without GSO
    bool csum_offload; // takes FRAME_CSUM_PARTIAL
    bool tso;          // takes FRAME_GSO_TCP4
    bool tso6;         // takes FRAME_GSO_TCP6
};

struct link_events {
    // A batch from the guest. Frames and bytes are valid during the call. The receiver answers by
    // link_send() from within or at the end of the turn.
    void (*on_frames)(void *ctx, const struct frame *frames, size_t count);
    // link_send() gave false before and has room now, or link_caps_of() changed. Never from within
    // link_send or link_flush.
    void (*on_writable)(void *ctx);
    // The link is broken or its peer left; `why` is one line for the log. The receiver calls
    // link_free (allowed from within). Called once, and never from within link_send or link_flush.
    void (*on_down)(void *ctx, const char *why);
};

struct link_stats {
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t dropped_in;  // oversized, of malformed framing, or of another sender than the peer
    uint64_t dropped_out; // the kernel took none of it (ENOBUFS and the like)
};

// Each takes ownership of fd, also on failure (NULL: out of memory or not pollable).
// fd is made non-blocking. events and ctx outlive the link.
// stream: 4-byte big-endian length, then the frame (QEMU -netdev stream / socket).
struct link *
link_new_stream(struct loop *loop, int fd, const struct link_events *events, void *ctx);
// message: one frame, one message, on a connected datagram or SOCK_SEQPACKET socket (QEMU -netdev
// dgram, vfkit's and libkrun's unixgram, whose hello "VFKT" is swallowed). A message of anybody but
// the peer is dropped. NULL also for a socket of another kind or without a peer.
struct link *
link_new_message(struct loop *loop, int fd, const struct link_events *events, void *ctx);
// tap: an open tun/tap queue with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR; sets TUNSETVNETHDRSZ 12 and
// TUNSETOFFLOAD (CSUM, TSO4, TSO6) by itself.
struct link *link_new_tap(struct loop *loop, int fd, const struct link_events *events, void *ctx);
// packet: a bound AF_PACKET SOCK_RAW socket on the far side of a veth pair; sets PACKET_VNET_HDR
// (and whatever it needs) by itself; ignores its own outgoing frames.
struct link *
link_new_packet(struct loop *loop, int fd, const struct link_events *events, void *ctx);
// vhost-user: a connected Unix stream socket whose other end is the front-end (QEMU, DPDK). Memory
// and notifications come over it. caps are none until the guest's driver has negotiated; each
// change of them is told by on_writable.
struct link *
link_new_vhost_user(struct loop *loop, int fd, const struct link_events *events, void *ctx);

// stream, message: the guest leaves its checksums to us (libkrun's offload features, whose frames
// carry no virtio_net_hdr to tell which): they are not verified.
void link_take_partial_csum(struct link *link);

const struct link_caps *link_caps_of(const struct link *link);
const struct link_stats *link_stats_of(const struct link *link);
// Queues one frame: headers (iov[0]) are copied, payload iovecs are referenced until link_flush.
// Pads to FRAME_MIN. False when the link is full; on_writable will come.
bool link_send(struct link *link, const struct frame *frame);
// Writes what is queued, as few system calls as possible; what the fd does not take is copied and
// kept, so that nothing of the caller is referenced afterwards.
void link_flush(struct link *link);
void link_free(struct link *link); // closes the fd; no callback

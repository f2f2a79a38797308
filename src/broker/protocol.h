// SPDX-License-Identifier: BSD-3-Clause
// What broker and worker say to each other: one fixed-size message at a time over a SOCK_SEQPACKET
// pair, at most two descriptors with it. Each side checks what the other sent before it is used;
// the worker is not trusted by the broker.
#pragma once

#include "base/ipv6_addr.h"
#include "link/spec.h"
#include "stack/stack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum message_type {
    // Worker to broker, never with a descriptor.
    MESSAGE_READY = 1, // session, here the changes it knows of: sandboxed, waiting for a link
    MESSAGE_OPEN,      // session, channel, peer: a guest wants a host end
    MESSAGE_CANCEL,    // session: no answer is wanted any more
    MESSAGE_LINK_DOWN, // link: the link of that number broke
    MESSAGE_CLOSED,    // session: it was opened, is over, and its device is counted
    MESSAGE_SYNCED,    // session: of a MESSAGE_SYNC; all before it was done
    // Broker to worker.
    MESSAGE_OPENED,   // session, fds; the host end
    MESSAGE_REFUSED,  // session, why
    MESSAGE_LINK,     // link, link_kind, link_offload; the guest's frames
    MESSAGE_DRAIN,    // the guest is gone: hand over what it sent, then end
    MESSAGE_LISTENER, // channel, guest_cid; one of its listening sockets on the guest's side
    MESSAGE_LOG,      // channel; where its traffic is logged
    MESSAGE_CHANNEL,  // channel; a pipe with its struct channel_spec: there is one more
    MESSAGE_REMOVE,   // channel: there is one less
    MESSAGE_SYNC,     // session, here a number: say so when all before it is done
    MESSAGE_CAPTURE,  // snaplen; a socket that gets copies of the frames
};

#define MESSAGE_FDS_MAX 2

// Fields that a type does not name are zero.
struct message {
    uint32_t type;
    uint32_t channel;    // index into the configured channels
    uint64_t session;    // chosen by the worker
    uint32_t guest_addr; // host order; 0: see guest_addr6
    uint32_t guest_port;
    int32_t why;                  // -1..-4095: a negative errno
    uint32_t link;                // counts the links of this worker, from 1
    uint32_t link_kind;           // enum link_kind
    uint16_t fds;                 // 0..MESSAGE_FDS_MAX: descriptors that come with it
    uint16_t link_offload;        // 0 or 1, see struct link_spec
    uint32_t guest_cid;           // AF_VSOCK: the only CID to admit, else 0
    uint32_t snaplen;             // bytes to copy of each frame
    struct ipv6_addr guest_addr6; // :: beside guest_addr, or where the guest has neither
};

// What a receiver checks messages against.
struct message_limits {
    bool from_worker;
    size_t channels; // indices in use are below
};

// True, and *out filled, when data is one whole, valid message in that direction with the number of
// descriptors its type wants.
bool message_parse(struct message *out, const void *data, size_t len, size_t nfds,
                   const struct message_limits *limits);
// Descriptors that a message, which need not be valid, says come with it.
size_t message_fds(const struct message *m);
const char *message_name(uint32_t type); // for log lines

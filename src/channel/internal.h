// SPDX-License-Identifier: BSD-3-Clause
// What the files of channel/ share: the hub's tables. Nobody outside of channel/ includes this.
#pragma once

#include "base/bucket.h"
#include "base/log.h"
#include "base/ring.h"
#include "channel/capture.h"
#include "channel/end_io.h"
#include "channel/hub.h"
#include "channel/limit.h"
#include "channel/linger.h"
#include "channel/pump.h"
#include "channel/splice.h"

#include <assert.h>

// A session is one guest connection on its way to, or joined with, a host end, or the wait of an
// inward channel for its next client. Its number on the wire to the opener is
// generation << SESSION_INDEX_BITS | index, so that a late answer finds nobody: 2^32 of one index
// are more than can be on their way. Indices: relays, then sockets (max_conns each), then channels.
#define SESSION_INDEX_BITS 18
#define SESSION_INDEX_MASK ((1u << SESSION_INDEX_BITS) - 1)

enum relay_state {
    RELAY_FREE,
    RELAY_OPENING,  // the opener was asked; the guest's SYN is unanswered
    RELAY_EARLY,    // the guest is connected already, the opener has not answered
    RELAY_DIALLING, // inward: the host end is there, the guest was asked
    RELAY_OPEN,     // both ends are there
};

// One connection of the stack and its host end. Index = conn.
struct relay {
    struct hub *hub;
    struct end_io host;         // while OPEN; while DIALLING its `end` alone
    struct limit_member *limit; // while OPEN, of a channel with rate=; else NULL
    uint64_t moved_us;          // when bytes were last moved, or since OPEN
    uint32_t ready_next;        // index + 1 on the hub's ready list
    uint32_t generation;
    uint16_t channel;
    uint8_t state; // enum relay_state
    bool in_ready;
    bool tell_port;    // inward: the host client is told once the guest has accepted
    bool readable;     // the host end may have bytes (edge-triggered: until EAGAIN)
    bool writable;     // ... or room
    bool hangup;       // the host end is closed both ways
    bool finishing;    // the host end finished sending; bytes before that may still stand there
    bool host_eof;     // read to the end; the guest has been told
    bool write_failed; // the host end takes no more bytes, ever
    bool guest_eof;    // the guest sent its last byte, and the host end was told
    bool draining;     // what can be read now is all that the host end will ever give
};

enum socket_state {
    SOCKET_FREE,
    SOCKET_OPENING, // accepted from the guest, the opener was asked
    SOCKET_JOINED,  // spliced to the host end
    SOCKET_PUMPED,  // joined with it by copying
};

// One connection of a socket link. Session index = max_conns + its place.
struct socket_session {
    struct hub *hub;
    struct loop_io io;     // the guest's socket while OPENING
    struct splice *splice; // while JOINED
    struct pump *pump;     // while PUMPED
    uint32_t generation;
    uint32_t next_free; // index + 1
    uint16_t channel;
    uint8_t state; // enum socket_state
};

struct listener {
    struct hub *hub;
    struct loop_io io;
    uint16_t channel;
    int retry_timer; // after running out of descriptors
};

struct channel {
    struct hub_channel config;
    bool used; // else this index is free
    struct channel_counters *counters;
    uint32_t sessions; // now
    bool asked;        // inward: the opener, for the next client
    uint32_t ask_generation;
    bool full_told;             // that it is at max=, since it last was below
    struct bucket conn_rate;    // conn-rate=
    bool conn_rate_told;        // that it is over conn-rate=, since it last was not
    struct limit *limit;        // rate=; NULL without
    int log_fd;                 // logfile=; -1 without
    struct log_limit log_limit; // of what the guest can have logged
};

struct hub {
    struct loop *loop;
    char guest[64];
    struct log_limit link_limit; // of how links ended
    struct hub_opener opener;
    struct stack *stack;
    uint32_t max_conns;
    uint16_t mtu;      // as configured; a link may carry less
    struct link *link; // NULL while down
    void (*on_down)(void *ctx);
    void *on_down_ctx;
    int timer;           // the stack's next deadline
    int idle_timer;      // looks for connections over their idle=
    uint32_t idle_min_s; // least idle= of any channel, 0: none
    bool idle_armed;

    struct channel *channels;
    size_t channel_count;   // up to the last one in use
    uint16_t *port_channel; // by port: channel index + 1, 0: none
    uint32_t session_count;

    struct relay *relays;             // max_conns
    uint32_t relays_touched;          // entries ever used
    uint32_t ready_first, ready_last; // relays with work, index + 1

    struct socket_session *sockets; // max_conns
    uint32_t sockets_touched, sockets_free;
    struct ring_pool kept; // of the relays of splice
    struct listener **listeners;
    size_t listener_count;

    size_t inward_count; // channels
    bool inward_due;     // the opener may be asked for a client
    int inward_timer;    // -1 without such channels
    struct inward_call *calls;
    uint32_t calls_free; // index + 1
    uint32_t guest_addr; // whom they are for

    struct hub_counters *counters;
    struct hub_counters *own_counters; // where the caller wants none
    struct link_counters before;       // of earlier links and stacks

    struct captures captures;

    struct linger_list lingering; // host ends that outlive their connection
    uint32_t guest_cid;           // whom AF_VSOCK listeners admit, 0: nobody
};

// hub.c
// counts it; false: the channel is at max=
bool hub_session_begin(struct hub *hub, uint16_t channel);
void hub_session_end(struct hub *hub, uint16_t channel);
void hub_flush(struct hub *hub); // stack and link, always together (see the definition)
// A fault of a host end, or of its log, that an operator wants to know: "what: errnum", limited.
void hub_log_fault(struct hub *hub, uint16_t channel, const char *what, int errnum);

// A connection that had bytes last at moved_us is over its channel's idle=.
bool hub_is_idle(const struct hub *hub, uint16_t channel, uint64_t moved_us);

// relay.c
extern const struct stack_ops relay_stack_ops;
void
relay_opened(struct hub *hub, uint32_t index, uint32_t generation, const int *fds, size_t nfds);
void relay_refused(struct hub *hub, uint32_t index, uint32_t generation);
bool relay_guest_has_finished(const struct hub *hub);
void relay_reset_channel(struct hub *hub, uint16_t channel); // every connection of it
// Connects to the guest's port, for the host client of an inward channel; takes ownership.
void
relay_dial(struct hub *hub, uint16_t channel, uint16_t guest_port, const int *fds, size_t nfds);
void relay_reset_idle(struct hub *hub);
void relay_close_all(struct hub *hub); // without the stack's knowledge, at the very end

// relay_pump.c
uint32_t relay_index(const struct relay *r);
void relay_make_ready(struct relay *r);
void relay_on_host_event(void *ctx, unsigned events);
size_t relay_write_to_host(struct relay *r, const struct iovec *iov, int iovcnt); // taken
void relay_pump_to_host(struct relay *r);
void relay_pump_to_guest(struct relay *r);
void relay_pump_ready(struct hub *hub);

// socket_link.c
void
socket_opened(struct hub *hub, uint32_t index, uint32_t generation, const int *fds, size_t nfds);
void socket_refused(struct hub *hub, uint32_t index, uint32_t generation);
bool socket_guest_has_finished(const struct hub *hub);
void socket_reset_channel(struct hub *hub, uint16_t channel); // and its listeners
void socket_reset_idle(struct hub *hub);
void socket_close_all(struct hub *hub);

// inward.c
int inward_add(struct hub *hub, uint16_t channel); // 0 or -ENOMEM
void inward_ask(struct hub *hub);                  // for clients, where one is wanted
void inward_link_down(struct hub *hub);
void
inward_opened(struct hub *hub, uint32_t index, uint32_t generation, const int *fds, size_t nfds);
void inward_refused(struct hub *hub, uint32_t index, uint32_t generation);
void inward_free(struct hub *hub);

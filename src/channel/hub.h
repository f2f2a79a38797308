// SPDX-License-Identifier: BSD-3-Clause
// The hub of one guest: joins guest connections (of the stack, or accepted sockets of a socket
// link) to host ends, by the port table. Owns the stack and the relays; borrows the loop. Opens
// nothing itself: it asks the opener and is told later.
#pragma once

#include "channel/counters.h"
#include "host/device.h"
#include "link/link.h"
#include "loop/loop.h"
#include "stack/stack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;

#define HUB_CHANNELS_MAX COUNTED_CHANNELS_MAX

// Where host ends come from. In the daemon: the broker, by message. `session` names the request and
// is never reused. Both return at once; the answer is hub_opened() or hub_refused(), from within
// open() or later. Of an inward channel the host end is its next client; peer is all zero.
struct hub_opener {
    void (*open)(void *ctx, uint64_t session, uint16_t channel, const struct stack_peer *peer);
    // The guest gave up before the answer (or the session ended early): no answer is wanted.
    void (*cancel)(void *ctx, uint64_t session);
    // A session that was opened is over; its descriptors are closed. May be NULL.
    void (*closed)(void *ctx, uint64_t session, uint16_t channel);
    void *ctx;
};

struct hub_channel {
    uint16_t port;      // of ours; inward: of the guest's, 0: the one that each host client names
    bool inward;        // the host begins: clients of the device become connections to the guest
    uint32_t max;       // connections at once; 0: as many as the guest has
    uint32_t conn_rate; // connections that may begin per second; 0: as many as come
    uint32_t idle_s;    // a connection that moves no byte for so long is reset; 0: none is
    uint64_t rate;      // bytes per second, each direction by itself; 0: as fast as it goes
    uint64_t burst;     // with rate: bytes that may come at once
    bool accept_early;  // the guest connects before the host end is there (server=on,wait=off)
    const struct device *device; // the caller's, outlives the hub; NULL: a raw stream socket
    const char *text;            // of the device, for log lines; likewise; may be NULL
};

struct hub_config {
    const char *guest;         // name for log lines, copied
    struct stack_config stack; // secret filled by the caller
    struct hub_opener opener;
    // The caller's, outlives the hub: counts go on from what stands there. NULL: not wanted.
    struct hub_counters *counters;
};

// NULL when out of memory.
struct hub *hub_new(struct loop *loop, const struct hub_config *config);
void hub_free(struct hub *hub); // closes every end and the link; no callbacks

// At the lowest free index (what opener.open is given). That index, or -EEXIST, -ENOSPC.
int hub_add_channel(struct hub *hub, const struct hub_channel *channel);
// At an index of the caller's, which is free. 0, -EEXIST or -ENOMEM.
int hub_put_channel(struct hub *hub, uint16_t index, const struct hub_channel *channel);
// From now on the port is refused; the channel's connections are reset, on both sides; its listener
// and its log are closed and the index is free. Harmless where there is none. Not of an inward one.
void hub_remove_channel(struct hub *hub, uint16_t index);

// Where the traffic of a channel to its host ends is written too (logfile=). Takes ownership of fd.
void hub_set_log(struct hub *hub, uint16_t channel, int fd);

// Attaches a frame link, made with hub_link_events() and the hub as ctx; takes ownership; a link
// attached before is freed first. on_down is called (ctx of its own) when the link broke, after all
// its connections were closed and the link freed.
const struct link_events *hub_link_events(void);
void hub_attach_link(struct hub *hub, struct link *link);
void hub_on_link_down(struct hub *hub, void (*on_down)(void *ctx), void *ctx);

// Copies of the link's frames go to fd from now on, see channel/capture.h. Takes ownership.
void hub_capture(struct hub *hub, int fd, uint32_t snaplen);

// Attaches a listening stream socket of a socket link (TCP inside the guest's namespace, Unix or
// AF_VSOCK) as the guest side of `channel`; takes ownership of fd. 0 or -errno.
int hub_attach_listener(struct hub *hub, uint16_t channel, int fd);
// Whom AF_VSOCK listeners admit: this CID alone; 0, as at first: nobody.
void hub_set_guest_cid(struct hub *hub, uint32_t cid);

// The opener's answer. The descriptors are as many as the channel's device has (host/opener.h),
// non-blocking; ownership passes, also when the session is gone.
void hub_opened(struct hub *hub, uint64_t session, const int *fds, size_t nfds);
// why: a negative errno, for the log. The broker has already logged the reason in full.
void hub_refused(struct hub *hub, uint64_t session, int why);

// The guest is gone: what it has sent is handed over as fast as it goes, whatever rate= says.
void hub_lift_rates(struct hub *hub);
// No guest byte is on its way to a host end that is open, and none will be: each connected guest
// has finished sending, and what it sent was taken.
bool hub_guest_has_finished(const struct hub *hub);
const struct stack_stats *hub_stack_stats(const struct hub *hub);
uint32_t hub_session_count(const struct hub *hub);

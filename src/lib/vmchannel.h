// SPDX-License-Identifier: BSD-3-Clause
// libvmchannel: one guest's channels inside the caller's process and event loop. Attach what
// carries the guest's frames, add channels, and dispatch whenever vmc_fd() is readable.
// Single-threaded; it never blocks, exits or raises SIGPIPE (but for pipes, terminals and socket
// links, with which the caller ignores it). The daemon's worker is built on it; a
// hypervisor can be.
#pragma once

#include "base/error.h"
#include "channel/hub.h"
#include "host/device.h"
#include "link/spec.h"

#include <stddef.h>
#include <stdint.h>

struct vmc;

struct vmc_config {
    const char *guest;     // name for log lines and identities, copied
    uint32_t channel_addr; // host order: what the guest connects to (10.0.2.4)
    uint32_t guest_addr;   // what DHCP leases (10.0.2.15)
    uint32_t netmask;
    struct ipv6_addr channel_addr6; // what it may connect to as well (fd10:0:2::4); ::: no IPv6
    uint16_t mtu;                   // largest IP packet without GSO, 576..65520
    uint32_t max_conns;             // at once
    const struct channel_spec
        *channels; // copied; ports are distinct; of port 0 and not inward: not in use
    size_t channel_count;
    // Where host ends come from, asked with indices of `channels`; copied. NULL: they are opened in
    // this process.
    const struct hub_opener *opener;
    struct hub_counters *counters; // where it counts: the caller's, outlives it; may be NULL
};

// NULL with err filled: out of memory or descriptors, a server=on path that cannot be listened on.
struct vmc *vmc_new(const struct vmc_config *config, struct error *err);
// Bytes that max_conns connections to these channels take at most: all rings full, and the tables.
uint64_t
vmc_memory_bound(uint32_t max_conns, const struct channel_spec *channels, size_t channel_count);
void vmc_free(struct vmc *v); // closes every connection and the link; no callbacks

// A channel more, while it runs; spec is copied. index: of those the opener is asked for, below
// HUB_CHANNELS_MAX and not in use. 0, or -errno with err filled.
int
vmc_add_channel(struct vmc *v, uint16_t index, const struct channel_spec *spec, struct error *err);
// From now on its port is refused, and its connections are reset.
void vmc_remove_channel(struct vmc *v, uint16_t index);

// Copies of the frames go to fd from now on: see channel/capture.h. Takes ownership.
void vmc_capture(struct vmc *v, int fd, uint32_t snaplen);

// Frames: the guest's link on an open descriptor (link/link.h says what each kind must be). Takes
// ownership, also on failure. A link attached before is dropped with its connections. 0 or -errno.
int vmc_attach_fd(struct vmc *v, enum link_kind kind, int fd);
// Of the links attached from now on (stream, message): the guest leaves its checksums to us, see
// link_take_partial_csum().
void vmc_set_offload(struct vmc *v, bool offload);
// No frames: a listening stream socket (TCP, Unix, AF_VSOCK) on the guest's side of the channel
// with that index. Takes ownership, also on failure. 0 or -errno.
int vmc_attach_listener(struct vmc *v, uint16_t channel, int fd);
// AF_VSOCK listeners admit this CID alone; 0, the default: none.
void vmc_set_guest_cid(struct vmc *v, uint32_t cid);
// The link broke or its peer left; its connections are closed by then. Attach the next one.
void vmc_on_link_down(struct vmc *v, void (*on_down)(void *ctx), void *ctx);

// Answers of config->opener, see hub_opened() and hub_refused().
void vmc_opened(struct vmc *v, uint64_t session, const int *fds, size_t nfds);
void vmc_refused(struct vmc *v, uint64_t session, int why);

// With config->opener, logfile= is its affair too: see hub_set_log().
void vmc_set_log(struct vmc *v, uint16_t channel, int fd);

// Readable when vmc_dispatch() has something to do, timers included. -1 when out of descriptors.
int vmc_fd(struct vmc *v);
// The guest is gone: what it has sent is handed over as fast as it goes, whatever rate= says.
void vmc_lift_rates(struct vmc *v);
// Every connected guest has sent its last byte and the host ends have taken all of them.
bool vmc_guest_has_finished(const struct vmc *v);
// Does what is due, without waiting. 0 or -errno.
int vmc_dispatch(struct vmc *v);
// For a caller without a loop of its own: runs this one (loop_run, loop_stop, more to poll).
struct loop *vmc_loop(struct vmc *v);

// SPDX-License-Identifier: BSD-3-Clause
// What one guest's daemon is to do, put together from the command line: names, addresses, channels,
// limits. Pure values; owns its channel array.
#pragma once

#include "base/error.h"
#include "base/ipv6_addr.h"
#include "base/unix_listener.h"
#include "base/uuid.h"
#include "host/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_NAME_MAX     63
#define GUEST_CHANNELS_MAX 1024 // as many as the hub takes

struct guest_config {
    char name[GUEST_NAME_MAX + 1]; // --name; default "guest"
    char uuid[UUID_LEN + 1];       // of the domain of --xml, or of QEMU's -uuid; "": not known
    uint32_t net, netmask;         // --net 10.0.2.0/24, host order
    uint32_t channel_addr;         // net + 4
    uint32_t guest_addr;           // net + 15
    struct ipv6_addr net6;         // --net6 fd10:0:2::/64; ::: no IPv6
    uint16_t mtu;                  // --mtu, 1500; 576..65520
    uint32_t max_conns;            // --max-connections, 4096; 1..65536
    uint32_t poll_max_ns;          // --poll-max-ns, 50000; 0: the worker never polls
    bool sandbox_off;              // --sandbox=off: the worker is not locked up, nor the broker
    bool sandbox_worker;           // --sandbox=worker: the worker alone is
    struct unix_access access;     // --mode, --group: of the Unix sockets that we make
    struct channel_spec *channels; // heap array
    size_t channel_count;
    uint32_t changes;              // of channels, since the guest runs
    struct chardev_spec *chardevs; // heap array, -chardev
    size_t chardev_count;
};

void guest_config_init(struct guest_config *c);
void guest_config_fini(struct guest_config *c);
// channels.c. "PORT:DEVICE", or "FIRST-LAST:DEVICE": a channel for each port, with %p in the text
// of the device being the port and %% a percent sign (nothing special in the first form). 0, or
// -EINVAL with err (also for a port given twice), or -ENOMEM. On failure none was added.
int guest_config_add_channel(struct guest_config *c, const char *text, struct error *err);
// "PORT:DEVICE" or "*:DEVICE" of -vmchannel-in: a device that listens (server=on is understood),
// whose clients are connected to the guest's PORT, or with * to the port that each names by
// "CONNECT PORT\n". Fails likewise.
int guest_config_add_inward(struct guest_config *c, const char *text, struct error *err);
// "BACKEND,id=ID,...", before or after the channel that is "PORT:chardev:ID". Fails likewise.
int guest_config_add_chardev(struct guest_config *c, const char *text, struct error *err);
// Whether a channel is "chardev:ID".
bool guest_config_refers_to_chardev(const struct guest_config *c, const char *id);
// After the last of them: gives each "chardev:ID" its device, and checks what concerns several
// channels. Until then such a channel's device is not valid. 0, or -EINVAL with err.
int guest_config_finish(struct guest_config *c, struct error *err);
// "10.0.2.0/24": prefix 8..27, host bits zero.
int guest_config_set_net(struct guest_config *c, const char *text, struct error *err);
// "fd10:0:2::/64", or "off".
int guest_config_set_net6(struct guest_config *c, const char *text, struct error *err);
// A host of the IPv6 network, :: where there is none: the channels', and where it is not its own
// affair, the guest's.
struct ipv6_addr guest_config_channel_addr6(const struct guest_config *c);
struct ipv6_addr guest_config_guest_addr6(const struct guest_config *c);
int guest_config_set_name(struct guest_config *c, const char *text, struct error *err);
int guest_config_set_mtu(struct guest_config *c, const char *text, struct error *err);
int guest_config_set_max_conns(struct guest_config *c, const char *text, struct error *err);
int guest_config_set_poll_max_ns(struct guest_config *c, const char *text, struct error *err);

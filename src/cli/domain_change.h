// SPDX-License-Identifier: BSD-3-Clause
// A channel that comes or goes while a libvirt domain runs: kept in the XML that its daemon reads,
// and in the domain's metadata, so that it is there after a restart and after the next start.
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <limits.h>
#include <stdint.h>

struct domain_change {
    char path[PATH_MAX]; // of the daemon's XML; "" when the guest is no libvirt domain of ours
    char uuid[37];       // of the domain
    char what[PATH_MAX]; // for vmchannel-libvirt: "add PORT:DEVICE" or "del PORT"
    struct buffer xml;   // as it is to be
    int lock_fd;         // of the daemon's XML: others who change it wait; -1 without a path
};

// What is to be done for the guest of that name, a domain's or its UUID; does nothing yet. Gives a
// change without a path for any other guest. 0, or -errno with err: the channel cannot be in a
// domain's XML, is there already, or is not.
int domain_change_add(const char *name, const char *channel, struct domain_change *out,
                      struct error *err);
int
domain_change_del(const char *name, uint16_t port, struct domain_change *out, struct error *err);
// Once the daemon has done its part. What cannot be kept is logged: the channel itself works.
void domain_change_keep(struct domain_change *c);
void domain_change_fini(struct domain_change *c);

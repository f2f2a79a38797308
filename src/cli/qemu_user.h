// SPDX-License-Identifier: BSD-3-Clause
// The user that libvirt runs QEMU as, from its qemu.conf.
#pragma once

#include "base/error.h"
#include "broker/run_as.h"

#define QEMU_CONF "/etc/libvirt/qemu.conf"

// For root's libvirtd; an ordinary user's runs QEMU as that user. `owner` is the domain's own
// "USER:GROUP", names or numbers with a plus sign; "": as `conf` says, or where that is missing or
// silent, as distributions compile in. 0, or -errno with err.
int qemu_user_find(const char *owner, const char *conf, struct run_as *out, struct error *err);

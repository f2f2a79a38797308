// SPDX-License-Identifier: BSD-3-Clause
// The user that libvirt runs QEMU as, from its qemu.conf.
#pragma once

#include "base/error.h"
#include "broker/run_as.h"

#define QEMU_CONF "/etc/libvirt/qemu.conf"

// For root's libvirtd; an ordinary user's runs QEMU as that user. Reads `conf`; where that is
// missing or silent, what distributions compile in. 0, or -errno with err.
int qemu_user_find(const char *conf, struct run_as *out, struct error *err);

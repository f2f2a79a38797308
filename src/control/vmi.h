// SPDX-License-Identifier: BSD-3-Clause
// What a KubeVirt VirtualMachineInstance, as JSON, says to vmchannel: in annotations.
#pragma once

#include "base/error.h"

#include <stddef.h>

#define VMI_CHANNELS   "vmchannel/channels"   // words PORT:unix:/PATH[,OPTION...]
#define VMI_SOCKET_DIR "vmchannel/socket-dir" // where QEMU finds the link's socket

struct vmi {
    char uid[64];         // "" when there is none
    char socket_dir[108]; // "" when not given
    char **channels;      // heap, and each of them
    size_t channel_count;
};

// 0, -EINVAL or -ENOMEM with err. Without annotations there are no channels, which is no error.
// vmi_fini also after a failure.
int vmi_parse(const char *json, size_t len, struct vmi *out, struct error *err);
void vmi_fini(struct vmi *vmi);

// SPDX-License-Identifier: BSD-3-Clause
// What QEMU must be told so that its network is a vhost-user back-end of ours: guest memory that
// can be shared, a socket to connect to, and no MSI-X where that would make it crash. Reads QEMU's
// arguments, changes none.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define QEMU_VHOST_WORDS_MAX 8

struct qemu_vhost {
    char dir[64];                          // a directory of ours, for the socket
    char path[80];                         // of the socket
    char *words[QEMU_VHOST_WORDS_MAX + 1]; // for QEMU; heap, NULL behind the last
    const char *device_options;            // to be added to -device
};

// Makes the directory and the words; argv is QEMU's command line. 0 or -errno with err, and nothing
// is left.
int qemu_vhost_prepare(struct qemu_vhost *v, char **argv, const char *netdev_id, struct error *err);
void qemu_vhost_free_words(struct qemu_vhost *v);
void qemu_vhost_remove_dir(const struct qemu_vhost *v); // the socket is gone by then

// The guest's memory as -m has it, as a size for -object: "256M". out_size >= 16. 0; or -EINVAL
// with err when what -m says cannot be understood.
int qemu_vhost_memory_size(char **argv, char *out, size_t out_size, struct error *err);

// SPDX-License-Identifier: BSD-3-Clause
// The device grammar: the text behind "-vmchannel PORT:" (and, with PORT, the whole of it) as QEMU
// 7.2's -serial understands it -> struct, with QEMU's defaults. Pure: opens nothing.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_PATH_MAX 107 // sun_path without its NUL (unix(7))
#define DEVICE_NAME_MAX 63

enum device_kind {
    DEVICE_UNIX, // unix:PATH[,server][,wait][,reconnect=S][,abstract][,tight]
};

struct device {
    enum device_kind kind;
    char path[DEVICE_PATH_MAX + 1];
    bool server;   // we listen, the host program connects
    bool wait;     // server: hold the guest's connect until a host client is there (default on)
    bool abstract; // abstract Unix name
    bool tight;    // abstract: name without trailing zeros (default on)
    uint32_t reconnect_s;           // client: retry every S seconds instead of refusing; 0: refuse
    uint32_t max;                   // max=: connections at once; 0: no limit of its own
    char name[DEVICE_NAME_MAX + 1]; // name=; "" when not given
};

struct channel_spec {
    uint16_t port; // 1..65535
    struct device device;
    char text[256]; // the device as it was written, for log lines (cut if longer)
};

// Each: 0, or -EINVAL with err naming the thing, the reason and what is accepted.
int device_parse(const char *text, struct device *out, struct error *err);
// "PORT:DEVICE".
int channel_spec_parse(const char *text, struct channel_spec *out, struct error *err);

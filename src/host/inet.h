// SPDX-License-Identifier: BSD-3-Clause
// Internet addresses of devices: names to addresses, once at start, since getaddrinfo(3) blocks.
#pragma once

#include "base/error.h"
#include "host/device.h"

#include <stdint.h>
#include <sys/socket.h>

#define INET_ADDRS_MAX 8

struct inet_addr_of {
    struct sockaddr_storage sa;
    socklen_t len;
};

struct inet_addrs {
    struct inet_addr_of addr[INET_ADDRS_MAX]; // in the order of preference
    uint32_t count;                           // at least 1
};

enum inet_use {
    INET_CONNECT, // an empty host is localhost
    INET_LISTEN,  // an empty host is every address
};

// socktype: SOCK_STREAM or SOCK_DGRAM; family: AF_UNSPEC for what dev allows. An empty port is 0.
// 0, or -errno with err.
int inet_resolve(struct inet_addrs *out, const struct device *dev, const struct device_addr *addr,
                 enum inet_use use, int socktype, int family, struct error *err);
// What the device asks of its sockets. Wishes: another kind of socket has none of them.
void inet_set_options(int fd, const struct device *dev);

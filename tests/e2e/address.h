// SPDX-License-Identifier: BSD-3-Clause
// The addresses of the helpers' stream sockets, as two words of a command line.
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

struct address {
    struct sockaddr_storage sa;
    socklen_t len;
};

// An IPv4 or IPv6 address and its port, "vsock:CID" and its port (CID "any" to listen), or
// "unix:PATH" and any word. false: it is none of these.
bool address_parse(const char *addr, const char *port, struct address *out);
// A listening socket, or -1 with errno.
int address_listen(const struct address *a);

// SPDX-License-Identifier: BSD-3-Clause
// See inet.h.
#include "host/inet.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

static int
family_of(const struct device *dev)
{
    if (dev->ipv4 == dev->ipv6)
        return AF_UNSPEC;
    return dev->ipv4 ? AF_INET : AF_INET6;
}

// An errno for what getaddrinfo says.
static int
errno_of(int rc)
{
    switch (rc) {
    case EAI_SYSTEM:
        return errno;
    case EAI_MEMORY:
        return ENOMEM;
    case EAI_AGAIN:
        return EHOSTUNREACH;
    default:
        return EADDRNOTAVAIL;
    }
}

int
inet_resolve(struct inet_addrs *out, const struct device *dev, const struct device_addr *addr,
             enum inet_use use, int socktype, int family, struct error *err)
{
    const char *host = addr->host[0] != '\0' ? addr->host : NULL;
    if (!host && use == INET_CONNECT)
        host = "localhost";
    const struct addrinfo hints = {.ai_family = family == AF_UNSPEC ? family_of(dev) : family,
                                   .ai_socktype = socktype,
                                   .ai_flags = use == INET_LISTEN ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, addr->port[0] != '\0' ? addr->port : "0", &hints, &list);
    if (rc != 0) {
        int why = errno_of(rc);
        error_set(err, 0, "address %s:%s: %s", addr->host, addr->port, gai_strerror(rc));
        return -why;
    }
    out->count = 0;
    for (struct addrinfo *a = list; a && out->count < INET_ADDRS_MAX; a = a->ai_next) {
        struct inet_addr_of *to = &out->addr[out->count++];
        memcpy(&to->sa, a->ai_addr, a->ai_addrlen);
        to->len = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return out->count > 0 ? 0 : error_set(err, EADDRNOTAVAIL, "address %s", addr->host);
}

void
inet_set_options(int fd, const struct device *dev)
{
    if (dev->nodelay)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    // A Synch's DM is urgent data (RFC 854); out of the stream, its IAC would take the next byte.
    if (dev->telnet)
        setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int));
}

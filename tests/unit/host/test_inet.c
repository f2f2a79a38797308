// SPDX-License-Identifier: BSD-3-Clause
// Addresses of devices: what an empty host means, families, and what has none.
#include "test.h"

#include "host/inet.h"

#include <errno.h>
#include <netinet/in.h>

struct row {
    const char *host, *port;
    bool ipv4, ipv6;
    enum inet_use use;
    int family; // of the first address; 0: there is none
};

static const struct row rows[] = {
    {"127.0.0.1", "9", true, true, INET_CONNECT, AF_INET},
    {"127.0.0.1", "9", true, false, INET_CONNECT, AF_INET},
    {"127.0.0.1", "9", false, true, INET_CONNECT, 0},
    {"::1", "9", false, true, INET_CONNECT, AF_INET6},
    {"::1", "9", true, false, INET_CONNECT, 0},
    {"", "9", true, false, INET_CONNECT, AF_INET},
    {"", "9", true, false, INET_LISTEN, AF_INET},
    {"", "9", false, true, INET_LISTEN, AF_INET6},
    {"127.0.0.1", "", true, true, INET_LISTEN, AF_INET},
    {"127.0.0.1", "no such service", true, true, INET_CONNECT, 0},
};

TEST(addresses_of_devices)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        struct device dev = {.kind = DEVICE_TCP, .ipv4 = r->ipv4, .ipv6 = r->ipv6};
        struct device_addr addr;
        struct inet_addrs found;
        struct error err = {{0}};
        memset(&addr, 0, sizeof(addr));
        strcpy(addr.host, r->host);
        strcpy(addr.port, r->port);
        int rc = inet_resolve(&found, &dev, &addr, r->use, SOCK_STREAM, AF_UNSPEC, &err);
        if (rc != (r->family ? 0 : -EADDRNOTAVAIL))
            fail_msg("%s:%s: %d, %s", r->host, r->port, rc, err.text);
        if (rc < 0)
            assert_non_null(strstr(err.text, "address "));
        else
            assert_int_equal(found.addr[0].sa.ss_family, r->family);
    }
}

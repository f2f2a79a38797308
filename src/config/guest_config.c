// SPDX-License-Identifier: BSD-3-Clause
// One guest's configuration from its command-line values, each checked as it is added, but for the
// channels: those are channels.c's. Nothing is opened here.
#include "config/guest_config.h"

#include "base/options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_MIN    8
#define PREFIX_MAX    27 // room for .4 and .15 below the broadcast address
#define CHANNEL_HOST  4
#define GUEST_HOST    15
#define GUEST_HOST6   0x15 // reads the same
#define MTU_MIN       576
#define MTU_MAX       65520
#define MTU_DEFAULT   1500
#define MAX_CONNS     65536
#define CONNS_DEFAULT 4096
#define POLL_MAX_NS     1000000
#define POLL_DEFAULT_NS 50000
#define NET_ACCEPTED  "accepted: A.B.C.D/8 to /27, host bits zero, as in 10.0.2.0/24"

#define NET6_ACCEPTED "accepted: off, or a prefix of 64 bits, all others zero, as in fd10:0:2::/64"

// base/options' idea of a number (digits alone), for text that stands alone.
static bool
parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    struct option opt = {.key = "number"};
    int len = snprintf(opt.value, sizeof(opt.value), "%s", text);
    return len > 0 && (size_t)len < sizeof(opt.value) &&
           option_uint(&opt, min, max, out, NULL) == 0;
}

static void
set_net(struct guest_config *c, uint32_t net, uint32_t netmask)
{
    c->net = net;
    c->netmask = netmask;
    c->channel_addr = net + CHANNEL_HOST;
    c->guest_addr = net + GUEST_HOST;
}

void
guest_config_init(struct guest_config *c)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->name, sizeof(c->name), "guest");
    set_net(c, 0x0a000200, 0xffffff00);
    c->net6 = (struct ipv6_addr){{0xfd, 0x10, 0, 0, 0, 2}};
    c->mtu = MTU_DEFAULT;
    c->max_conns = CONNS_DEFAULT;
    c->poll_max_ns = POLL_DEFAULT_NS;
    c->access = UNIX_ACCESS_AS_MADE;
}

void
guest_config_fini(struct guest_config *c)
{
    free(c->channels);
    free(c->chardevs);
    c->channels = NULL;
    c->chardevs = NULL;
    c->channel_count = 0;
    c->chardev_count = 0;
}

// What inet_pton would let through but no guest could use.
static bool
is_usable_net(uint32_t net)
{
    uint8_t first = (uint8_t)(net >> 24);
    return first != 0 && first != 127 && first < 224;
}

int
guest_config_set_net(struct guest_config *c, const char *text, struct error *err)
{
    const char *slash = strchr(text, '/');
    char addr[INET_ADDRSTRLEN] = "";
    struct in_addr in;
    if (!slash || (size_t)(slash - text) >= sizeof(addr))
        return error_set(err, 0, "net '%.64s': not a network; " NET_ACCEPTED, text);
    memcpy(addr, text, (size_t)(slash - text));
    uint32_t prefix_len;
    if (inet_pton(AF_INET, addr, &in) != 1)
        return error_set(err, 0, "net '%.64s': not an IPv4 address; " NET_ACCEPTED, text);
    if (!parse_number(slash + 1, PREFIX_MIN, PREFIX_MAX, &prefix_len))
        return error_set(err, 0, "net '%.64s': prefix length is not %d to %d; " NET_ACCEPTED, text,
                         PREFIX_MIN, PREFIX_MAX);
    uint32_t net = ntohl(in.s_addr);
    uint32_t netmask = UINT32_MAX << (32 - prefix_len);
    if ((net & ~netmask) != 0)
        return error_set(err, 0, "net '%.64s': host bits are not zero; " NET_ACCEPTED, text);
    if (!is_usable_net(net))
        return error_set(err, 0, "net '%.64s': not a unicast network; " NET_ACCEPTED, text);
    set_net(c, net, netmask);
    return 0;
}

int
guest_config_set_net6(struct guest_config *c, const char *text, struct error *err)
{
    static const char prefix_len[] = "/64";
    static const uint8_t no_host[8];
    char addr[INET6_ADDRSTRLEN] = "";
    struct ipv6_addr net;
    if (strcmp(text, "off") == 0) {
        c->net6 = (struct ipv6_addr){{0}};
        return 0;
    }
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof(addr) || strcmp(slash, prefix_len) != 0)
        return error_set(err, 0, "net6 '%.64s': not a network; " NET6_ACCEPTED, text);
    memcpy(addr, text, (size_t)(slash - text));
    if (inet_pton(AF_INET6, addr, net.octet) != 1)
        return error_set(err, 0, "net6 '%.64s': not an IPv6 address; " NET6_ACCEPTED, text);
    if (memcmp(net.octet + 8, no_host, 8) != 0)
        return error_set(err, 0, "net6 '%.64s': host bits are not zero; " NET6_ACCEPTED, text);
    // Reserved; link-local, where a guest makes no address from a prefix; multicast.
    if (net.octet[0] == 0 || (net.octet[0] == 0xfe && net.octet[1] >> 6 == 2) ||
        net.octet[0] == 0xff)
        return error_set(err, 0, "net6 '%.64s': not a unicast network; " NET6_ACCEPTED, text);
    c->net6 = net;
    return 0;
}

static struct ipv6_addr
host_of_net6(const struct guest_config *c, uint8_t host)
{
    struct ipv6_addr addr = c->net6;
    if (!ipv6_addr_is_none(&addr))
        addr.octet[15] = host;
    return addr;
}

struct ipv6_addr
guest_config_channel_addr6(const struct guest_config *c)
{
    return host_of_net6(c, CHANNEL_HOST);
}

struct ipv6_addr
guest_config_guest_addr6(const struct guest_config *c)
{
    return host_of_net6(c, GUEST_HOST6);
}

// The name stands in log lines, in the identity vmchannel/NAME/PORT/N and in paths.
int
guest_config_set_name(struct guest_config *c, const char *text, struct error *err)
{
    size_t len = strlen(text);
    if (len < 1 || len > GUEST_NAME_MAX)
        return error_set(err, 0, "name '%.80s': %zu bytes; accepted: 1 to %d bytes", text, len,
                         GUEST_NAME_MAX);
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (ch < 0x20 || ch == 0x7f || ch == '/')
            return error_set(
                err, 0,
                "name: byte 0x%02x at %zu; accepted: anything but '/' and control characters", ch,
                i);
    }
    if (text[0] == '.')
        return error_set(err, 0, "name '%s': begins with a dot; accepted: anything else", text);
    memcpy(c->name, text, len + 1);
    return 0;
}

// A whole number as the value of a command-line option.
static int
set_number(const char *what, const char *text, uint32_t min, uint32_t max, uint32_t *out,
           struct error *err)
{
    if (parse_number(text, min, max, out))
        return 0;
    return error_set(err, 0, "%s '%.64s': not a number in range; accepted: %u to %u", what, text,
                     (unsigned)min, (unsigned)max);
}

int
guest_config_set_mtu(struct guest_config *c, const char *text, struct error *err)
{
    uint32_t mtu;
    int rc = set_number("mtu", text, MTU_MIN, MTU_MAX, &mtu, err);
    if (rc == 0)
        c->mtu = (uint16_t)mtu;
    return rc;
}

int
guest_config_set_max_conns(struct guest_config *c, const char *text, struct error *err)
{
    return set_number("max-connections", text, 1, MAX_CONNS, &c->max_conns, err);
}

int
guest_config_set_poll_max_ns(struct guest_config *c, const char *text, struct error *err)
{
    return set_number("poll-max-ns", text, 0, POLL_MAX_NS, &c->poll_max_ns, err);
}

// SPDX-License-Identifier: BSD-3-Clause
// Descriptors that belong to a network namespace: tap queues, packet sockets, listeners, made in
// the caller's. Part of link/netns.h.
#include "link/netns.h"

#include "base/log.h"
#include "link/packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUN_PATH "/dev/net/tun"
#define LOCAL_MS 500

int
netns_open_tap(const char *ifname, struct error *err)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (ifname[0] == '\0' || strlen(ifname) >= sizeof(ifr.ifr_name))
        return error_set(err, ENODEV, "tap '%s'", ifname);
    memcpy(ifr.ifr_name, ifname, strlen(ifname));
    int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno, "%s", TUN_PATH);
    if (ioctl(fd, TUNSETIFF, &ifr) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    return error_set(err, errnum, "%s: cannot open the tap interface", ifname);
}

int
netns_open_packet(const char *ifname, struct error *err)
{
    // Protocol 0: nothing is received until the socket is bound and prepared.
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, errno, "%s: cannot make a packet socket", ifname);
    struct sockaddr_ll sll = {.sll_family = AF_PACKET,
                              .sll_protocol = htons(ETH_P_ALL),
                              .sll_ifindex = (int)if_nametoindex(ifname)};
    int rc = sll.sll_ifindex == 0 ? -errno : packet_prepare(fd);
    if (rc == 0 && bind(fd, (struct sockaddr *)&sll, sizeof(sll)) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return error_set(err, -rc, "%s: cannot open a packet socket on the interface", ifname);
}

static int
listen_at(const struct sockaddr *addr, socklen_t len, struct error *err)
{
    int on = 1;
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, errno, "cannot make a socket");
    // Accepted ones inherit SO_KEEPALIVE: no other thing tells of a guest that left while nothing
    // is said to it.
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0 &&
        bind(fd, addr, len) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    return error_set(err, errnum, "cannot listen");
}

static int
listen_tcp(uint32_t addr, uint16_t port, struct error *err)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};
    char text[INET_ADDRSTRLEN];
    int fd = listen_at((const struct sockaddr *)&sin, sizeof(sin), err);
    if (fd < 0)
        error_prefix(err, "%s:%u", inet_ntop(AF_INET, &sin.sin_addr, text, sizeof(text)), port);
    return fd;
}

static int
listen_tcp6(const struct ipv6_addr *addr, uint16_t port, struct error *err)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char text[INET6_ADDRSTRLEN];
    memcpy(&sin6.sin6_addr, addr, sizeof(sin6.sin6_addr));
    int fd = listen_at((const struct sockaddr *)&sin6, sizeof(sin6), err);
    if (fd < 0)
        error_prefix(err, "[%s]:%u", inet_ntop(AF_INET6, addr, text, sizeof(text)), port);
    return fd;
}

// The kernel makes an address a local one in a work queue, when it gets to it. What is sent there
// before is dropped, and a guest's first SYN would be answered a second later.
void
netns_await_addr6(const struct ipv6_addr *addr)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
    struct sockaddr *sa = (struct sockaddr *)&sin6;
    socklen_t len = sizeof(sin6);
    char byte = 0;
    memcpy(&sin6.sin6_addr, addr, sizeof(sin6.sin6_addr));
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (bind(fd, sa, len) == 0 && getsockname(fd, sa, &len) == 0 && connect(fd, sa, len) == 0) {
        for (int ms = 0; ms < LOCAL_MS; ms++) {
            if (send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1)
                break;
            usleep(1000);
        }
    }
    close(fd);
}

static int
listen_both(uint32_t addr, const struct ipv6_addr *addr6, uint16_t port, struct link_listener *out,
            struct error *err)
{
    *out = (struct link_listener){listen_tcp(addr, port, err), -1};
    if (out->fd < 0 || !addr6)
        return out->fd < 0 ? out->fd : 0;
    out->fd6 = listen_tcp6(addr6, port, err);
    if (out->fd6 >= 0)
        return 0;
    close(out->fd);
    return out->fd6;
}

int
netns_listen(uint32_t addr, const struct ipv6_addr *addr6, const uint16_t *ports, size_t count,
             struct link_listener *out, struct error *err)
{
    int rc = netns_link_up("lo", err);
    if (rc == 0)
        rc = netns_add_addr("lo", addr, 32, err);
    struct error why;
    if (ipv6_addr_is_none(addr6)) {
        addr6 = NULL;
    } else if (netns_add_addr6("lo", addr6, 128, &why) < 0) {
        log_debug("no IPv6: %s", why.text); // the kernel has none, or it is turned off
        addr6 = NULL;
    } else {
        netns_await_addr6(addr6);
    }
    size_t i = 0;
    while (rc == 0 && i < count && (rc = listen_both(addr, addr6, ports[i], &out[i], err)) == 0)
        i++;
    while (rc < 0 && i-- > 0)
        link_listener_close(&out[i]);
    return rc;
}

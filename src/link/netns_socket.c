// SPDX-License-Identifier: BSD-3-Clause
// Descriptors that belong to a network namespace: tap queues, packet sockets, listeners, made in
// the caller's. Part of link/netns.h.
#include "link/netns.h"

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

int
netns_listen_tcp(uint32_t addr, uint16_t port, struct error *err)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &sin.sin_addr, text, sizeof(text));
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, errno, "%s:%u: cannot make a socket", text, port);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    return error_set(err, errnum, "%s:%u: cannot listen", text, port);
}

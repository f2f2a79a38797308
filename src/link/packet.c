// SPDX-License-Identifier: BSD-3-Clause
// The packet link: an AF_PACKET socket on the far side of a veth pair (or of a tap that somebody
// else holds). What leaves the guest's side arrives here before the kernel has segmented or summed
// it, behind a virtio_net_hdr; what we send goes the same way back. Opening and binding the socket
// is link/netns.h's.
#include "link/packet.h"

#include "link/vnet_hdr.h"
#include "link/vnet_link.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BUFFER_BYTES (8 * 1024 * 1024) // the guest's window, in skbs of 64 KiB and overhead
#define CHECK_US            1000000           // how often an interface that went down is looked at

enum interface_state {
    INTERFACE_UP,
    INTERFACE_DOWN,
    INTERFACE_GONE,
};

struct packet {
    struct vnet_link l;
    int check_timer; // runs while the interface is down: its deletion would not be told
};

// The interface that fd is bound to, by name.
static bool
bound_interface(int fd, struct ifreq *ifr)
{
    struct sockaddr_ll sll;
    socklen_t len = sizeof(sll);
    if (getsockname(fd, (struct sockaddr *)&sll, &len) < 0 || sll.sll_ifindex <= 0)
        return false;
    memset(ifr, 0, sizeof(*ifr));
    ifr->ifr_ifindex = sll.sll_ifindex;
    return ioctl(fd, SIOCGIFNAME, ifr) == 0;
}

static enum interface_state
interface_state(int fd)
{
    struct ifreq ifr;
    if (!bound_interface(fd, &ifr) || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
        return INTERFACE_GONE;
    return ifr.ifr_flags & IFF_UP ? INTERFACE_UP : INTERFACE_DOWN;
}

// A frame longer than the interface's MTU is not sent, unless it is cut into segments.
static uint16_t
interface_mtu(int fd)
{
    struct ifreq ifr;
    if (!bound_interface(fd, &ifr) || ioctl(fd, SIOCGIFMTU, &ifr) < 0)
        return 1500;
    return (uint16_t)(ifr.ifr_mtu > 65520 ? 65520 : ifr.ifr_mtu);
}

// Grows one of the two buffers as far as we may, never shrinks it.
static void
grow_buffer(int fd, int forced, int plain)
{
    int now = 0, want = SOCKET_BUFFER_BYTES;
    socklen_t len = sizeof(now);
    // The kernel doubles what is asked for and tells the double.
    if (getsockopt(fd, SOL_SOCKET, plain, &now, &len) == 0 && now >= want)
        return;
    if (setsockopt(fd, SOL_SOCKET, forced, &want, sizeof(want)) < 0)
        setsockopt(fd, SOL_SOCKET, plain, &want, sizeof(want));
}

int
packet_prepare(int fd)
{
    int on = 1;
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) < 0)
        return -errno;
    grow_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    grow_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    return 0;
}

// The kernel takes a VLAN tag out of the frame and tells of it apart. Such a frame is not for us,
// and without its tag it would look as if it were.
static bool
is_tagged(struct msghdr *msg)
{
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
    if (!cmsg || cmsg->cmsg_level != SOL_PACKET || cmsg->cmsg_type != PACKET_AUXDATA)
        return false;
    struct tpacket_auxdata aux;
    memcpy(&aux, CMSG_DATA(cmsg), sizeof(aux));
    return aux.tp_status & TP_STATUS_VLAN_VALID;
}

static ssize_t
packet_read(int fd, void *buf, size_t size)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
    // A super-frame of a kind that virtio_net_hdr cannot describe; it has been consumed.
    if (n < 0 && errno == EINVAL)
        return 0;
    if (n < 0)
        return -errno;
    return is_tagged(&msg) ? 0 : n;
}

static bool
is_gone(struct packet *p)
{
    enum interface_state state = interface_state(p->l.base.io.fd);
    if (state == INTERFACE_DOWN)
        loop_timer_set(p->l.base.loop, p->check_timer, loop_now_us(p->l.base.loop) + CHECK_US);
    return state == INTERFACE_GONE;
}

static void
on_check(void *ctx)
{
    struct packet *p = ctx;
    if (p->l.base.closed || p->l.base.broken)
        return;
    if (is_gone(p))
        link_break(&p->l.base, 0, "interface is gone");
}

static bool
is_gone_after_read(struct vnet_link *l, int errnum)
{
    if (errnum == ENOBUFS || errnum == ENOMEM)
        return false;
    return errnum != ENETDOWN || is_gone((struct packet *)l);
}

static bool
is_gone_after_write(struct vnet_link *l, int errnum)
{
    if (errnum == ENETDOWN || errnum == ENXIO || errnum == ENODEV)
        return is_gone((struct packet *)l);
    return false;
}

static void
packet_free(void *link)
{
    struct packet *p = link;
    loop_timer_free(p->l.base.loop, p->check_timer);
    free(p);
}

static const struct link_ops packet_ops = {
    .send = vnet_link_send,
    .flush = vnet_link_flush,
    .free = packet_free,
};

struct link *
link_new_packet(struct loop *loop, int fd, const struct link_events *events, void *ctx)
{
    struct packet *p = calloc(1, sizeof(*p));
    if (!p || packet_prepare(fd) < 0 || (p->check_timer = loop_timer_new(loop, on_check, p)) < 0) {
        free(p);
        close(fd);
        return NULL;
    }
    struct vnet_link *l = &p->l;
    l->base.ops = &packet_ops;
    l->base.caps = (struct link_caps){
        .mtu_max = interface_mtu(fd), .csum_offload = true, .tso = true, .tso6 = true};
    l->hdr_bytes = VNET_HDR_BYTES;
    l->read_frame = packet_read;
    l->is_gone_after_read = is_gone_after_read;
    l->is_gone_after_write = is_gone_after_write;
    if (!link_init(&l->base, loop, fd, events, ctx, vnet_link_on_event))
        return NULL;
    return &l->base;
}

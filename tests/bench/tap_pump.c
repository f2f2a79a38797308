// SPDX-License-Identifier: BSD-3-Clause
// The limits that have a tap in them: what a program behind a tap has to do, and nothing else. No
// TCP, no policy, no sandbox. A TAP is IFNAME@NETNS, with NETNS the path of a network namespace; it
// is made there with virtio headers and TCP offload, as vmchannel's is, and goes with this process.
//
//   tap_pump TAP TAP              frames from each to the other, as they are
//   tap_pump TAP echo PATH        what a UDP datagram carries goes to the Unix socket PATH, and the
//                                 answer back: four system calls for a round trip, two that sleep
//   tap_pump TAP sink PATH        what datagrams carry goes to PATH; for each CREDIT of them one of
//                                 a byte goes back, so that none is lost
//   tap_pump TAP source PATH      the other way: CREDIT datagrams for each one that comes
//
// bench.py sets up the interfaces, with a fixed neighbour where there is UDP. load.c is the guest.

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define VNET_HDR_BYTES 12
#define HDR_LEN_AT     2 // that of the headers: what follows goes to pages
#define TURN_FRAMES    64
#define CREDIT         4
#define PAYLOAD_MAX    61440 // load.c's, too

struct packet { // what stands before a payload
    uint8_t vnet_hdr[VNET_HDR_BYTES];
    struct ether_header ether;
    struct iphdr ip;
    struct udphdr udp;
} __attribute__((packed));

static struct frame {
    struct packet head;
    uint8_t payload[65536];
} __attribute__((packed)) frame, batch[CREDIT];

_Noreturn static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static int
open_tap(const char *spec, int flags)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int hdr_bytes = VNET_HDR_BYTES;
    const char *at = strchr(spec, '@');
    if (!at || at - spec >= IFNAMSIZ) {
        errno = EINVAL;
        fail(spec);
    }
    memcpy(ifr.ifr_name, spec, (size_t)(at - spec));
    int ns = open(at + 1, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
        fail(at + 1);
    close(ns);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | flags);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
        fail(spec);
    return fd;
}

static void
pump_some(int from, int to)
{
    for (int i = 0; i < TURN_FRAMES; i++) {
        ssize_t n = read(from, &frame, sizeof(frame));
        if (n <= 0)
            return;
        if (write(to, &frame, (size_t)n) < 0 && errno != EIO) // EIO: not up yet
            fail("write");
    }
}

_Noreturn static void
pump(const int taps[2])
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, taps[i], &e) < 0)
            fail("epoll_ctl");
    }
    for (;;) {
        struct epoll_event events[2];
        int n = epoll_wait(epoll, events, 2, -1);
        for (int i = 0; i < n; i++)
            pump_some(taps[events[i].data.fd], taps[!events[i].data.fd]);
    }
}

// What a datagram carries, -1: there is none, or 0: it was something else.
static ssize_t
read_datagram(int tap, struct frame *f)
{
    ssize_t n = read(tap, f, sizeof(*f));
    if (n < 0 && errno != EAGAIN)
        fail("read");
    if (n <= (ssize_t)sizeof(f->head))
        return n < 0 ? -1 : 0;
    const struct packet *p = &f->head;
    return p->ether.ether_type == htons(ETHERTYPE_IP) && p->ip.ihl == 5 &&
                   p->ip.protocol == IPPROTO_UDP
               ? n - (ssize_t)sizeof(*p)
               : 0;
}

// Sleeps until a datagram comes; gives how much it carries.
static size_t
await_datagram(int tap)
{
    ssize_t n;
    while ((n = read_datagram(tap, &frame)) <= 0)
        continue;
    return (size_t)n;
}

static uint16_t
ip_checksum(const struct packet *p)
{
    uint16_t words[sizeof(p->ip) / 2];
    uint32_t sum = 0;
    memcpy(words, &p->ip, sizeof(words));
    for (size_t i = 0; i < sizeof(words) / 2; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return (uint16_t)~sum;
}

// The headers of an answer to the datagram that they belong to. Its sum is left out, as it may be.
static void
turn_headers(struct packet *p)
{
    struct packet was = *p;
    memset(p->vnet_hdr, 0, sizeof(p->vnet_hdr));
    p->vnet_hdr[HDR_LEN_AT] = sizeof(*p) - sizeof(p->vnet_hdr);
    memcpy(p->ether.ether_dhost, was.ether.ether_shost, ETH_ALEN);
    memcpy(p->ether.ether_shost, was.ether.ether_dhost, ETH_ALEN);
    p->ip.saddr = was.ip.daddr;
    p->ip.daddr = was.ip.saddr;
    p->udp.source = was.udp.dest;
    p->udp.dest = was.udp.source;
    p->udp.check = 0;
}

static void
write_datagram(int tap, size_t len)
{
    struct packet *p = &frame.head;
    p->udp.len = htons((uint16_t)(sizeof(p->udp) + len));
    p->ip.tot_len = htons((uint16_t)(sizeof(p->ip) + sizeof(p->udp) + len));
    p->ip.check = 0;
    p->ip.check = ip_checksum(p);
    if (write(tap, &frame, sizeof(*p) + len) < 0)
        fail("write");
}

static int
connect_unix(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
        fail(path);
    return fd;
}

static size_t
read_some(int fd, size_t len)
{
    ssize_t n = read(fd, frame.payload, len);
    if (n <= 0)
        fail("the service");
    return (size_t)n;
}

static void
write_all(int fd, const struct iovec *iov, int iovcnt)
{
    size_t len = 0;
    for (int i = 0; i < iovcnt; i++)
        len += iov[i].iov_len;
    if (writev(fd, iov, iovcnt) != (ssize_t)len)
        fail("the service");
}

_Noreturn static void
echo(int tap, int service)
{
    for (;;) {
        size_t len = await_datagram(tap);
        write_all(service, &(struct iovec){frame.payload, len}, 1);
        len = read_some(service, len);
        turn_headers(&frame.head);
        write_datagram(tap, len);
    }
}

// What is there, in one call, as a daemon does.
_Noreturn static void
sink(int tap, int service)
{
    for (unsigned taken = 0;;) {
        struct iovec iov[CREDIT];
        int count = 0;
        ssize_t n = 0;
        while (count < CREDIT && (n = read_datagram(tap, &batch[count])) >= 0) {
            iov[count] = (struct iovec){batch[count].payload, (size_t)n};
            count += n > 0;
        }
        if (count == 0) {
            poll(&(struct pollfd){.fd = tap, .events = POLLIN}, 1, -1);
            continue;
        }
        write_all(service, iov, count);
        taken += (unsigned)count;
        if (taken < CREDIT)
            continue;
        taken -= CREDIT;
        frame.head = batch[0].head;
        turn_headers(&frame.head);
        write_datagram(tap, 1);
    }
}

_Noreturn static void
source(int tap, int service)
{
    for (;;) {
        await_datagram(tap);
        turn_headers(&frame.head);
        for (int i = 0; i < CREDIT; i++)
            write_datagram(tap, read_some(service, PAYLOAD_MAX));
    }
}

int
main(int argc, char **argv)
{
    if (argc == 3)
        pump((int[]){open_tap(argv[1], O_NONBLOCK), open_tap(argv[2], O_NONBLOCK)});
    const char *mode = argc == 4 ? argv[2] : "";
    if (strcmp(mode, "echo") == 0)
        echo(open_tap(argv[1], 0), connect_unix(argv[3]));
    if (strcmp(mode, "sink") == 0)
        sink(open_tap(argv[1], O_NONBLOCK), connect_unix(argv[3]));
    if (strcmp(mode, "source") == 0)
        source(open_tap(argv[1], 0), connect_unix(argv[3]));
    fprintf(stderr, "tap_pump: see the head of tap_pump.c\n");
    return 2;
}

// SPDX-License-Identifier: BSD-3-Clause
// A guest that sends as many frames as it can, or so many a second, of random content below headers
// that are nearly right, to and past the channel's address. Run inside of the guest's namespace.
//   flood IFNAME MAC FRAMES_PER_SECOND SECONDS SEED       one line of JSON: frames sent

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH     64
#define FRAME_MAX 1514

static uint64_t state;

static uint64_t
rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static double
now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

// Addresses, and mostly a header checksum, are right: what is random is behind.
static void
fill_ipv4(uint8_t *ip, size_t len)
{
    static const uint8_t protocols[] = {6, 6, 6, 17, 1, 2};
    const uint8_t fixed[20] = {
        0x45, 0, (uint8_t)(len >> 8),         (uint8_t)len, 0, 1, 0, 0, 64, 0, 0, 0, 10,
        0,    2, (uint8_t)(16 + rnd() % 200), 10,           0, 2, 4};
    memcpy(ip, fixed, sizeof(fixed));
    ip[9] = protocols[rnd() % sizeof(protocols)];
    if (rnd() % 16 == 0)
        ip[rnd() % 20] = (uint8_t)rnd();
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    ip[10] = (uint8_t)(sum >> 8);
    ip[11] = (uint8_t)sum;
    if (rnd() % 2) { // to the channel
        ip[22] = 600 >> 8;
        ip[23] = 600 & 255;
    }
}

static size_t
fill(uint8_t *frame, const uint8_t *mac)
{
    static const uint16_t types[] = {0x0800, 0x0800, 0x0800, 0x0800, 0x0806, 0x86dd, 0x8100};
    size_t len = rnd() % 4 ? 60 + rnd() % 40 : 60 + rnd() % (FRAME_MAX - 60);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t r = rnd();
        memcpy(frame + i, &r, len - i < 8 ? len - i : 8);
    }
    uint16_t type = rnd() % 32 ? types[rnd() % 7] : (uint16_t)rnd();
    memcpy(frame, mac, 6);
    frame[6] = 0x52; // from nobody in particular, but no group
    frame[12] = (uint8_t)(type >> 8);
    frame[13] = (uint8_t)type;
    if (type == 0x0800)
        fill_ipv4(frame + 14, len - 14);
    return len;
}

int
main(int argc, char **argv)
{
    static uint8_t frames[BATCH][FRAME_MAX + 8];
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    uint8_t mac[6];
    if (argc != 6 || sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2,
                            mac + 3, mac + 4, mac + 5) != 6) {
        fprintf(stderr, "usage: flood IFNAME MAC FRAMES_PER_SECOND SECONDS SEED\n");
        return 2;
    }
    double rate = atof(argv[3]), start = now_s(), end = start + atof(argv[4]);
    state = strtoull(argv[5], NULL, 10) + 88172645463325252ull;
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        perror(argv[1]);
        return 1;
    }
    double sent = 0;
    for (double now; (now = now_s()) < end;) {
        if (sent > (now - start) * rate) {
            usleep(200);
            continue;
        }
        memset(messages, 0, sizeof(messages));
        for (int i = 0; i < BATCH; i++) {
            iov[i] = (struct iovec){frames[i], fill(frames[i], mac)};
            messages[i].msg_hdr.msg_iov = &iov[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int n = sendmmsg(fd, messages, BATCH, MSG_DONTWAIT);
        if (n < 0 && errno != ENOBUFS && errno != EAGAIN) {
            perror("sendmmsg");
            return 1;
        }
        sent += n > 0 ? n : 0;
    }
    printf("{\"sent\": %.0f}\n", sent);
    return 0;
}

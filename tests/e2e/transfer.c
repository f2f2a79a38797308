// SPDX-License-Identifier: BSD-3-Clause
// See transfer.h. One epoll loop, level-triggered; each turn gives a connection at most one read
// and one write, so that none starves.

#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK      65536
#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME  0x100000001b3ULL

static uint64_t
fnv1a(uint64_t hash, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * FNV_PRIME;
    return hash;
}

static uint64_t
next_random(uint64_t *state) // xorshift64
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

// 1 .. 65536, every magnitude about equally often.
static size_t
random_size(uint64_t *state)
{
    uint64_t magnitude = next_random(state) % 17;
    return 1 + (size_t)(next_random(state) % (1ULL << magnitude));
}

void
transfer_init(struct transfer_conn *c, int fd, uint32_t id, uint64_t seed, uint64_t bytes)
{
    memset(c, 0, sizeof(*c));
    c->fd = fd;
    c->id = id;
    c->rng = (seed + 1) * 0x9e3779b97f4a7c15ULL ^ (id + 1) * 0xd1b54a32d192ed03ULL;
    if (c->rng == 0)
        c->rng = 1;
    c->to_send = bytes;
    c->sent_hash = c->received_hash = FNV_OFFSET;
}

static void
finish_sending(struct transfer_conn *c)
{
    c->sent_all = true;
    if (shutdown(c->fd, SHUT_WR) < 0)
        c->error = errno;
}

static bool
send_some(struct transfer_conn *c)
{
    uint8_t buf[CHUNK];
    uint64_t rng_before = c->rng;
    size_t want = random_size(&c->rng);

    if (c->to_send == 0) {
        finish_sending(c);
        return true;
    }
    if (want > c->to_send)
        want = (size_t)c->to_send;
    for (size_t i = 0; i < want; i += 8) {
        uint64_t word = next_random(&c->rng);
        memcpy(buf + i, &word, sizeof(word)); // CHUNK is a multiple of 8
    }
    ssize_t n = send(c->fd, buf, want, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN) {
            c->error = errno;
            return true;
        }
        c->rng = rng_before;
        return false;
    }
    c->sent_hash = fnv1a(c->sent_hash, buf, (size_t)n);
    c->sent += (uint64_t)n;
    c->to_send -= (uint64_t)n;
    if (c->to_send == 0)
        finish_sending(c);
    return true;
}

static bool
receive_some(struct transfer_conn *c)
{
    uint8_t buf[CHUNK];
    ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n < 0) {
        if (errno == EAGAIN)
            return false;
        c->error = errno;
        return true;
    }
    if (n == 0)
        c->got_eof = true;
    c->received += (uint64_t)n;
    c->received_hash = fnv1a(c->received_hash, buf, (size_t)n);
    return true;
}

static uint32_t
wanted_events(const struct transfer_conn *c)
{
    return (c->got_eof ? 0 : EPOLLIN) | (c->sent_all ? 0 : (uint32_t)EPOLLOUT);
}

static bool
is_over(const struct transfer_conn *c)
{
    return c->error != 0 || (c->sent_all && c->got_eof);
}

// Gives true if the connection moved.
static bool
turn(struct transfer_conn *c, uint32_t events)
{
    bool moved = false;

    if (!c->got_eof && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        moved |= receive_some(c);
    if (!c->sent_all && c->error == 0 && (events & EPOLLOUT))
        moved |= send_some(c);
    return moved;
}

bool
transfer_run(struct transfer_conn *conns, size_t count, int timeout_ms)
{
    struct epoll_event events[64];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    size_t open = count;

    for (size_t i = 0; i < count; i++) {
        struct epoll_event e = {.events = wanted_events(&conns[i]), .data.ptr = &conns[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &e);
    }
    while (open > 0) {
        int n = epoll_wait(epoll, events, 64, timeout_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        for (int i = 0; i < n; i++) {
            struct transfer_conn *c = events[i].data.ptr;
            uint32_t before = wanted_events(c);
            turn(c, events[i].events);
            if (is_over(c)) {
                close(c->fd);
                open--;
            } else if (wanted_events(c) != before) {
                struct epoll_event e = {.events = wanted_events(c), .data.ptr = c};
                epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
            }
        }
    }
    close(epoll);
    return open == 0;
}

void
transfer_print(const struct transfer_conn *conns, size_t count, bool finished)
{
    printf("{\"finished\": %s, \"connections\": [", finished ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        const struct transfer_conn *c = &conns[i];
        printf("%s{\"id\": %" PRIu32 ", \"sent\": %" PRIu64 ", \"sent_hash\": \"%016" PRIx64
               "\", \"received\": %" PRIu64 ", \"received_hash\": \"%016" PRIx64
               "\", \"eof\": %s, \"error\": \"%s\"}",
               i ? ", " : "", c->id, c->sent, c->sent_hash, c->received, c->received_hash,
               c->got_eof ? "true" : "false", c->error ? strerrorname_np(c->error) : "");
    }
    printf("]}\n");
    fflush(stdout);
}

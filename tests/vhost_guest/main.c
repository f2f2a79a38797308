// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user guest as a program: makes one kind of load on a channel and prints one line of JSON,
// as tests/bench/load.c does in a guest with a kernel.
//   vhost-guest SOCKET PORT [OPTION]... MODE
// The modes, `connections` at a time:
//   send|receive CONNECTIONS WARM_MS RUN_MS   bytes each way, in the run after the warm-up
//   exact CONNECTIONS BYTES                   a pattern to a service that echoes, and back
//   trip BYTES RUN_MS                         echoed round trips, one after another
//   connect RUN_MS MOST                       connect, echo a byte, close, and again
//   first WITHIN_MS                           when the first connection was answered
//   idle COUNT                                holds connections until stdin ends
// OPTION: packed, indirect, mergeable, event-idx, each also with no- before; ring=ENTRIES;
// buffer=BYTES. Without: what a Linux guest of QEMU's has.
#include "guest.h"

#include "../bench/measure.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_US      5000000
#define IDLE_PATIENCE_US 25000000
#define CONNECTIONS_MAX  1024
#define OPENING_MAX      64 // connections under way at once
#define ENDLESS          UINT64_MAX

static struct peer peers[CONNECTIONS_MAX];
static struct laps laps;

_Noreturn static void
fail(const char *what)
{
    printf("{\"error\": \"%s\"}\n", what);
    exit(1);
}

static unsigned
number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || n > 2000000000)
        fail(text);
    return (unsigned)n;
}

static void
open_one(struct guest *g, struct peer *p, uint16_t port)
{
    if (!guest_connect(g, p, port))
        fail("the table of connections is full");
    uint64_t ends = guest_now_us() + PATIENCE_US;
    while (!p->established) {
        guest_turn(g, 100, -1);
        if (p->closed || guest_now_us() > ends)
            fail(p->closed ? "connection refused" : "connecting took too long");
    }
}

// --- modes ---------------------------------------------------------------------------------------

static void
turn_until(struct guest *g, int64_t ends_ns)
{
    while (now_ns() < ends_ns)
        guest_turn(g, 10, -1);
}

static void
bulk(struct guest *g, uint16_t port, bool sends, unsigned count, unsigned warm_ms, unsigned run_ms)
{
    static uint64_t before[CONNECTIONS_MAX];
    if (count == 0 || count > CONNECTIONS_MAX)
        fail("connections");
    for (unsigned i = 0; i < count; i++) {
        peers[i].to_send = sends ? ENDLESS : 0;
        open_one(g, &peers[i], port);
    }
    turn_until(g, now_ns() + warm_ms * INT64_C(1000000));
    for (unsigned i = 0; i < count; i++)
        before[i] = sends ? peers[i].sent : peers[i].received;
    int64_t began = now_ns();
    turn_until(g, began + run_ms * INT64_C(1000000));
    struct bulk_sum sum = BULK_SUM_EMPTY;
    for (unsigned i = 0; i < count; i++)
        bulk_sum_add(&sum, (sends ? peers[i].sent : peers[i].received) - before[i]);
    bulk_sum_report(&sum, (double)(now_ns() - began) / 1e9);
}

static void
exact(struct guest *g, uint16_t port, unsigned count, unsigned bytes)
{
    uint64_t ends = guest_now_us() + IDLE_PATIENCE_US, wrong = 0, received = 0;
    unsigned whole = 0;
    if (count == 0 || count > CONNECTIONS_MAX)
        fail("connections");
    for (unsigned i = 0; i < count; i++) {
        peers[i] = (struct peer){.to_send = bytes, .exact = true, .shuts_down = true};
        open_one(g, &peers[i], port);
    }
    for (unsigned left = count; left > 0 && guest_now_us() < ends;) {
        guest_turn(g, 100, -1);
        left = 0;
        for (unsigned i = 0; i < count; i++)
            left += !peers[i].closed && !peers[i].at_end;
    }
    for (unsigned i = 0; i < count; i++) {
        wrong += peers[i].wrong;
        received += peers[i].received;
        whole += peers[i].at_end && peers[i].received == bytes && peers[i].sent == bytes;
    }
    printf("{\"whole\": %u, \"received\": %llu, \"wrong\": %llu, \"bad_frames\": %llu, "
           "\"frames_in\": %llu, \"frames_out\": %llu, \"retransmits\": %llu}\n",
           whole, (unsigned long long)received, (unsigned long long)wrong,
           (unsigned long long)g->nic.bad, (unsigned long long)g->nic.frames_in,
           (unsigned long long)g->nic.frames_out,
           (unsigned long long)stack_stats_of(g->stack)->retransmits);
}

static void
exchange(struct guest *g, struct peer *p, unsigned size)
{
    uint64_t wanted = p->received + size, ends = guest_now_us() + PATIENCE_US;
    p->to_send += size;
    guest_pump(g, p);
    while (p->received < wanted) {
        guest_turn(g, 100, -1);
        if (p->closed || guest_now_us() > ends)
            fail(p->closed ? "connection reset" : "no answer");
    }
}

static void
trips(struct guest *g, uint16_t port, unsigned size, unsigned run_ms)
{
    struct peer *p = &peers[0];
    open_one(g, p, port);
    for (int i = 0; i < 20; i++)
        exchange(g, p, size);
    for (laps_begin(&laps, run_ms); laps_go_on(&laps); laps_note(&laps))
        exchange(g, p, size);
    laps_report(&laps);
}

static void
connect_again_and_again(struct guest *g, uint16_t port, unsigned run_ms, unsigned most)
{
    for (laps_begin(&laps, run_ms); laps.count < most && laps_go_on(&laps); laps_note(&laps)) {
        struct peer p = {.conn = STACK_NO_CONN};
        open_one(g, &p, port);
        exchange(g, &p, 1);
        guest_close(g, &p);
    }
    if (laps.count == 0)
        fail("connect");
    laps_report(&laps);
}

static void
first(struct guest *g, uint16_t port)
{
    open_one(g, &peers[0], port);
    exchange(g, &peers[0], 1);
    printf("{\"answered_ns\": %lld}\n", (long long)now_ns());
}

static void
idle(struct guest *g, uint16_t port, unsigned count)
{
    struct peer *many = calloc(count, sizeof(*many));
    unsigned begun = 0, up = 0;
    uint64_t ends = guest_now_us() + IDLE_PATIENCE_US;
    if (!many)
        fail("memory");
    while (up < count) {
        for (; begun < count && begun - up < OPENING_MAX; begun++) {
            if (!guest_connect(g, &many[begun], port))
                fail("the table of connections is full");
        }
        guest_turn(g, 100, -1);
        while (up < begun && many[up].established)
            up++;
        if ((up < begun && many[up].closed) || guest_now_us() > ends)
            fail("not so many connections");
    }
    printf("{\"count\": %u, \"failed\": 0}\n", up);
    fflush(stdout);
    for (;;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        char byte;
        if (poll(&p, 1, 0) == 1 && read(STDIN_FILENO, &byte, 1) <= 0)
            break;
        guest_turn(g, 1000, STDIN_FILENO);
    }
    free(many);
}

// --- the command line ----------------------------------------------------------------------------

static bool
set_flag(const char *word, const char *name, bool *flag)
{
    bool on = strncmp(word, "no-", 3) != 0;
    if (strcmp(on ? word : word + 3, name) != 0)
        return false;
    *flag = on;
    return true;
}

static bool
set_option(struct nic_options *o, const char *word)
{
    if (strncmp(word, "ring=", 5) == 0)
        o->front.ring_size = (uint16_t)number(word + 5);
    else if (strncmp(word, "buffer=", 7) == 0)
        o->buffer_bytes = number(word + 7);
    else
        return set_flag(word, "packed", &o->front.packed) ||
               set_flag(word, "indirect", &o->front.indirect) ||
               set_flag(word, "mergeable", &o->front.mergeable) ||
               set_flag(word, "event-idx", &o->front.event_idx);
    return true;
}

static void
usage(void)
{
    fprintf(stderr, "vhost-guest: see the head of tests/vhost_guest/main.c\n");
    exit(2);
}

static void
run(struct guest *g, uint16_t port, const char *mode, int argc, char **argv)
{
    if (argc == 3 && (strcmp(mode, "send") == 0 || strcmp(mode, "receive") == 0))
        bulk(g, port, mode[0] == 's', number(argv[0]), number(argv[1]), number(argv[2]));
    else if (argc == 2 && strcmp(mode, "exact") == 0)
        exact(g, port, number(argv[0]), number(argv[1]));
    else if (argc == 2 && strcmp(mode, "trip") == 0)
        trips(g, port, number(argv[0]), number(argv[1]));
    else if (argc == 2 && strcmp(mode, "connect") == 0)
        connect_again_and_again(g, port, number(argv[0]), number(argv[1]));
    else if (argc == 1 && strcmp(mode, "first") == 0)
        first(g, port);
    else if (argc == 1 && strcmp(mode, "idle") == 0)
        idle(g, port, number(argv[0]));
    else
        usage();
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    static struct guest guest; // large, hence not on the stack
    struct guest_options options = {
        .within_ms = 5000,
        .nic = {.front = {.indirect = true, .mergeable = true, .event_idx = true, .ring_size = 256},
                .buffer_bytes = 4096},
        .max_conns = CONNECTIONS_MAX,
    };
    int at = 3;
    while (at < argc && set_option(&options.nic, argv[at]))
        at++;
    if (argc < 4 || at >= argc)
        usage();
    const char *mode = argv[at];
    if (strcmp(mode, "idle") == 0 && at + 1 < argc)
        options.max_conns = number(argv[at + 1]) + CONNECTIONS_MAX;
    if (strcmp(mode, "connect") == 0)
        options.max_conns = 16 * CONNECTIONS_MAX;
    if (strcmp(mode, "first") == 0 && at + 1 < argc)
        options.within_ms = number(argv[at + 1]);
    options.path = argv[1];
    if (!guest_init(&guest, &options))
        return 1;
    run(&guest, (uint16_t)number(argv[2]), mode, argc - at - 1, argv + at + 1);
    guest_fini(&guest);
    return 0;
}

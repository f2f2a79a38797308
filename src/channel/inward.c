// SPDX-License-Identifier: BSD-3-Clause
// The host begins: each client of an inward channel's listening device becomes a connection to the
// guest. The opener is asked for the next client, always for one, while a link is there; so the
// kernel's backlog is the queue of clients, and a client that comes before the guest waits in it.
// A client of a channel without a port says first which one it wants, as Firecracker's do. What
// follows is an ordinary relay's.
#include "channel/internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALLS_MAX  64                // clients that have not yet named a port
#define CALL_US    UINT64_C(5000000) // that a client may take for it
#define RETRY_US   UINT64_C(100000)  // after the opener refused
#define CALL_WORD  "CONNECT "        // then the port in decimal, and a newline
#define CALL_BYTES 32

struct inward_call {
    struct hub *hub;
    struct loop_io io;
    int timer;
    uint32_t next_free; // index + 1
    uint16_t channel;
    bool used;
};

static uint64_t
session_of(const struct hub *hub, uint16_t channel)
{
    return ((uint64_t)hub->channels[channel].ask_generation << SESSION_INDEX_BITS) |
           (2 * hub->max_conns + channel);
}

// --- clients that name their port ----------------------------------------------------------------

static void
call_free(struct inward_call *call)
{
    struct hub *hub = call->hub;
    loop_remove(hub->loop, &call->io);
    loop_timer_clear(hub->loop, call->timer);
    call->used = false;
    call->next_free = hub->calls_free;
    hub->calls_free = (uint32_t)(call - hub->calls) + 1;
    hub->inward_due = true; // a place is free for the next client
}

static void
call_drop(struct inward_call *call, const char *why)
{
    log_debug("%s: channel %s: host client dropped: %s", call->hub->guest,
              channel_port_text(call->hub->channels[call->channel].config.port).text, why);
    call_free(call);
    close(call->io.fd);
}

// The port of "CONNECT 22\n" of which len bytes came. 0: not whole yet, -EPROTO: no such line.
static int
parse_call(const char *text, size_t len)
{
    size_t word = strlen(CALL_WORD);
    const char *end = memchr(text, '\n', len);
    uint32_t port = 0;
    if (!end)
        return len < CALL_BYTES ? 0 : -EPROTO;
    size_t digits = (size_t)(end - text) - word;
    if ((size_t)(end - text) <= word || digits > 5 || strncasecmp(text, CALL_WORD, word) != 0)
        return -EPROTO;
    for (const char *p = text + word; p < end; p++) {
        if (*p < '0' || *p > '9')
            return -EPROTO;
        port = port * 10 + (uint32_t)(*p - '0');
    }
    return port >= 1 && port <= UINT16_MAX ? (int)port : -EPROTO;
}

// Takes the line alone from the socket: what follows it is for the guest.
static void
on_call(void *ctx, unsigned events)
{
    struct inward_call *call = ctx;
    char text[CALL_BYTES];
    (void)events;
    ssize_t n = recv(call->io.fd, text, sizeof text, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        call_drop(call, "it left without naming a port");
        return;
    }
    int port = parse_call(text, (size_t)n);
    if (port == 0)
        return;
    size_t line = port > 0 ? (size_t)((char *)memchr(text, '\n', (size_t)n) - text) + 1 : 0;
    if (port < 0 || recv(call->io.fd, text, line, 0) != (ssize_t)line) {
        call_drop(call, "its first line is not CONNECT PORT");
        return;
    }
    call_free(call);
    relay_dial(call->hub, call->channel, (uint16_t)port, &call->io.fd, 1);
}

static void
on_call_timer(void *ctx)
{
    call_drop(ctx, "it did not name a port in time");
}

static int
calls_new(struct hub *hub)
{
    if (hub->calls)
        return 0;
    hub->calls = calloc(CALLS_MAX, sizeof *hub->calls);
    if (!hub->calls)
        return -ENOMEM;
    for (uint32_t i = 0; i < CALLS_MAX; i++)
        hub->calls[i] = (struct inward_call){.hub = hub, .timer = -1};
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct inward_call *call = &hub->calls[i];
        call->timer = loop_timer_new(hub->loop, on_call_timer, call);
        if (call->timer < 0)
            return -ENOMEM;
        call->next_free = hub->calls_free;
        hub->calls_free = i + 1;
    }
    return 0;
}

static void
call_begin(struct hub *hub, uint16_t channel, int fd)
{
    struct inward_call *call = &hub->calls[hub->calls_free - 1];
    call->io = (struct loop_io){.fd = fd, .on_event = on_call, .ctx = call};
    if (loop_add(hub->loop, &call->io, LOOP_READ | LOOP_RDHUP | LOOP_EDGE) < 0) {
        close(fd);
        return;
    }
    hub->calls_free = call->next_free;
    call->channel = channel;
    call->used = true;
    loop_timer_set(hub->loop, call->timer, loop_now_us(hub->loop) + CALL_US);
}

// --- asking for clients --------------------------------------------------------------------------

static void
on_retry(void *ctx)
{
    struct hub *hub = ctx;
    hub->inward_due = true;
}

int
inward_add(struct hub *hub, uint16_t channel)
{
    if (hub->inward_count == 0)
        hub->inward_timer = loop_timer_new(hub->loop, on_retry, hub);
    hub->inward_count++;
    hub->inward_due = true;
    if (hub->inward_timer < 0)
        return -ENOMEM;
    return hub->channels[channel].config.port == 0 ? calls_new(hub) : 0;
}

// From the end of a turn, never from an answer: one opener answers from within open().
void
inward_ask(struct hub *hub)
{
    hub->inward_due = false;
    if (!hub->link)
        return;
    for (size_t i = 0; i < hub->channel_count; i++) {
        struct channel *ch = &hub->channels[i];
        bool may = ch->config.inward && !ch->asked && (ch->config.port != 0 || hub->calls_free);
        if (!may)
            continue;
        ch->asked = true;
        ch->ask_generation++;
        const struct stack_peer none = {0};
        hub->opener.open(hub->opener.ctx, session_of(hub, (uint16_t)i), (uint16_t)i, &none);
    }
}

void
inward_link_down(struct hub *hub)
{
    for (size_t i = 0; i < hub->channel_count; i++) {
        struct channel *ch = &hub->channels[i];
        if (!ch->asked)
            continue;
        ch->asked = false;
        hub->opener.cancel(hub->opener.ctx, session_of(hub, (uint16_t)i));
    }
    for (uint32_t i = 0; hub->calls && i < CALLS_MAX; i++)
        if (hub->calls[i].used)
            call_drop(&hub->calls[i], "the link is gone");
}

static bool
is_asked(const struct hub *hub, uint32_t index, uint32_t generation)
{
    return index < hub->channel_count && hub->channels[index].asked &&
           hub->channels[index].ask_generation == generation;
}

void
inward_opened(struct hub *hub, uint32_t index, uint32_t generation, const int *fds, size_t nfds)
{
    if (!is_asked(hub, index, generation)) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return;
    }
    uint16_t channel = (uint16_t)index;
    hub->channels[channel].asked = false;
    hub->inward_due = true;
    if (hub->channels[channel].config.port == 0 && nfds == 1)
        call_begin(hub, channel, fds[0]);
    else
        relay_dial(hub, channel, hub->channels[channel].config.port, fds, nfds);
}

void
inward_refused(struct hub *hub, uint32_t index, uint32_t generation)
{
    if (!is_asked(hub, index, generation))
        return;
    hub->channels[index].asked = false;
    loop_timer_set(hub->loop, hub->inward_timer, loop_now_us(hub->loop) + RETRY_US);
}

void
inward_free(struct hub *hub)
{
    for (uint32_t i = 0; hub->calls && i < CALLS_MAX; i++) {
        if (hub->calls[i].used)
            call_drop(&hub->calls[i], "the end");
        if (hub->calls[i].timer >= 0)
            loop_timer_free(hub->loop, hub->calls[i].timer);
    }
    if (hub->inward_timer >= 0)
        loop_timer_free(hub->loop, hub->inward_timer);
    free(hub->calls);
}

// SPDX-License-Identifier: BSD-3-Clause
// The back end of cmd: a command for each connection (host/command), with a socket as its stdin and
// stdout. Commands are bounded, those included that are on their way out.
#include "host/backend.h"

#include "host/command.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_BURST       16
#define LOG_INTERVAL_US 200000
#define FAREWELL_MS     2000
#define FAREWELL_STEP   20

struct entry {
    struct command command;
    struct cmd *owner;
    uint64_t session;
    bool open; // not closed yet
    struct entry *next, *prev;
};

struct cmd {
    const struct backend_env *env;
    struct entry *entries;
    uint32_t count;
    struct log_limit limit;
    char label[128];
};

static void
entry_free(void *ptr)
{
    free(ptr);
}

static void
entry_unlink(struct entry *e)
{
    struct cmd *c = e->owner;
    if (e->prev)
        e->prev->next = e->next;
    else
        c->entries = e->next;
    if (e->next)
        e->next->prev = e->prev;
    c->count--;
}

static void
on_ended(void *ctx)
{
    struct entry *e = ctx;
    entry_unlink(e);
    loop_defer(e->owner->env->loop, entry_free, e); // its callback may be on the stack
}

static int
cmd_start(const struct backend_env *env, void **state, struct error *err)
{
    struct cmd *c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(err, ENOMEM, "cmd");
    c->env = env;
    c->limit =
        (struct log_limit){.burst = LOG_BURST, .interval_us = LOG_INTERVAL_US, .tokens = LOG_BURST};
    snprintf(c->label, sizeof(c->label), "%s: channel %u", env->guest, env->spec->port);
    *state = c;
    return 0;
}

static int
cmd_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    struct cmd *c = state;
    if (c->count >= c->env->max_ends)
        return error_set(err, EAGAIN, "%s: %u commands run already", c->env->spec->text, c->count);
    struct entry *e = calloc(1, sizeof(*e));
    if (!e)
        return error_set(err, ENOMEM, "%s", c->env->spec->text);
    *e = (struct entry){.command = {.loop = c->env->loop,
                                    .label = c->label,
                                    .limit = &c->limit,
                                    .on_ended = on_ended,
                                    .ctx = e},
                        .owner = c,
                        .session = t->session,
                        .open = true,
                        .next = c->entries};
    int rc = command_start(&e->command, c->env->spec->device.path, &out->fd[0], err);
    if (rc < 0) {
        free(e);
        return rc;
    }
    if (c->entries)
        c->entries->prev = e;
    c->entries = e;
    c->count++;
    out->count = 1;
    return 0;
}

static void
cmd_closed(void *state, uint64_t session)
{
    const struct cmd *c = state;
    for (struct entry *e = c->entries; e; e = e->next) {
        if (!e->open || e->session != session)
            continue;
        e->open = false;
        command_end(&e->command);
        return;
    }
}

// All are asked to end, and killed when they do not.
static void
cmd_stop(void *state)
{
    struct cmd *c = state;
    for (int ms = 0; ms < FAREWELL_MS; ms += FAREWELL_STEP) {
        bool running = false;
        for (struct entry *e = c->entries; e; e = e->next)
            running |= command_ask_to_end(&e->command);
        if (!running)
            break;
        poll(NULL, 0, FAREWELL_STEP);
    }
    while (c->entries) {
        struct entry *e = c->entries;
        command_kill(&e->command);
        entry_unlink(e);
        free(e);
    }
    free(c);
}

static bool
cmd_idle(const void *state)
{
    const struct cmd *c = state;
    return c->count == 0;
}

const struct backend backend_cmd = {
    .start = cmd_start, .stop = cmd_stop, .open = cmd_open, .closed = cmd_closed, .idle = cmd_idle};

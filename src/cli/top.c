// SPDX-License-Identifier: BSD-3-Clause
// vmchannel top: a table of all channels, again and again, with bytes per second between two of
// them.
#include "cli/cli.h"
#include "cli/guests.h"
#include "cli/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_S 2
#define CLEAR      "\033[H\033[J"

// What a channel had counted when it was looked at.
struct sample {
    char guest[64];
    uint16_t port;
    bool inward;
    uint64_t from_guest, to_guest;
};

struct table {
    struct sample *before, *now; // heap
    size_t before_count, now_count;
    double seconds; // between the two
};

static const struct sample *
find(const struct table *t, const char *guest, const struct control_channel *ch)
{
    for (size_t i = 0; i < t->before_count; i++) {
        const struct sample *s = &t->before[i];
        if (s->port == ch->port && s->inward == ch->inward && strcmp(s->guest, guest) == 0)
            return s;
    }
    return NULL;
}

// Per second; what fell (another channel has the port) began anew.
static uint64_t
rate(const struct table *t, uint64_t now, const uint64_t *before)
{
    if (!before || t->seconds <= 0)
        return 0;
    uint64_t moved = now >= *before ? now - *before : now;
    return (uint64_t)((double)moved / t->seconds);
}

static void
print_guest(void *ctx, const struct control_status *s)
{
    struct table *t = ctx;
    struct sample *grown =
        reallocarray(t->now, t->now_count + s->channel_count + 1, sizeof(*t->now));
    if (!grown)
        die_errno(ENOMEM, "top");
    t->now = grown;
    for (size_t i = 0; i < s->channel_count; i++) {
        const struct control_channel *ch = &s->channels[i];
        const struct sample *old = find(t, s->info.name, ch);
        char port[16];
        printf("%-16.16s %8s %6" PRIu64 " %9" PRIu64 " %8" PRIu64 " %12" PRIu64 " %12" PRIu64
               "  %.60s\n",
               s->info.name, guests_port(ch, port), ch->connections, ch->opened, ch->refused,
               rate(t, ch->bytes_from_guest, old ? &old->from_guest : NULL),
               rate(t, ch->bytes_to_guest, old ? &old->to_guest : NULL), ch->device);
        struct sample *sample = &t->now[t->now_count++];
        *sample = (struct sample){.port = ch->port,
                                  .inward = ch->inward,
                                  .from_guest = ch->bytes_from_guest,
                                  .to_guest = ch->bytes_to_guest};
        memcpy(sample->guest, s->info.name, sizeof(sample->guest));
    }
}

static double
clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
print_table(struct table *t, const char *name)
{
    printf("%-16s %8s %6s %9s %8s %12s %12s  %s\n", "GUEST", "PORT", "CONNS", "OPENED", "REFUSED",
           "FROM B/s", "TO B/s", "DEVICE");
    guests_each(name, print_guest, t);
    if (fflush(stdout) != 0)
        die_errno(errno, "standard output");
    free(t->before);
    t->before = t->now;
    t->before_count = t->now_count;
    t->now = NULL;
    t->now_count = 0;
}

static int
top_main(const struct command *self, char **argv)
{
    struct settings s;
    struct table t = {.before = NULL};
    const char *words[WORDS_MAX] = {NULL};
    double before = 0;

    settings_init(&s);
    settings_parse_words(&s, self, argv, 0, 1, "[NAME]", words);
    bool is_terminal = isatty(STDOUT_FILENO);
    for (uint32_t i = 0; s.count == 0 || i < s.count; i++) {
        if (i > 0)
            sleep(s.interval_s ? s.interval_s : INTERVAL_S);
        if (is_terminal)
            printf(CLEAR);
        else if (i > 0)
            printf("\n");
        double now = clock_s();
        t.seconds = i > 0 ? now - before : 0;
        before = now;
        print_table(&t, words[0]);
    }
    free(t.before);
    settings_fini(&s);
    return EXIT_SUCCESS;
}

const struct command command_top = {
    .id = COMMAND_TOP,
    .name = "top",
    .synopsis = "[NAME] [--interval SECONDS] [--count N]",
    .summary = "show what goes through the channels, again and again",
    .text = "Shows the channels of all guests, or of NAME, with their connections and bytes per\n"
            "second, every two seconds until it is ended. Where standard output is no terminal,\n"
            "one table follows the other.",
    .main = top_main,
};

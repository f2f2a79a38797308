// SPDX-License-Identifier: BSD-3-Clause
// vmchannel metrics: the counters of all guests as OpenMetrics text, which Prometheus reads.
// Samples of one family stand together, so everything is asked for first.
#include "cli/cli.h"
#include "cli/guests.h"
#include "cli/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct statuses {
    struct control_status *list; // heap, with heap channels
    size_t count;
};

static void
keep(void *ctx, const struct control_status *s)
{
    struct statuses *all = ctx;
    struct control_status *grown = reallocarray(all->list, all->count + 1, sizeof(*all->list));
    struct control_channel *channels = calloc(s->channel_count + 1, sizeof(*channels));
    if (!grown || !channels)
        die_errno(ENOMEM, "metrics");
    if (s->channel_count > 0)
        memcpy(channels, s->channels, s->channel_count * sizeof(*channels));
    grown[all->count] = *s;
    grown[all->count++].channels = channels;
    all->list = grown;
}

static void
print_family(const char *prefix, const char *name, const char *help, bool is_gauge)
{
    printf("# HELP vmchannel_%s%s %s\n# TYPE vmchannel_%s%s %s\n", prefix, name, help, prefix, name,
           is_gauge ? "gauge" : "counter");
}

// A label's value: quotes and backslashes are escaped (a client's text has no control characters).
static void
print_label(const char *name, const char *value)
{
    printf("%s=\"", name);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            putchar('\\');
        putchar(*value);
    }
    putchar('"');
}

static void
print_link_family(const struct statuses *all, const struct control_number *n)
{
    print_family("link_", n->name, n->help, n->is_gauge);
    for (size_t i = 0; i < all->count; i++) {
        printf("vmchannel_link_%s%s{", n->name, n->is_gauge ? "" : "_total");
        print_label("guest", all->list[i].info.name);
        printf("} %" PRIu64 "\n", control_number_get(&all->list[i].link, n));
    }
}

static void
print_channel_family(const struct statuses *all, const struct control_number *n)
{
    print_family("channel_", n->name, n->help, n->is_gauge);
    for (size_t i = 0; i < all->count; i++) {
        for (size_t c = 0; c < all->list[i].channel_count; c++) {
            const struct control_channel *ch = &all->list[i].channels[c];
            printf("vmchannel_channel_%s%s{", n->name, n->is_gauge ? "" : "_total");
            print_label("guest", all->list[i].info.name);
            printf(",port=\"%u\",inward=\"%s\",", ch->port, ch->inward ? "true" : "false");
            print_label("name", ch->name);
            printf("} %" PRIu64 "\n", control_number_get(ch, n));
        }
    }
}

static void
print_guests(const struct statuses *all)
{
    print_family("", "uptime_seconds", "Seconds since the guest's daemon started.", true);
    for (size_t i = 0; i < all->count; i++) {
        printf("vmchannel_uptime_seconds{");
        print_label("guest", all->list[i].info.name);
        printf("} %" PRIu64 "\n", all->list[i].info.uptime_s);
    }
    print_family("", "worker_restarts", "Workers that had to be replaced.", false);
    for (size_t i = 0; i < all->count; i++) {
        printf("vmchannel_worker_restarts_total{");
        print_label("guest", all->list[i].info.name);
        printf("} %" PRIu64 "\n", all->list[i].info.restarts);
    }
}

static int
metrics_main(const struct command *self, char **argv)
{
    struct settings s;
    struct statuses all = {.list = NULL};

    settings_init(&s);
    settings_parse_words(&s, self, argv, 0, 0, "no word", NULL);
    bool ok = guests_each(NULL, keep, &all);
    print_guests(&all);
    for (size_t i = 0; i < CONTROL_LINK_NUMBERS; i++)
        print_link_family(&all, &control_link_numbers[i]);
    for (size_t i = 0; i < CONTROL_CHANNEL_NUMBERS; i++)
        print_channel_family(&all, &control_channel_numbers[i]);
    printf("# EOF\n");
    finish_output();
    for (size_t i = 0; i < all.count; i++)
        control_status_fini(&all.list[i]);
    free(all.list);
    settings_fini(&s);
    return ok ? EXIT_SUCCESS : EXIT_FAILED;
}

const struct command command_metrics = {
    .id = COMMAND_METRICS,
    .name = "metrics",
    .synopsis = "",
    .summary = "print the counters of all guests for Prometheus",
    .text = "Prints what stats does, of all guests that list shows, in the text format of\n"
            "OpenMetrics.",
    .main = metrics_main,
};

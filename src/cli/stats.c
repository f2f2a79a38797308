// SPDX-License-Identifier: BSD-3-Clause
// vmchannel stats: what a guest's link and channels have counted so far.
#include "cli/cli.h"
#include "cli/guests.h"
#include "cli/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void
print_stats(void *ctx, const struct control_status *s)
{
    printf("guest:    %s\nlink:     %s\nuptime:   %" PRIu64 " s, %" PRIu64
           " restarts of the worker\n",
           s->info.name, s->info.link, s->info.uptime_s, s->info.restarts);
    for (size_t i = 0; i < CONTROL_LINK_NUMBERS; i++)
        printf("%s %s %" PRIu64 "\n", i == 0 ? "frames:  " : "         ",
               control_link_numbers[i].name,
               control_number_get(&s->link, &control_link_numbers[i]));
    for (size_t i = 0; i < s->channel_count; i++) {
        const struct control_channel *ch = &s->channels[i];
        char port[16];
        printf("channel:  %s is %s\n", guests_port(ch, port), ch->device);
        for (size_t n = 0; n < CONTROL_CHANNEL_NUMBERS; n++)
            printf("          %s %" PRIu64 "\n", control_channel_numbers[n].name,
                   control_number_get(ch, &control_channel_numbers[n]));
    }
}

static void
print_json(const char *name)
{
    struct error err;
    char *text = NULL;
    struct control_client *c = control_client_new(name, NULL, &err);
    if (!c || control_client_stats_json(c, &text, &err) < 0)
        die(&err);
    printf("%s\n", text);
    free(text);
    control_client_free(c);
}

static int
stats_main(const struct command *self, char **argv)
{
    struct settings s;
    const char *words[WORDS_MAX];

    settings_init(&s);
    settings_parse_words(&s, self, argv, 1, 1, "NAME", words);
    if (s.json)
        print_json(words[0]);
    else
        guests_each(words[0], print_stats, NULL);
    finish_output();
    settings_fini(&s);
    return EXIT_SUCCESS;
}

const struct command command_stats = {
    .id = COMMAND_STATS,
    .name = "stats",
    .synopsis = "NAME [--json]",
    .summary = "print what a guest's link and channels have counted",
    .text =
        "Prints the counters of the running guest NAME: of its link frames, bytes and what was\n"
        "dropped, of each channel connections and bytes.",
    .main = stats_main,
};

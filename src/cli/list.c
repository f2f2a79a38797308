// SPDX-License-Identifier: BSD-3-Clause
// vmchannel list: the guests that are served here, one line each and one for each of their
// channels.
#include "cli/cli.h"
#include "cli/guests.h"
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>

static void
print_guest(void *ctx, const struct control_status *s)
{
    int *count = ctx;
    if ((*count)++ == 0)
        printf("%-16s %7s  %s\n", "GUEST", "PID", "LINK, CHANNELS");
    printf("%-16s %7u  %s\n", s->info.name, (unsigned)s->info.pid, s->info.link);
    for (size_t i = 0; i < s->channel_count; i++) {
        const struct control_channel *ch = &s->channels[i];
        char port[16];
        printf("%-16s %7s  %s:%s\n", "", "", guests_port(ch, port), ch->device);
    }
}

static int
list_main(const struct command *self, char **argv)
{
    struct settings s;
    int count = 0;

    settings_init(&s);
    settings_parse_words(&s, self, argv, 0, 0, "no word", NULL);
    bool ok = guests_each(NULL, print_guest, &count);
    finish_output();
    settings_fini(&s);
    return ok ? EXIT_SUCCESS : EXIT_FAILED;
}

const struct command command_list = {
    .id = COMMAND_LIST,
    .name = "list",
    .synopsis = "",
    .summary = "list the guests that run, and their channels",
    .text =
        "Lists the guests whose daemons have a control socket and run under this account: name,\n"
        "pid of the daemon, link, and the channels.",
    .main = list_main,
};

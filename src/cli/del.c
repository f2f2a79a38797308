// SPDX-License-Identifier: BSD-3-Clause
// vmchannel del: a channel less for a guest that runs.
#include "cli/cli.h"
#include "cli/domain_change.h"
#include "cli/options.h"
#include "control/client.h"

#include <stdlib.h>
#include <string.h>

static int
del_main(const struct command *self, char **argv)
{
    struct settings s;
    struct error err;
    const char *words[WORDS_MAX];
    uint16_t port;

    settings_init(&s);
    settings_parse_words(&s, self, argv, 2, 2, "NAME PORT", words);
    if (!channel_port_parse(words[1], strlen(words[1]), &port))
        die_usage("port '%.64s': not a number in range (accepted: 1 to 65535)", words[1]);
    struct domain_change change;
    if (domain_change_del(words[0], port, &change, &err) < 0)
        die(&err);
    struct control_client *c = control_client_new(words[0], NULL, &err);
    if (!c || control_client_remove(c, port, &err) < 0)
        die(&err);
    domain_change_keep(&change);
    domain_change_fini(&change);
    control_client_free(c);
    settings_fini(&s);
    return EXIT_SUCCESS;
}

const struct command command_del = {
    .id = COMMAND_DEL,
    .name = "del",
    .synopsis = "NAME PORT",
    .summary = "take a channel away from a guest that runs",
    .text = "Deletes the channel at PORT of the running guest NAME: its connections are reset on\n"
            "both sides, new ones are refused, and what it had open on the host is closed.",
    .main = del_main,
};

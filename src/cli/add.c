// SPDX-License-Identifier: BSD-3-Clause
// vmchannel add: a channel more for a guest that runs. Whether it may be is the daemon's to say.
#include "cli/cli.h"
#include "cli/domain_change.h"
#include "cli/options.h"
#include "control/client.h"

#include <stdlib.h>

static int
add_main(const struct command *self, char **argv)
{
    struct settings s;
    struct error err;
    const char *words[WORDS_MAX];

    settings_init(&s);
    settings_parse_words(&s, self, argv, 2, 2, "NAME PORT:DEVICE", words);
    // What cannot be understood is told apart from what the daemon refuses.
    if (guest_config_add_channel(&s.guest, words[1], &err) < 0)
        die_usage("%s", err.text);
    struct domain_change change;
    if (domain_change_add(words[0], words[1], &change, &err) < 0)
        die(&err);
    struct control_client *c = control_client_new(words[0], NULL, &err);
    if (!c || control_client_add(c, words[1], &err) < 0)
        die(&err);
    domain_change_keep(&change);
    domain_change_fini(&change);
    control_client_free(c);
    settings_fini(&s);
    return EXIT_SUCCESS;
}

const struct command command_add = {
    .id = COMMAND_ADD,
    .name = "add",
    .synopsis = "NAME PORT:DEVICE",
    .summary = "add a channel to a guest that runs",
    .text = "Joins the port PORT of the running guest NAME to DEVICE, as -vmchannel does at its\n"
            "start; the guest can connect when the command has ended. NAME is that of list, or\n"
            "the path of a control socket. PORT may be a range of up to 64.",
    .main = add_main,
};

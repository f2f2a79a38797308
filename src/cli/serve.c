// SPDX-License-Identifier: BSD-3-Clause
// vmchannel serve: one guest's channels in the foreground, over a link that somebody else's
// hypervisor or namespace holds the other end of. Ends on SIGTERM, SIGINT or SIGHUP.
#include "base/log.h"
#include "broker/broker.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/signals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
addr_text(uint32_t addr, char out[INET_ADDRSTRLEN])
{
    struct in_addr in = {.s_addr = htonl(addr)};
    inet_ntop(AF_INET, &in, out, INET_ADDRSTRLEN);
    return out;
}

static void
print_channel(const struct channel_spec *c)
{
    char what[4096];
    device_describe(&c->device, what, sizeof(what));
    printf("channel:  %u is %s (%s)\n", c->port, c->text, what);
}

static void
print_settings(const struct settings *s, const struct link_spec *link)
{
    const struct guest_config *g = &s->guest;
    char name[512], net[INET_ADDRSTRLEN], channel[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];

    printf("guest:    %s\n", g->name);
    printf("link:     %s\n", link_spec_name(link, name, sizeof(name)));
    printf("network:  %s/%d, channels at %s, guest at %s, MTU %u\n", addr_text(g->net, net),
           __builtin_popcount(g->netmask), addr_text(g->channel_addr, channel),
           addr_text(g->guest_addr, guest), g->mtu);
    for (size_t i = 0; i < g->channel_count; i++)
        print_channel(&g->channels[i]);
    printf("memory:   at most %llu MiB, with all of %u connections in use and stalled\n",
           (unsigned long long)(broker_memory_bound(g) >> 20), (unsigned)g->max_conns);
}

static int
serve(const struct broker_config *config)
{
    struct error err;
    int stop_fd = signals_stop_fd();
    if (stop_fd < 0)
        die_errno(-stop_fd, "signalfd");
    signal(SIGPIPE, SIG_IGN);

    struct broker *b = broker_start(config, &err);
    if (!b)
        die(&err);
    log_info("%s: ready", config->guest->name);
    int rc = broker_run(b, stop_fd);
    broker_free(b);
    return rc < 0 ? EXIT_FAILED : EXIT_SUCCESS;
}

static int
serve_main(const struct command *self, char **argv)
{
    struct settings s;
    struct broker_config config = {.guest = &s.guest};
    struct error err;

    settings_init(&s);
    char **rest = settings_parse(&s, self, argv);
    if (*rest)
        die_usage("serve: unexpected word '%s' (accepted: options)", *rest);
    if (!s.link)
        die_usage("serve: no link given (accepted: --link LINK, as in --link stream,path=PATH)");
    if (link_spec_parse(s.link, &config.link, &err) < 0)
        die_usage("%s", err.text);
    settings_need_channel(&s, self);
    // Before anything of ours can have that number.
    if (config.link.fd >= 0 && fcntl(config.link.fd, F_SETFD, FD_CLOEXEC) < 0)
        die_errno(errno, s.link);

    int rc = EXIT_SUCCESS;
    if (s.dry_run) {
        print_settings(&s, &config.link);
    } else {
        settings_apply_verbosity(&s, LOG_INFO);
        config.has_stdio = true;
        config.lock_up = !s.guest.sandbox_off && !s.guest.sandbox_worker;
        s.user.group = s.guest.access.gid;
        config.user = s.user.name[0] ? &s.user : NULL;
        config.exit_on_link_down = config.link.fd >= 0;
        rc = serve(&config);
    }
    settings_fini(&s);
    return rc;
}

const struct command command_serve = {
    .id = COMMAND_SERVE,
    .name = "serve",
    .synopsis = "--link LINK -vmchannel PORT:DEVICE... [OPTION...]",
    .summary = "serve a guest that somebody else runs, in the foreground",
    .text =
        "Serves the channels of one guest over LINK, in the foreground, until SIGTERM, SIGINT or\n"
        "SIGHUP. Logs \"ready\" when the guest may be started.",
    .main = serve_main,
};

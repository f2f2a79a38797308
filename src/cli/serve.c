// SPDX-License-Identifier: BSD-3-Clause
// vmchannel serve: one guest's channels in the foreground, over a link that somebody else's
// hypervisor or namespace holds the other end of. Ends on SIGTERM, SIGINT or SIGHUP.
#include "base/log.h"
#include "broker/broker.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/notify.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "config/domain_xml.h"

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
    char what[4096], port[8] = "*";
    device_describe(&c->device, what, sizeof(what));
    if (c->port != 0)
        snprintf(port, sizeof(port), "%u", c->port);
    if (c->inward)
        printf("inward:   %s is %s (each client is connected to the guest)\n", port, c->text);
    else
        printf("channel:  %s is %s (%s)\n", port, c->text, what);
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
    const struct ipv6_addr channel6 = guest_config_channel_addr6(g);
    bool has_ipv6 = link_kind_is_frames(link->kind) || link->kind == LINK_NETNS;
    char net6[INET6_ADDRSTRLEN], text6[INET6_ADDRSTRLEN];
    if (has_ipv6 && !ipv6_addr_is_none(&channel6))
        printf("IPv6:     %s/64, channels at %s\n",
               inet_ntop(AF_INET6, &g->net6, net6, sizeof(net6)),
               inet_ntop(AF_INET6, &channel6, text6, sizeof(text6)));
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

    int notify_fd = notify_open(); // as who we are
    struct broker *b = broker_start(config, &err);
    if (!b)
        die(&err);
    log_info("%s: ready", config->guest->name);
    notify_ready(notify_fd);
    int rc = broker_run(b, stop_fd);
    broker_free(b);
    return rc < 0 ? EXIT_FAILED : EXIT_SUCCESS;
}

// A name that does not do for us is its UUID.
static int
name_guest(struct guest_config *g, const struct domain_info *domain, struct error *err)
{
    int rc = guest_config_set_name(g, domain->name, err);
    return rc < 0 && domain->uuid[0] != '\0' ? guest_config_set_name(g, domain->uuid, err) : rc;
}

// What the options did not say of name and link, the channels, and the UUID.
static void
apply_domain(struct settings *s, struct link_spec *link)
{
    struct domain_info domain;
    struct buffer xml = {0};
    struct error err;
    int rc = document_read(s->xml, &xml, &err);
    if (rc < 0)
        die(&err);
    rc = domain_xml_read(xml.data, xml.len, s->xml, &domain, &err);
    for (size_t i = 0; i < domain.channel_count && rc == 0; i++)
        rc = guest_config_add_channel(&s->guest, domain.channels[i].text, &err);
    if (rc == 0)
        strcpy(s->guest.uuid, domain.uuid);
    if (rc == 0 && !s->has_name)
        rc = name_guest(&s->guest, &domain, &err);
    if (rc == 0 && !s->link && !domain.socket)
        rc = error_set(&err, 0,
                       "%s: not translated, so it has no link (accepted: what vmchannel "
                       "xml makes of it, or --link LINK)",
                       s->xml);
    if (rc == 0 && !s->link && strlen(domain.socket) >= sizeof(link->path))
        rc = error_set(&err, 0, "%s: the interface's socket has a path of over %zu bytes", s->xml,
                       sizeof(link->path) - 1);
    if (rc < 0)
        die(&err);
    if (!s->link) {
        *link = (struct link_spec){.kind = LINK_VHOST_USER, .fd = -1, .server = true};
        strcpy(link->path, domain.socket);
    }
    domain_info_fini(&domain);
    buffer_fini(&xml);
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
    if (!s.link && !s.xml)
        die_usage("serve: no link given (accepted: --link LINK, as in --link stream,path=PATH, or "
                  "--xml FILE)");
    if (s.link && link_spec_parse(s.link, &config.link, &err) < 0)
        die_usage("%s", err.text);
    if (s.xml)
        apply_domain(&s, &config.link);
    settings_need_channel(&s, self);
    settings_check_link(&s, config.link.kind);
    // Before anything of ours can have that number.
    if (config.link.fd >= 0 && fcntl(config.link.fd, F_SETFD, FD_CLOEXEC) < 0)
        die_errno(errno, s.link);

    int rc = EXIT_SUCCESS;
    if (s.dry_run) {
        print_settings(&s, &config.link);
        finish_output();
    } else {
        settings_apply_verbosity(&s, LOG_INFO);
        config.control_path = settings_control(&s, &config.control_by_name);
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
    .synopsis = "--link LINK|--xml FILE [-vmchannel PORT:DEVICE]... [OPTION...]",
    .summary = "serve a guest that somebody else runs, in the foreground",
    .text =
        "Serves the channels of one guest over LINK, in the foreground, until SIGTERM, SIGINT or\n"
        "SIGHUP. Logs \"ready\" when the guest may be started.",
    .main = serve_main,
};

// SPDX-License-Identifier: BSD-3-Clause
// vmchannel hook: what libvirt's hook for QEMU domains executes. It may not ask libvirt anything,
// since libvirt waits for it. Domains without our metadata are nothing to it. The daemon is kept by
// systemd or by cli/keeper (cli/hook_daemon).
#include "base/log.h"
#include "cli/cli.h"
#include "cli/hook_check.h"
#include "cli/hook_daemon.h"
#include "cli/options.h"
#include "cli/qemu_user.h"
#include "config/domain_xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// To the end, also of what is too long: libvirt writes it, and must not find nobody reading.
static char *
read_input(size_t *len)
{
    char *text = malloc(DOMAIN_XML_MAX + 1), rest[4096];
    size_t n = 0;
    ssize_t part;
    if (!text)
        die_errno(ENOMEM, "hook");
    for (;;) {
        size_t left = DOMAIN_XML_MAX + 1 - n;
        part = read(STDIN_FILENO, left ? text + n : rest, left ? left : sizeof(rest));
        if (part == 0)
            break;
        if (part < 0 && errno != EINTR)
            die_errno(errno, "hook: standard input");
        if (part > 0 && left)
            n += (size_t)part;
    }
    *len = n;
    return text;
}

struct input {
    char *xml; // owned
    size_t len;
    struct domain_info domain; // read from it
};

// What root makes and removes at the word of an XML must be ours; an ordinary user's directory is
// its own business.
static void
check_socket(const struct domain_info *d)
{
    char wanted[sizeof(DOMAIN_XML_DIRECTORY) + UUID_LEN + sizeof("/.sock")];
    if (!d->socket)
        die_usage("%s: the interface with the alias " DOMAIN_XML_ALIAS " is missing (accepted: a "
                  "domain as 'vmchannel define' makes it)",
                  d->name);
    int len = snprintf(wanted, sizeof(wanted), DOMAIN_XML_DIRECTORY "/%s.sock", d->uuid);
    const char *file = strrchr(d->socket, '/');
    bool good = geteuid() == 0 ? strcmp(d->socket, wanted) == 0
                               : d->socket[0] == '/' && file != d->socket &&
                                     strcmp(file, wanted + sizeof(DOMAIN_XML_DIRECTORY) - 1) == 0;
    if (!good)
        die_usage("%s: %s: not the socket of this domain (accepted: %s; a copied domain is to be "
                  "defined anew, by 'vmchannel dumpxml' and 'vmchannel define')",
                  d->name, d->socket,
                  geteuid() == 0 ? wanted : wanted + len - UUID_LEN - strlen(".sock"));
}

// is_new: QEMU has not started, so what cannot work may be refused.
static int
begin(const struct input *in, bool is_new)
{
    const struct domain_info *d = &in->domain;
    struct run_as user;
    struct error err;
    bool is_root = geteuid() == 0;
    if (is_root && qemu_user_find(d->owner, QEMU_CONF, &user, &err) < 0)
        die(&err);
    if (is_new && !hook_check_channels(d, is_root ? &user : NULL))
        return EXIT_FAILED;
    hook_daemon_stop(d); // what a libvirt that was killed has left
    hook_daemon_start(d, in->xml, in->len, is_root ? &user : NULL);
    return EXIT_SUCCESS;
}

static int
start(const struct input *in)
{
    check_socket(&in->domain);
    return begin(in, true);
}

static int
reconnect(const struct input *in)
{
    check_socket(&in->domain);
    if (hook_daemon_is_running(&in->domain))
        return EXIT_SUCCESS;
    return begin(in, false);
}

static int
stop(const struct input *in)
{
    check_socket(&in->domain);
    hook_daemon_stop(&in->domain);
    return EXIT_SUCCESS;
}

// libvirt kills a running QEMU whose hook fails when libvirtd comes back. A guest without channels
// is better than none, so that hook always succeeds: the rest is done, or fails, in a child.
static void
survive(void)
{
    pid_t pid = fork();
    if (pid == 0)
        return;
    if (pid > 0)
        waitpid(pid, NULL, 0);
    exit(EXIT_SUCCESS);
}

static int
run_event(int (*function)(const struct input *in), struct input *in, const char *name)
{
    struct error err;
    if (domain_xml_read(in->xml, in->len, name, &in->domain, &err) < 0)
        die(&err);
    int status = in->domain.is_translated ? function(in) : EXIT_SUCCESS;
    domain_info_fini(&in->domain);
    return status;
}

static int
hook_main(const struct command *self, char **argv)
{
    static const struct {
        const char *operation, *moment;
        int (*function)(const struct input *in);
    } events[] = {
        {"prepare", "begin", start}, {"release", "end", stop}, {"reconnect", "begin", reconnect}};
    struct settings s;
    struct input in;
    int status = EXIT_SUCCESS;

    settings_init(&s);
    char **words = settings_parse(&s, self, argv);
    if (!words[0] || !words[1] || !words[2])
        die_usage("hook: DOMAIN, OPERATION and MOMENT are missing (accepted: hook DOMAIN OPERATION "
                  "MOMENT EXTRA, as libvirt calls it)");
    in.xml = read_input(&in.len);
    bool is_ours = memmem(in.xml, in.len, DOMAIN_XML_NAMESPACE, strlen(DOMAIN_XML_NAMESPACE));
    for (size_t i = 0; is_ours && i < sizeof(events) / sizeof(events[0]); i++) {
        if (strcmp(words[1], events[i].operation) != 0 || strcmp(words[2], events[i].moment) != 0)
            continue;
        if (events[i].function == reconnect)
            survive();
        status = run_event(events[i].function, &in, words[0]);
        break;
    }
    free(in.xml);
    return status;
}

const struct command command_hook = {
    .id = COMMAND_HOOK,
    .name = "hook",
    .synopsis = "DOMAIN OPERATION MOMENT EXTRA",
    .summary = "what libvirt runs when a domain starts and ends",
    .text = "Is run by libvirt, through the file that 'vmchannel install-hook' makes, with the "
            "domain's\n"
            "XML on standard input: checks the channels and starts their daemon before the domain\n"
            "starts, and ends it behind the domain.",
    .main = hook_main,
};

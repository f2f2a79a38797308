// SPDX-License-Identifier: BSD-3-Clause
// vmchannel-libvirt: what `vmchannel define`, `create`, `edit`, `dumpxml` and `undefine` become. A
// program of its own, so that vmchannel needs no libvirt, which has read the command line
// (cli/libvirt_exec.c). What is printed is as virsh's.
//
// usage: vmchannel-libvirt COMMAND URI HOW FILE|DOMAIN
//
// And one more for `vmchannel add` and `del`: record, which changes a domain's metadata.
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/libvirt/domain.h"
#include "cli/libvirt/edit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct request {
    const char *command;
    const char *uri;  // NULL: libvirt's default
    const char *what; // FILE or DOMAIN
    const char *how;  // dumpxml: "inactive" or ""; record: "add PORT:DEVICE" or "del PORT"
};

struct action {
    const char *name;
    void (*run)(virConnectPtr c, const struct request *r);
};

static void
submit_file(virConnectPtr c, const struct request *r, bool start, const char *done)
{
    struct buffer xml = {0};
    struct error err;
    if (document_read(r->what, &xml, &err) < 0)
        die(&err);
    virDomainPtr d = domain_submit(c, r->command, r->what, &xml, start);
    printf("Domain '%s' %s from %s\n", virDomainGetName(d), done, r->what);
    virDomainFree(d);
    buffer_fini(&xml);
}

static void
define(virConnectPtr c, const struct request *r)
{
    submit_file(c, r, false, "defined");
}

static void
create(virConnectPtr c, const struct request *r)
{
    submit_file(c, r, true, "created");
}

static bool
same_text(const struct buffer *a, const struct buffer *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

// What cannot be defined stays in its file: it may have been much work.
static void
edit(virConnectPtr c, const struct request *r)
{
    struct buffer before = {0}, after = {0}, now = {0};
    unsigned flags = VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE;
    char file[PATH_MAX];
    virDomainPtr d = domain_find(c, r->command, r->what);
    domain_text(d, r->command, flags, &before);
    edit_text(&before, &after, file);
    if (same_text(&before, &after)) {
        printf("Domain '%s' XML configuration not changed.\n", virDomainGetName(d));
    } else {
        domain_text(d, r->command, flags, &now);
        if (!same_text(&before, &now))
            die_usage("edit: %s: was changed by somebody else meanwhile; your text is in %s",
                      virDomainGetName(d), file);
        virDomainFree(domain_submit(c, r->command, file, &after, false));
        printf("Domain '%s' XML configuration edited.\n", virDomainGetName(d));
    }
    unlink(file);
    virDomainFree(d);
    buffer_fini(&before);
    buffer_fini(&after);
    buffer_fini(&now);
}

static void
dumpxml(virConnectPtr c, const struct request *r)
{
    struct buffer xml = {0};
    struct error err;
    virDomainPtr d = domain_find(c, r->command, r->what);
    domain_text(d, r->command, *r->how ? VIR_DOMAIN_XML_INACTIVE : 0, &xml);
    if (document_write(&xml, &err) < 0)
        die(&err);
    virDomainFree(d);
    buffer_fini(&xml);
}

static void
undefine(virConnectPtr c, const struct request *r)
{
    virDomainPtr d = domain_find(c, r->command, r->what);
    if (virDomainUndefineFlags(d, 0) < 0)
        die_libvirt(r->command, r->what);
    printf("Domain '%s' has been undefined\n", virDomainGetName(d));
    virDomainFree(d);
}

// What libvirt keeps of the domain as it runs, and as it will start.
static void
record(virConnectPtr c, const struct request *r)
{
    virDomainPtr d = domain_find(c, r->command, r->what);
    domain_record(d, r->command, r->how, VIR_DOMAIN_AFFECT_LIVE);
    if (virDomainIsPersistent(d) == 1)
        domain_record(d, r->command, r->how, VIR_DOMAIN_AFFECT_CONFIG);
    virDomainFree(d);
}

static const struct action actions[] = {
    {"define", define},   {"create", create},     {"edit", edit},
    {"dumpxml", dumpxml}, {"undefine", undefine}, {"record", record},
};

int
main(int argc, char **argv)
{
    const struct action *a = NULL;
    for (size_t i = 0; argc == 5 && i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(argv[1], actions[i].name) == 0)
            a = &actions[i];
    if (!a)
        die_usage("vmchannel-libvirt is a part of vmchannel (accepted: vmchannel define, create, "
                  "edit, dumpxml, undefine)");
    struct request r = {
        .command = a->name, .uri = argv[2][0] ? argv[2] : NULL, .how = argv[3], .what = argv[4]};
    virConnectPtr c = connection_open(a->name, r.uri);
    a->run(c, &r);
    virConnectClose(c);
    if (fflush(stdout) != 0)
        die_errno(errno, "standard output");
    return EXIT_SUCCESS;
}

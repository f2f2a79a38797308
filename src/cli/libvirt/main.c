// SPDX-License-Identifier: BSD-3-Clause
// vmchannel-libvirt: what `vmchannel define`, `create`, `edit`, `dumpxml` and `undefine` become. A
// program of its own, so that vmchannel needs no libvirt. Command lines and what is printed are as
// virsh's.
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
    bool inactive;
};

struct action {
    const char *name, *operand, *text;
    bool takes_inactive;
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
    domain_text(d, r->command, r->inactive ? VIR_DOMAIN_XML_INACTIVE : 0, &xml);
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

static const struct action actions[] = {
    {"define", "FILE",
     "Defines the domain in FILE, whose XML may have <interface type='vmchannel'> in it; a domain\n"
     "of its name and without <uuid> in the XML is changed. FILE - is standard input.",
     false, define},
    {"create", "FILE",
     "Creates and starts a transient domain from FILE, as 'define' does with a persistent one.",
     false, create},
    {"edit", "DOMAIN",
     "Has $VISUAL, $EDITOR or vi change the domain's XML, as it was given to 'define'.", false,
     edit},
    {"dumpxml", "DOMAIN", "Prints the domain's XML, as it was given to 'define'.", true, dumpxml},
    {"undefine", "DOMAIN", "Undefines the domain. Of ours it leaves nothing.", false, undefine},
};

#define ACTION_COUNT (sizeof(actions) / sizeof(actions[0]))

static void
print_help(const struct action *a)
{
    printf("usage: vmchannel %s [OPTION...] %s\n\n%s\n\noptions:\n"
           "  -c, --connect URI         libvirt's, such as qemu:///system or qemu:///session;\n"
           "                            without it the default of virsh\n%s"
           "  -h, --help                print this\n",
           a->name, a->operand, a->text,
           a->takes_inactive
               ? "  --inactive                what is defined, also while the domain runs\n"
               : "");
}

static bool
is_option(const char *word, const char *name)
{
    size_t dashes = strspn(word, "-");
    return dashes >= 1 && dashes <= 2 && strcmp(word + dashes, name) == 0;
}

// The value of an option "--name VALUE" or "--name=VALUE" at **argv, which is passed over; NULL if
// it is another.
static const char *
take_value(char ***argv, const char *name)
{
    const char *word = **argv, *text = word + strspn(word, "-");
    size_t len = strlen(name);
    if (word[0] == '-' && strncmp(text, name, len) == 0 && text[len] == '=')
        return text + len + 1;
    if (!is_option(word, name) && !(name[0] == 'c' && strcmp(word, "-c") == 0))
        return NULL;
    if (!(*argv)[1])
        die_usage("--%s: value missing (accepted: --%s URI)", name, name);
    return *++*argv;
}

static void
parse(const struct action *a, char **argv, struct request *r)
{
    const char *value;
    bool only_words = false;
    for (; *argv; argv++) {
        if (only_words || (*argv)[0] != '-' || strcmp(*argv, "-") == 0) {
            if (r->what)
                die_usage("%s: unexpected word '%s' (accepted: one %s)", a->name, *argv,
                          a->operand);
            r->what = *argv;
        } else if (strcmp(*argv, "--") == 0) {
            only_words = true;
        } else if (is_option(*argv, "help") || strcmp(*argv, "-h") == 0) {
            print_help(a);
            exit(EXIT_SUCCESS);
        } else if ((value = take_value(&argv, "connect"))) {
            r->uri = value;
        } else if (a->takes_inactive && is_option(*argv, "inactive")) {
            r->inactive = true;
        } else {
            die_usage("%s: %s: unknown option (accepted: --connect URI, %s--help)", a->name, *argv,
                      a->takes_inactive ? "--inactive, " : "");
        }
    }
    if (!r->what)
        die_usage("%s: %s is missing (accepted: %s [--connect URI] %s)", a->name, a->operand,
                  a->name, a->operand);
}

int
main(int argc, char **argv)
{
    const struct action *a = NULL;
    for (size_t i = 0; argc > 1 && i < ACTION_COUNT; i++)
        if (strcmp(argv[1], actions[i].name) == 0)
            a = &actions[i];
    if (!a)
        die_usage("vmchannel-libvirt is a part of vmchannel (accepted: vmchannel define, create, "
                  "edit, dumpxml, undefine)");
    struct request r = {.command = a->name};
    parse(a, argv + 2, &r);
    virConnectPtr c = connection_open(a->name, r.uri);
    a->run(c, &r);
    virConnectClose(c);
    if (fflush(stdout) != 0)
        die_errno(errno, "standard output");
    return EXIT_SUCCESS;
}

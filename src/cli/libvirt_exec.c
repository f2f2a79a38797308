// SPDX-License-Identifier: BSD-3-Clause
// vmchannel define, create, edit, dumpxml, undefine: understands the command line. What it asks for
// is done by another program, vmchannel-libvirt, which alone is linked with libvirt; this one finds
// it and becomes it.
#include "cli/cli.h"
#include "cli/libvirt_program.h"
#include "cli/options.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "vmchannel-libvirt"

// Beside the running program, as in a build directory.
static bool
find_beside(char out[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", out, PATH_MAX - sizeof(PROGRAM));
    if (len <= 0)
        return false;
    out[len] = '\0';
    strcpy(strrchr(out, '/') + 1, PROGRAM);
    return access(out, X_OK) == 0;
}

void
libvirt_program_become(const char *command, const char *uri, const char *how, const char *what)
{
    char beside[PATH_MAX];
    struct error err;
    const char *program = find_beside(beside) ? beside : VMCHANNEL_LIBEXECDIR "/" PROGRAM;
    execl(program, program, command, uri, how, what, (char *)NULL);
    if (errno == ENOENT)
        error_set(&err, 0,
                  "%s: the program %s is not installed (it is of a package vmchannel-libvirt, or "
                  "of a build with libvirt-dev)",
                  command, program);
    else
        error_set(&err, errno, "%s: %s", command, program);
    die(&err);
}

static int
become_program(const struct command *self, char **argv)
{
    struct settings s;
    settings_init(&s);
    char **words = settings_parse(&s, self, argv);
    const char *operand = self->synopsis + strlen("[OPTION...] ");
    if (!words[0])
        die_usage("%s: %s is missing (accepted: %s)", self->name, operand, self->synopsis);
    if (words[1])
        die_usage("%s: unexpected word '%s' (accepted: %s)", self->name, words[1], self->synopsis);
    libvirt_program_become(self->name, s.uri ? s.uri : "", s.inactive ? "inactive" : "", words[0]);
}

const struct command command_define = {
    .id = COMMAND_LIBVIRT,
    .name = "define",
    .synopsis = "[OPTION...] FILE",
    .summary = "define a libvirt domain that has channels",
    .text = "Defines the domain in FILE, whose XML may have <interface type='vmchannel'> in it. "
            "Without\n"
            "<uuid> in it, the existing domain of its name is changed. FILE - is standard input.",
    .main = become_program,
};

const struct command command_create = {
    .id = COMMAND_LIBVIRT,
    .name = "create",
    .synopsis = "[OPTION...] FILE",
    .summary = "start a libvirt domain that is not defined",
    .text = "Starts a transient domain from FILE, which is as that of 'vmchannel define'.",
    .main = become_program,
};

const struct command command_edit = {
    .id = COMMAND_LIBVIRT,
    .name = "edit",
    .synopsis = "[OPTION...] DOMAIN",
    .summary = "change a libvirt domain in an editor",
    .text = "Has $VISUAL, $EDITOR or vi change the domain's XML, as it was given to\n"
            "'vmchannel define', and defines it again.",
    .main = become_program,
};

const struct command command_dumpxml = {
    .id = COMMAND_DUMPXML,
    .name = "dumpxml",
    .synopsis = "[OPTION...] DOMAIN",
    .summary = "print a libvirt domain as its user wrote it",
    .text = "Prints the domain's XML, with the channels as they were given to 'vmchannel define'.",
    .main = become_program,
};

const struct command command_undefine = {
    .id = COMMAND_LIBVIRT,
    .name = "undefine",
    .synopsis = "[OPTION...] DOMAIN",
    .summary = "undefine a libvirt domain",
    .text = "Undefines the domain, as virsh does. Nothing of ours is left then.",
    .main = become_program,
};

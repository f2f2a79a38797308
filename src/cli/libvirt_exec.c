// SPDX-License-Identifier: BSD-3-Clause
// vmchannel define, create, edit, dumpxml, undefine: done by another program, vmchannel-libvirt,
// which alone is linked with libvirt. This one finds it and becomes it.
#include "cli/cli.h"

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

static int
become_program(const struct command *self, char **argv)
{
    char beside[PATH_MAX];
    const char *program = find_beside(beside) ? beside : VMCHANNEL_LIBEXECDIR "/" PROGRAM;
    size_t count = 0;
    while (argv[count])
        count++;
    char **words = calloc(count + 3, sizeof(*words));
    if (!words)
        die_errno(ENOMEM, self->name);
    words[0] = strdup(program);
    words[1] = strdup(self->name);
    memcpy(words + 2, argv, count * sizeof(*words));
    execv(program, words);
    struct error err;
    if (errno == ENOENT)
        error_set(&err, 0,
                  "%s: the program %s is not installed (of a package vmchannel-libvirt, or of a "
                  "build with libvirt's headers, libvirt-dev)",
                  self->name, program);
    else
        error_set(&err, errno, "%s: %s", self->name, program);
    die(&err);
}

const struct command command_define = {.id = COMMAND_LIBVIRT,
                                       .name = "define",
                                       .summary = "define a libvirt domain that has channels",
                                       .main = become_program};
const struct command command_create = {.id = COMMAND_LIBVIRT,
                                       .name = "create",
                                       .summary = "create and start a transient one",
                                       .main = become_program};
const struct command command_edit = {.id = COMMAND_LIBVIRT,
                                     .name = "edit",
                                     .summary = "edit a libvirt domain, channels and all",
                                     .main = become_program};
const struct command command_dumpxml = {.id = COMMAND_LIBVIRT,
                                        .name = "dumpxml",
                                        .summary = "print a libvirt domain as its user wrote it",
                                        .main = become_program};
const struct command command_undefine = {.id = COMMAND_LIBVIRT,
                                         .name = "undefine",
                                         .summary = "undefine a libvirt domain",
                                         .main = become_program};

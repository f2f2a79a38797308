// SPDX-License-Identifier: BSD-3-Clause
// The program: finds the command and calls it; --help, --version. What a command does is in the
// file of its name.
#include "base/log.h"
#include "cli/cli.h"
#include "cli/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_run,      &command_qemu,         &command_serve, &command_xml,
    &command_define,   &command_create,       &command_edit,  &command_dumpxml,
    &command_undefine, &command_install_hook, &command_hook,  &command_kubevirt_hook,
    &command_list,     &command_add,          &command_del,   &command_stats,
    &command_metrics,  &command_top,          &command_pcap,
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))
#define KNOWN                                                                                      \
    "run, qemu, serve, xml, define, create, edit, dumpxml, undefine, install-hook, hook, "         \
    "kubevirt-hook, list, add, del, stats, metrics, top, pcap, --help, --version"

// Whoever starts us with a standard descriptor closed must not find a socket of ours in its place.
static void
fill_standard_fds(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

static void
print_help(void)
{
    printf("usage: vmchannel COMMAND ...\n\n"
           "Gives a guest narrow doors to services on its host: in the guest any process connects\n"
           "to TCP 10.0.2.4:PORT, on the host the connection arrives at a Unix socket.\n\n"
           "commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-14s %s\n", commands[i]->name, commands[i]->summary);
    printf("\noptions:\n"
           "  -h, --help  print this; vmchannel COMMAND --help tells the options of a command\n"
           "  --version   print the version\n\n"
           "The manual is vmchannel(1).\n");
}

static const struct command *
find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static bool
is_word(const char *text, const char *name)
{
    return strcmp(text + strspn(text, "-"), name) == 0;
}

int
main(int argc, char **argv)
{
    fill_standard_fds();
    if (argc < 2)
        die_usage("no command given (accepted: " KNOWN ")");
    if (is_word(argv[1], "help") || strcmp(argv[1], "-h") == 0) {
        print_help();
        finish_output();
        return EXIT_SUCCESS;
    }
    if (argv[1][0] == '-' && is_word(argv[1], "version")) {
        printf("vmchannel %s\n", VMCHANNEL_VERSION);
        finish_output();
        return EXIT_SUCCESS;
    }
    const struct command *command = find_command(argv[1]);
    if (!command)
        die_usage("%s: unknown command (accepted: " KNOWN ")", argv[1]);
    return command->main(command, argv + 2);
}

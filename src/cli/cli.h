// SPDX-License-Identifier: BSD-3-Clause
// What the commands share: their table, and the two ways to give up. The cli is the only layer that
// exits.
#pragma once

#include "base/error.h"

#define EXIT_FAILED     1   // the world failed: a socket, a link, a process
#define EXIT_USAGE      2   // the command line cannot be understood
#define EXIT_CANNOT_RUN 126 // COMMAND or QEMU is there and cannot be executed
#define EXIT_NOT_FOUND  127 // COMMAND or QEMU is not there

#define LIBVIRT_HOOK_DIR "/etc/libvirt/hooks/qemu.d"
#define LIBVIRT_HOOK     LIBVIRT_HOOK_DIR "/vmchannel"

// One bit each, so that an option can name the commands that take it.
enum command_id {
    COMMAND_SERVE = 1,
    COMMAND_RUN = 2,
    COMMAND_QEMU = 4,
    COMMAND_XML = 8,
    COMMAND_HOOK = 16,
    COMMAND_INSTALL_HOOK = 32,
    COMMAND_LIBVIRT = 64, // those that vmchannel-libvirt does, but for
    COMMAND_DUMPXML = 256,
    COMMAND_LIST = 512,
    COMMAND_ADD = 1024,
    COMMAND_DEL = 2048,
    COMMAND_STATS = 4096,
    COMMAND_METRICS = 8192,
    COMMAND_TOP = 16384,
    COMMAND_PCAP = 32768,
    COMMAND_KUBEVIRT_HOOK = 128,
};

struct command {
    enum command_id id;
    const char *name;
    const char *synopsis;                                 // what follows the name in the usage line
    const char *summary;                                  // one line
    const char *text;                                     // the paragraph in its own help
    int (*main)(const struct command *self, char **argv); // argv behind the name; the exit status
};

extern const struct command command_serve, command_run, command_qemu, command_xml,
    command_kubevirt_hook, command_hook, command_install_hook, command_define, command_create,
    command_edit, command_dumpxml, command_undefine;
extern const struct command command_list, command_add, command_del, command_stats;
extern const struct command command_metrics, command_top, command_pcap;

// "vmchannel: MESSAGE" to stderr, then exit.
_Noreturn void die(const struct error *err);            // status 1
_Noreturn void die_errno(int errnum, const char *what); // status 1, "WHAT: STRERROR"
_Noreturn void die_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2))); // status 2
// For who has printed: dies where standard output could not be written.
void finish_output(void);
// As shells do: 127 when there is no such program, 126 when it cannot be executed.
int exec_failure_status(int errnum);
// Standard input and output become /dev/null, for a process that only logs.
void detach_stdio(void);

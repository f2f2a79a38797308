// SPDX-License-Identifier: BSD-3-Clause
// vmchannel install-hook: the file through which libvirt calls `vmchannel hook`. libvirt looks for
// hooks at its start and on SIGHUP.
#include "base/log.h"
#include "cli/cli.h"
#include "cli/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOOKS     "/etc/libvirt/hooks"
#define HOOK_TEMP HOOKS "/.vmchannel.new" // not where libvirt would run it
#define HOOK_MODE 0755

// The domains of others must start when vmchannel was removed, and ours must say what is missing:
// without a daemon, libvirt would wait for its socket for ever.
static const char script[] =
    "#!/bin/sh\n"
    "# Written by 'vmchannel install-hook'.\n"
    "program='%s'\n"
    "[ -x \"$program\" ] && exec \"$program\" hook -- \"$@\"\n"
    "[ \"$2 $3\" = \"prepare begin\" ] && grep -q 'urn:vmchannel:domain' || exit 0\n"
    "echo \"vmchannel: $1: channels: $program is not installed\" >&2\n"
    "exit 1\n";

static void
program_path(char out[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (len < 0)
        die_errno(errno, "/proc/self/exe");
    out[len] = '\0';
    if (strchr(out, '\''))
        die_usage("install-hook: %s: the program's path has a quote in it", out);
}

static void
make_directory(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        die_errno(errno, path);
}

// In one step: libvirt may run it at any time.
static void
write_hook(void)
{
    char program[PATH_MAX];
    program_path(program);
    make_directory(HOOKS);
    make_directory(LIBVIRT_HOOK_DIR);
    unlink(HOOK_TEMP);
    int fd = open(HOOK_TEMP, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, HOOK_MODE);
    if (fd < 0)
        die_errno(errno, HOOK_TEMP);
    bool good = dprintf(fd, script, program) > 0 && fchmod(fd, HOOK_MODE) == 0;
    if (close(fd) < 0 || !good || rename(HOOK_TEMP, LIBVIRT_HOOK) < 0)
        die_errno(errno, LIBVIRT_HOOK);
}

// The daemon locks its pid file, so the kernel tells who it is, if it runs at all.
static int
open_daemon(const char *pid_file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    int fd = open(pid_file, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    bool runs = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0;
    int pidfd = runs ? pidfd_open(lock.l_pid, 0) : -1;
    close(fd);
    return pidfd;
}

static bool
reload(const char *pid_file)
{
    int pidfd = open_daemon(pid_file);
    if (pidfd < 0)
        return false;
    bool done = pidfd_send_signal(pidfd, SIGHUP, NULL, 0) == 0;
    close(pidfd);
    return done;
}

static int
install_hook_main(const struct command *self, char **argv)
{
    // libvirtd, or in its modular form the QEMU driver's daemon.
    static const char *const pid_files[] = {"/run/libvirtd.pid", "/run/virtqemud.pid"};
    struct settings s;
    settings_init(&s);
    char **rest = settings_parse(&s, self, argv);
    if (*rest)
        die_usage("install-hook: unexpected word '%s' (accepted: options)", *rest);
    settings_fini(&s);
    if (geteuid() != 0)
        die_errno(EPERM, LIBVIRT_HOOK ": only root can install it");

    if (s.remove) {
        if (unlink(LIBVIRT_HOOK) < 0 && errno != ENOENT)
            die_errno(errno, LIBVIRT_HOOK);
    } else {
        write_hook();
    }
    bool reloaded = false;
    for (size_t i = 0; i < sizeof(pid_files) / sizeof(pid_files[0]); i++)
        reloaded |= reload(pid_files[i]);
    printf("%s: %s%s\n", LIBVIRT_HOOK, s.remove ? "removed" : "installed",
           reloaded ? ", libvirt's daemon reloaded" : "; no libvirt daemon runs here");
    return EXIT_SUCCESS;
}

const struct command command_install_hook = {
    .id = COMMAND_INSTALL_HOOK,
    .name = "install-hook",
    .synopsis = "[OPTION...]",
    .summary = "make libvirt run the hook, once on each host",
    .text = "Writes " LIBVIRT_HOOK " and has libvirt's daemon reload,\n"
            "which begins to run it. Domains without channels are not touched by it.",
    .main = install_hook_main,
};

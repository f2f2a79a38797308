// SPDX-License-Identifier: BSD-3-Clause
// See hook_daemon.h. The log is beside libvirt's own of the domain, so that its logrotate rules
// hold; where there are none, a new start puts a log of some size aside.
#include "cli/hook_daemon.h"

#include "base/log.h"
#include "cli/cli.h"
#include "cli/hook_unit.h"
#include "cli/keeper.h"
#include "cli/systemctl.h"
#include "control/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_DIRECTORY "/var/log/libvirt/qemu"
#define LOG_OF_USER   ".cache/libvirt/qemu/log" // below HOME
#define LOG_LEAD      "vmchannel: "
#define LOG_MAX_BYTES (2 << 20) // as virtlogd's

static void
log_path(const char *domain, char *out, size_t size)
{
    const char *home = getenv("HOME");
    if (geteuid() == 0)
        snprintf(out, size, LOG_DIRECTORY "/%s-vmchannel.log", domain);
    else
        snprintf(out, size, "%s/" LOG_OF_USER "/%s-vmchannel.log", home ? home : "", domain);
}

// Those above the file; libvirt makes them too, but may not have yet.
static void
make_directories(const char *path)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdir(part, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
            die_errno(errno, part);
    }
}

static int
open_log(const char *path)
{
    int flags = O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    char old[PATH_MAX + 2];
    struct stat st;
    if (lstat(path, &st) == 0 && st.st_size > LOG_MAX_BYTES) {
        snprintf(old, sizeof(old), "%s.0", path);
        rename(path, old);
    }
    make_directories(path);
    int fd = open(path, flags, 0600);
    if (fd < 0)
        die_errno(errno, path);
    return fd;
}

// The last line behind `from`, without its newline.
static void
last_line(int fd, off_t from, char *out, size_t size)
{
    struct stat st;
    ssize_t len = 0;
    out[0] = '\0';
    if (fstat(fd, &st) < 0)
        return;
    if (st.st_size - from > (off_t)size - 1)
        from = st.st_size - ((off_t)size - 1);
    len = pread(fd, out, size - 1, from);
    out[len > 0 ? len : 0] = '\0';
    while (len > 0 && out[len - 1] == '\n')
        out[--len] = '\0';
    const char *start = strrchr(out, '\n');
    if (start)
        memmove(out, start + 1, strlen(start));
}

struct words {
    char *text[16];
    size_t count;
    size_t run_as; // where those begin that say who the daemon is to be
};

static void
add_word(struct words *w, const char *text)
{
    w->text[w->count] = strdup(text);
    if (!w->text[w->count++])
        die_errno(ENOMEM, "hook");
    w->text[w->count] = NULL;
}

// How the daemon calls the guest: the domain's name, or where that will not do, its UUID.
static const char *
guest_name(const struct domain_info *domain)
{
    return control_name_is_valid(domain->name) ? domain->name : domain->uuid;
}

static void
command_line(struct words *w, const struct domain_info *domain, const struct run_as *user)
{
    char self[PATH_MAX], xml[PATH_MAX], group[16];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        die_errno(errno, "/proc/self/exe");
    self[len] = '\0';
    add_word(w, self);
    add_word(w, "serve");
    keeper_xml_path(domain->socket, xml);
    add_word(w, "--xml");
    add_word(w, xml);
    add_word(w, "--name");
    add_word(w, guest_name(domain));
    w->run_as = w->count;
    if (user) {
        add_word(w, "--user");
        add_word(w, user->name);
    }
    if (user && user->group != (gid_t)-1) {
        snprintf(group, sizeof(group), "%u", (unsigned)user->group);
        add_word(w, "--group");
        add_word(w, group);
    }
}

// Those from `first` on, for the unit, which has the others.
static void
join_words(const struct words *w, size_t first, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = first; i < w->count && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", i > first ? " " : "", w->text[i]);
}

// A session's libvirt runs hooks without what its systemd is found by.
static bool
is_kept_by_systemd(void)
{
    return geteuid() == 0 && systemctl_is_there();
}

static int
start(const struct keeper *k, const char *uuid, const struct words *words, struct error *err)
{
    char run_as[128];
    join_words(words, words->run_as, run_as, sizeof(run_as));
    if (!is_kept_by_systemd() || run_as[0] == '\0')
        return keeper_start(k, err);
    int rc = hook_unit_start(k, uuid, run_as, err);
    return rc == -ENOPKG ? keeper_start(k, err) : rc;
}

void
hook_daemon_start(const struct domain_info *domain, const char *xml, size_t len,
                  const struct run_as *user)
{
    struct words words = {.count = 0};
    struct error err;
    struct stat st;
    char path[PATH_MAX], said[1024];

    command_line(&words, domain, user);
    log_path(domain->name, path, sizeof(path));
    int log_fd = open_log(path);
    off_t from = fstat(log_fd, &st) == 0 ? st.st_size : 0;
    struct keeper keeper = {.name = domain->name,
                            .socket = domain->socket,
                            .xml = xml,
                            .xml_len = len,
                            .guest = guest_name(domain),
                            .uid = user ? user->uid : geteuid(),
                            .argv = words.text,
                            .log_fd = log_fd,
                            .log_path = path};
    int rc = start(&keeper, domain->uuid, &words, &err);
    if (rc < 0) {
        last_line(log_fd, from, said, sizeof(said));
        const char *why = rc == -ECHILD && said[0] ? said : err.text;
        size_t lead = strlen(LOG_LEAD);
        log_error("%s: daemon: %s (more in %s)", domain->name,
                  strncmp(why, LOG_LEAD, lead) == 0 ? why + lead : why, path);
        exit(EXIT_FAILED);
    }
    for (size_t i = 0; i < words.count; i++)
        free(words.text[i]);
    close(log_fd);
}

bool
hook_daemon_is_running(const struct domain_info *domain)
{
    return keeper_is_running(domain->socket) ||
           (is_kept_by_systemd() && hook_unit_is_running(domain->uuid));
}

void
hook_daemon_stop(const struct domain_info *domain)
{
    struct error err;
    int rc = is_kept_by_systemd() ? hook_unit_stop(domain->uuid, &err) : 0;
    // In any case: that systemd's unit was installed while the domain ran changes nothing for it.
    if (keeper_stop(domain->socket, guest_name(domain), rc < 0 ? NULL : &err) < 0)
        rc = -1;
    if (rc < 0)
        die(&err);
}

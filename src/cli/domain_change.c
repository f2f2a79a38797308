// SPDX-License-Identifier: BSD-3-Clause
// See domain_change.h. The domain is found by the XML beside its daemon's socket, so nobody asks
// libvirt about guests that are not its. The metadata is vmchannel-libvirt's to change.
#include "cli/domain_change.h"

#include "base/log.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/libvirt_program.h"
#include "config/domain_xml.h"
#include "control/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define XML_SUFFIX ".xml"

// UUID.xml
static bool
is_domain_file(const char *file)
{
    size_t len = strlen(file);
    return len == UUID_LEN + strlen(XML_SUFFIX) && strcmp(file + UUID_LEN, XML_SUFFIX) == 0;
}

// Whether the document is that guest's; then xml has it.
static bool
is_of_guest(const char *path, const char *name, char uuid[], struct buffer *xml)
{
    struct domain_info info = {0};
    bool found = document_read(path, xml, NULL) == 0 &&
                 domain_xml_read(xml->data, xml->len, path, &info, NULL) == 0 &&
                 (strcmp(info.name, name) == 0 || strcmp(info.uuid, name) == 0);
    memcpy(uuid, info.uuid, sizeof(info.uuid));
    domain_info_fini(&info);
    return found;
}

static void
unlock(struct domain_change *c)
{
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    c->lock_fd = -1;
}

// Once we have the lock of what is at the path now; a change puts another file there.
static bool
lock(struct domain_change *c)
{
    struct stat mine, now;
    for (;;) {
        c->lock_fd = open(c->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (c->lock_fd < 0 || flock(c->lock_fd, LOCK_EX) < 0 || fstat(c->lock_fd, &mine) < 0 ||
            lstat(c->path, &now) < 0)
            break;
        if (mine.st_dev == now.st_dev && mine.st_ino == now.st_ino)
            return true;
        unlock(c);
    }
    unlock(c);
    return false;
}

static bool
find_document(const char *name, struct domain_change *out, struct buffer *xml)
{
    char directory[CONTROL_PATH_SIZE];
    // Where the guest itself is found: a domain's control socket is beside these.
    DIR *dir = control_runtime_dir(directory, NULL) == 0 ? opendir(directory) : NULL;
    bool found = false;
    struct dirent *entry;
    while (dir && !found && (entry = readdir(dir))) {
        if (!is_domain_file(entry->d_name))
            continue;
        buffer_fini(xml);
        snprintf(out->path, sizeof(out->path), "%s/%s", directory, entry->d_name);
        found = is_of_guest(out->path, name, out->uuid, xml);
    }
    if (dir)
        closedir(dir);
    buffer_fini(xml);
    // From before it is read until the change is kept, or one of two at once would be lost.
    found = found && lock(out) && is_of_guest(out->path, name, out->uuid, xml);
    if (!found) {
        out->path[0] = '\0';
        unlock(out);
    }
    return found;
}

int
domain_change_add(const char *name, const char *channel, struct domain_change *out,
                  struct error *err)
{
    struct buffer xml = {0};
    int rc = 0;
    *out = (struct domain_change){.lock_fd = -1};
    if (find_document(name, out, &xml)) {
        snprintf(out->what, sizeof(out->what), "add %s", channel);
        rc = domain_xml_add_channel(xml.data, xml.len, name, channel, &out->xml, err);
    }
    buffer_fini(&xml);
    return rc;
}

int
domain_change_del(const char *name, uint16_t port, struct domain_change *out, struct error *err)
{
    struct buffer xml = {0};
    int rc = 0;
    *out = (struct domain_change){.lock_fd = -1};
    if (find_document(name, out, &xml)) {
        snprintf(out->what, sizeof(out->what), "del %u", port);
        rc = domain_xml_del_channel(xml.data, xml.len, name, port, &out->xml, err);
    }
    buffer_fini(&xml);
    return rc;
}

// In one step: the daemon may be started again at that moment. The new file is locked as the old
// one was.
static int
replace_document(struct domain_change *c)
{
    char path[PATH_MAX + sizeof(".new")];
    snprintf(path, sizeof(path), "%s.new", c->path);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, c->xml.data, c->xml.len);
    int rc = n == (ssize_t)c->xml.len ? 0 : n < 0 ? -errno : -ENOSPC;
    if (rc == 0 && (flock(fd, LOCK_EX) < 0 || rename(path, c->path) < 0))
        rc = -errno;
    if (rc < 0) {
        unlink(path);
        close(fd);
        return rc;
    }
    unlock(c);
    c->lock_fd = fd;
    return 0;
}

void
domain_change_keep(struct domain_change *c)
{
    if (!c->path[0])
        return;
    int rc = replace_document(c);
    if (rc < 0)
        log_warn("%s: %s: the change is lost when the daemon ends", c->path, strerror(-rc));
    pid_t pid = fork();
    if (pid == 0) {
        const char *uri = geteuid() == 0 ? "qemu:///system" : "qemu:///session";
        libvirt_program_become("record", uri, c->what, c->uuid);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        log_warn("%s: the domain's metadata was not changed: the change is lost when it ends",
                 c->uuid);
}

void
domain_change_fini(struct domain_change *c)
{
    buffer_fini(&c->xml);
    unlock(c);
}

// SPDX-License-Identifier: BSD-3-Clause
// See keeper_files.h. Byte 0 of the pid file is locked by the keeper, as a process: the kernel
// tells whose lock it is. Byte 1 is the daemon's, a lock of the open file, since that outlives
// execve(2) and is not shared with the keeper; the daemon's number is in the file.
#include "cli/keeper_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEPER_BYTE 0
#define DAEMON_BYTE 1
#define OPEN_TRIES  20

struct file_name {
    char text[PATH_MAX];
};

// socket ends in ".sock" (hook.c); the same path with another ending.
static struct file_name
sibling(const char *socket, const char *ending)
{
    struct file_name name;
    int len = (int)(strlen(socket) - strlen(".sock"));
    snprintf(name.text, sizeof(name.text), "%.*s%s", len, socket, ending);
    return name;
}

static struct file_name
directory_of(const char *socket)
{
    struct file_name name;
    snprintf(name.text, sizeof(name.text), "%.*s", (int)(strrchr(socket, '/') - socket), socket);
    return name;
}

static struct flock
byte_lock(int byte)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

// Makes the directory too, whose last user may be removing it at that moment.
static int
open_file(const char *socket, const char *ending, int flags, struct error *err)
{
    struct file_name path = sibling(socket, ending), directory = directory_of(socket);
    // Root's is for all to pass through, each socket in it is for its user.
    mode_t mode = geteuid() == 0 ? 0755 : 0700;
    int fd = -1;
    for (int i = 0; fd < 0 && i < OPEN_TRIES; i++) {
        if (mkdir(directory.text, mode) == 0 && chmod(directory.text, mode) < 0)
            return error_set(err, errno, "%s", directory.text);
        fd = open(path.text, flags | O_CREAT | O_NOFOLLOW, 0600);
        if (fd < 0 && errno != ENOENT)
            break;
    }
    return fd < 0 ? error_set(err, errno, "%s", path.text) : fd;
}

// Whether the path still leads to the file: its last user may have removed it in between.
static bool
is_still_there(int fd, const char *socket)
{
    struct stat mine, now;
    return fstat(fd, &mine) == 0 && lstat(sibling(socket, ".pid").text, &now) == 0 &&
           mine.st_dev == now.st_dev && mine.st_ino == now.st_ino;
}

int
keeper_files_lock_keeper(const char *socket, struct error *err)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        int fd = open_file(socket, ".pid", O_RDWR | O_CLOEXEC, err);
        if (fd < 0)
            return fd;
        struct flock lock = byte_lock(KEEPER_BYTE);
        int rc = fcntl(fd, F_SETLK, &lock) < 0 ? -errno : 0;
        if (rc == 0 && is_still_there(fd, socket))
            return 0; // closing it would end the lock
        close(fd);
        if (rc < 0)
            return error_set(err, EBUSY, "%s: another one keeps the daemon running", socket);
    }
    return error_set(err, EBUSY, "%s: cannot lock", socket);
}

int
keeper_files_lock_daemon(const char *socket, struct error *err)
{
    int fd = open_file(socket, ".pid", O_RDWR, err);
    if (fd < 0)
        return fd;
    struct flock lock = byte_lock(DAEMON_BYTE);
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
        return error_set(err, errno, "%s: another daemon runs", socket);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return error_set(err, errno, "%s: cannot write the pid file", socket);
    return 0;
}

void
keeper_xml_path(const char *socket, char out[PATH_MAX])
{
    strcpy(out, sibling(socket, ".xml").text);
}

int
keeper_files_write(const char *socket, const char *ending, const char *text, size_t len,
                   struct error *err)
{
    struct file_name path = sibling(socket, ending);
    unlink(path.text);
    int fd = open_file(socket, ending, O_WRONLY | O_EXCL | O_CLOEXEC, err);
    if (fd < 0)
        return fd;
    ssize_t n = write(fd, text, len);
    int rc = n == (ssize_t)len ? 0 : error_set(err, n < 0 ? errno : ENOSPC, "%s", path.text);
    close(fd);
    return rc;
}

int
keeper_files_link(const char *socket, const char *ending, const char *target, struct error *err)
{
    struct file_name path = sibling(socket, ending);
    unlink(path.text);
    return symlink(target, path.text) < 0 ? error_set(err, errno, "%s", path.text) : 0;
}

static pid_t
keeper_pid(int fd)
{
    struct flock lock = byte_lock(KEEPER_BYTE);
    return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}

static pid_t
daemon_pid(int fd)
{
    struct flock lock = byte_lock(DAEMON_BYTE);
    char text[16];
    if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
        return 0;
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    return (pid_t)strtol(text, NULL, 10);
}

static int
find(const char *socket, pid_t (*pid_of)(int fd))
{
    int fd = open(sibling(socket, ".pid").text, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    pid_t pid = pid_of(fd);
    int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    // Still locked by it: the number was its own when the descriptor was made.
    if (pidfd >= 0 && pid_of(fd) != pid) {
        close(pidfd);
        pidfd = -1;
    }
    close(fd);
    return pidfd;
}

int
keeper_files_find_keeper(const char *socket)
{
    return find(socket, keeper_pid);
}

int
keeper_files_find_daemon(const char *socket)
{
    return find(socket, daemon_pid);
}

static struct file_name
control_file(const char *socket, const char *guest, const char *file)
{
    struct file_name name;
    int len = (int)(strrchr(socket, '/') - socket);
    snprintf(name.text, sizeof(name.text), "%.*s/%s%s", len, socket, guest, file);
    return name;
}

// Whether a guest that is not a domain has that name; ours has ended, or was not started yet. Who
// listens holds this lock (base/unix_listener).
static bool
control_is_in_use(const char *socket, const char *guest)
{
    int fd = open(control_file(socket, guest, "/control.lock").text,
                  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool in_use = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return in_use;
}

int
keeper_files_make_control(const struct keeper *k, struct error *err)
{
    struct file_name path = control_file(k->socket, k->guest, "");
    if (control_is_in_use(k->socket, k->guest))
        return 0; // the daemon will say that it has none
    if ((mkdir(path.text, 0700) < 0 && errno != EEXIST) || lchown(path.text, k->uid, (gid_t)-1) < 0)
        return error_set(err, errno, "%s", path.text);
    return 0;
}

void
keeper_files_tell_directory(const char *socket)
{
    setenv("VMCHANNEL_RUNTIME_DIR", directory_of(socket).text, 1);
}

void
keeper_files_remove(const char *socket, const char *guest)
{
    unlink(socket);
    unlink(sibling(socket, ".sock.lock").text);
    unlink(sibling(socket, ".xml").text);
    unlink(sibling(socket, ".env").text);
    unlink(sibling(socket, ".log").text);
    if (!control_is_in_use(socket, guest)) {
        unlink(control_file(socket, guest, "/control").text);
        unlink(control_file(socket, guest, "/control.lock").text);
        rmdir(control_file(socket, guest, "").text);
    }
    unlink(sibling(socket, ".pid").text);
    rmdir(directory_of(socket).text);
}

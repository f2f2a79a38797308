// SPDX-License-Identifier: BSD-3-Clause
// Listening Unix sockets. The lock on PATH.lock is held from before the first look at PATH until
// after PATH is removed, so of two processes that want one path, one is refused, and neither
// removes the other's socket. Accepting, and what is said on a connection, is the caller's.
#include "base/unix_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_SUFFIX  ".lock"
#define LOCK_TRIES   100
#define LOCK_WAIT_MS 500 // for a predecessor that is just ending (a guest started anew by a script)
#define LOCK_POLL_MS 10

struct lock_path {
    char text[sizeof(((struct unix_listener *)0)->path) + sizeof(LOCK_SUFFIX)];
};

int
unix_address(struct sockaddr_un *sa, const char *path, bool abstract, bool tight)
{
    size_t len = strlen(path);
    size_t lead = offsetof(struct sockaddr_un, sun_path);

    // A path keeps its NUL at the end, an abstract name has one in front.
    if (len == 0 || len >= sizeof(sa->sun_path))
        return -ENAMETOOLONG;
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(sa->sun_path + abstract, path, len);
    if (abstract && !tight)
        return (int)sizeof(*sa);
    return (int)(lead + len + 1);
}

static struct lock_path
lock_path_of(const char *path)
{
    struct lock_path lock;
    snprintf(lock.text, sizeof(lock.text), "%s" LOCK_SUFFIX, path);
    return lock;
}

// One attempt: 0, -EAGAIN when the file was removed while we took it, or another -errno with err.
static int
try_lock(struct unix_listener *l, const char *lock_path, struct error *err)
{
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return error_set(err, errno, "%s: cannot create the lock file", lock_path);

    struct stat mine, now;
    int ret = 0;
    if (fstat(fd, &mine) < 0)
        ret = error_set(err, errno, "%s", lock_path);
    else if (!S_ISREG(mine.st_mode) || mine.st_size != 0)
        ret = error_set(err, EEXIST, "%s: in the way of the lock file", lock_path);
    else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        ret = error_set(err, errno == EWOULDBLOCK ? EADDRINUSE : errno,
                        "%s: locked by another process", lock_path);
    else if (lstat(lock_path, &now) < 0 || mine.st_dev != now.st_dev || mine.st_ino != now.st_ino)
        ret = -EAGAIN;
    if (ret < 0)
        close(fd);
    else
        l->lock_fd = fd;
    return ret;
}

static int
take_lock(struct unix_listener *l, const char *path, struct error *err)
{
    struct lock_path lock = lock_path_of(path);
    int waited_ms = 0;

    for (int i = 0; i < LOCK_TRIES; i++) {
        int ret = try_lock(l, lock.text, err);
        if (ret == -EADDRINUSE && waited_ms < LOCK_WAIT_MS) {
            nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000 * 1000}, NULL);
            waited_ms += LOCK_POLL_MS;
        } else if (ret != -EAGAIN) {
            return ret;
        }
    }
    return error_set(err, EADDRINUSE, "%s: cannot lock", lock.text);
}

static void
drop_lock(struct unix_listener *l, const char *path)
{
    struct lock_path lock = lock_path_of(path);

    if (l->lock_fd < 0)
        return;
    unlink(lock.text);
    close(l->lock_fd);
    l->lock_fd = -1;
}

// Removes a socket that nobody listens on. Anything else at path is refused.
static int
clear_stale(const char *path, const struct sockaddr_un *sa, socklen_t sa_len, struct error *err)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : error_set(err, errno, "%s", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, EEXIST, "%s: not a socket, left alone", path);

    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return error_set(err, errno, "%s: cannot make a socket", path);
    int errnum = connect(probe, (const struct sockaddr *)sa, sa_len) < 0 ? errno : 0;
    close(probe);
    if (errnum == ENOENT)
        return 0;
    // Also without the permission to ask, or on a full backlog, somebody may be there.
    if (errnum != ECONNREFUSED)
        return error_set(err, EADDRINUSE, "%s: somebody listens there already", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(err, errno, "%s: cannot remove the stale socket", path);
    return 0;
}

static int
bind_and_listen(struct unix_listener *l, int type, const char *path, const struct sockaddr_un *sa,
                socklen_t sa_len, struct error *err)
{
    l->fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return error_set(err, errno, "%s: cannot make a socket", path);

    // At once: who sees the path connects to it, and would be refused before listen.
    mode_t mask = umask(077);
    bool bound = bind(l->fd, (const struct sockaddr *)sa, sa_len) == 0;
    bool listens = bound && (type == SOCK_DGRAM || listen(l->fd, SOMAXCONN) == 0);
    int errnum = listens ? 0 : errno;
    umask(mask);
    if (!bound)
        return error_set(err, errnum, "%s: cannot bind", path);
    if (sa->sun_path[0] != '\0') {
        struct stat st;
        snprintf(l->path, sizeof(l->path), "%s", path);
        if (lstat(path, &st) < 0)
            return error_set(err, errno, "%s", path);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return listens ? 0 : error_set(err, errnum, "%s: cannot listen", path);
}

static int
open_type(struct unix_listener *l, int type, const char *path, bool abstract, bool tight,
          struct error *err)
{
    *l = (struct unix_listener){.fd = -1, .lock_fd = -1};
    struct sockaddr_un sa;
    int sa_len = unix_address(&sa, path, abstract, tight);
    if (sa_len < 0)
        return error_set(err, -sa_len, "%s: 1 to %zu bytes are possible", path,
                         sizeof(sa.sun_path) - 1);

    int ret = 0;
    if (!abstract)
        ret = take_lock(l, path, err);
    if (ret == 0 && !abstract)
        ret = clear_stale(path, &sa, (socklen_t)sa_len, err);
    if (ret == 0)
        ret = bind_and_listen(l, type, path, &sa, (socklen_t)sa_len, err);
    if (ret < 0) {
        unix_listener_close(l);
        drop_lock(l, path); // when bind was not reached
    }
    return ret;
}

int
unix_listener_open(struct unix_listener *l, const char *path, bool abstract, bool tight,
                   struct error *err)
{
    return open_type(l, SOCK_STREAM, path, abstract, tight, err);
}

int
unix_listener_open_type(struct unix_listener *l, int type, const char *path, struct error *err)
{
    return open_type(l, type, path, false, false, err);
}

// By a descriptor of the very socket: who may write in its directory could put something else
// there.
static int
share_socket(int fd, const struct unix_listener *l, const struct unix_access *access)
{
    struct stat st;
    char self[32];
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode) || st.st_dev != l->dev || st.st_ino != l->ino)
        return -ESTALE;
    bool owner = access->uid != (uid_t)-1 || access->gid != (gid_t)-1;
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    // The mode first: it is the owner's to change.
    if (access->mode != 0 && chmod(self, access->mode) < 0)
        return -errno;
    if (owner && fchownat(fd, "", access->uid, access->gid, AT_EMPTY_PATH) < 0)
        return -errno;
    return 0;
}

int
unix_listener_share(const struct unix_listener *l, const struct unix_access *access,
                    struct error *err)
{
    if (l->path[0] == '\0')
        return 0;
    int fd = open(l->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "%s", l->path);
    int rc = share_socket(fd, l, access);
    close(fd);
    return rc < 0 ? error_set(err, -rc, "%s: cannot set its owner, group or mode", l->path) : 0;
}

void
unix_listener_close(struct unix_listener *l)
{
    struct stat st;

    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->path[0] == '\0')
        return;
    if (lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    drop_lock(l, l->path);
    l->path[0] = '\0';
}

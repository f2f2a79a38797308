// SPDX-License-Identifier: BSD-3-Clause
// vmchannel whose calls of the C library fail on request: linked with --wrap for each of them, so
// that it is our own calls that fail and not the library's. Which, when and how is read from a
// shared page (faults.h), since the worker could be told in no other way. With
// VMCHANNEL_FAULTS=list it prints the calls and what each can fail with.
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define VARIABLE   "VMCHANNEL_FAULTS"
#define ERRNOS_MAX 9 // and a 0

#define CALLS(X)                                                                                   \
    X(malloc, ENOMEM)                                                                              \
    X(calloc, ENOMEM)                                                                              \
    X(realloc, ENOMEM)                                                                             \
    X(mmap64, ENOMEM, EAGAIN)                                                                      \
    X(madvise, ENOMEM, EAGAIN)                                                                     \
    X(epoll_create1, EMFILE, ENFILE, ENOMEM)                                                       \
    X(epoll_ctl, ENOMEM, ENOSPC)                                                                   \
    X(epoll_wait, EINTR)                                                                           \
    X(socket, EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES)                                             \
    X(socketpair, EMFILE, ENFILE, ENOMEM)                                                          \
    X(connect, ECONNREFUSED, EACCES, EAGAIN, ENOENT, ETIMEDOUT, ENETUNREACH, EINTR, ENOMEM)        \
    X(bind, EADDRINUSE, EACCES, ENOMEM)                                                            \
    X(listen, EADDRINUSE)                                                                          \
    X(accept4, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR, EAGAIN, EPROTO)               \
    X(getsockopt, ENOBUFS, ENOMEM)                                                                 \
    X(setsockopt, ENOBUFS, ENOMEM, EPERM)                                                          \
    X(getsockname, ENOBUFS)                                                                        \
    X(getpeername, ENOTCONN, ENOBUFS)                                                              \
    X(shutdown, ENOTCONN)                                                                          \
    X(close, EINTR, EIO)                                                                           \
    X(read, EINTR, EAGAIN, EIO, ECONNRESET, FAULT_SHORT)                                           \
    X(write, EINTR, EAGAIN, EIO, EPIPE, ENOSPC, FAULT_SHORT)                                       \
    X(readv, EINTR, EAGAIN, ECONNRESET, ENOMEM, FAULT_SHORT)                                       \
    X(writev, EINTR, EAGAIN, EPIPE, ENOBUFS, FAULT_SHORT)                                          \
    X(recv, EINTR, EAGAIN, ECONNRESET, ENOMEM)                                                     \
    X(send, EINTR, EAGAIN, EPIPE, ENOBUFS)                                                         \
    X(sendto, EINTR, EAGAIN, EPIPE, ENOBUFS, ENOMEM)                                               \
    X(recvmsg, EINTR, EAGAIN, ENOMEM, ENOBUFS)                                                     \
    X(sendmsg, EINTR, EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS)                                       \
    X(recvmmsg, EINTR, EAGAIN, ENOMEM)                                                             \
    X(sendmmsg, EINTR, EAGAIN, ENOBUFS, ENOMEM)                                                    \
    X(splice, EINTR, EAGAIN, ENOMEM, ECONNRESET, EPIPE)                                            \
    X(pipe2, EMFILE, ENFILE)                                                                       \
    X(fcntl64, EMFILE, EINTR, EPERM)                                                               \
    X(ioctl, EINTR, EIO, ENOMEM)                                                                   \
    X(open64, EMFILE, ENFILE, ENOMEM, EACCES, EINTR)                                               \
    X(fstat64, ENOMEM)                                                                             \
    X(lstat64, ENOENT, EACCES, ENOMEM)                                                             \
    X(unlink, EACCES, ENOENT, EIO)                                                                 \
    X(flock, EINTR, ENOLCK, EAGAIN)                                                                \
    X(chmod, EPERM, EIO)                                                                           \
    X(fchownat, EPERM, EIO)                                                                        \
    X(getrandom, EINTR, ENOSYS)                                                                    \
    X(fork, EAGAIN, ENOMEM)                                                                        \
    X(waitpid, EINTR)                                                                              \
    X(poll, EINTR, ENOMEM)                                                                         \
    X(signalfd, EMFILE, ENFILE, ENOMEM)                                                            \
    X(pidfd_open, EMFILE, ENFILE, ENOMEM)                                                          \
    X(pidfd_send_signal, EINVAL)                                                                   \
    X(prctl, EINVAL, EPERM)                                                                        \
    X(syscall, ENOSYS, EPERM, ENOMEM, EAGAIN)                                                      \
    X(mount, EPERM, EACCES, ENOMEM)                                                                \
    X(umount2, EPERM, EBUSY)                                                                       \
    X(chdir, EACCES, ENOMEM)                                                                       \
    X(setgroups, EPERM, ENOMEM)                                                                    \
    X(setresgid, EPERM, EAGAIN)                                                                    \
    X(setresuid, EPERM, EAGAIN)                                                                    \
    X(setrlimit64, EPERM, EINVAL)                                                                  \
    X(dup2, EMFILE, EBUSY, EINTR)                                                                  \
    X(dup3, EMFILE, EBUSY, EINTR)                                                                  \
    X(close_range, EMFILE, ENOMEM)                                                                 \
    X(posix_openpt, EMFILE, ENOSPC)                                                                \
    X(grantpt, EACCES)                                                                             \
    X(unlockpt, EINVAL)                                                                            \
    X(tcgetattr, EIO)                                                                              \
    X(tcsetattr, EIO, EINTR)                                                                       \
    X(symlink, EEXIST, ENOSPC)                                                                     \
    X(lchown, EPERM)                                                                               \
    X(getrlimit64, EINVAL)                                                                         \
    X(waitid, EINTR)                                                                               \
    X(seccomp_init, ENOMEM)                                                                        \
    X(seccomp_load, ENOMEM, EINVAL)

#define ID(name, ...) CALL_##name,
enum call { CALLS(ID) CALL_COUNT };

#define ENTRY(name, ...) {#name, {__VA_ARGS__}},
static const struct {
    const char *name;
    int errnums[ERRNOS_MAX];
} calls[] = {CALLS(ENTRY)};

_Static_assert(CALL_COUNT <= FAULT_CALLS_MAX, "the page has room for all");

static struct fault_page *page;

static void
list(void)
{
    for (size_t i = 0; i < CALL_COUNT; i++) {
        printf("%s", calls[i].name);
        for (size_t e = 0; e < ERRNOS_MAX && calls[i].errnums[e] != 0; e++)
            printf(" %d", calls[i].errnums[e]);
        printf("\n");
    }
    fflush(stdout);
    _exit(0);
}

void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_open64(const char *path, int flags, ...);
int __real_close(int fd);

__attribute__((constructor)) static void
set_up(void)
{
    const char *path = getenv(VARIABLE);
    if (!path)
        return;
    if (strcmp(path, "list") == 0)
        list();
    int fd = __real_open64(path, O_RDWR | O_CLOEXEC);
    void *p = fd < 0
                  ? MAP_FAILED
                  : __real_mmap64(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, VARIABLE "=%s: %s\n", path, strerror(errno));
        _exit(1);
    }
    __real_close(fd);
    page = p;
}

void
fault_follow(struct fault_page *p)
{
    page = p;
}

size_t
fault_calls(void)
{
    return CALL_COUNT;
}

const char *
fault_call_name(size_t call)
{
    return calls[call].name;
}

const int *
fault_call_errnos(size_t call)
{
    return calls[call].errnums;
}

// 0, or what this call is to fail with.
static int
fault(enum call call)
{
    if (!page || __atomic_load_n(&page->armed, __ATOMIC_ACQUIRE) == 0)
        return 0;
    uint32_t role = getpid() == 1 ? FAULT_WORKER : FAULT_BROKER;
    uint32_t n = __atomic_add_fetch(&page->calls[role][call], 1, __ATOMIC_RELAXED);
    if (role != page->role || call != page->call || n < page->nth || n > page->nth + page->more)
        return 0;
    __atomic_add_fetch(&page->injected, 1, __ATOMIC_RELAXED);
    return page->errnum;
}

// The calls that fail by -1 and do nothing else.
#define WRAP(type, name, parameters, arguments)                                                    \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        int errnum = fault(CALL_##name);                                                           \
        if (errnum == 0)                                                                           \
            return __real_##name arguments;                                                        \
        errno = errnum;                                                                            \
        return (type)-1;                                                                           \
    }

WRAP(int, madvise, (void *a, size_t n, int what), (a, n, what))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_wait, (int e, struct epoll_event *ev, int n, int ms), (e, ev, n, ms))
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, socketpair, (int domain, int type, int p, int sv[2]), (domain, type, p, sv))
WRAP(int, connect, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(int, bind, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(int, listen, (int fd, int n), (fd, n))
WRAP(int, accept4, (int fd, struct sockaddr *sa, socklen_t *len, int f), (fd, sa, len, f))
WRAP(int, getsockopt, (int fd, int l, int o, void *v, socklen_t *len), (fd, l, o, v, len))
WRAP(int, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
WRAP(int, getsockname, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP(int, getpeername, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(ssize_t, recv, (int fd, void *b, size_t n, int f), (fd, b, n, f))
WRAP(ssize_t, send, (int fd, const void *b, size_t n, int f), (fd, b, n, f))
WRAP(ssize_t, sendto,
     (int fd, const void *b, size_t n, int f, const struct sockaddr *sa, socklen_t len),
     (fd, b, n, f, sa, len))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
WRAP(int, recvmmsg, (int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t),
     (fd, m, n, f, t))
WRAP(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned n, int f), (fd, m, n, f))
WRAP(ssize_t, splice, (int in, off_t *i, int out, off_t *o, size_t n, unsigned f),
     (in, i, out, o, n, f))
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags))
WRAP(int, fstat64, (int fd, struct stat *st), (fd, st))
WRAP(int, lstat64, (const char *path, struct stat *st), (path, st))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, flock, (int fd, int op), (fd, op))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode))
WRAP(int, fchownat, (int at, const char *path, uid_t u, gid_t g, int f), (at, path, u, g, f))
WRAP(ssize_t, getrandom, (void *b, size_t n, unsigned f), (b, n, f))
WRAP(pid_t, fork, (void), ())
WRAP(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
WRAP(int, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms))
WRAP(int, signalfd, (int fd, const sigset_t *set, int f), (fd, set, f))
WRAP(int, pidfd_open, (pid_t pid, unsigned f), (pid, f))
WRAP(int, pidfd_send_signal, (int fd, int sig, siginfo_t *i, unsigned f), (fd, sig, i, f))
WRAP(int, mount, (const char *s, const char *t, const char *fs, unsigned long f, const void *d),
     (s, t, fs, f, d))
WRAP(int, umount2, (const char *path, int f), (path, f))
WRAP(int, chdir, (const char *path), (path))
WRAP(int, setgroups, (size_t n, const gid_t *g), (n, g))
WRAP(int, setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s))
WRAP(int, setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s))
WRAP(int, setrlimit64, (int what, const void *limit), (what, limit))
WRAP(int, posix_openpt, (int flags), (flags))
WRAP(int, grantpt, (int fd), (fd))
WRAP(int, unlockpt, (int fd), (fd))
WRAP(int, tcgetattr, (int fd, void *tty), (fd, tty))
WRAP(int, tcsetattr, (int fd, int how, const void *tty), (fd, how, tty))
WRAP(int, symlink, (const char *target, const char *path), (target, path))
WRAP(int, lchown, (const char *path, uid_t u, gid_t g), (path, u, g))
WRAP(int, getrlimit64, (int what, void *limit), (what, limit))
WRAP(int, waitid, (int type, id_t id, void *si, int options), (type, id, si, options))
WRAP(int, dup2, (int a, int b), (a, b))
WRAP(int, dup3, (int a, int b, int f), (a, b, f))
WRAP(int, close_range, (unsigned a, unsigned b, int f), (a, b, f))

// --- calls with variable arguments -------------------------------------------------------------

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e);
long
__wrap_syscall(long number, long a, long b, long c, long d, long e)
{
    int errnum = fault(CALL_syscall);
    if (errnum == 0)
        return __real_syscall(number, a, b, c, d, e);
    errno = errnum;
    return -1;
}

int __real_fcntl64(int fd, int what, ...);
int __wrap_fcntl64(int fd, int what, long arg);
int
__wrap_fcntl64(int fd, int what, long arg)
{
    int errnum = fault(CALL_fcntl64);
    if (errnum == 0)
        return __real_fcntl64(fd, what, arg);
    errno = errnum;
    return -1;
}

int __real_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, long arg);
int
__wrap_ioctl(int fd, unsigned long what, long arg)
{
    int errnum = fault(CALL_ioctl);
    if (errnum == 0)
        return __real_ioctl(fd, what, arg);
    errno = errnum;
    return -1;
}

int __wrap_open64(const char *path, int flags, mode_t mode);
int
__wrap_open64(const char *path, int flags, mode_t mode)
{
    int errnum = fault(CALL_open64);
    if (errnum == 0)
        return __real_open64(path, flags, mode);
    errno = errnum;
    return -1;
}

int __real_prctl(int what, ...);
int __wrap_prctl(int what, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int
__wrap_prctl(int what, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    int errnum = fault(CALL_prctl);
    if (errnum == 0)
        return __real_prctl(what, a, b, c, d);
    errno = errnum;
    return -1;
}

// A descriptor that could not be closed in order is closed all the same (close(2)).
int __wrap_close(int fd);
int
__wrap_close(int fd)
{
    int errnum = fault(CALL_close), rc = __real_close(fd);
    if (errnum == 0)
        return rc;
    errno = errnum;
    return -1;
}

// Only what is added takes memory.
int __real_epoll_ctl(int e, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int e, int op, int fd, struct epoll_event *ev);
int
__wrap_epoll_ctl(int e, int op, int fd, struct epoll_event *ev)
{
    int errnum = op == EPOLL_CTL_ADD ? fault(CALL_epoll_ctl) : 0;
    if (errnum == 0)
        return __real_epoll_ctl(e, op, fd, ev);
    errno = errnum;
    return -1;
}

// --- libseccomp, which returns its errors -------------------------------------------------------

void *__real_seccomp_init(uint32_t action);
void *__wrap_seccomp_init(uint32_t action);
void *
__wrap_seccomp_init(uint32_t action)
{
    return fault(CALL_seccomp_init) ? NULL : __real_seccomp_init(action);
}

int __real_seccomp_load(const void *filter);
int __wrap_seccomp_load(const void *filter);
int
__wrap_seccomp_load(const void *filter)
{
    int errnum = fault(CALL_seccomp_load);
    return errnum ? -errnum : __real_seccomp_load(filter);
}

// --- memory ------------------------------------------------------------------------------------

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *
__wrap_malloc(size_t n)
{
    return (errno = fault(CALL_malloc)) ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t count, size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *
__wrap_calloc(size_t count, size_t n)
{
    return (errno = fault(CALL_calloc)) ? NULL : __real_calloc(count, n);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *
__wrap_realloc(void *p, size_t n)
{
    return (errno = fault(CALL_realloc)) ? NULL : __real_realloc(p, n);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *
__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    int errnum = fault(CALL_mmap64);
    if (errnum == 0)
        return __real_mmap64(addr, len, prot, flags, fd, offset);
    errno = errnum;
    return MAP_FAILED;
}

// --- short I/O ---------------------------------------------------------------------------------

#define WRAP_BUFFER(name, pointer)                                                                 \
    ssize_t __real_##name(int fd, pointer p, size_t n);                                            \
    ssize_t __wrap_##name(int fd, pointer p, size_t n);                                            \
    ssize_t __wrap_##name(int fd, pointer p, size_t n)                                             \
    {                                                                                              \
        int errnum = fault(CALL_##name);                                                           \
        if (errnum == 0 || errnum == FAULT_SHORT)                                                  \
            return __real_##name(fd, p, errnum && n > 1 ? 1 : n);                                  \
        errno = errnum;                                                                            \
        return -1;                                                                                 \
    }

WRAP_BUFFER(read, void *)
WRAP_BUFFER(write, const void *)

// Messages stay whole: only a stream can be short.
static bool
is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);
    int rc = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    return rc == 0 && type == SOCK_STREAM;
}

#define WRAP_VECTOR(name)                                                                          \
    ssize_t __real_##name(int fd, const struct iovec *iov, int count);                             \
    ssize_t __wrap_##name(int fd, const struct iovec *iov, int count);                             \
    ssize_t __wrap_##name(int fd, const struct iovec *iov, int count)                              \
    {                                                                                              \
        int errnum = fault(CALL_##name);                                                           \
        if (errnum == 0 || (errnum == FAULT_SHORT && !is_stream(fd)))                              \
            return __real_##name(fd, iov, count);                                                  \
        if (errnum == FAULT_SHORT) {                                                               \
            const struct iovec one = {iov[0].iov_base, iov[0].iov_len > 0};                        \
            return __real_##name(fd, &one, 1);                                                     \
        }                                                                                          \
        errno = errnum;                                                                            \
        return -1;                                                                                 \
    }

WRAP_VECTOR(readv)
WRAP_VECTOR(writev)

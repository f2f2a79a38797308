// SPDX-License-Identifier: BSD-3-Clause
// Descriptors over Unix sockets. That refused ones are closed is seen by the count around each
// test.
#include "test.h"

#include "base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void
make_pair(int pair[2], int type)
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static void
close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static bool
same_file(int a, int b)
{
    struct stat sa, sb;
    assert_int_equal(fstat(a, &sa), 0);
    assert_int_equal(fstat(b, &sb), 0);
    return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

TEST(a_message_and_its_descriptors_arrive)
{
    int pair[2], pipe_fds[2], got[FDPASS_MAX];
    size_t ngot = FDPASS_MAX;
    char buf[10];

    make_pair(pair, SOCK_STREAM);
    assert_int_equal(pipe2(pipe_fds, 0), 0);
    assert_int_equal(fdpass_send(pair[0], "hello", 5, pipe_fds, 2), 5);
    assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), got, &ngot), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(ngot, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(same_file(got[i], pipe_fds[i]));
        assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
        assert_false(fcntl(pipe_fds[i], F_GETFD) & FD_CLOEXEC); // the sender's stay as they were
        close(got[i]);
    }
    close_pair(pipe_fds);
    close_pair(pair);
}

TEST(a_message_without_descriptors_arrives)
{
    int pair[2];
    size_t ngot = 0;
    char buf[10];

    make_pair(pair, SOCK_STREAM);
    assert_int_equal(fdpass_send(pair[0], "x", 1, NULL, 0), 1);
    assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), NULL, &ngot), 1);
    assert_int_equal(ngot, 0);
    close_pair(pair);
}

TEST(sixty_four_descriptors_fit)
{
    int pair[2], fds[FDPASS_MAX + 1], got[FDPASS_MAX];
    size_t ngot = FDPASS_MAX;
    char buf[1];

    make_pair(pair, SOCK_SEQPACKET);
    for (int i = 0; i <= FDPASS_MAX; i++)
        fds[i] = pair[0];
    assert_int_equal(fdpass_send(pair[0], "x", 1, fds, FDPASS_MAX + 1), -EINVAL);
    assert_int_equal(fdpass_send(pair[0], "", 0, fds, 1), -EINVAL);
    assert_int_equal(fdpass_send(pair[0], "x", 1, fds, FDPASS_MAX), 1);
    assert_int_equal(fdpass_recv(pair[1], buf, 1, got, &ngot), 1);
    assert_int_equal(ngot, FDPASS_MAX);
    for (size_t i = 0; i < ngot; i++)
        close(got[i]);
    close_pair(pair);
}

// The descriptor count around each test shows that what was refused is closed.
TEST(descriptors_beyond_the_room_are_closed_with_the_others)
{
    int pair[2], fds[3], got[2] = {-1, -1};
    char buf[1];

    make_pair(pair, SOCK_STREAM);
    fds[0] = fds[1] = fds[2] = pair[0];
    for (size_t room = 0; room < 3; room++) {
        size_t ngot = room;
        assert_int_equal(fdpass_send(pair[0], "x", 1, fds, 3), 1);
        assert_int_equal(fdpass_recv(pair[1], buf, 1, got, &ngot), -EMSGSIZE);
        assert_int_equal(ngot, 0);
    }
    close_pair(pair);
}

// A peer that does not use our sender may pass up to 253 (SCM_MAX_FD).
TEST(more_descriptors_than_any_message_of_ours_are_refused)
{
    enum { MANY = 253 };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MANY * sizeof(int))];
    } control = {0};
    int pair[2], got[FDPASS_MAX];
    size_t ngot = FDPASS_MAX;
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    make_pair(pair, SOCK_STREAM);
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(MANY * sizeof(int));
    for (size_t i = 0; i < MANY; i++)
        memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &pair[0], sizeof(int));
    assert_int_equal(sendmsg(pair[0], &msg, MSG_NOSIGNAL), 1);
    assert_int_equal(fdpass_recv(pair[1], &byte, 1, got, &ngot), -EMSGSIZE);
    assert_int_equal(ngot, 0);
    close_pair(pair);
}

TEST(a_datagram_that_is_too_long_is_refused_with_its_descriptors)
{
    int pair[2], got[1];
    size_t ngot = 1;
    char buf[4];

    make_pair(pair, SOCK_SEQPACKET);
    assert_int_equal(fdpass_send(pair[0], "hello", 5, pair, 1), 5);
    assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), got, &ngot), -EMSGSIZE);
    assert_int_equal(ngot, 0);
    assert_memory_equal(buf, "hell", 4);
    close_pair(pair);
}

TEST(descriptors_beyond_the_limit_of_the_process_are_refused_with_the_others)
{
    struct rlimit was, low;
    int pair[2], fds[3], got[3];
    size_t ngot = 3;
    char buf[5];

    make_pair(pair, SOCK_STREAM);
    fds[0] = fds[1] = fds[2] = pair[0];
    assert_int_equal(fdpass_send(pair[0], "hello", 5, fds, 3), 5);
    int next = dup(pair[0]); // the lowest free number
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    low = was;
    low.rlim_cur = (rlim_t)next + 1; // room for one
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    ssize_t n = fdpass_recv(pair[1], buf, sizeof(buf), got, &ngot);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(n, -EMSGSIZE);
    assert_int_equal(ngot, 0);
    assert_memory_equal(buf, "hello", 5);
    close_pair(pair);
}

TEST(end_of_file_and_errors_are_told)
{
    int pair[2];
    size_t ngot = 0;
    char buf[4096] = {0};

    make_pair(pair, SOCK_STREAM);
    assert_int_equal(fdpass_recv(pair[1], buf, 1, NULL, &ngot), -EAGAIN);
    ssize_t n;
    while ((n = fdpass_send(pair[0], buf, sizeof(buf), NULL, 0)) > 0)
        ;
    assert_int_equal(n, -EAGAIN);
    close(pair[1]);
    assert_int_equal(fdpass_send(pair[0], "x", 1, NULL, 0), -EPIPE); // and no SIGPIPE
    close(pair[0]);

    make_pair(pair, SOCK_STREAM);
    close(pair[0]);
    ngot = 0;
    assert_int_equal(fdpass_recv(pair[1], buf, 1, NULL, &ngot), 0);
    close(pair[1]);
    assert_int_equal(fdpass_recv(-1, buf, 1, NULL, &ngot), -EBADF);
}

// SPDX-License-Identifier: BSD-3-Clause
// Listening sockets: whose path it is, and what is left behind. Each test has a directory of its
// own.
#include "test.h"

#include "base/unix_listener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static char path[90];
static char lock[100];
static struct error err;

static void
enter_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/test_unix_listener.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(lock, sizeof(lock), "%s.lock", path);
}

static int
count_files(void)
{
    int n = -2; // . and ..
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void
leave_dir(void)
{
    assert_int_equal(count_files(), 0);
    assert_int_equal(rmdir(dir), 0);
}

static int
dial(const char *name, bool abstract, bool tight)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, name, abstract, tight);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(len > 0);
    if (connect(fd, (struct sockaddr *)&sa, (socklen_t)len) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    return -errnum;
}

static int
open_listener(struct unix_listener *l)
{
    err.text[0] = '\0';
    return unix_listener_open(l, path, false, false, &err);
}

TEST(a_listener_is_reached_and_leaves_nothing_behind)
{
    struct unix_listener l;
    struct stat st;

    enter_dir();
    mode_t mask = umask(0);
    assert_int_equal(open_listener(&l), 0);
    assert_int_equal(umask(mask), 0); // as it was
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(fcntl(l.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(l.fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(accept(l.fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    int fd = dial(path, false, false);
    assert_true(fd >= 0);
    close(fd);
    unix_listener_close(&l);
    unix_listener_close(&l); // harmless
    assert_int_equal(l.fd, -1);
    leave_dir();
}

TEST(a_stale_socket_is_replaced)
{
    struct unix_listener l;
    struct sockaddr_un sa;

    enter_dir();
    int len = unix_address(&sa, path, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    close(fd);
    fd = open(lock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); // as a killed process leaves it
    close(fd);
    assert_int_equal(open_listener(&l), 0);
    unix_listener_close(&l);
    leave_dir();
}

TEST(a_socket_somebody_listens_on_is_left_alone)
{
    struct unix_listener l;
    struct sockaddr_un sa;

    enter_dir();
    int len = unix_address(&sa, path, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(open_listener(&l), -EADDRINUSE);
    assert_int_equal(l.fd, -1);
    assert_non_null(strstr(err.text, path));
    // Our first probe fills the backlog: still no reason to take it for dead.
    assert_int_equal(open_listener(&l), -EADDRINUSE);
    unix_listener_close(&l);
    assert_int_equal(count_files(), 1);
    close(fd);
    assert_int_equal(unlink(path), 0);
    leave_dir();
}

TEST(a_datagram_socket_in_use_is_left_alone)
{
    struct unix_listener l;
    struct sockaddr_un sa;

    enter_dir();
    int len = unix_address(&sa, path, false, false);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(open_listener(&l), -EADDRINUSE);
    close(fd);
    assert_int_equal(unlink(path), 0);
    leave_dir();
}

TEST(what_is_no_socket_is_left_alone)
{
    struct unix_listener l;

    enter_dir();
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(open_listener(&l), -EEXIST);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(count_files(), 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/nowhere", path), 0); // not even followed
    assert_int_equal(open_listener(&l), -EEXIST);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(open_listener(&l), -EEXIST);
    assert_int_equal(rmdir(path), 0);
    leave_dir();
}

TEST(a_file_that_only_looks_like_a_lock_is_left_alone)
{
    struct unix_listener l;

    enter_dir();
    int fd = open(lock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "mine", 4), 4);
    close(fd);
    assert_int_equal(open_listener(&l), -EEXIST);
    assert_non_null(strstr(err.text, lock));
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(mkfifo(lock, 0600), 0); // opening it must not hang either
    assert_int_equal(open_listener(&l), -EEXIST);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(symlink("elsewhere", lock), 0);
    assert_int_equal(open_listener(&l), -ELOOP);
    assert_int_equal(count_files(), 1);
    assert_int_equal(unlink(lock), 0);
    leave_dir();
}

TEST(a_missing_directory_is_named)
{
    struct unix_listener l;

    enter_dir();
    strcat(path, "/missing/s");
    assert_int_equal(open_listener(&l), -ENOENT);
    assert_non_null(strstr(err.text, path));
    leave_dir();
}

TEST(a_path_of_107_bytes_works_and_one_of_108_is_too_long)
{
    struct unix_listener l;
    char name[120];

    enter_dir();
    memset(name, 'n', sizeof(name));
    memcpy(name, dir, strlen(dir));
    name[strlen(dir)] = '/';
    name[107] = '\0';
    assert_int_equal(unix_listener_open(&l, name, false, false, &err), 0);
    int fd = dial(name, false, false);
    assert_true(fd >= 0);
    close(fd);
    unix_listener_close(&l);
    name[107] = 'n';
    name[108] = '\0';
    assert_int_equal(unix_listener_open(&l, name, false, false, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, name));
    assert_int_equal(l.fd, -1);
    assert_int_equal(unix_listener_open(&l, "", false, false, &err), -ENAMETOOLONG);
    leave_dir();
}

TEST(abstract_names_tight_and_padded_are_different)
{
    struct unix_listener tight, padded, again;
    char name[64];

    snprintf(name, sizeof(name), "test_unix_listener/%d", (int)getpid());
    assert_int_equal(unix_listener_open(&tight, name, true, true, &err), 0);
    assert_int_equal(dial(name, true, false), -ECONNREFUSED);
    assert_int_equal(unix_listener_open(&padded, name, true, false, &err), 0);
    assert_int_equal(unix_listener_open(&again, name, true, true, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, name));
    int fd = dial(name, true, true);
    assert_true(fd >= 0);
    close(fd);
    unix_listener_close(&tight);
    assert_int_equal(dial(name, true, true), -ECONNREFUSED);
    unix_listener_close(&padded);
}

TEST(of_two_processes_one_gets_the_path)
{
    struct unix_listener l;
    int up[2], down[2], status;
    char byte;

    enter_dir();
    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    assert_int_equal(pipe2(down, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(down[1]);
        byte = unix_listener_open(&l, path, false, false, NULL) == 0 ? 'y' : 'n';
        if (write(up[1], &byte, 1) != 1 || read(down[0], &byte, 1) != 0)
            _exit(1);
        unix_listener_close(&l);
        _exit(0);
    }
    close(down[0]);
    assert_int_equal(read(up[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(open_listener(&l), -EADDRINUSE);
    assert_non_null(strstr(err.text, "locked by another process"));
    int fd = dial(path, false, false);
    assert_true(fd >= 0);
    close(fd);
    close(down[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(up[0]);
    close(up[1]);
    assert_int_equal(open_listener(&l), 0);
    unix_listener_close(&l);
    leave_dir();
}

// Opens and closes in a tight race must never leave two owners, nor remove the other's socket.
static int
contend(int wins)
{
    struct unix_listener l;

    while (wins > 0) {
        if (unix_listener_open(&l, path, false, false, NULL) < 0)
            continue;
        int fd = dial(path, false, false);
        int peer = fd >= 0 ? accept4(l.fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (peer < 0)
            return 1;
        close(fd);
        close(peer);
        unix_listener_close(&l);
        wins--;
    }
    return 0;
}

TEST(a_race_has_one_winner_at_a_time)
{
    enum { PROCESSES = 3 };
    pid_t pids[PROCESSES];

    enter_dir();
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(contend(200));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    leave_dir();
}

TEST(a_socket_that_took_our_place_is_not_removed)
{
    struct unix_listener l;
    struct sockaddr_un sa;

    enter_dir();
    assert_int_equal(open_listener(&l), 0);
    assert_int_equal(unlink(path), 0);
    int len = unix_address(&sa, path, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    unix_listener_close(&l);
    assert_int_equal(count_files(), 1);
    close(fd);
    assert_int_equal(unlink(path), 0);
    leave_dir();
}

TEST(a_child_with_a_copy_does_not_keep_the_lock)
{
    struct unix_listener l;
    int hold[2], status;
    char byte;

    enter_dir();
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    assert_int_equal(open_listener(&l), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(hold[0]);
    unix_listener_close(&l);
    assert_int_equal(open_listener(&l), 0);
    unix_listener_close(&l);
    close(hold[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    leave_dir();
}

TEST(what_took_the_place_of_a_socket_is_not_shared)
{
    const struct unix_access all = {0666, (uid_t)-1, (gid_t)-1};
    struct unix_listener l;
    struct stat st;
    char aside[100];

    enter_dir();
    snprintf(aside, sizeof(aside), "%s/secret", dir);
    assert_int_equal(open_listener(&l), 0);
    int fd = open(aside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link(aside, path), 0);
    assert_int_equal(unix_listener_share(&l, &all, &err), -ESTALE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(aside, path), 0);
    assert_int_equal(unix_listener_share(&l, &all, &err), -ESTALE);
    assert_int_equal(stat(aside, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(aside), 0);
    unix_listener_close(&l);
    leave_dir();
}

TEST(a_socket_is_shared_as_asked)
{
    struct unix_listener l;
    struct stat st;

    enter_dir();
    assert_int_equal(open_listener(&l), 0);
    assert_int_equal(unix_listener_share(&l, &UNIX_ACCESS_AS_MADE, &err), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(
        unix_listener_share(&l, &(struct unix_access){0660, (uid_t)-1, (gid_t)-1}, &err), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    unix_listener_close(&l);
    leave_dir();
}

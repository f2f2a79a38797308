// SPDX-License-Identifier: BSD-3-Clause
// Connecting to and accepting from host programs on Unix sockets: each way it can fail is told at
// once and by its errno.
#include "test.h"

#include "host/unix_end.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static void
make_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/test-unix-end-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static struct device
device_at(const char *name)
{
    struct device dev = {.kind = DEVICE_UNIX, .tight = true};
    snprintf(dev.path, sizeof(dev.path), "%s/%s", dir, name);
    return dev;
}

static int
listen_at(const struct device *dev, int backlog)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, dev->path, dev->abstract, dev->tight);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void
assert_fails(const struct device *dev, int why, const char *text)
{
    struct error err = {{0}};
    char whole[256];
    assert_int_equal(unix_end_connect(dev, "vmchannel/t/600/1", &err), -why);
    snprintf(whole, sizeof(whole), "unix:%.107s: %s", dev->path, text);
    assert_string_equal(err.text, whole);
}

TEST(missing_path_is_enoent)
{
    make_dir();
    struct device dev = device_at("s");
    assert_fails(&dev, ENOENT, "No such file or directory");
    rmdir(dir);
}

TEST(nobody_listening_is_econnrefused)
{
    make_dir();
    struct device dev = device_at("s");
    close(listen_at(&dev, 1));
    assert_fails(&dev, ECONNREFUSED, "Connection refused");
    unlink(dev.path);
    rmdir(dir);
}

TEST(full_backlog_is_eagain_at_once)
{
    make_dir();
    struct device dev = device_at("s");
    int l = listen_at(&dev, 0);
    int first = unix_end_connect(&dev, "vmchannel/t/600/1", NULL);
    assert_true(first >= 0);
    assert_fails(&dev, EAGAIN, "backlog full: Resource temporarily unavailable");
    close(first);
    close(l);
    unlink(dev.path);
    rmdir(dir);
}

TEST(no_permission_is_eacces)
{
    if (geteuid() != 0)
        skip();
    make_dir();
    struct device dev = device_at("s");
    int l = listen_at(&dev, 1);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chmod(dev.path, 0700), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(2);
        _exit(unix_end_connect(&dev, "vmchannel/t/600/1", NULL) == -EACCES ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(l);
    unlink(dev.path);
    rmdir(dir);
}

TEST(service_sees_the_identity)
{
    make_dir();
    struct device dev = device_at("s");
    int l = listen_at(&dev, 1);
    char name[108] = {0}; // of this process: the names are the machine's
    int len_of_name = snprintf(name + 1, sizeof(name) - 1, "vmchannel/vm%d/600/7", (int)getpid());
    int c = unix_end_connect(&dev, name + 1, NULL);
    int s = accept(l, NULL, NULL);
    struct sockaddr_un sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getpeername(s, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(len, offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len_of_name);
    assert_memory_equal(sa.sun_path, name, (size_t)len_of_name + 1);
    close(s);
    close(c);
    close(l);
    unlink(dev.path);
    rmdir(dir);
}

TEST(taken_identity_costs_the_name_alone)
{
    make_dir();
    struct device dev = device_at("s");
    int l = listen_at(&dev, 4);
    int a = unix_end_connect(&dev, "vmchannel/vm2/600/7", NULL);
    int b = unix_end_connect(&dev, "vmchannel/vm2/600/7", NULL);
    assert_true(a >= 0 && b >= 0);
    close(accept(l, NULL, NULL));
    int s = accept(l, NULL, NULL);
    struct sockaddr_un sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getpeername(s, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(len, sizeof(sa_family_t)); // unnamed
    close(s);
    close(a);
    close(b);
    close(l);
    unlink(dev.path);
    rmdir(dir);
}

TEST(long_identity_is_cut)
{
    make_dir();
    struct device dev = device_at("s");
    int l = listen_at(&dev, 1);
    char identity[200];
    memset(identity, 'x', sizeof(identity));
    identity[sizeof(identity) - 1] = '\0';
    int c = unix_end_connect(&dev, identity, NULL);
    assert_true(c >= 0);
    struct sockaddr_un sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getsockname(c, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(len, sizeof(sa));
    close(c);
    close(l);
    unlink(dev.path);
    rmdir(dir);
}

TEST(longest_path_and_abstract_names_connect)
{
    make_dir();
    struct device dev = device_at("s");
    size_t len = strlen(dev.path);
    memset(dev.path + len, 's', DEVICE_UNIX_PATH_MAX - len);
    dev.path[DEVICE_UNIX_PATH_MAX] = '\0';
    for (int i = 0; i < 3; i++) {
        dev.abstract = i > 0;
        dev.tight = i < 2;
        int l = listen_at(&dev, 1);
        int c = unix_end_connect(&dev, "vmchannel/t/1/1", NULL);
        assert_true(c >= 0);
        assert_true(fcntl(c, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(c, F_GETFD) & FD_CLOEXEC);
        close(c);
        close(l);
    }
    unlink(dev.path);
    rmdir(dir);
}

TEST(out_of_descriptors_is_emfile)
{
    make_dir();
    struct device dev = device_at("s");
    struct rlimit was, now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    close(next);
    now = was;
    now.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    struct error err;
    int rc = unix_end_connect(&dev, "vmchannel/t/1/1", &err);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(rc, -EMFILE);
    rmdir(dir);
}

// A client of ours on l's path.
static int
client_of(const struct device *dev)
{
    int fd = unix_end_connect(dev, "vmchannel/client", NULL);
    assert_true(fd >= 0);
    return fd;
}

TEST(accept_says_when_nobody_waits)
{
    make_dir();
    struct device dev = device_at("s");
    struct unix_listener l;
    assert_int_equal(unix_listener_open(&l, dev.path, false, true, NULL), 0);
    assert_int_equal(unix_end_accept(&l), -EAGAIN);
    int c = client_of(&dev);
    int s = unix_end_accept(&l);
    assert_true(s >= 0);
    assert_true(fcntl(s, F_GETFL) & O_NONBLOCK);
    assert_int_equal(unix_end_accept(&l), -EAGAIN);
    close(s);
    close(c);
    unix_listener_close(&l);
    rmdir(dir);
}

TEST(accept_passes_over_clients_that_left_silently)
{
    make_dir();
    struct device dev = device_at("s");
    struct unix_listener l;
    assert_int_equal(unix_listener_open(&l, dev.path, false, true, NULL), 0);
    close(client_of(&dev));
    close(client_of(&dev));
    int spoke = client_of(&dev);
    assert_int_equal(write(spoke, "x", 1), 1);
    close(spoke);
    int half = client_of(&dev);
    assert_int_equal(shutdown(half, SHUT_WR), 0);

    char byte = 0;
    int first = unix_end_accept(&l); // what was sent before leaving is not lost
    assert_true(first >= 0);
    assert_int_equal(read(first, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    int second = unix_end_accept(&l); // one that only listens is still there
    assert_true(second >= 0);
    assert_int_equal(write(second, "y", 1), 1);
    assert_int_equal(read(half, &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(unix_end_accept(&l), -EAGAIN);

    close(first);
    close(second);
    close(half);
    unix_listener_close(&l);
    rmdir(dir);
}

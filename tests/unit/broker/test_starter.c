// SPDX-License-Identifier: BSD-3-Clause
// The starter, asked for what there is none of and in ways that no broker asks; and who becomes
// another user when.
#include "test.h"

#include "base/fdpass.h"
#include "broker/run_as.h"
#include "broker/starter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct guest_config guest;
static struct hub_counters *counters;
static int null_fd;

static struct starter
start(const struct link_spec *link)
{
    struct starter s;
    struct error err = {{0}};
    guest_config_init(&guest);
    counters =
        mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (starter_start(&s, &guest, counters, link, null_fd, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static void
stop(struct starter *s)
{
    starter_stop(s);
    starter_stop(s); // harmless
    close(null_fd);
    munmap(counters, sizeof(*counters));
    guest_config_fini(&guest);
}

TEST(link_without_a_queue_has_none_to_open)
{
    const struct link_spec link = {.kind = LINK_STREAM, .fd = -1};
    struct starter s = start(&link);
    struct error err = {{0}};
    assert_int_equal(starter_open_queue(&s, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no queue"));
    assert_int_equal(starter_open_queue(&s, NULL), -EINVAL);
    stop(&s);
}

TEST(queue_is_opened_as_often_as_it_is_asked_for)
{
    struct link_spec link = {.kind = LINK_PACKET, .fd = -1, .ifname = "lo"};
    struct error err = {{0}};
    if (geteuid() != 0)
        skip();
    struct starter s = start(&link);
    struct rlimit was;
    int fd = starter_open_queue(&s, &err);
    assert_true(fd >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)fd, was.rlim_max}), 0);
    close(fd);
    assert_int_equal(starter_open_queue(&s, &err), -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    fd = starter_open_queue(&s, &err);
    assert_true(fd >= 0);
    close(fd);
    stop(&s);
    strcpy(link.ifname, "nosuch0");
    s = start(&link);
    assert_true(starter_open_queue(&s, &err) < 0);
    assert_non_null(strstr(err.text, "nosuch0"));
    stop(&s);
}

// An answer, whatever is in it, without a descriptor.
static void
expect_refusal(const struct starter *s)
{
    char answer[4096];
    int fd;
    size_t nfds = 1;
    assert_true(fdpass_recv(s->sock, answer, sizeof(answer), &fd, &nfds) > 0);
    assert_int_equal(nfds, 0);
    assert_true(*(const int *)(const void *)answer < 0);
}

TEST(odd_requests_are_refused)
{
    const struct link_spec link = {.kind = LINK_STREAM, .fd = -1};
    struct starter s = start(&link);
    const uint8_t worker = 1, queue = 2, nothing = 9;
    assert_int_equal(fdpass_send(s.sock, &worker, 1, NULL, 0), 1); // and no socket for it
    expect_refusal(&s);
    assert_int_equal(fdpass_send(s.sock, &queue, 1, &null_fd, 1), 1);
    expect_refusal(&s);
    assert_int_equal(fdpass_send(s.sock, &nothing, 1, NULL, 0), 1);
    expect_refusal(&s);
    stop(&s);
}

// Asks for a worker, which ends again, while this process, or the starter, has no descriptor left.
static int
fork_worker(struct starter *s, pid_t without_descriptors, rlim_t descriptors, struct error *err)
{
    int sv[2], status;
    pid_t pid;
    struct rlimit was;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
    assert_int_equal(prlimit(without_descriptors, RLIMIT_NOFILE, NULL, &was), 0);
    const struct rlimit now = {descriptors, was.rlim_max};
    assert_int_equal(prlimit(without_descriptors, RLIMIT_NOFILE, &now, NULL), 0);
    int pidfd = starter_fork_worker(s, sv[1], &pid, err);
    assert_int_equal(prlimit(without_descriptors, RLIMIT_NOFILE, &was, NULL), 0);
    close(sv[0]);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (pidfd >= 0)
        close(pidfd);
    return pidfd < 0 ? pidfd : 0;
}

TEST(starter_outlives_a_worker_that_cannot_be_watched)
{
    const struct link_spec link = {.kind = LINK_STREAM, .fd = -1};
    struct error err = {{0}};
    struct starter s = start(&link);
    int next = dup(0);
    close(next);
    assert_int_equal(fork_worker(&s, 0, (rlim_t)next + 2, &err), -EMFILE); // the socket pair alone
    assert_int_equal(fork_worker(&s, 0, (rlim_t)next + 3, &err), 0);
    stop(&s);
}

// Of a starter the numbers from 5 on are free: a socket, a pipe and the worker's pidfd fit.
TEST(worker_that_cannot_be_mapped_leaves_nothing_behind)
{
    const struct link_spec link = {.kind = LINK_STREAM, .fd = -1};
    struct error err = {{0}};
    struct starter s = start(&link);
    assert_int_equal(fork_worker(&s, s.pid, 9, &err), -EMFILE);
    assert_non_null(strstr(err.text, "map of its user"));
    stop(&s); // and the test's fixture counts descriptors
}

TEST(who_is_not_root_becomes_nobody_else)
{
    const struct run_as other = {"daemon", 1, 1, (gid_t)-1}, self = {"nobody", 65534, 65534, 1};
    int status;
    if (geteuid() != 0)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = {{0}};
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
            _exit(1);
        if (run_as_become(&self, &err) != 0 || run_as_become(&other, &err) != -EPERM)
            _exit(2);
        _exit(strstr(err.text, "cannot become daemon") ? 0 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

// SPDX-License-Identifier: BSD-3-Clause
// What is the opener's own with devices other than Unix sockets: connects that take their time,
// ends that are counted, our own standard input and output. What bytes do is tested in lib/.
#include "test.h"

#include "base/log.h"
#include "host/opener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWERS_MAX 64

struct answer {
    uint64_t session;
    int fds[2];
    size_t nfds;
    int why; // 0: opened
};

static struct channel_spec spec;
static struct loop *loop;
static struct opener *opener;
static struct answer answers[ANSWERS_MAX];
static size_t count;
static char logged[4096];

static void
on_opened(void *ctx, uint64_t session, const int *fds, size_t nfds)
{
    assert_true(count < ANSWERS_MAX && nfds <= OPENER_FDS_MAX);
    struct answer *a = &answers[count++];
    *a = (struct answer){.session = session, .nfds = nfds};
    memcpy(a->fds, fds, nfds * sizeof(*fds));
}

static void
on_refused(void *ctx, uint64_t session, int why)
{
    assert_true(count < ANSWERS_MAX);
    answers[count++] = (struct answer){.session = session, .why = why};
}

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    size_t len = strlen(logged);
    snprintf(logged + len, sizeof(logged) - len, "%s\n", line);
}

static int
times_logged(const char *part)
{
    int n = 0;
    for (const char *p = logged; (p = strstr(p, part)); p++)
        n++;
    return n;
}

static void
setup(const char *device, uint32_t max_pending)
{
    char text[200];
    struct error err = {{0}};
    count = 0;
    logged[0] = '\0';
    snprintf(text, sizeof(text), "600:%s", device);
    if (channel_spec_parse(text, &spec, &err) < 0)
        fail_msg("%s", err.text);
    log_set_sink(on_log, NULL);
    log_set_level(LOG_INFO);
    loop = loop_new();
    struct opener_config config = {.loop = loop,
                                   .guest = "vm1",
                                   .channels = &spec,
                                   .channel_count = 1,
                                   .has_stdio = true,
                                   .max_pending = max_pending,
                                   .events = {on_opened, on_refused}};
    opener = opener_new(&config, &err);
    if (!opener)
        fail_msg("%s", err.text);
}

static void
close_answer(const struct answer *a)
{
    for (size_t i = 0; i < a->nfds; i++)
        close(a->fds[i]);
}

static void
teardown(void)
{
    opener_free(opener);
    loop_free(loop);
    for (size_t i = 0; i < count; i++)
        close_answer(&answers[i]);
    log_set_sink(NULL, NULL);
}

static void
turns(int ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)ms * 1000;
    do
        loop_turn(loop, 1);
    while (loop_clock_us() < end);
}

static int
tcp_listener(int backlog, char *device, size_t size, const char *options)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(device, size, "tcp:127.0.0.1:%d%s", ntohs(sa.sin_port), options);
    return fd;
}

TEST(connects_run_side_by_side_and_none_blocks)
{
    char device[64];
    int l = tcp_listener(0, device, sizeof(device), "");
    setup(device, 16);
    // The backlog takes one; the SYNs of the others are dropped and sent again for minutes.
    uint64_t start = loop_clock_us();
    for (uint32_t i = 0; i < 10; i++)
        assert_true(opener_open(opener, i, 0, NULL));
    turns(50);
    assert_in_range(loop_clock_us() - start, 0, 500000);
    assert_in_range(count, 1, 3);
    assert_int_equal(opener_pending(opener), 10 - count);
    assert_false(opener_open(opener, 9, 0, NULL)); // under way
    opener_cancel(opener, 9);
    opener_cancel(opener, 9);
    assert_int_equal(opener_pending(opener), 10 - count - 1);
    close(accept(l, NULL, NULL));
    turns(1500); // the next SYN
    assert_true(count >= 2);
    close(l);
    opener_cancel_all(opener);
    assert_int_equal(opener_pending(opener), 0);
    teardown();
}

TEST(connects_under_way_are_bounded)
{
    char device[64];
    int l = tcp_listener(0, device, sizeof(device), "");
    setup(device, 4);
    for (uint32_t i = 0; i < 20; i++)
        opener_open(opener, i, 0, NULL);
    turns(50);
    assert_in_range(opener_pending(opener), 1, 4);
    assert_int_equal(times_logged("too many host ends"), 1);
    close(l);
    teardown(); // with some under way
}

TEST(while_a_retry_is_due_one_request_asks_for_all)
{
    char device[64];
    int l = tcp_listener(8, device, sizeof(device), ",reconnect=60");
    setup(device, 16);
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    getsockname(l, (struct sockaddr *)&sa, &len);
    close(l);
    for (uint32_t i = 0; i < 5; i++)
        opener_open(opener, i, 0, NULL);
    turns(20);
    assert_int_equal(count, 0);
    assert_int_equal(opener_pending(opener), 5);
    assert_int_equal(times_logged("Connection refused"), 1);
    l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(l, 8), 0);
    opener_open(opener, 5, 0, NULL);
    turns(50);
    assert_int_equal(count, 6);
    assert_int_equal(opener_pending(opener), 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(answers[i].why, 0);
    close(l);
    teardown();
}

TEST(counted_end_is_taken_until_it_is_closed)
{
    setup("pty", 4);
    assert_true(opener_open(opener, 1, 0, NULL));
    assert_int_equal(answers[0].nfds, 1);
    assert_int_equal(opener_pending(opener), 0);
    assert_false(opener_open(opener, 1, 0, NULL));
    for (uint32_t i = 2; i < 12; i++)
        assert_true(opener_open(opener, i, 0, NULL));
    assert_int_equal(count, 11);
    assert_int_equal(answers[10].why, -EBUSY);
    assert_int_equal(times_logged("the device has a connection"), 1);
    assert_false(opener_closed(opener, 2)); // never had it
    assert_true(opener_closed(opener, 1));
    assert_false(opener_closed(opener, 1));
    assert_true(opener_open(opener, 20, 0, NULL));
    opener_cancel(opener, 20); // answered already: closed
    assert_true(opener_open(opener, 21, 0, NULL));
    assert_int_equal(answers[12].why, 0);
    opener_cancel_all(opener);
    assert_true(opener_open(opener, 22, 0, NULL));
    assert_int_equal(answers[13].why, 0);
    teardown();
}

TEST(null_has_no_descriptor_and_is_not_counted)
{
    setup("null", 4);
    for (uint32_t i = 0; i < 20; i++)
        assert_true(opener_open(opener, i, 0, NULL));
    assert_int_equal(count, 20);
    assert_int_equal(answers[19].why, 0);
    assert_int_equal(answers[19].nfds, 0);
    assert_false(opener_closed(opener, 3));
    teardown();
}

TEST(stdio_is_read_and_written_and_left_as_it_was)
{
    int in[2], out[2], was[2] = {dup(0), dup(1)};
    char text[8] = "";
    fflush(stdout);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(dup2(in[0], 0), 0);
    assert_int_equal(dup2(out[1], 1), 1);
    setup("stdio", 4);
    opener_open(opener, 1, 0, NULL);
    size_t nfds = answers[0].nfds;
    bool is_non_blocking = (fcntl(0, F_GETFL) & O_NONBLOCK) && (fcntl(1, F_GETFL) & O_NONBLOCK);
    bool written = write(in[1], "in", 2) == 2 && nfds == 2 && write(answers[0].fds[1], "x", 1) == 1;
    ssize_t n = nfds == 2 ? read(answers[0].fds[0], text, sizeof(text)) : -1;
    opener_open(opener, 2, 0, NULL);
    int second = answers[1].why;
    teardown();
    bool is_blocking = !(fcntl(0, F_GETFL) & O_NONBLOCK) && !(fcntl(1, F_GETFL) & O_NONBLOCK);
    dup2(was[0], 0);
    dup2(was[1], 1); // from here on a failure can be seen
    assert_int_equal(nfds, 2);
    assert_true(is_non_blocking && written && is_blocking);
    assert_int_equal(n, 2);
    assert_string_equal(text, "in");
    assert_int_equal(second, -EBUSY);
    int fds[] = {in[0], in[1], out[0], out[1], was[0], was[1]};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close(fds[i]);
}

TEST(removed_command_is_ended_without_waiting)
{
    setup("cmd:trap '' TERM; echo up; exec cat", 4);
    assert_true(opener_open(opener, 1, 0, NULL));
    assert_int_equal(count, 1);
    char line[4];
    struct pollfd p = {.fd = answers[0].fds[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1); // it ignores SIGTERM by now
    assert_int_equal(read(answers[0].fds[0], line, 3), 3);
    uint64_t start = loop_clock_us();
    assert_int_equal(opener_remove(opener, 0), 1);
    assert_in_range(loop_clock_us() - start, 0, 500000);
    assert_false(opener_closed(opener, 1)); // as remove said
    assert_false(opener_is_free(opener, 0));
    for (int i = 0; i < 100 && !opener_is_free(opener, 0); i++)
        turns(100);
    assert_true(opener_is_free(opener, 0)); // killed meanwhile
    struct error err;
    assert_int_equal(opener_add(opener, 0, &err), 0);
    teardown();
}

#define UNKILLABLE_S 5

// This program, copied and made a set-user-ID one: root's for a while, as by sudo(8).
__attribute__((constructor)) static void
be_unkillable(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    if (!name || strcmp(name, "/unkillable") != 0)
        return;
    if (setresuid(0, 0, 0) < 0 || write(1, "up\n", 3) != 3)
        _exit(1);
    for (int i = 0; i < UNKILLABLE_S; i++)
        sleep(1);
    _exit(0);
}

static void
copy_ourselves(const char *path)
{
    struct stat st;
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_int_equal(fstat(in, &st), 0);
    assert_int_equal(sendfile(out, in, NULL, (size_t)st.st_size), st.st_size);
    assert_int_equal(fchmod(out, 04755), 0);
    close(in);
    close(out);
}

static bool
start_unkillable(const char *device)
{
    char line[3];
    setup(device, 4);
    opener_open(opener, 1, 0, NULL);
    struct pollfd p = {.fd = answers[0].fds[0], .events = POLLIN};
    return poll(&p, 1, 5000) == 1 && read(p.fd, line, 3) == 3 && memcmp(line, "up\n", 3) == 0;
}

// What took long, in ms: the end of all while it runs, which asks it for two seconds.
static int
leave_unkillable(const char *device)
{
    if (!start_unkillable(device))
        return -1;
    uint64_t start = loop_clock_us();
    teardown();
    return (int)((loop_clock_us() - start) / 1000);
}

// The longest turn of those in which the command was ended.
static int
end_unkillable(const char *device)
{
    uint64_t longest_us = 0, end;
    if (!start_unkillable(device))
        return -1;
    opener_remove(opener, 0);
    end = loop_clock_us() + UNKILLABLE_S * UINT64_C(2000000);
    while (!opener_is_free(opener, 0) && loop_clock_us() < end) {
        uint64_t start = loop_clock_us();
        loop_turn(loop, 10);
        if (loop_clock_us() - start > longest_us)
            longest_us = loop_clock_us() - start;
    }
    if (!opener_is_free(opener, 0))
        return -1;
    teardown();
    return (int)(longest_us / 1000);
}

// In a process that is not root.
static int
took(int (*what)(const char *device))
{
    char dir[] = "/tmp/test-opener-XXXXXX", path[64], device[80];
    int status, pipe_fds[2], ms = -1;
    struct statvfs fs;
    if (geteuid() != 0 || statvfs("/tmp", &fs) < 0 || (fs.f_flag & ST_NOSUID))
        skip();
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(path, sizeof(path), "%s/unkillable", dir);
    copy_ourselves(path);
    snprintf(device, sizeof(device), "cmd:exec %s", path);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0)
            ms = what(device);
        _exit(write(pipe_fds[1], &ms, sizeof(ms)) == sizeof(ms) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(path);
    rmdir(dir);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipe_fds[0], &ms, sizeof(ms)), sizeof(ms));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return ms;
}

TEST(command_that_may_not_be_killed_holds_nothing_up)
{
    assert_in_range(took(end_unkillable), 0, 250);
}

TEST(command_that_may_not_be_killed_is_left_in_the_end)
{
    assert_in_range(took(leave_unkillable), 0, 3500);
}

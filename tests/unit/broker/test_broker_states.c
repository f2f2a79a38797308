// SPDX-License-Identifier: BSD-3-Clause
// A broker, in this very process, in states that pass quickly: without a worker, full of channels,
// on listeners that it was given; and what control clients and who stops it get then.
#include "test.h"

#include "base/fdpass.h"
#include "broker/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_US 5000000

struct bench {
    char dir[64], control[80];
    struct guest_config guest;
    struct broker_config config;
    struct broker *broker;
    int client;
    char reply[4096];
};

static int links_down_told;

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    links_down_told += strstr(line, "link: down") != NULL;
}

static void
bench_init(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    snprintf(b->dir, sizeof(b->dir), "/tmp/test-states-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->control, sizeof(b->control), "%s/c", b->dir);
    guest_config_init(&b->guest);
    b->guest.sandbox_off = true;
    assert_int_equal(guest_config_add_channel(&b->guest, "600:null", NULL), 0);
    b->config = (struct broker_config){.guest = &b->guest,
                                       .link = {.kind = LINK_STREAM, .fd = -1, .server = true},
                                       .control_path = b->control};
    snprintf(b->config.link.path, sizeof(b->config.link.path), "%s/l", b->dir);
}

static void
bench_start(struct bench *b)
{
    struct sockaddr_un sa;
    struct error err = {{0}};
    log_set_sink(on_log, NULL);
    b->broker = broker_start(&b->config, &err);
    if (!b->broker)
        fail_msg("%s", err.text);
    b->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int len = unix_address(&sa, b->control, false, false);
    assert_int_equal(connect(b->client, (struct sockaddr *)&sa, (socklen_t)len), 0);
}

static void
bench_fini(struct bench *b)
{
    close(b->client);
    broker_free(b->broker);
    guest_config_fini(&b->guest);
    assert_int_equal(rmdir(b->dir), 0);
    log_set_sink(NULL, NULL);
}

// Its reply, as text.
static const char *
ask(struct bench *b, const char *method, const char *parameters, int fd)
{
    char call[300];
    int len = snprintf(call, sizeof(call),
                       "{\"method\":\"org.vmchannel.Control.%s\",\"parameters\":{%s}}", method,
                       parameters);
    assert_int_equal(fdpass_send(b->client, call, (size_t)len + 1, &fd, fd >= 0), len + 1);
    if (fd >= 0)
        close(fd);
    uint64_t end = loop_clock_us() + WAIT_US;
    ssize_t n = -1;
    while (n < 0 && loop_clock_us() < end) {
        loop_turn(b->broker->loop, 1);
        n = recv(b->client, b->reply, sizeof(b->reply), 0);
    }
    assert_true(n > 0 && b->reply[n - 1] == '\0');
    return b->reply;
}

#define EXPECT(b, piece, ...)                                                                      \
    do {                                                                                           \
        const char *reply = ask(b, __VA_ARGS__);                                                   \
        if (!strstr(reply, piece))                                                                 \
            fail_msg("not %s: %s", piece, reply);                                                  \
    } while (0)

// Its worker is dead, and the next one comes so late that there is time without one.
static void
lose_worker(struct bench *b)
{
    b->broker->respawn_us = 300000;
    worker_process_kill(&b->broker->worker);
    uint64_t end = loop_clock_us() + WAIT_US;
    while (b->broker->worker.pid != 0 && loop_clock_us() < end)
        loop_turn(b->broker->loop, 10);
    assert_int_equal(b->broker->worker.pid, 0);
}

static void
await_worker(struct bench *b)
{
    uint64_t end = loop_clock_us() + WAIT_US;
    while (!(b->broker->worker.pid > 0 && b->broker->worker.ready) && loop_clock_us() < end)
        loop_turn(b->broker->loop, 10);
    assert_true(b->broker->worker.ready);
}

static int
one_of_a_pair(int type)
{
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv), 0);
    close(sv[1]);
    return sv[0];
}

TEST(channels_come_and_go_while_there_is_no_worker)
{
    struct bench b;
    bench_init(&b);
    bench_start(&b);
    lose_worker(&b);
    EXPECT(&b, "\"worker\":0", "Info", "", -1);
    EXPECT(&b, "\"first\":601", "Add", "\"channel\":\"601-603:null\"", -1);
    EXPECT(&b, "{\"parameters\":{}}", "Delete", "\"port\":602", -1);
    EXPECT(&b, "no worker", "Capture", "\"snaplen\":64", one_of_a_pair(SOCK_SEQPACKET));
    await_worker(&b);
    EXPECT(&b, "\"first\":604", "Add", "\"channel\":\"604:null\"", -1);
    EXPECT(&b, "{\"parameters\":{}}", "Capture", "\"snaplen\":64", one_of_a_pair(SOCK_SEQPACKET));
    EXPECT(&b, "not a SOCK_SEQPACKET", "Capture", "\"snaplen\":64", one_of_a_pair(SOCK_STREAM));
    bench_fini(&b);
}

TEST(no_more_channels_than_there_may_be)
{
    struct bench b;
    char parameters[80];
    bench_init(&b);
    bench_start(&b);
    for (int first = 1001; first < 2001; first += 50) {
        snprintf(parameters, sizeof(parameters), "\"channel\":\"%d-%d:null\"", first, first + 49);
        EXPECT(&b, "\"first\":", "Add", parameters, -1);
    }
    EXPECT(&b, "as many as may be", "Add", "\"channel\":\"3001-3064:null\"", -1);
    EXPECT(&b, "\"first\":", "Add", "\"channel\":\"3001-3023:null\"", -1); // none was left behind
    EXPECT(&b, "as many as may be", "Add", "\"channel\":\"3024:null\"", -1);
    bench_fini(&b);
}

static int
tcp_listener(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

TEST(broker_on_given_listeners_takes_no_channel_more)
{
    struct bench b;
    bench_init(&b);
    struct link_listener given = {tcp_listener(), tcp_listener()};
    b.config.link = (struct link_spec){.kind = LINK_NETNS, .fd = -1};
    b.config.listeners = &given;
    bench_start(&b);
    EXPECT(&b, "the guest's namespace was closed", "Add", "\"channel\":\"601:null\"", -1);
    EXPECT(&b, "this link has no frames", "Capture", "\"snaplen\":64",
           one_of_a_pair(SOCK_SEQPACKET));
    lose_worker(&b);
    await_worker(&b);
    bench_fini(&b);
}

// A descriptor that says stop at once.
static int
stopped(void)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[1]);
    return fds[0];
}

TEST(broker_without_a_worker_has_nothing_to_drain)
{
    struct bench b;
    bench_init(&b);
    b.config.drain_ms = 60000;
    bench_start(&b);
    lose_worker(&b);
    int fd = stopped();
    assert_int_equal(broker_run(b.broker, fd), 0);
    assert_false(b.broker->draining);
    close(fd);
    bench_fini(&b);
}

TEST(worker_that_followed_another_drains_too)
{
    struct bench b;
    bench_init(&b);
    b.config.drain_ms = 60000;
    bench_start(&b);
    lose_worker(&b);
    await_worker(&b);
    int fd = stopped();
    assert_int_equal(broker_run(b.broker, fd), 0);
    assert_true(b.broker->draining);
    close(fd);
    bench_fini(&b);
}

TEST(worker_that_does_not_drain_in_time_is_left)
{
    struct bench b;
    bench_init(&b);
    b.config.drain_ms = 50;
    bench_start(&b);
    assert_int_equal(kill(b.broker->worker.pid, SIGSTOP), 0);
    int fd = stopped();
    uint64_t begun = loop_clock_us();
    assert_int_equal(broker_run(b.broker, fd), 0);
    assert_true(b.broker->draining && loop_clock_us() - begun >= 50000);
    close(fd);
    bench_fini(&b);
}

static void
await_link(struct bench *b, bool is_up)
{
    uint64_t end = loop_clock_us() + WAIT_US;
    while ((b->broker->link != 0) != is_up && loop_clock_us() < end)
        loop_turn(b->broker->loop, 10);
    assert_int_equal(b->broker->link != 0, is_up);
}

TEST(link_that_comes_and_goes_does_not_fill_the_log)
{
    struct bench b;
    struct sockaddr_un sa;
    bench_init(&b);
    bench_start(&b);
    int len = unix_address(&sa, b.config.link.path, false, false);
    links_down_told = 0;
    for (int i = 0; i < 100; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
        await_link(&b, true);
        close(fd);
        await_link(&b, false);
    }
    assert_in_range(links_down_told, 1, 10);
    bench_fini(&b);
}

TEST(stop_that_cannot_be_watched_is_an_error)
{
    struct bench b;
    int file = open("/dev/null", O_RDWR | O_CLOEXEC), guest = open("/proc/self/stat", O_RDONLY);
    bench_init(&b);
    bench_start(&b);
    assert_int_equal(broker_run(b.broker, file), -EPERM); // epoll_ctl(2)
    close(file);
    bench_fini(&b);

    bench_init(&b);
    b.config.guest_end_fd = &guest;
    bench_start(&b);
    int fd = stopped();
    b.broker->guest_io.fd = guest;
    assert_int_equal(broker_run(b.broker, fd), -EPERM);
    close(fd);
    close(guest);
    bench_fini(&b);
}

// Who may write in the directory is as quick as can be: his link stands where our socket was.
static char taken_path[80], victim[80];

int
listen(int fd, int backlog)
{
    int rc = (int)syscall(SYS_listen, fd, backlog);
    if (taken_path[0] != '\0' && access(taken_path, F_OK) == 0 && unlink(taken_path) == 0)
        rc |= link(victim, taken_path);
    return rc;
}

TEST(nothing_but_the_control_socket_is_given_to_the_user)
{
    static const struct run_as nobody = {"nobody", 65534, 65534, (gid_t)-1};
    struct bench b;
    struct stat st;
    int status;
    if (geteuid() != 0)
        skip();
    bench_init(&b);
    b.config.user = &nobody;
    snprintf(victim, sizeof(victim), "%s/victim", b.dir);
    close(open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    memcpy(taken_path, b.control, sizeof(b.control));
    pid_t pid = fork();
    if (pid == 0) {
        struct error err;
        log_set_sink(on_log, NULL);
        broker_free(broker_start(&b.config, &err));
        _exit(0);
    }
    taken_path[0] = '\0';
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_uid, 0);
    char text[100];
    snprintf(text, sizeof(text), "rm -r %s", b.dir);
    assert_int_equal(system(text), 0);
    guest_config_fini(&b.guest);
}

TEST(messages_have_names)
{
    assert_string_equal(message_name(0), "unknown");
    assert_string_equal(message_name(UINT32_MAX), "unknown");
    assert_string_equal(message_name(MESSAGE_SYNC), "sync");
}

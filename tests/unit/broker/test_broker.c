// SPDX-License-Identifier: BSD-3-Clause
// The broker against a worker that is not to be trusted: worker_main is this file's own, and plays
// a part of each test in the forked process.
#include "test.h"

#include "base/fdpass.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/protocol.h"
#include "broker/worker.h"
#include "host/unix_end.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

// Shared with the workers of a test.
struct shared {
    int workers; // started so far
    uint64_t died_us, back_us;
    uint32_t answers;
};

static struct shared *shared;
static void (*part)(int sock, int number); // number: of this worker, from 1
static int stop_pipe[2];
static char logged[8192];
static struct guest_config guest;
static char dir[64];

_Noreturn void
worker_main(const struct guest_config *config, int sock, int null_fd)
{
    for (int fd = 3; fd < 64; fd++) // the broker's end of our socket, above all
        if (fd != sock && fd != stop_pipe[1])
            close(fd);
    fcntl(sock, F_SETFL, 0); // a part is easier to play with blocking calls
    part(sock, ++shared->workers);
    _exit(0);
}

static void
say(int sock, struct message m)
{
    if (fdpass_send(sock, &m, sizeof(m), NULL, 0) != sizeof(m))
        _exit(1);
}

static struct message
hear(int sock, int *fd)
{
    struct message m = {0};
    size_t nfds = 1;
    *fd = -1;
    if (fdpass_recv(sock, &m, sizeof(m), fd, &nfds) != sizeof(m))
        _exit(1);
    return m;
}

// Until the broker ends us.
static void
idle(int sock)
{
    char byte;
    while (recv(sock, &byte, 1, 0) > 0)
        ;
    _exit(0);
}

static void
stop_broker(int sock)
{
    if (write(stop_pipe[1], "x", 1) != 1)
        _exit(1);
    idle(sock);
}

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    size_t len = strlen(logged);
    snprintf(logged + len, sizeof(logged) - len, "%s\n", line);
}

static int
times_logged(const char *text)
{
    int n = 0;
    for (const char *p = logged; (p = strstr(p, text)); p++)
        n++;
    return n;
}

// Runs a broker whose channel 600 is unix:DIR/s and options, until the part stops it.
static int
run_on(const struct link_spec *link, void (*worker_part)(int, int), const char *options,
       struct error *err)
{
    char text[128];
    struct broker_config config = {
        .guest = &guest, .link = *link, .exit_on_link_down = link->fd >= 0};
    part = worker_part;
    logged[0] = '\0';
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(dir, sizeof(dir), "/tmp/test-broker-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pipe2(stop_pipe, O_CLOEXEC), 0);
    guest_config_init(&guest);
    guest.sandbox_off = true; // parts die by signals, which pid 1 would not feel
    snprintf(text, sizeof(text), "600:unix:%s/s%s", dir, options);
    assert_int_equal(guest_config_add_channel(&guest, text, NULL), 0);
    assert_int_equal(guest_config_add_channel(&guest, "601:unix:/nonexistent/s", NULL), 0);
    log_set_sink(on_log, NULL);
    log_set_level(LOG_INFO);

    struct broker *b = broker_start(&config, err);
    int rc = b ? broker_run(b, stop_pipe[0]) : -1000;
    broker_free(b);

    log_set_sink(NULL, NULL);
    guest_config_fini(&guest);
    close(stop_pipe[0]);
    close(stop_pipe[1]);
    assert_int_equal(rmdir(dir), 0);
    return rc;
}

// On an inherited stream.
static int
run(void (*worker_part)(int, int), const char *options, int link_fd, struct error *err)
{
    struct link_spec link = {.kind = LINK_STREAM, .fd = link_fd};
    return run_on(&link, worker_part, options, err);
}

// On a stream that each worker gets anew, by connecting to a listener of ours.
static int
run_with_listener(void (*worker_part)(int, int), const char *options)
{
    struct link_spec link = {.kind = LINK_STREAM, .fd = -1};
    struct unix_listener l;
    struct error err = {{0}};
    snprintf(link.path, sizeof(link.path), "/tmp/test-broker-link-%d", (int)getpid());
    assert_int_equal(unix_listener_open(&l, link.path, false, true, NULL), 0);
    int rc = run_on(&link, worker_part, options, &err);
    unix_listener_close(&l);
    if (rc == -1000)
        fail_msg("%s", err.text);
    return rc;
}

// A link that lasts; the peer's end is *peer.
static int
link_pair(int *peer)
{
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    *peer = sv[1];
    return sv[0];
}

static void
never_ready(int sock, int number)
{
    _exit(3);
}

TEST(worker_that_does_not_get_ready_fails_the_start)
{
    int peer;
    struct error err = {{0}};
    assert_int_equal(run(never_ready, "", link_pair(&peer), &err), -1000);
    assert_string_equal(err.text, "worker: did not get ready");
    assert_int_equal(times_logged("guest: worker: ended by exit status 3"), 1);
    assert_int_equal(shared->workers, 1);
    close(peer);
}

static void
asks_and_stops(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    struct message m = hear(sock, &fd);
    if (m.type != MESSAGE_LINK || m.link != 1 || m.link_kind != LINK_STREAM || fd < 0)
        _exit(1);
    if (write(fd, "frame", 5) != 5)
        _exit(1);
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 77, .guest_port = 1});
    m = hear(sock, &fd);
    if (m.type == MESSAGE_REFUSED && m.session == 77 && m.why == -ENOENT)
        stop_broker(sock);
}

TEST(link_and_answers_reach_the_worker)
{
    int peer;
    char bytes[8];
    assert_int_equal(run(asks_and_stops, "", link_pair(&peer), NULL), 0);
    assert_int_equal(read(peer, bytes, sizeof(bytes)), 5);
    assert_int_equal(read(peer, bytes, sizeof(bytes)), 0); // nobody kept the other end open
    assert_int_equal(times_logged("guest: channel 600: unix:/tmp/test-broker-"), 1);
    assert_int_equal(times_logged("/s: No such file or directory"), 1);
    close(peer);
}

static void
loses_its_link(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    say(sock, (struct message){.type = MESSAGE_LINK_DOWN, .link = 1});
    idle(sock);
}

TEST(end_of_an_inherited_link_ends_the_broker)
{
    int peer;
    assert_int_equal(run(loses_its_link, "", link_pair(&peer), NULL), 0);
    close(peer);
}

static void
dies_of_a_signal(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    if (number > 1)
        idle(sock);
    hear(sock, &fd);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

TEST(worker_death_with_an_inherited_stream_is_the_end)
{
    int peer;
    assert_int_equal(run(dies_of_a_signal, "", link_pair(&peer), NULL), -EPIPE);
    assert_int_equal(times_logged("guest: worker: ended by signal 11 (Segmentation fault)"), 1);
    close(peer);
}

static void
dies_once(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    if (number == 1) {
        say(sock, (struct message){.type = MESSAGE_OPEN, .session = 5});
        hear(sock, &fd); // the link
        shared->died_us = loop_clock_us();
        raise(SIGKILL);
    }
    shared->back_us = loop_clock_us();
    // Of what the dead one asked for nothing comes here; and its link is replaced.
    struct message m = hear(sock, &fd);
    if (m.type == MESSAGE_LINK && m.link == 1)
        stop_broker(sock);
}

TEST(worker_that_dies_is_back_within_100_ms)
{
    assert_int_equal(run_with_listener(dies_once, ",server"), 0);
    assert_int_equal(shared->workers, 2);
    assert_int_equal(times_logged("worker: ended by signal 9 (Killed)"), 1);
    assert_in_range(shared->back_us - shared->died_us, 0, 100000);
}

static void
links_down_again_and_again(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    for (uint32_t i = 1; i <= 3; i++) {
        struct message m = hear(sock, &fd);
        if (m.type != MESSAGE_LINK || m.link != i)
            _exit(1);
        close(fd);
        shared->answers++;
        say(sock, (struct message){.type = MESSAGE_LINK_DOWN, .link = i});
    }
    stop_broker(sock);
}

TEST(link_that_breaks_at_once_is_tried_each_second)
{
    uint64_t start = loop_clock_us();
    assert_int_equal(run_with_listener(links_down_again_and_again, ""), 0);
    assert_in_range(loop_clock_us() - start, 1900000, 3000000);
    assert_int_equal(shared->answers, 3);
}

// Everything a worker can say that is not valid, a few at a time.
static void
say_garbage(int sock)
{
    unsigned char bytes[4096] = {0};
    int fd = 0;
    struct message ready = {.type = MESSAGE_READY};
    fdpass_send(sock, bytes, 1, NULL, 0);
    fdpass_send(sock, bytes, sizeof(bytes), NULL, 0);
    fdpass_send(sock, &ready, sizeof(ready) - 1, NULL, 0);
    fdpass_send(sock, &ready, sizeof(ready), &fd, 1);
    say(sock, (struct message){.type = 0});
    say(sock, (struct message){.type = MESSAGE_OPENED, .session = 1});
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 1, .channel = 2});
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 1, .channel = UINT32_MAX});
    say(sock, (struct message){.type = MESSAGE_LINK_DOWN, .link = 9});
    say(sock, (struct message){.type = MESSAGE_READY}); // a second time
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 2});
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 2}); // under way already
}

static void
says_some_garbage(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    say_garbage(sock);
    say(sock, (struct message){.type = MESSAGE_CANCEL, .session = 1234}); // no offence
    say(sock, (struct message){.type = MESSAGE_CANCEL, .session = 2});
    struct device dev = {.kind = DEVICE_UNIX};
    snprintf(dev.path, sizeof(dev.path), "%s/s", dir);
    // An answer from channel 601 tells that the broker has read all of that.
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 500, .channel = 1});
    struct message m = hear(sock, &fd);
    if (m.type != MESSAGE_REFUSED || m.session != 500)
        _exit(1);
    int client = unix_end_connect(&dev, "", NULL);
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 3});
    m = hear(sock, &fd);
    if (client >= 0 && m.type == MESSAGE_OPENED && m.session == 3 && fd >= 0)
        stop_broker(sock);
}

TEST(some_garbage_is_dropped_and_the_rest_served)
{
    assert_int_equal(run_with_listener(says_some_garbage, ",server"), 0);
    assert_int_equal(shared->workers, 1);
    assert_in_range(times_logged("malformed message number"), 1, 5);
}

static void
floods_with_garbage(int sock, int number)
{
    int fd;
    if (number == 1) {
        say(sock, (struct message){.type = MESSAGE_OPEN, .session = 1}); // before being ready
        say(sock, (struct message){.type = MESSAGE_READY});
        for (;;)
            say(sock, (struct message){.type = 99});
    }
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    stop_broker(sock);
}

TEST(flood_of_garbage_ends_the_worker)
{
    assert_int_equal(run_with_listener(floods_with_garbage, ""), 0);
    assert_int_equal(shared->workers, 2);
    assert_int_equal(times_logged("too many malformed messages, ended"), 1);
    assert_in_range(times_logged("malformed message number"), 1, 5);
}

static void
leaves_without_dying(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    if (number == 1) {
        if (send(sock, "", 0, 0) != 0) // reads as an end of file
            _exit(1);
        pause();
    }
    if (number == 2) {
        close(sock);
        pause();
    }
    stop_broker(sock);
}

TEST(worker_that_leaves_its_socket_is_ended)
{
    assert_int_equal(run_with_listener(leaves_without_dying, ""), 0);
    assert_int_equal(shared->workers, 3);
}

#define FLOOD 3000

static void
asks_and_does_not_listen(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    fcntl(sock, F_SETFL, O_NONBLOCK);
    uint32_t asked = 0;
    while (asked < FLOOD) {
        struct message m = {.type = MESSAGE_OPEN, .session = asked + 1};
        ssize_t n = fdpass_send(sock, &m, sizeof(m), NULL, 0);
        if (n == sizeof(m)) {
            asked++;
            continue;
        }
        // Full: the broker has stopped reading. Only now is it listened to.
        struct pollfd p = {.fd = sock, .events = POLLOUT};
        if (poll(&p, 1, 100) == 1)
            continue;
        size_t nfds = 1;
        while (fdpass_recv(sock, &m, sizeof(m), &fd, &nfds) > 0) {
            shared->answers++;
            nfds = 1;
        }
    }
    fcntl(sock, F_SETFL, 0);
    while (shared->answers < FLOOD) {
        hear(sock, &fd);
        shared->answers++;
    }
    stop_broker(sock);
}

TEST(worker_that_asks_and_does_not_listen_gets_every_answer)
{
    assert_int_equal(run_with_listener(asks_and_does_not_listen, ""), 0);
    assert_int_equal(shared->answers, FLOOD);
    assert_int_equal(times_logged("No such file or directory"), 1);
}

TEST(link_that_cannot_be_opened_fails_the_start)
{
    struct error err = {{0}};
    struct broker_config config = {.guest = &guest,
                                   .link = {.kind = LINK_STREAM, .fd = -1, .server = true}};
    snprintf(config.link.path, sizeof(config.link.path), "/nonexistent/link");
    guest_config_init(&guest);
    assert_null(broker_start(&config, &err));
    assert_non_null(strstr(err.text, "/nonexistent/link"));
    assert_non_null(strstr(err.text, "No such file or directory"));
    guest_config_fini(&guest);
}

// SPDX-License-Identifier: BSD-3-Clause
// The broker against a worker that is not to be trusted: worker_main is this file's own, and plays
// a part of each test in the forked process.
#include "fake_worker.h"

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
aborts(int sock, int number)
{
    _exit(WORKER_ABORTED);
}

TEST(worker_that_aborts_is_told_so)
{
    int peer;
    struct error err = {{0}};
    assert_int_equal(run(aborts, "", link_pair(&peer), &err), -1000);
    assert_int_equal(times_logged("guest: worker: ended by an abort"), 1);
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
asks_by_each_family(int sock, int number)
{
    int fd;
    struct message asks[] = {
        {.type = MESSAGE_OPEN, .session = 1, .guest_addr = 0x0a00020f, .guest_port = 40000},
        {.type = MESSAGE_OPEN,
         .session = 2,
         .guest_addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 0x15}},
         .guest_port = 40000}};
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    for (int i = 0; i < 2; i++) {
        say(sock, asks[i]);
        if (hear(sock, &fd).type != MESSAGE_REFUSED)
            _exit(1);
    }
    stop_broker(sock);
}

TEST(who_asks_is_told_in_the_form_of_its_family)
{
    int peer;
    least_logged = LOG_DEBUG;
    assert_int_equal(run(asks_by_each_family, "", link_pair(&peer), NULL), 0);
    least_logged = LOG_INFO;
    assert_int_equal(times_logged("session 1: open for 10.0.2.15:40000\n"), 1);
    assert_int_equal(times_logged("session 2: open for [fd10:0:2::15]:40000\n"), 1);
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

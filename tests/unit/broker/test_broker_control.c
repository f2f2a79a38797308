// SPDX-License-Identifier: BSD-3-Clause
// Channels that come and go, as a worker hears of them; and one that is not to be trusted. The
// worker is the test, and the control client too.
#include "fake_worker.h"

#include "base/unix_listener.h"

static int
client(void)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, control, false, false);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (len < 0 || connect(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0)
        _exit(2);
    return fd;
}

static void
ask(int fd, const char *method, const char *parameters)
{
    char call[300];
    int len = snprintf(call, sizeof(call),
                       "{\"method\":\"org.vmchannel.Control.%s\",\"parameters\":{%s}}", method,
                       parameters);
    if (send(fd, call, (size_t)len + 1, MSG_NOSIGNAL) != len + 1)
        _exit(3);
}

// Of a reply; exits where none comes.
static void
expect_reply(int fd, const char *piece)
{
    char reply[2000];
    size_t len = 0;
    do {
        ssize_t n = recv(fd, reply + len, sizeof(reply) - len, 0);
        if (n <= 0)
            _exit(4);
        len += (size_t)n;
    } while (reply[len - 1] != '\0');
    if (!strstr(reply, piece))
        _exit(5);
}

static bool
has_reply(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 30) == 1;
}

static struct message
expect(int sock, enum message_type type, uint32_t channel, int *fd)
{
    struct message m = hear(sock, fd);
    if (m.type != type || m.channel != channel)
        _exit(6);
    return m;
}

static void
expect_spec(int sock, uint32_t channel, uint16_t port)
{
    struct channel_spec spec;
    int fd;
    expect(sock, MESSAGE_CHANNEL, channel, &fd);
    if (read(fd, &spec, sizeof(spec)) != sizeof(spec) || spec.port != port)
        _exit(7);
    close(fd);
}

static void
synced(int sock, int fd)
{
    int none;
    struct message m = expect(sock, MESSAGE_SYNC, 0, &none);
    if (has_reply(fd)) // it waits for us
        _exit(8);
    say(sock, (struct message){.type = MESSAGE_SYNCED, .session = m.session});
}

static void
hears_of_changes(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    expect(sock, MESSAGE_LINK, 0, &fd);
    int c = client();
    ask(c, "Add", "\"channel\":\"602:null\"");
    expect_spec(sock, 2, 602);
    synced(sock, c);
    expect_reply(c, "\"first\":602");
    ask(c, "Delete", "\"port\":601");
    expect(sock, MESSAGE_REMOVE, 1, &fd);
    synced(sock, c);
    expect_reply(c, "{}");
    // What was asked before the news came is refused, and no offence.
    for (uint32_t session = 1; session < 40; session++) {
        say(sock, (struct message){.type = MESSAGE_OPEN, .session = session, .channel = 1});
        struct message m = hear(sock, &fd);
        if (m.type != MESSAGE_REFUSED || m.why != -ECONNREFUSED)
            _exit(9);
    }
    ask(c, "Add", "\"channel\":\"602:null\"");
    expect_reply(c, "already");
    ask(c, "Delete", "\"port\":601");
    expect_reply(c, "NoSuchChannel");
    stop_broker(sock);
}

TEST(worker_hears_of_changes_and_the_client_waits_for_it)
{
    controlled = true;
    assert_int_equal(run_with_listener(hears_of_changes, ""), 0);
    assert_int_equal(shared->workers, 1);
    assert_int_equal(times_logged("malformed"), 0);
}

// Made from what was there at the start, the second one has to be told.
static void
starts_with_little(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    if (number == 1) {
        hear(sock, &fd);
        int c = client();
        ask(c, "Add", "\"channel\":\"602:null\"");
        expect_spec(sock, 2, 602);
        synced(sock, c);
        expect_reply(c, "602");
        ask(c, "Delete", "\"port\":601");
        raise(SIGKILL);
    }
    expect(sock, MESSAGE_REMOVE, 1, &fd);
    expect(sock, MESSAGE_REMOVE, 2, &fd);
    expect_spec(sock, 2, 602);
    expect(sock, MESSAGE_LINK, 0, &fd);
    stop_broker(sock);
}

TEST(worker_that_knows_too_little_is_told_all)
{
    controlled = true;
    assert_int_equal(run_with_listener(starts_with_little, ""), 0);
    assert_int_equal(shared->workers, 2);
}

static void
knows_all(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY, .session = number == 1 ? 0 : 1});
    if (number == 1) {
        hear(sock, &fd);
        int c = client();
        ask(c, "Add", "\"channel\":\"602:null\"");
        expect_spec(sock, 2, 602);
        if (has_reply(c))
            _exit(8);
        raise(SIGKILL); // the client is told all the same; nobody here can see that
    }
    expect(sock, MESSAGE_LINK, 0, &fd);
    stop_broker(sock);
}

TEST(worker_that_knows_all_is_told_nothing)
{
    controlled = true;
    assert_int_equal(run_with_listener(knows_all, ""), 0);
    assert_int_equal(shared->workers, 2);
}

// The end of what the broker has ended already is expected once, and not twice.
static void
closes_what_was_removed(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    int c = client();
    ask(c, "Add", "\"channel\":\"602:pty\"");
    expect_spec(sock, 2, 602);
    synced(sock, c);
    expect_reply(c, "602");
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 9, .channel = 2});
    if (hear(sock, &fd).type != MESSAGE_OPENED)
        _exit(9);
    ask(c, "Delete", "\"port\":602");
    expect(sock, MESSAGE_REMOVE, 2, &fd);
    say(sock, (struct message){.type = MESSAGE_CLOSED, .session = 9});
    synced(sock, c);
    expect_reply(c, "{}");
    say(sock, (struct message){.type = MESSAGE_CLOSED, .session = 9});
    say(sock, (struct message){.type = MESSAGE_SYNCED, .session = 77}); // of no such number
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 10, .channel = 1});
    hear(sock, &fd); // it has read all that
    stop_broker(sock);
}

TEST(late_end_of_a_removed_session_is_no_offence)
{
    controlled = true;
    assert_int_equal(run_with_listener(closes_what_was_removed, ""), 0);
    assert_int_equal(times_logged("malformed message number 1"), 1);
    assert_int_equal(times_logged("malformed message number 2"), 1);
    assert_int_equal(times_logged("malformed message number 3"), 0);
}

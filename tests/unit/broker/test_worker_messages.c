// SPDX-License-Identifier: BSD-3-Clause
// The worker, and a broker that the test plays: descriptors for which it has no room, channels that
// get lost on their way, and messages that no broker sends.
#include "test.h"

#include "base/fdpass.h"
#include "broker/protocol.h"
#include "broker/sandbox.h"
#include "broker/sandbox_broker.h"
#include "broker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
    struct guest_config guest;
    struct channel_spec *given; // what guest had; it has room for all there may be
    struct hub_counters *counters;
    pid_t pid;
    int sock, null_fd;
};

static struct message
hear(struct bench *b)
{
    struct message m = {0};
    struct pollfd p = {.fd = b->sock, .events = POLLIN};
    size_t nfds = 0;
    int none;
    if (poll(&p, 1, 5000) == 1)
        (void)!fdpass_recv(b->sock, &m, sizeof(m), &none, &nfds);
    return m;
}

static void
say(struct bench *b, struct message m, int fd)
{
    assert_int_equal(fdpass_send(b->sock, &m, sizeof(m), &fd, fd >= 0), sizeof(m));
}

// Once it answers, all before has been done.
static void
sync_with(struct bench *b, uint32_t number)
{
    say(b, (struct message){.type = MESSAGE_SYNC, .session = number}, -1);
    struct message m = hear(b);
    assert_true(m.type == MESSAGE_SYNCED && m.session == number);
}

static void
start(struct bench *b)
{
    int sv[2];
    memset(b, 0, sizeof(*b));
    guest_config_init(&b->guest);
    assert_int_equal(guest_config_add_channel(&b->guest, "600-604:null", NULL), 0);
    b->guest.sandbox_off = true;
    b->given = b->guest.channels;
    b->guest.channels = calloc(GUEST_CHANNELS_MAX, sizeof(*b->guest.channels));
    memcpy(b->guest.channels, b->given, b->guest.channel_count * sizeof(*b->given));
    b->counters =
        mmap(NULL, sizeof(*b->counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
    b->sock = sv[0];
    b->pid = fork();
    if (b->pid == 0) {
        dup2(b->null_fd, 2); // what it says of all this
        worker_main(&b->guest, b->counters, sv[1], b->null_fd);
    }
    close(sv[1]);
    assert_int_equal(hear(b).type, MESSAGE_READY);
}

static int
end(struct bench *b)
{
    int status;
    close(b->sock);
    assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
    close(b->null_fd);
    munmap(b->counters, sizeof(*b->counters));
    free(b->guest.channels);
    b->guest.channels = b->given;
    guest_config_fini(&b->guest);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(channel_that_is_lost_on_its_way_is_not_there)
{
    struct bench b;
    start(&b);
    // An empty file, and half of one.
    say(&b, (struct message){.type = MESSAGE_CHANNEL, .channel = 7}, b.null_fd);
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(write(fds[1], b.given, sizeof(*b.given) / 2), sizeof(*b.given) / 2);
    close(fds[1]);
    say(&b, (struct message){.type = MESSAGE_CHANNEL, .channel = 8}, fds[0]);
    close(fds[0]);
    sync_with(&b, 1);
    assert_int_equal(end(&b), 0);
}

TEST(worker_without_room_for_descriptors_goes_on)
{
    struct bench b;
    int sv[2];
    start(&b);
    assert_int_equal(prlimit(b.pid, RLIMIT_NOFILE, &(struct rlimit){3, 3}, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    say(&b, (struct message){.type = MESSAGE_LOG, .channel = 0}, b.null_fd);
    say(&b, (struct message){.type = MESSAGE_CHANNEL, .channel = 9}, b.null_fd);
    say(&b, (struct message){.type = MESSAGE_CAPTURE, .snaplen = 64}, sv[0]);
    say(&b, (struct message){.type = MESSAGE_LISTENER, .channel = 0}, b.null_fd);
    say(&b, (struct message){.type = MESSAGE_LINK, .link = 1, .link_kind = LINK_STREAM}, sv[0]);
    struct message m = hear(&b);
    assert_true(m.type == MESSAGE_LINK_DOWN && m.link == 1);
    say(&b, (struct message){.type = MESSAGE_OPENED, .session = 77, .fds = 1}, sv[0]);
    m = hear(&b);
    assert_true(m.type == MESSAGE_CANCEL && m.session == 77);
    sync_with(&b, 2);
    close(sv[0]);
    close(sv[1]);
    assert_int_equal(end(&b), 0);
}

TEST(message_that_no_broker_sends_ends_the_worker)
{
    struct bench b;
    start(&b);
    say(&b, (struct message){.type = MESSAGE_READY}, -1);
    struct pollfd p = {.fd = b.sock, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(end(&b), 1);
}

TEST(rules_have_names)
{
    assert_string_equal(sandbox_rule_name(0), "epoll_wait");
    assert_null(sandbox_rule_name(SIZE_MAX));
    assert_string_equal(sandbox_broker_rule_name(0), "epoll_wait");
    assert_null(sandbox_broker_rule_name(SIZE_MAX));
    assert_non_null(sandbox_starter_rule_name(0));
    assert_null(sandbox_starter_rule_name(SIZE_MAX));
}

// SPDX-License-Identifier: BSD-3-Clause
// The two ends of the broker's socket: order, full sockets, lost descriptors, a side that leaves.
#include "test.h"

#include "base/fdpass.h"
#include "broker/courier.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE 2000

struct side {
    struct courier courier;
    uint32_t got;  // messages
    uint32_t next; // session expected next
    size_t wanted; // descriptors that came with them, by their word
    size_t fds;    // by count
    uint32_t garbage;
    uint32_t gone;
};

static struct loop *loop;
static struct side broker, worker;

static void
on_message(void *ctx, const struct message *m, const int *fds, size_t nfds)
{
    struct side *s = ctx;
    s->got++;
    if (m->session != 0)
        assert_int_equal(m->session, ++s->next);
    s->wanted += message_fds(m);
    s->fds += nfds;
    for (size_t i = 0; i < nfds; i++)
        close(fds[i]);
}

static void
on_garbage(void *ctx)
{
    ((struct side *)ctx)->garbage++;
}

static void
on_gone(void *ctx)
{
    ((struct side *)ctx)->gone++;
}

static const struct courier_events events = {on_message, on_garbage, on_gone};

static void
setup(void)
{
    int sv[2];
    loop = loop_new();
    memset(&broker, 0, sizeof(broker));
    memset(&worker, 0, sizeof(worker));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
    struct message_limits by_broker = {.from_worker = true, .channels = 1};
    struct message_limits by_worker = {.from_worker = false, .channels = 1};
    assert_int_equal(
        courier_init(&broker.courier, loop, sv[0], QUEUE, &by_broker, &events, &broker), 0);
    assert_int_equal(
        courier_init(&worker.courier, loop, sv[1], QUEUE, &by_worker, &events, &worker), 0);
}

static void
teardown(void)
{
    courier_fini(&broker.courier);
    courier_fini(&worker.courier);
    loop_free(loop);
}

static void
turns(int n)
{
    while (n-- > 0)
        loop_turn(loop, 1);
}

TEST(messages_arrive_in_order_with_their_descriptors)
{
    setup();
    for (uint32_t i = 1; i <= 10; i++)
        assert_true(courier_send(&broker.courier,
                                 &(struct message){.type = MESSAGE_OPENED, .session = i, .fds = 1},
                                 dup(0)));
    assert_true(courier_send(
        &broker.courier, &(struct message){.type = MESSAGE_REFUSED, .session = 11, .why = -1}, -1));
    turns(3);
    assert_int_equal(worker.got, 11);
    assert_int_equal(worker.fds, 10);
    assert_int_equal(worker.garbage, 0);
    teardown();
}

TEST(what_the_socket_does_not_take_is_kept_in_order)
{
    setup();
    uint32_t sent = 0;
    while (courier_room(&broker.courier) > 0)
        assert_true(courier_send(
            &broker.courier,
            &(struct message){.type = MESSAGE_REFUSED, .session = ++sent, .why = -1}, -1));
    assert_true(sent > QUEUE);
    assert_false(courier_send(&broker.courier,
                              &(struct message){.type = MESSAGE_OPENED, .session = 1, .fds = 1},
                              dup(0)));
    turns(500);
    assert_int_equal(worker.got, sent);
    assert_int_equal(courier_room(&broker.courier), QUEUE);
    teardown();
}

TEST(broker_reads_nothing_while_it_keeps_something)
{
    setup();
    loop_remove(loop, &worker.courier.io); // a worker that never reads
    while (courier_room(&broker.courier) == QUEUE)
        courier_send(&broker.courier,
                     &(struct message){.type = MESSAGE_REFUSED, .session = 1, .why = -1}, -1);
    courier_send(&worker.courier, &(struct message){.type = MESSAGE_CANCEL, .session = 1}, -1);
    turns(5);
    assert_int_equal(broker.got, 0);
    struct message m;
    while (recv(worker.courier.io.fd, &m, sizeof(m), 0) > 0)
        ;
    turns(5);
    assert_int_equal(broker.got, 1);
    assert_int_equal(loop_add(loop, &worker.courier.io, LOOP_READ), 0);
    teardown();
}

TEST(both_sides_full_at_once_is_no_deadlock)
{
    setup();
    uint32_t from_broker = 0, from_worker = 0;
    while (courier_room(&broker.courier) == QUEUE)
        courier_send(
            &broker.courier,
            &(struct message){.type = MESSAGE_REFUSED, .session = ++from_broker, .why = -1}, -1);
    while (courier_room(&worker.courier) == QUEUE)
        courier_send(&worker.courier,
                     &(struct message){.type = MESSAGE_CANCEL, .session = ++from_worker}, -1);
    turns(200);
    assert_int_equal(worker.got, from_broker);
    assert_int_equal(broker.got, from_worker);
    teardown();
}

TEST(garbage_is_counted_and_its_descriptors_closed)
{
    setup();
    unsigned char bytes[5000] = {MESSAGE_READY};
    int sock = worker.courier.io.fd;
    int fds[FDPASS_MAX];
    for (int i = 0; i < FDPASS_MAX; i++)
        fds[i] = dup(0);
    struct message ready = {.type = MESSAGE_READY};
    struct message opened = {.type = MESSAGE_OPENED, .session = 1, .fds = 1};
    assert_true(fdpass_send(sock, bytes, 1, NULL, 0) > 0);
    assert_true(fdpass_send(sock, bytes, sizeof(struct message) + 1, NULL, 0) > 0);
    assert_true(fdpass_send(sock, bytes, sizeof(bytes), NULL, 0) > 0);
    assert_true(fdpass_send(sock, &ready, sizeof(ready), fds, 1) > 0);
    assert_true(fdpass_send(sock, &ready, sizeof(ready), fds, FDPASS_MAX) > 0);
    assert_true(fdpass_send(sock, &opened, sizeof(opened), fds, 1) > 0);
    assert_true(fdpass_send(sock, &opened, sizeof(opened), fds, 2) > 0);
    assert_true(fdpass_send(sock, &ready, sizeof(ready), NULL, 0) > 0);
    for (int i = 0; i < FDPASS_MAX; i++)
        close(fds[i]);
    turns(3);
    assert_int_equal(broker.garbage, 7);
    assert_int_equal(broker.got, 1); // the last one; and the test's fixture counts descriptors
    teardown();
}

TEST(descriptor_without_room_is_a_message_without_it)
{
    setup();
    struct rlimit was, now;
    courier_send(&broker.courier, &(struct message){.type = MESSAGE_OPENED, .session = 1, .fds = 1},
                 dup(0));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    close(next);
    now = was;
    now.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    turns(3);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(worker.got, 1);
    assert_int_equal(worker.fds, 0);
    assert_int_equal(worker.garbage, 0);
    teardown();
}

// More of this user's are under way than it may have (unix(7)), by whichever process.
static bool
waits_until_fewer_are_under_way(void)
{
    int sv[2], fds[FDPASS_MAX] = {0};
    char byte;
    size_t none = 0;
    struct rlimit few;
    setup();
    if (getrlimit(RLIMIT_NOFILE, &few) < 0 ||
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
        return false;
    fdpass_send(sv[0], "", 1, fds, FDPASS_MAX);
    few.rlim_cur = FDPASS_MAX / 2;
    setrlimit(RLIMIT_NOFILE, &few);
    courier_send(&broker.courier, &(struct message){.type = MESSAGE_LOG}, dup(0));
    courier_send(&broker.courier, &(struct message){.type = MESSAGE_DRAIN}, -1);
    turns(100);
    bool waits = broker.gone == 0 && worker.got == 0;
    fdpass_recv(sv[1], &byte, 1, NULL, &none);
    turns(300);
    return waits && broker.gone == 0 && worker.got == 2 && worker.fds == 1;
}

TEST(too_many_descriptors_under_way_are_waited_for)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        bool is_nobody = geteuid() != 0 || setresuid(64999, 64999, 64999) == 0;
        _exit(is_nobody && waits_until_fewer_are_under_way() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

TEST(end_of_the_other_side_is_told_once_after_its_last_words)
{
    setup();
    courier_send(&worker.courier, &(struct message){.type = MESSAGE_READY}, -1);
    courier_fini(&worker.courier);
    turns(3);
    assert_int_equal(broker.got, 1);
    assert_int_equal(broker.gone, 1);
    assert_false(courier_send(&broker.courier,
                              &(struct message){.type = MESSAGE_OPENED, .session = 1, .fds = 1},
                              dup(0)));
    teardown();
}

TEST(end_of_the_other_side_with_a_queue_is_told_too)
{
    setup();
    while (courier_room(&broker.courier) > QUEUE - 10)
        courier_send(&broker.courier,
                     &(struct message){.type = MESSAGE_OPENED, .session = 1, .fds = 1}, dup(0));
    courier_fini(&worker.courier);
    turns(3);
    assert_int_equal(broker.gone, 1);
    teardown();
}

TEST(empty_message_counts_as_the_end)
{
    setup();
    assert_int_equal(send(worker.courier.io.fd, "", 0, MSG_NOSIGNAL), 0);
    turns(3);
    assert_int_equal(broker.gone, 1);
    assert_int_equal(broker.got, 0);
    teardown();
}

// Not by way of fdpass_send, which sends none that is empty.
TEST(descriptors_of_an_empty_message_are_closed)
{
    setup();
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(2 * sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), (int[]){0, 1}, 2 * sizeof(int));
    struct msghdr msg = {.msg_control = &control, .msg_controllen = sizeof(control)};
    assert_int_equal(sendmsg(worker.courier.io.fd, &msg, MSG_NOSIGNAL), 0);
    turns(3);
    assert_int_equal(broker.gone, 1); // and the test's fixture counts descriptors
    teardown();
}

// SPDX-License-Identifier: BSD-3-Clause
// The broker against a worker that says anything: every session and channel number, garbage,
// floods, descriptors attached. It opens what is configured and asked for, once, and tells only
// that. The worker's side of the protocol reads the answers.
//
// No process is made: worker_process is this file's own, and its socket the target's.
// Input: messages, see run_message.
#include "fuzz.h"

#include "base/fdpass.h"
#include "broker/broker.h"
#include "broker/worker_process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGES   200
#define CHANNELS   4
#define FRESH      0x7fffffffu // session of the last question
#define BACKLOG    256
#define QUEUE_SIZE 256
#define TURN_MAX   64 // messages that it hears in one turn

static struct loop *broker_loop;
static int worker_sock = -1;
static bool killed;
static int service = -1;
static struct sockaddr_un service_name;
static socklen_t service_name_len;
static uint32_t answers;
static unsigned unheard; // messages at most
static bool fresh_opened;
static bool fresh_asked;

int
worker_process_start(struct worker_process *w, struct loop *loop, const struct guest_config *guest,
                     struct hub_counters *counters, struct starter *starter, int null_fd,
                     const struct courier_events *events,
                     void (*on_exit)(void *ctx, const char *cause), void *ctx, struct error *err)
{
    int sv[2];
    const struct message_limits limits = {.from_worker = true, .channels = guest->channel_count};
    const struct message ready = {.type = MESSAGE_READY};
    *w = (struct worker_process){
        .loop = loop, .guest = guest, .pid = 1, .on_exit = on_exit, .ctx = ctx};
    int rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv);
    assert(rc == 0);
    rc = courier_init(&w->courier, loop, sv[0], QUEUE_SIZE, &limits, events, ctx);
    assert(rc == 0);
    broker_loop = loop;
    worker_sock = sv[1];
    fdpass_send(worker_sock, &ready, sizeof(ready), NULL, 0);
    return 0;
}

void
worker_process_kill(struct worker_process *w)
{
    killed = true;
}

void
worker_process_stop(struct worker_process *w)
{
    courier_fini(&w->courier);
}

static void
expect_service(int fd)
{
    struct sockaddr_un name = {0};
    socklen_t len = sizeof(name);
    int rc = getpeername(fd, (struct sockaddr *)&name, &len);
    assert(rc == 0 && len == service_name_len && memcmp(&name, &service_name, len) == 0);
}

// What the broker says, as the worker would check it.
static void
hear(void)
{
    const struct message_limits limits = {.from_worker = false, .channels = CHANNELS};
    struct message m, valid;
    int fds[MESSAGE_FDS_MAX];
    for (;;) {
        size_t nfds = MESSAGE_FDS_MAX;
        ssize_t n = fdpass_recv(worker_sock, &m, sizeof(m), fds, &nfds);
        if (n <= 0)
            return;
        bool ok = message_parse(&valid, &m, (size_t)n, nfds, &limits);
        assert(ok);
        answers++;
        // Channel 0 alone has a service; channel 2 swallows all, without a descriptor.
        if (m.type == MESSAGE_OPENED && nfds == 1)
            expect_service(fds[0]);
        if (m.type == MESSAGE_OPENED && m.session == FRESH)
            fresh_opened = fresh_asked;
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
    }
}

static void
turn(void)
{
    int rc = loop_turn(broker_loop, 0);
    assert(rc == 0);
    hear();
    unheard -= unheard < TURN_MAX ? unheard : TURN_MAX;
}

// What the service has not accepted: its backlog holds all that an input can open.
static void
accept_all(void)
{
    for (int fd; (fd = accept4(service, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        close(fd);
}

static void
run_message(struct cursor *c)
{
    uint8_t how = cursor_u8(c), bytes[128];
    struct message m = {0};
    int fds[3] = {0, 1, 2};
    size_t len = sizeof(m), nfds = how >> 3 & 3;
    switch (how & 7) {
    case 0: // anything
        len = cursor_u8(c) % sizeof(bytes);
        len = len < c->left ? len : c->left;
        cursor_bytes(c, bytes, len);
        break;
    case 1: // a message with a field of it changed
        m.type = cursor_u8(c) % 14;
        m.session = cursor_u8(c);
        m.channel = cursor_u8(c) % 6;
        memcpy(bytes, &m, sizeof(m));
        bytes[cursor_u8(c) % sizeof(m)] ^= cursor_u8(c);
        break;
    case 2:
        m.type = MESSAGE_LINK_DOWN;
        m.link = cursor_u8(c) & 3;
        memcpy(bytes, &m, sizeof(m));
        break;
    default: // what a worker says
        m.type = (how & 7) < 6 ? MESSAGE_OPEN : (how & 7) == 6 ? MESSAGE_CANCEL : MESSAGE_CLOSED;
        m.session = cursor_u8(c);
        m.channel = m.type == MESSAGE_OPEN ? cursor_u8(c) % CHANNELS : 0;
        memcpy(bytes, &m, sizeof(m));
        nfds = how >> 3 == 31;
        break;
    }
    if (len > 0)
        fdpass_send(worker_sock, bytes, len, fds, nfds);
    unheard++;
    if (!(how & 0x20))
        turn();
}

static struct guest_config guest;

static void
set_up(void)
{
    char text[128];
    struct error err;
    guest_config_init(&guest);
    guest.sandbox_off = true;
    snprintf(text, sizeof(text), "600:unix:fuzz-broker-%d,abstract=on", (int)getpid());
    int rc = guest_config_add_channel(&guest, text, &err);
    rc += guest_config_add_channel(&guest, "601:unix:/nonexistent/s,reconnect=1000", &err);
    rc += guest_config_add_channel(&guest, "602:null", &err);
    rc += guest_config_add_channel(&guest, "603:unix:/nonexistent/s,max=3", &err);
    rc += guest_config_set_max_conns(&guest, "300", &err); // more than there are sessions
    rc += guest_config_finish(&guest, &err);
    assert(rc == 0);
    service = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    service_name.sun_family = AF_UNIX;
    int len = snprintf(service_name.sun_path + 1, sizeof(service_name.sun_path) - 1,
                       "fuzz-broker-%d", (int)getpid());
    service_name_len = (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)len);
    rc = bind(service, (struct sockaddr *)&service_name, service_name_len);
    rc += listen(service, BACKLOG);
    assert(rc == 0);
}

static int
lowest_free_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(data, size);
    struct error err = {{0}};
    int sv[2];
    if (service < 0)
        set_up();
    int fd_before = lowest_free_fd();
    killed = fresh_opened = fresh_asked = false;
    answers = unheard = 0;
    int rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv);
    assert(rc == 0);
    const struct broker_config config = {.guest = &guest,
                                         .link = {.kind = LINK_STREAM, .fd = sv[0]}};
    struct broker *b = broker_start(&config, &err);
    assert(b);
    turn();
    for (int i = 0; i < MESSAGES && c.left > 0 && !killed; i++)
        run_message(&c);
    for (unsigned left = 2 + unheard / TURN_MAX; left > 0; left--)
        turn();
    if (!killed) {
        const struct message m = {.type = MESSAGE_OPEN, .session = FRESH};
        fresh_asked = true;
        fdpass_send(worker_sock, &m, sizeof(m), NULL, 0);
        turn();
        turn();
        assert(fresh_opened);
    }
    broker_free(b);
    close(worker_sock);
    close(sv[1]);
    accept_all();
    assert(lowest_free_fd() == fd_before); // nothing that was passed is kept
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
// A broker whose worker is the test: worker_main is this file's own, and plays a part of each test
// in the forked process.
#pragma once

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
static const char *device; // instead of unix:DIR/s, when set
static char control[80];   // DIR/c, with a control socket when `controlled`
static bool controlled;
static enum log_level least_logged = LOG_INFO;

_Noreturn void
worker_main(const struct guest_config *config, struct hub_counters *counters, int sock, int null_fd)
{
    for (int fd = 3; fd < 64; fd++) // the broker's end of our socket, above all
        if (fd != sock && fd != stop_pipe[1])
            close(fd);
    fcntl(sock, F_SETFL, 0); // a part is easier to play with blocking calls
    part(sock, ++shared->workers);
    _exit(0);
}

static inline void
say(int sock, struct message m)
{
    if (fdpass_send(sock, &m, sizeof(m), NULL, 0) != sizeof(m))
        _exit(1);
}

static inline struct message
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
static inline void
idle(int sock)
{
    char byte;
    while (recv(sock, &byte, 1, 0) > 0)
        ;
    _exit(0);
}

static inline void
stop_broker(int sock)
{
    if (write(stop_pipe[1], "x", 1) != 1)
        _exit(1);
    idle(sock);
}

static inline void
on_log(void *ctx, enum log_level level, const char *line)
{
    size_t len = strlen(logged);
    snprintf(logged + len, sizeof(logged) - len, "%s\n", line);
}

static inline int
times_logged(const char *text)
{
    int n = 0;
    for (const char *p = logged; (p = strstr(p, text)); p++)
        n++;
    return n;
}

// Runs a broker whose channel 600 is unix:DIR/s and options, until the part stops it.
static inline int
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
    snprintf(control, sizeof(control), "%s/c", dir);
    config.control_path = controlled ? control : NULL;
    assert_int_equal(pipe2(stop_pipe, O_CLOEXEC), 0);
    guest_config_init(&guest);
    guest.sandbox_off = true; // parts die by signals, which pid 1 would not feel
    snprintf(text, sizeof(text), "600:unix:%s/s%s", dir, options);
    assert_int_equal(guest_config_add_channel(&guest, device ? device : text, NULL), 0);
    assert_int_equal(guest_config_add_channel(&guest, "601:unix:/nonexistent/s", NULL), 0);
    log_set_sink(on_log, NULL);
    log_set_level(least_logged);

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
static inline int
run(void (*worker_part)(int, int), const char *options, int link_fd, struct error *err)
{
    struct link_spec link = {.kind = LINK_STREAM, .fd = link_fd};
    return run_on(&link, worker_part, options, err);
}

// A link that lasts; the peer's end is *peer.
static inline int
link_pair(int *peer)
{
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    *peer = sv[1];
    return sv[0];
}

// On a stream that each worker gets anew, by connecting to a listener of ours.
static inline int
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

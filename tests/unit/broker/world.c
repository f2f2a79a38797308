// SPDX-License-Identifier: BSD-3-Clause
// The world of world.h.
#include "broker/world.h"

#include "test.h"

#include "base/log.h"
#include "base/unix_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_SIZE 65536

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    char *log = ctx;
    size_t len = strlen(log);
    snprintf(log + len, LOG_SIZE - len, "%s\n", line);
}

// Channel 600 is unix:PATH and `options`.
void
world_init(struct world *w, const char *options)
{
    char text[160], name[32];
    memset(w, 0, sizeof(*w));
    w->guest_fd = -1;
    snprintf(w->dir, sizeof(w->dir), "/tmp/test-serve-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
    guest_config_init(&w->config);
    snprintf(name, sizeof(name), "vm%d", (int)getpid());
    assert_int_equal(guest_config_set_name(&w->config, name, NULL), 0);
    snprintf(text, sizeof(text), "600:unix:%s%s", w->path, options);
    assert_int_equal(guest_config_add_channel(&w->config, text, NULL), 0);
    w->broker = (struct broker_config){.guest = &w->config, .link = {.fd = -1}};
    w->log = mmap(NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

_Noreturn static void
be_broker(struct world *w, int stop_fd, int ready_fd)
{
    struct error err = {{0}};
    alarm(TEST_TIMEOUT_S);
    log_set_sink(on_log, w->log);
    log_set_level(LOG_INFO);
    if (w->guest_fd >= 0)
        close(w->guest_fd);
    struct broker *b = broker_start(&w->broker, &err);
    if (!b) {
        on_log(w->log, LOG_ERROR, err.text);
        _exit(100);
    }
    if (write(ready_fd, "r", 1) != 1)
        _exit(101);
    int rc = broker_run(b, stop_fd);
    broker_free(b);
    _exit(-rc);
}

void
world_start(struct world *w)
{
    int stop[2], ready[2];
    char byte;
    assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    w->pid = fork();
    if (w->pid == 0) {
        close(stop[1]);
        close(ready[0]);
        be_broker(w, stop[0], ready[1]);
    }
    close(stop[0]);
    close(ready[1]);
    w->stop_fd = stop[1];
    if (read(ready[0], &byte, 1) != 1)
        fail_msg("no broker: %s", w->log);
    close(ready[0]);
}

// Over an inherited stream; the world's guest has the other end.
void
world_start_with_guest(struct world *w)
{
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    w->broker.link = (struct link_spec){.kind = LINK_STREAM, .fd = sv[0]};
    w->broker.exit_on_link_down = true;
    w->guest_fd = sv[1];
    guest_end_init(&w->guest, sv[1]);
    world_start(w);
    close(sv[0]);
}

int
world_broker_status(struct world *w)
{
    int status;
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void
world_fini(struct world *w)
{
    close(w->stop_fd);
    if (w->pid > 0)
        assert_int_equal(world_broker_status(w), 0);
    if (w->guest.loop)
        guest_end_fini(&w->guest);
    guest_config_fini(&w->config);
    unlink(w->path);
    assert_int_equal(rmdir(w->dir), 0);
    munmap(w->log, LOG_SIZE);
}

int
world_listen(const char *path)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, true);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

int
world_client(const char *path)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, true);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    return fd;
}

// The next connection at l, while the guest's loop turns.
int
world_accept(struct world *w, int l)
{
    struct pollfd p = {.fd = l, .events = POLLIN};
    for (int i = 0; i < 5000; i++) {
        if (poll(&p, 1, 0) == 1)
            return accept4(l, NULL, NULL, SOCK_CLOEXEC);
        guest_end_turns(&w->guest, 1);
    }
    fail_msg("no connection");
    return -1;
}

void
world_expect_bytes(struct world *w, int fd, const char *text)
{
    char bytes[64];
    size_t have = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 5000 && have < strlen(text); i++) {
        if (poll(&p, 1, 0) == 1) {
            ssize_t n = read(fd, bytes + have, sizeof(bytes) - have);
            assert_true(n > 0);
            have += (size_t)n;
        }
        guest_end_turns(&w->guest, 1);
    }
    assert_int_equal(have, strlen(text));
    assert_memory_equal(bytes, text, have);
}

void
world_expect_eof(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 3000), 1);
    ssize_t n = read(fd, &byte, 1);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

// A connection that says ping and hears pong; the host program's end.
int
world_converse(struct world *w, int l, uint32_t *conn)
{
    *conn = guest_end_connect(&w->guest, 600);
    int fd = world_accept(w, l);
    guest_end_until(&w->guest, &w->guest.conns[*conn].established);
    guest_end_send(&w->guest, *conn, "ping");
    world_expect_bytes(w, fd, "ping");
    assert_int_equal(write(fd, "pong", 4), 4);
    guest_end_until_received(&w->guest, *conn, "pong");
    return fd;
}

pid_t
world_worker(const struct world *w)
{
    char path[64];
    long pid = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)w->pid, (int)w->pid);
    for (int i = 0; i < 1000 && pid == 0; i++) {
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        if (fscanf(f, "%ld", &pid) != 1)
            pid = 0;
        fclose(f);
        usleep(1000);
    }
    assert_true(pid > 0);
    return (pid_t)pid;
}

// Starts a broker that connects to our listener, and takes its first link.
int
world_start_connecting(struct world *w)
{
    snprintf(w->broker.link.path, sizeof(w->broker.link.path), "%s/link", w->dir);
    int l = world_listen(w->broker.link.path);
    world_start(w);
    guest_end_init(&w->guest, accept4(l, NULL, NULL, SOCK_CLOEXEC));
    return l;
}

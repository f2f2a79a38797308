// SPDX-License-Identifier: BSD-3-Clause
// Broker and worker for real, in processes of their own, between a guest of ours and host programs.
#include "test.h"

#include "base/log.h"
#include "base/unix_listener.h"
#include "broker/broker.h"
#include "lib/guest_end.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct world {
    char dir[64];
    char path[80]; // host program of channel 600
    struct guest_config config;
    struct broker_config broker;
    int guest_fd; // the guest's end of an inherited link, not for the broker; else -1
    pid_t pid;    // the broker's
    int stop_fd;  // closing it ends the broker
    char *log;    // shared with the broker
    struct guest_end guest;
};

#define LOG_SIZE 65536

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    char *log = ctx;
    size_t len = strlen(log);
    snprintf(log + len, LOG_SIZE - len, "%s\n", line);
}

// Channel 600 is unix:PATH and `options`.
static void
world_init(struct world *w, const char *options)
{
    char text[160];
    memset(w, 0, sizeof(*w));
    w->guest_fd = -1;
    snprintf(w->dir, sizeof(w->dir), "/tmp/test-serve-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
    guest_config_init(&w->config);
    assert_int_equal(guest_config_set_name(&w->config, "vm1", NULL), 0);
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

static void
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
static void
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

static int
wait_for_broker(struct world *w)
{
    int status;
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
world_fini(struct world *w)
{
    close(w->stop_fd);
    if (w->pid > 0)
        assert_int_equal(wait_for_broker(w), 0);
    if (w->guest.loop)
        guest_end_fini(&w->guest);
    guest_config_fini(&w->config);
    unlink(w->path);
    assert_int_equal(rmdir(w->dir), 0);
    munmap(w->log, LOG_SIZE);
}

static int
listen_at(const char *path)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, true);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static int
client_of(const char *path)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, true);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    return fd;
}

// The next connection at l, while the guest's loop turns.
static int
accepted(struct world *w, int l)
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

static void
expect_bytes(struct world *w, int fd, const char *text)
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

static void
expect_eof(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 3000), 1);
    ssize_t n = read(fd, &byte, 1);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

// A connection that says ping and hears pong; the host program's end.
static int
converse(struct world *w, int l, uint32_t *conn)
{
    *conn = guest_end_connect(&w->guest, 600);
    int fd = accepted(w, l);
    guest_end_until(&w->guest, &w->guest.conns[*conn].established);
    guest_end_send(&w->guest, *conn, "ping");
    expect_bytes(w, fd, "ping");
    assert_int_equal(write(fd, "pong", 4), 4);
    guest_end_until_received(&w->guest, *conn, "pong");
    return fd;
}

static pid_t
worker_of(const struct world *w)
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

TEST(guest_and_service_converse_and_the_service_knows_who)
{
    struct world w;
    uint32_t conn;
    struct sockaddr_un sa;
    socklen_t len = sizeof(sa);
    world_init(&w, "");
    int l = listen_at(w.path);
    world_start_with_guest(&w);
    int fd = converse(&w, l, &conn);
    assert_int_equal(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
    assert_memory_equal(sa.sun_path, "\0vmchannel/vm1/600/1", 20);
    close(fd);
    guest_end_until(&w.guest, &w.guest.conns[conn].eof);
    close(l);
    world_fini(&w);
}

TEST(absent_service_refuses_within_50_ms_and_is_logged)
{
    struct world w;
    char line[160];
    world_init(&w, "");
    world_start_with_guest(&w);
    guest_end_turns(&w.guest, 20);
    for (int i = 0; i < 3; i++) {
        uint64_t start = loop_clock_us();
        uint32_t conn = guest_end_connect(&w.guest, 600);
        guest_end_until(&w.guest, &w.guest.conns[conn].closed);
        assert_int_equal(w.guest.conns[conn].reason, STACK_REFUSED);
        assert_in_range(loop_clock_us() - start, 0, 50000);
    }
    snprintf(line, sizeof(line), "vm1: channel 600: unix:%s: No such file or directory", w.path);
    char *first = strstr(w.log, line);
    assert_non_null(first);
    assert_null(strstr(first + 1, line));
    world_fini(&w);
}

TEST(waiting_server_holds_the_guest_until_a_client_comes)
{
    struct world w;
    world_init(&w, ",server");
    world_start_with_guest(&w);
    uint32_t conn = guest_end_connect(&w.guest, 600);
    guest_end_turns(&w.guest, 300);
    assert_false(w.guest.conns[conn].established || w.guest.conns[conn].closed);
    int fd = client_of(w.path);
    guest_end_until(&w.guest, &w.guest.conns[conn].established);
    assert_int_equal(write(fd, "hello", 5), 5);
    guest_end_until_received(&w.guest, conn, "hello");
    close(fd);
    world_fini(&w);
}

TEST(nowait_server_takes_the_guest_at_once_and_keeps_its_bytes)
{
    struct world w;
    world_init(&w, ",server,nowait");
    world_start_with_guest(&w);
    uint32_t conn = guest_end_connect(&w.guest, 600);
    guest_end_until(&w.guest, &w.guest.conns[conn].established);
    guest_end_send(&w.guest, conn, "early");
    guest_end_turns(&w.guest, 50);
    int fd = client_of(w.path);
    expect_bytes(&w, fd, "early");
    close(fd);
    world_fini(&w);
}

TEST(end_of_the_inherited_link_closes_host_ends_and_ends_the_broker)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = listen_at(w.path);
    world_start_with_guest(&w);
    int fd = converse(&w, l, &conn);
    guest_end_detach(&w.guest);
    expect_eof(fd);
    assert_int_equal(wait_for_broker(&w), 0);
    close(fd);
    close(l);
    world_fini(&w);
}

// Starts a broker that connects to our listener, and takes its first link.
static int
start_with_reconnecting_link(struct world *w)
{
    snprintf(w->broker.link.path, sizeof(w->broker.link.path), "%s/link", w->dir);
    int l = listen_at(w->broker.link.path);
    world_start(w);
    guest_end_init(&w->guest, accept4(l, NULL, NULL, SOCK_CLOEXEC));
    return l;
}

TEST(link_that_comes_back_works)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = listen_at(w.path);
    int link_listener = start_with_reconnecting_link(&w);
    int fd = converse(&w, l, &conn);
    guest_end_detach(&w.guest);
    expect_eof(fd); // a link that goes away closes all its host ends
    close(fd);
    guest_end_attach(&w.guest, accept4(link_listener, NULL, NULL, SOCK_CLOEXEC));
    fd = converse(&w, l, &conn);
    close(fd);
    close(link_listener);
    unlink(w.broker.link.path);
    close(l);
    world_fini(&w);
}

TEST(request_of_a_guest_that_went_leaves_the_client_to_the_next)
{
    struct world w;
    world_init(&w, ",server");
    int link_listener = start_with_reconnecting_link(&w);
    guest_end_connect(&w.guest, 600);
    guest_end_turns(&w.guest, 50);
    guest_end_detach(&w.guest);
    guest_end_attach(&w.guest, accept4(link_listener, NULL, NULL, SOCK_CLOEXEC));
    int fd = client_of(w.path);
    guest_end_turns(&w.guest, 50);
    uint32_t second = guest_end_connect(&w.guest, 600);
    guest_end_until(&w.guest, &w.guest.conns[second].established);
    guest_end_send(&w.guest, second, "second");
    expect_bytes(&w, fd, "second");
    close(fd);
    close(link_listener);
    unlink(w.broker.link.path);
    world_fini(&w);
}

TEST(killed_worker_is_replaced_and_the_link_comes_back)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = listen_at(w.path);
    int link_listener = start_with_reconnecting_link(&w);
    int fd = converse(&w, l, &conn);
    pid_t worker = worker_of(&w);
    assert_int_equal(kill(worker, SIGKILL), 0);
    expect_eof(fd);
    close(fd);
    guest_end_until(&w.guest, &w.guest.link_down);
    guest_end_attach(&w.guest, accept4(link_listener, NULL, NULL, SOCK_CLOEXEC));
    fd = converse(&w, l, &conn);
    assert_int_not_equal(worker_of(&w), worker);
    assert_non_null(strstr(w.log, "vm1: worker: ended by signal 9 (Killed)"));
    close(fd);
    close(link_listener);
    unlink(w.broker.link.path);
    close(l);
    world_fini(&w);
}

TEST(listening_link_takes_one_guest_at_a_time)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    snprintf(w.broker.link.path, sizeof(w.broker.link.path), "%s/link", w.dir);
    w.broker.link.server = true;
    int l = listen_at(w.path);
    world_start(&w);
    guest_end_init(&w.guest, client_of(w.broker.link.path));
    int next = client_of(w.broker.link.path); // waits for its turn
    close(converse(&w, l, &conn));
    guest_end_detach(&w.guest);
    guest_end_attach(&w.guest, next);
    close(converse(&w, l, &conn));
    close(l);
    world_fini(&w); // and leaves no file behind
}

TEST(worker_dies_with_its_broker)
{
    struct world w;
    world_init(&w, "");
    world_start_with_guest(&w);
    pid_t worker = worker_of(&w);
    kill(w.pid, SIGKILL);
    assert_int_equal(wait_for_broker(&w), -1);
    guest_end_until(&w.guest, &w.guest.link_down);
    for (int i = 0; i < 1000 && kill(worker, 0) == 0; i++)
        usleep(1000);
    // It is a zombie at most, of whoever reaps here.
    char path[64], run_state = 'Z';
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)worker);
    FILE *f = fopen(path, "re");
    if (f) {
        assert_int_equal(fscanf(f, "%*d %*s %c", &run_state), 1);
        fclose(f);
    }
    assert_int_equal(run_state, 'Z');
    world_fini(&w);
}

TEST(worker_holds_nothing_but_its_own)
{
    struct world w;
    char path[64], line[256], target[128];
    bool no_new_privs = false;
    world_init(&w, ",server");
    world_start_with_guest(&w);
    guest_end_turns(&w.guest, 50);
    pid_t worker = worker_of(&w);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)worker);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        no_new_privs |= strcmp(line, "NoNewPrivs:\t1\n") == 0;
    fclose(f);
    assert_true(no_new_privs);

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)worker);
    DIR *fds = opendir(path);
    if (!fds) { // not dumpable: root's alone
        world_fini(&w);
        skip();
    }
    int sockets = 0, others = 0;
    for (struct dirent *e; (e = readdir(fds));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "2") == 0)
            continue;
        ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1);
        assert_true(n > 0);
        target[n] = '\0';
        if (strncmp(target, "socket:", 7) == 0)
            sockets++; // the broker's, the link
        else if (strcmp(target, "/dev/null") != 0 && strcmp(target, "anon_inode:[eventpoll]") != 0)
            others++;
    }
    closedir(fds);
    assert_int_equal(sockets, 2);
    assert_int_equal(others, 0);
    world_fini(&w);
}

TEST(broker_out_of_descriptors_refuses_and_recovers)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = listen_at(w.path);
    world_start_with_guest(&w);
    close(converse(&w, l, &conn));

    // From outside; the broker has that many open already.
    struct rlimit tight, was;
    assert_int_equal(prlimit(w.pid, RLIMIT_NOFILE, NULL, &was), 0);
    tight = (struct rlimit){.rlim_cur = 4, .rlim_max = was.rlim_max};
    assert_int_equal(prlimit(w.pid, RLIMIT_NOFILE, &tight, NULL), 0);
    conn = guest_end_connect(&w.guest, 600);
    guest_end_until(&w.guest, &w.guest.conns[conn].closed);
    assert_int_equal(w.guest.conns[conn].reason, STACK_REFUSED);
    assert_non_null(strstr(w.log, "Too many open files"));
    assert_int_equal(prlimit(w.pid, RLIMIT_NOFILE, &was, NULL), 0);
    close(converse(&w, l, &conn));
    close(l);
    world_fini(&w);
}

TEST(inherited_listeners_serve_without_frames)
{
    struct world w;
    char bytes[8];
    world_init(&w, "");
    int l = listen_at(w.path);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    assert_int_equal(bind(tcp, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(listen(tcp, 8), 0);
    assert_int_equal(getsockname(tcp, (struct sockaddr *)&sin, &len), 0);
    w.broker.link = (struct link_spec){.kind = LINK_NETNS, .fd = -1};
    w.broker.listener_fds = &tcp;
    world_start(&w);
    close(tcp);

    for (int i = 0; i < 2; i++) { // the second one with another worker
        int guest = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(guest, (struct sockaddr *)&sin, sizeof(sin)), 0);
        int fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
        assert_int_equal(write(guest, "ping", 4), 4);
        assert_int_equal(read(fd, bytes, sizeof(bytes)), 4);
        assert_int_equal(write(fd, "pong", 4), 4);
        assert_int_equal(read(guest, bytes, sizeof(bytes)), 4);
        assert_memory_equal(bytes, "pong", 4);
        if (i == 0)
            kill(worker_of(&w), SIGKILL);
        expect_eof(i == 0 ? guest : (close(guest), fd));
        if (i == 0)
            close(guest);
        close(fd);
    }
    close(l);
    world_fini(&w);
}

// SPDX-License-Identifier: BSD-3-Clause
// What the tests run inside a guest: linked statically so that it works in an initramfs, in a
// namespace and under `vmchannel run` alike. One command, one line of JSON on stdout. It judges
// nothing: the tests do.
// ADDR PORT are those of address.h.
//   guestprobe connect ADDR PORT [TIMEOUT_MS]        how connect(2) ended, and how long it took
//   guestprobe talk ADDR PORT COUNT                  COUNT connections at once, a line each way
//   guestprobe script ADDR PORT STEP...              one connection, see run_step()
//   guestprobe serve ADDR PORT STEP...               as script, but listens ("ready") and accepts
//   it guestprobe latency ADDR PORT COUNT SIZE          echo round trips guestprobe transfer ADDR
//   PORT COUNT BYTES SEED   transfer.h against hostpeer guestprobe qemu-exit VALUE writes to
//   isa-debug-exit at port 0xf4

#include "address.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 5000
#define IO_MS      20000
#define STALL_MS   60000

static double
now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static const char *
error_name(int errnum)
{
    return errnum == 0 ? "" : strerrorname_np(errnum);
}

static int
wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, timeout_ms) > 0 ? 0 : ETIMEDOUT;
}

static void
limit_io(int fd)
{
    struct timeval io = {.tv_sec = IO_MS / 1000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &io, sizeof(io));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &io, sizeof(io));
}

// A connected, blocking socket with an I/O timeout, or -1 with *error and the time it took.
static int
connect_to(const char *addr, const char *port, int timeout_ms, int *error, double *took_ms)
{
    struct address to;
    socklen_t len = sizeof(*error);
    double start = now_ms();

    *error = address_parse(addr, port, &to) ? 0 : EINVAL;
    int fd = socket(to.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (*error == 0 && connect(fd, (struct sockaddr *)&to.sa, to.len) < 0)
        *error = errno;
    if (*error == EINPROGRESS) {
        *error = wait_for(fd, POLLOUT, timeout_ms);
        if (*error == 0)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, error, &len);
    }
    *took_ms = now_ms() - start;
    if (*error != 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, 0);
    if (to.sa.ss_family == AF_INET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    limit_io(fd);
    return fd;
}

static void
print_string(const char *text, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

// Reads up to the first newline (kept out), the end or `size` bytes; *error as errno, 0 for all
// well.
static size_t
read_line(int fd, char *buf, size_t size, int *error)
{
    size_t len = 0;

    *error = 0;
    while (len < size) {
        ssize_t n = recv(fd, buf + len, 1, 0);
        if (n < 0)
            *error = errno;
        if (n <= 0 || buf[len] == '\n')
            break;
        len++;
    }
    return len;
}

static int
cmd_connect(int argc, char **argv)
{
    int error;
    double ms;
    int fd = connect_to(argv[0], argv[1], argc > 2 ? atoi(argv[2]) : CONNECT_MS, &error, &ms);

    printf("{\"error\": \"%s\", \"ms\": %.3f}\n", error_name(error), ms);
    if (fd >= 0)
        close(fd);
    return 0;
}

// All connections are open before the first word is said, and all words are said before the first
// answer is read.
static int
cmd_talk(int argc, char **argv)
{
    int count = atoi(argv[2]);
    int *fds = calloc((size_t)count, sizeof(*fds));
    char line[256];
    int error;
    double ms;

    for (int i = 0; i < count; i++) {
        fds[i] = connect_to(argv[0], argv[1], CONNECT_MS, &error, &ms);
        if (fds[i] < 0) {
            printf("{\"error\": \"connection %d: %s\", \"answers\": []}\n", i, error_name(error));
            return 0;
        }
    }
    for (int i = 0; i < count; i++) {
        int len = snprintf(line, sizeof(line), "guest %d\n", i);
        send(fds[i], line, (size_t)len, MSG_NOSIGNAL);
    }
    printf("{\"error\": \"\", \"answers\": [");
    for (int i = 0; i < count; i++) {
        size_t len = read_line(fds[i], line, sizeof(line), &error);
        printf("%s", i ? ", " : "");
        print_string(line, len);
    }
    printf("]}\n");
    return 0;
}

// Reads to the end of the stream and prints what came.
static void
step_recv(int fd)
{
    static char buf[65536];
    size_t len = 0;
    ssize_t n;

    while (len < sizeof(buf) && (n = recv(fd, buf + len, sizeof(buf) - len, 0)) > 0)
        len += (size_t)n;
    printf("\"got\": ");
    print_string(buf, len);
    printf(", \"end\": \"%s\"", len == sizeof(buf) ? "full" : n == 0 ? "eof" : error_name(errno));
}

static void
step_line(int fd)
{
    char buf[1024];
    int error;
    size_t len = read_line(fd, buf, sizeof(buf), &error);

    printf("\"got\": ");
    print_string(buf, len);
    printf(", \"end\": \"%s\"", error_name(error));
}

// send:TEXT (a newline is added), shut, recv (to the end), line, sleep:MS, reset, close, die.
static bool
run_step(int *fd, const char *step)
{
    struct linger now = {.l_onoff = 1};

    if (strncmp(step, "send:", 5) == 0) {
        ssize_t n = send(*fd, step + 5, strlen(step + 5), MSG_NOSIGNAL);
        if (n >= 0)
            n = send(*fd, "\n", 1, MSG_NOSIGNAL);
        printf("\"end\": \"%s\"", n < 0 ? error_name(errno) : "");
    } else if (strcmp(step, "shut") == 0) {
        printf("\"end\": \"%s\"", shutdown(*fd, SHUT_WR) < 0 ? error_name(errno) : "");
    } else if (strcmp(step, "recv") == 0) {
        step_recv(*fd);
    } else if (strcmp(step, "line") == 0) {
        step_line(*fd);
    } else if (strncmp(step, "sleep:", 6) == 0) {
        usleep((useconds_t)atoi(step + 6) * 1000);
        printf("\"end\": \"\"");
    } else if (strcmp(step, "reset") == 0) {
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close(*fd);
        *fd = -1;
        printf("\"end\": \"\"");
    } else if (strcmp(step, "close") == 0) {
        close(*fd);
        *fd = -1;
        printf("\"end\": \"\"");
    } else if (strcmp(step, "die") == 0) {
        printf("\"end\": \"\"}]}\n");
        fflush(stdout);
        raise(SIGKILL);
    } else {
        return false;
    }
    return true;
}

static int
run_steps(int fd, const char *error, int count, char **steps)
{
    printf("{\"error\": \"%s\", \"steps\": [", error);
    for (int i = 0; fd >= 0 && i < count; i++) {
        printf("%s{\"step\": ", i > 0 ? ", " : "");
        print_string(steps[i], strlen(steps[i]));
        printf(", ");
        if (!run_step(&fd, steps[i])) {
            fprintf(stderr, "guestprobe: unknown step '%s'\n", steps[i]);
            return 2;
        }
        printf("}");
    }
    printf("]}\n");
    return 0;
}

static int
cmd_script(int argc, char **argv)
{
    int error;
    double ms;
    int fd = connect_to(argv[0], argv[1], CONNECT_MS, &error, &ms);

    return run_steps(fd, error_name(error), argc - 2, argv + 2);
}

static int
cmd_serve(int argc, char **argv)
{
    struct address at;
    int listener = address_parse(argv[0], argv[1], &at) ? address_listen(&at) : -1;
    int fd = -1;

    if (listener >= 0) {
        puts("ready");
        fflush(stdout);
        fd = accept(listener, NULL, NULL);
        limit_io(fd);
        close(listener);
    }
    return run_steps(fd, fd < 0 ? error_name(errno) : "", argc - 2, argv + 2);
}

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int
cmd_latency(int argc, char **argv)
{
    int count = atoi(argv[2]);
    size_t size = strtoul(argv[3], NULL, 10);
    double *took = calloc((size_t)count, sizeof(*took));
    char *buf = calloc(1, size);
    int error;
    double ms;
    int fd = connect_to(argv[0], argv[1], CONNECT_MS, &error, &ms);

    for (int i = 0; fd >= 0 && error == 0 && i < count; i++) {
        double start = now_ms();
        if (send(fd, buf, size, MSG_NOSIGNAL) != (ssize_t)size ||
            recv(fd, buf, size, MSG_WAITALL) != (ssize_t)size)
            error = errno ? errno : EPIPE;
        took[i] = now_ms() - start;
    }
    qsort(took, (size_t)count, sizeof(*took), by_value);
    printf("{\"error\": \"%s\", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
           error_name(error), took[count / 2], took[count * 99 / 100], took[count - 1]);
    return 0;
}

static int
cmd_transfer(int argc, char **argv)
{
    size_t count = strtoul(argv[2], NULL, 10);
    uint64_t bytes = strtoull(argv[3], NULL, 10);
    uint64_t seed = strtoull(argv[4], NULL, 10);
    struct transfer_conn *conns = calloc(count, sizeof(*conns));

    for (size_t i = 0; i < count; i++) {
        int error;
        double ms;
        uint8_t id[4] = {0, 0, (uint8_t)(i >> 8), (uint8_t)i};
        int fd = connect_to(argv[0], argv[1], STALL_MS, &error, &ms);
        if (fd < 0 || send(fd, id, sizeof(id), MSG_NOSIGNAL) != sizeof(id)) {
            printf("{\"finished\": false, \"error\": \"connection %zu: %s\"}\n", i,
                   error_name(error ? error : errno));
            return 1;
        }
        transfer_init(&conns[i], fd, (uint32_t)i, seed, bytes);
    }
    bool finished = transfer_run(conns, count, STALL_MS);
    transfer_print(conns, count, finished);
    return finished ? 0 : 1;
}

static int
cmd_qemu_exit(int argc, char **argv)
{
    if (ioperm(0xf4, 4, 1) < 0)
        return 1;
    outl((unsigned)atoi(argv[0]), 0xf4);
    return 1; // not reached where the device is there
}

static const struct {
    const char *name;
    int min_args;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"connect", 2, cmd_connect},     {"talk", 3, cmd_talk},       {"script", 2, cmd_script},
    {"serve", 2, cmd_serve},         {"latency", 4, cmd_latency}, {"transfer", 5, cmd_transfer},
    {"qemu-exit", 1, cmd_qemu_exit},
};

int
main(int argc, char **argv)
{
    struct rlimit files = {8192, 8192};
    setrlimit(RLIMIT_NOFILE, &files);

    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].min_args)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "usage: guestprobe connect|talk|script|serve|latency|transfer|qemu-exit ...\n");
    return 2;
}

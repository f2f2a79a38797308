// SPDX-License-Identifier: BSD-3-Clause
// QEMU's -netdev: which words this QEMU knows, and those for an inherited socket. The socket is
// cli/qemu's.
#include "cli/qemu_netdev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES      4096
#define ANSWER_TIMEOUT_MS 5000 // it takes a tenth of a second

static int64_t
now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

// Reads to the end of file, or to the end of out or of our patience. Ends the text with NUL.
static void
read_answer(int fd, char *out, size_t out_size)
{
    int64_t deadline = now_ms() + ANSWER_TIMEOUT_MS;
    size_t used = 0;
    while (used + 1 < out_size) {
        int64_t left = deadline - now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t n = ready > 0 ? read(fd, out + used, out_size - used - 1) : 0;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    out[used] = '\0';
}

_Noreturn static void
be_asked(const char *program, const char *const *words, int out)
{
    const char *argv[4] = {program};
    for (size_t i = 0; i < 2 && words[i]; i++)
        argv[i + 1] = words[i];
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(null_fd, 2) == 2 && dup2(out, 1) == 1)
        execvp(program, (char *const *)argv);
    _exit(127); // said by who executes it in earnest
}

static bool
has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; *at;) {
        size_t here = strcspn(at, "\r\n");
        if (here == len && memcmp(at, line, len) == 0)
            return true;
        at += here + (at[here] != '\0');
    }
    return false;
}

void
qemu_ask(const char *program, const char *const *words, char *answer, size_t answer_size)
{
    int out[2];
    answer[0] = '\0';
    if (pipe2(out, O_CLOEXEC) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        be_asked(program, words, out[1]);
    close(out[1]);
    if (pid > 0)
        read_answer(out[0], answer, answer_size);
    close(out[0]);
    if (pid > 0) {
        kill(pid, SIGKILL); // it has said all that we read
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
}

enum qemu_age
qemu_ask_age(const char *program)
{
    static const char *const words[] = {"-netdev", "help", NULL};
    char answer[ANSWER_BYTES];
    qemu_ask(program, words, answer, sizeof(answer));
    return has_line(answer, "socket") && !has_line(answer, "stream") ? QEMU_OLD : QEMU_NEW;
}

char *
qemu_netdev(enum qemu_link link, enum qemu_age age, const char *id, int fd)
{
    char *text = NULL;
    int len = -1;
    if (age == QEMU_OLD)
        len = asprintf(&text, "socket,id=%s,fd=%d", id, fd); // it sees which kind of socket it is
    else if (link == QEMU_LINK_STREAM)
        len = asprintf(&text, "stream,id=%s,addr.type=fd,addr.str=%d", id, fd);
    else
        len = asprintf(&text, "dgram,id=%s,local.type=fd,local.str=%d", id, fd);
    return len < 0 ? NULL : text;
}

// SPDX-License-Identifier: BSD-3-Clause
// The limit of the netns link: from TCP connections in a network namespace to a Unix socket by
// splice, and nothing else. One connection at a time, one direction; it sleeps where it waits.
//   splice_pump PORT to|from PATH     listens on 127.0.0.1; to or from the Unix socket PATH

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PIPE_BYTES (256 * 1024) // as much as vmchannel moves at a time

_Noreturn static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static int
listen_at(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, 16) < 0)
        fail("listen");
    return fd;
}

static int
connect_unix(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
        fail(path);
    return fd;
}

// Until either side ends.
static void
move_all(int from, int to)
{
    int ends[2];
    ssize_t in = 1, out = 1;
    if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) < 0)
        fail("pipe");
    while (in > 0 && out > 0) {
        in = splice(from, NULL, ends[1], NULL, PIPE_BYTES, SPLICE_F_MOVE);
        for (ssize_t left = in; left > 0 && out > 0; left -= out)
            out = splice(ends[0], NULL, to, NULL, (size_t)left, SPLICE_F_MOVE);
    }
    close(ends[0]);
    close(ends[1]);
}

int
main(int argc, char **argv)
{
    if (argc != 4 || (strcmp(argv[2], "to") != 0 && strcmp(argv[2], "from") != 0)) {
        fprintf(stderr, "splice_pump: see the head of splice_pump.c\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_at((uint16_t)atoi(argv[1]));
    for (;;) {
        int guest = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (guest < 0)
            fail("accept");
        int service = connect_unix(argv[3]);
        if (argv[2][0] == 't')
            move_all(guest, service);
        else
            move_all(service, guest);
        close(guest);
        close(service);
    }
}

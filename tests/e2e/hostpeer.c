// SPDX-License-Identifier: BSD-3-Clause
// The host's end of a transfer test: listens on a Unix socket, accepts as many connections as told,
// learns each one's number from its first four bytes and runs transfer.c on all of them.
//   hostpeer PATH CONNECTIONS BYTES SEED      prints "ready", then one line of JSON

#include "transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STALL_MS 60000

static int
listen_on(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(sa.sun_path))
        return -1;
    strcpy(sa.sun_path, path);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1024) < 0)
        return -1;
    return fd;
}

static bool
read_id(int fd, uint32_t *id)
{
    uint8_t b[4];

    if (recv(fd, b, sizeof(b), MSG_WAITALL) != sizeof(b))
        return false;
    *id = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return true;
}

int
main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: hostpeer PATH CONNECTIONS BYTES SEED\n");
        return 2;
    }
    size_t count = strtoul(argv[2], NULL, 10);
    uint64_t bytes = strtoull(argv[3], NULL, 10);
    uint64_t seed = strtoull(argv[4], NULL, 10);
    struct transfer_conn *conns = calloc(count, sizeof(*conns));
    int listener = listen_on(argv[1]);

    if (listener < 0 || conns == NULL) {
        perror(argv[1]);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (size_t i = 0; i < count; i++) {
        uint32_t id;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || !read_id(fd, &id)) {
            fprintf(stderr, "hostpeer: connection %zu came to nothing\n", i);
            return 1;
        }
        transfer_init(&conns[i], fd, id, seed, bytes);
    }
    close(listener);
    unlink(argv[1]);
    bool finished = transfer_run(conns, count, STALL_MS);
    transfer_print(conns, count, finished);
    free(conns);
    return finished ? 0 : 1;
}

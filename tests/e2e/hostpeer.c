// SPDX-License-Identifier: BSD-3-Clause
// The host's end of a transfer test: listens on a Unix socket, or on a port of AF_VSOCK, accepts as
// many connections as told, learns each one's number from its first four bytes and runs transfer.c
// on all of them.
//   hostpeer PATH|vsock:PORT CONNECTIONS BYTES SEED      prints "ready", then one line of JSON

#include "address.h"
#include "transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STALL_MS 60000

static int
listen_on(const char *name, bool *is_path)
{
    char unix_name[200];
    struct address at;

    *is_path = strncmp(name, "vsock:", 6) != 0;
    snprintf(unix_name, sizeof(unix_name), "unix:%s", name);
    if (!address_parse(*is_path ? unix_name : "vsock:any", *is_path ? "" : name + 6, &at))
        return -1;
    return address_listen(&at);
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
        fprintf(stderr, "usage: hostpeer PATH|vsock:PORT CONNECTIONS BYTES SEED\n");
        return 2;
    }
    size_t count = strtoul(argv[2], NULL, 10);
    uint64_t bytes = strtoull(argv[3], NULL, 10);
    uint64_t seed = strtoull(argv[4], NULL, 10);
    struct transfer_conn *conns = calloc(count, sizeof(*conns));
    bool is_path;
    int listener = listen_on(argv[1], &is_path);

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
    if (is_path)
        unlink(argv[1]);
    bool finished = transfer_run(conns, count, STALL_MS);
    transfer_print(conns, count, finished);
    free(conns);
    return finished ? 0 : 1;
}

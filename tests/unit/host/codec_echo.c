// SPDX-License-Identifier: BSD-3-Clause
// Speaks a codec to one peer on a loopback port and echoes the stream, for tests with real peers.
// Prints the port. Exit code: 0 a regular end, 3 the peer broke the protocol, 4 the stream was cut.
//
// usage: codec_echo telnet|websocket [FINISH_AFTER]     says goodbye after so many bytes of stream
#include "host/codec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_S 60

enum {
    EXIT_BROKEN = 3,
    EXIT_CUT = 4,
};

struct echo {
    int fd;
    struct codec *codec;
    size_t finish_after; // stream bytes to go
};

static void
write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; // the peer is gone: the next read says so
        bytes += n;
        len -= (size_t)n;
    }
}

static void
write_replies(struct echo *e)
{
    uint8_t out[100];
    size_t n;
    while ((n = codec_reply(e->codec, out, sizeof(out))) > 0)
        write_all(e->fd, out, n);
}

static void
write_stream(struct echo *e, const uint8_t *bytes, size_t len)
{
    uint8_t out[70000];
    struct codec_step step;
    for (size_t at = 0; at < len; at += step.consumed) {
        codec_encode(e->codec, bytes + at, len - at, out, sizeof(out), &step);
        write_all(e->fd, out, step.produced);
        if (step.consumed == 0 && step.produced == 0)
            return; // shut
    }
    if (e->finish_after > 0 && len >= e->finish_after)
        codec_finish(e->codec);
    e->finish_after -= len < e->finish_after ? len : e->finish_after;
}

static int
decode_all(struct echo *e, const uint8_t *bytes, size_t len)
{
    uint8_t stream[66000];
    struct codec_step step;
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0; at += step.consumed) {
        rc = codec_decode(e->codec, bytes + at, len - at, stream, sizeof(stream), &step);
        write_stream(e, stream, step.produced);
        write_replies(e);
    }
    return rc;
}

static int
echo_peer(struct echo *e)
{
    uint8_t in[65536];
    int rc = 0;
    write_replies(e);
    while (rc == 0) {
        ssize_t n = recv(e->fd, in, sizeof(in), 0);
        if (n <= 0)
            return codec_may_end(e->codec) ? 0 : EXIT_CUT;
        rc = decode_all(e, in, (size_t)n);
    }
    // What the peer still sends is read, so that a reset does not overtake our last words.
    shutdown(e->fd, SHUT_WR);
    while (recv(e->fd, in, sizeof(in), 0) > 0)
        ;
    return rc == CODEC_END ? 0 : EXIT_BROKEN;
}

static int
accept_one(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t sa_len = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&sa, &sa_len) < 0)
        return -1;
    printf("%u\n", ntohs(sa.sin_port));
    fflush(stdout);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    return fd;
}

int
main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    alarm(TIMEOUT_S);
    static struct device dev = {.server = true};
    dev.kind = strcmp(argv[1], "telnet") == 0 ? DEVICE_TELNET : DEVICE_WEBSOCKET;
    struct echo e = {.codec = codec_new(&dev), .fd = accept_one()};
    if (argc > 2)
        e.finish_after = strtoul(argv[2], NULL, 10);
    if (!e.codec || e.fd < 0)
        return 1;
    int rc = echo_peer(&e);
    close(e.fd);
    codec_free(e.codec);
    return rc;
}

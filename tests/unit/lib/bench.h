// SPDX-License-Identifier: BSD-3-Clause
// One channel of a vmc with its device, and a guest that is either a second stack behind a stream
// link or a TCP socket of a socket link: tests are written once for both. All in one thread; the
// host programs are the test's own descriptors, which never block.
#pragma once

#include "../channel/guest.h"
#include "test.h"

#include "lib/vmchannel.h"

// A test on each kind of link.
#define ON_BOTH_LINKS(name)                                                                        \
    static void name(bool socket_link);                                                            \
    TEST(name##_on_the_stack)                                                                      \
    {                                                                                              \
        name(false);                                                                               \
    }                                                                                              \
    TEST(name##_on_a_socket_link)                                                                  \
    {                                                                                              \
        name(true);                                                                                \
    }                                                                                              \
    static void name(bool socket_link)

enum guest_state { GUEST_CONNECTING, GUEST_CONNECTED, GUEST_REFUSED };

struct guest_end {
    struct bench *bench;
    uint32_t conn; // of the stack
    int fd;        // of a socket link
    enum guest_state state;
    uint32_t seed;      // of what it must receive, 0: not checked
    size_t received;    // bytes
    uint8_t data[4096]; // the first of them
    bool eof, reset;
};

struct bench {
    bool socket_link;
    struct channel_spec spec;
    struct vmc *vmc;
    struct loop *loop;
    struct rig rig;
    int listener; // port number of the socket link
    char dir[64];
    char log[16384];
};

// text: the device, with %s for the bench's own directory.
void bench_init(struct bench *b, bool socket_link, const char *text);
// False when the device could not be started; err says why, and nothing is to be undone.
bool bench_try_init(struct bench *b, bool socket_link, const char *text, struct error *err);
void bench_fini(struct bench *b); // fails when the directory is not empty
void bench_path(struct bench *b, const char *name, char *out, size_t size); // below the directory
int bench_logged(const struct bench *b, const char *part);                  // occurrences

void bench_turn(struct bench *b); // a turn of the loop, and of the socket guests
void bench_turns(struct bench *b, int ms);

// What the host program reads next.
void host_expect(struct bench *b, int fd, const char *text);

// Starts to connect; state tells how it went.
void guest_connect(struct guest_end *g, struct bench *b);
void guest_join(struct guest_end *g, struct bench *b);                    // and is let in
void guest_expect_refusal(struct guest_end *g, struct bench *b);          // and is not
void guest_poll(struct guest_end *g);                                     // receives what is there
size_t guest_try_send(struct guest_end *g, const void *data, size_t len); // taken now
void guest_send(struct guest_end *g, const void *data, size_t len);       // all of it
void guest_shutdown(struct guest_end *g);
void guest_abort(struct guest_end *g);                                // RST
void guest_expect(struct guest_end *g, const void *data, size_t len); // what it receives next
void guest_expect_eof(struct guest_end *g);
void guest_expect_reset(struct guest_end *g);
void guest_close(struct guest_end *g); // both ways, and waits for the other side to be gone

// The stream `seed`: byte number `at`.
uint8_t stream_byte(uint32_t seed, size_t at);
void stream_fill(uint32_t seed, size_t at, void *out, size_t len);
// len bytes each way at once; -1: not that way. write_fd, read_fd: the host program's,
// non-blocking.
void exchange(struct guest_end *g, int write_fd, int read_fd, size_t len);

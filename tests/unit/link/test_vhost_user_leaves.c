// SPDX-License-Identifier: BSD-3-Clause
// A front-end that leaves: behind each message of a whole start, and within each, after every byte.
// The link ends, once, and the next front-end is served.
#include "vhost_guest.h"

struct step {
    uint8_t bytes[12 + 40];
    size_t len;
    int fd; // that comes with it, -1: none
};

static struct step steps[32];
static size_t step_count;

static void
add(uint32_t request, const void *payload, uint32_t size, int fd)
{
    struct step *s = &steps[step_count++];
    const uint32_t header[3] = {request, 1, size};
    assert_true(step_count <= 32 && size <= 40);
    memcpy(s->bytes, header, 12);
    if (size)
        memcpy(s->bytes + 12, payload, size);
    s->len = 12 + size;
    s->fd = fd;
}

static void
add_u64(uint32_t request, uint64_t value, int fd)
{
    add(request, &value, 8, fd);
}

static void
add_state(uint32_t request, uint32_t index, uint32_t num)
{
    const uint32_t state[2] = {index, num};
    add(request, state, 8, -1);
}

// As QEMU begins, with an answer here and there, to the first frame.
static void
fill_steps(struct vhost_guest *g)
{
    const struct vg_table t = {.count = 1, .regions = {{VG_GUEST, VG_BYTES, VG_USER, 0}}};
    step_count = 0;
    add(VHOST_GET_FEATURES, NULL, 0, -1);
    add(VHOST_GET_PROTOCOL_FEATURES, NULL, 0, -1);
    add_u64(VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_LOG_SHMFD | VHOST_PROTOCOL_MTU, -1);
    add(VHOST_GET_QUEUE_NUM, NULL, 0, -1);
    add(VHOST_SET_OWNER, NULL, 0, -1);
    add_u64(VHOST_SET_FEATURES, VG_FEATURES, -1);
    add(VHOST_SET_MEM_TABLE, &t, 40, g->mem_fd);
    for (uint32_t i = 0; i < 2; i++) {
        const struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr = {i,
                  0,
                  VG_USER + VG_RING(i),
                  VG_USER + VG_RING(i) + VG_USED,
                  VG_USER + VG_RING(i) + VG_AVAIL,
                  0};
        add_state(VHOST_SET_VRING_NUM, i, VG_SIZE);
        add_state(VHOST_SET_VRING_BASE, i, 0);
        add(VHOST_SET_VRING_ADDR, &addr, 40, -1);
        add_u64(VHOST_SET_VRING_KICK, i, g->kick[i]);
        add_u64(VHOST_SET_VRING_CALL, i, g->call[i]);
        add_u64(VHOST_SET_VRING_ERR, i, g->err[i]);
        add_state(VHOST_SET_VRING_ENABLE, i, 1);
    }
    add_state(VHOST_GET_VRING_BASE, 1, 0);
}

static void
send_part(struct vhost_guest *g, const struct step *s, size_t len)
{
    if (len == 0)
        return;
    assert_int_equal(fdpass_send(g->sock, s->bytes, len, &s->fd, s->fd >= 0 ? 1 : 0), len);
    vg_turns(g);
    assert_int_equal(g->r->down, 0);
}

static void
leave(struct vhost_guest *g)
{
    close(g->sock);
    g->sock = -1;
    vg_turns(g);
    assert_int_equal(g->r->down, 1);
    // A reset where it leaves answers unread.
    assert_true(strstr(g->r->why, "closed the connection") || strstr(g->r->why, "reset by peer"));
}

TEST(a_front_end_may_leave_at_every_byte_of_every_message)
{
    struct vhost_guest g = vg_new();
    size_t cuts = 0;
    fill_steps(&g);
    for (size_t last = 0; last < step_count; last++) {
        for (size_t cut = 0; cut < steps[last].len; cut++, cuts++) {
            vg_connect(&g);
            for (size_t i = 0; i < last; i++)
                send_part(&g, &steps[i], steps[i].len);
            send_part(&g, &steps[last], cut);
            leave(&g);
        }
    }
    assert_true(cuts > 400);
    vg_connect(&g);
    vg_set_up(&g, VG_FEATURES);
    vg_send_frame(&g, 100, 1);
    expect_last(&g, 100, 1);
    vg_free(&g);
}

TEST(a_whole_start_works_message_by_message)
{
    struct vhost_guest g = vg_new();
    fill_steps(&g);
    vg_connect(&g);
    for (size_t i = 0; i + 1 < step_count; i++)
        send_part(&g, &steps[i], steps[i].len);
    vg_send_frame(&g, 100, 1);
    expect_last(&g, 100, 1);
    vg_free(&g);
}

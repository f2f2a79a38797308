// SPDX-License-Identifier: BSD-3-Clause
// prove: cursor_of cursor_advance cursor_u8 cursor_u16 cursor_u32 cursor_bytes cursor_skip
// prove: cursor_take
// over: buffers of every length from 0 to 16, which end with their memory, and of any content;
// over: pieces of every length up to SIZE_MAX; also what cursor_model.c takes for granted
// options: -eva-interprocedural-splits
#include "prove.h"

#include "base/cursor.c"

#define LEN_MAX 16

static uint8_t bytes[LEN_MAX], out[LEN_MAX];

// What is left is where it was, or there is nothing left.
static void
check(const struct cursor *c, size_t before, size_t asked)
{
    if (asked > before) {
        //@ assert c->failed && c->left == 0;
    } else {
        //@ assert !c->failed && c->left == before - asked;
        //@ assert c->at == (uint8_t *)bytes + (16 - c->left);
    }
}

static void
read_one(struct cursor c, size_t len)
{
    switch (Frama_C_interval(0, 2)) {
    case 0:
        cursor_u8(&c);
        check(&c, len, 1);
        break;
    case 1:
        cursor_u16(&c);
        check(&c, len, 2);
        break;
    default:
        cursor_u32(&c);
        check(&c, len, 4);
        break;
    }
}

static void
read_bytes(struct cursor c, size_t len, size_t asked)
{
    struct cursor part;

    switch (Frama_C_interval(0, 2)) {
    case 0:
        cursor_bytes(&c, out + LEN_MAX - asked, asked);
        break;
    case 1:
        cursor_skip(&c, asked);
        break;
    default:
        part = cursor_take(&c, asked);
        if (asked > len) {
            //@ assert part.failed && part.left == 0;
        } else {
            //@ assert !part.failed && part.left == asked;
            //@ assert part.at == (uint8_t *)bytes + (16 - len);
        }
        break;
    }
    check(&c, len, asked);
}

// More than there can be.
static void
ask_too_much(struct cursor c, size_t asked)
{
    if (any_bool())
        cursor_skip(&c, asked);
    else
        cursor_take(&c, asked);
    //@ assert c.failed && c.left == 0;
}

int
main(void)
{
    size_t len = any_size(0, LEN_MAX), asked = any_size(0, LEN_MAX);
    ANY(bytes);
    //@ split len;
    struct cursor c = cursor_of(bytes + LEN_MAX - len, len);

    if (any_bool()) {
        read_one(c, len);
    } else if (any_bool()) {
        ask_too_much(c, any_size(LEN_MAX + 1, SIZE_MAX));
    } else {
        //@ split asked;
        read_bytes(c, len, asked);
    }
    return 0;
}

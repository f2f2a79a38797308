// SPDX-License-Identifier: BSD-3-Clause
// prove: writer_of writer_advance writer_u8 writer_u16 writer_u32 writer_bytes writer_zero
// prove: writer_len
// over: room of every length from 0 to 16 bytes, which ends with its memory; runs of 0 to 16 bytes
// over: to be written and of any length to be zeroed; also what cursor_model.c takes for granted
// options: -eva-interprocedural-splits
#include "prove.h"

#include "base/cursor.c"

#define LEN_MAX 16

static uint8_t room[LEN_MAX], data[LEN_MAX];

static void
check(const struct writer *w, size_t before, size_t len)
{
    if (len > before) {
        //@ assert w->failed && w->left == 0;
    } else {
        //@ assert !w->failed && w->left == before - len;
        //@ assert w->at == (uint8_t *)room + (16 - w->left);
    }
    writer_len(w);
}

static void
write_one(struct writer w, size_t before)
{
    switch (Frama_C_interval(0, 2)) {
    case 0:
        writer_u8(&w, any_u8());
        check(&w, before, 1);
        break;
    case 1:
        writer_u16(&w, any_u16());
        check(&w, before, 2);
        break;
    default:
        writer_u32(&w, any_u32());
        check(&w, before, 4);
        break;
    }
}

static void
write_bytes(struct writer w, size_t before, size_t len)
{
    if (any_bool())
        writer_bytes(&w, data + LEN_MAX - len, len);
    else
        writer_zero(&w, len);
    check(&w, before, len);
}

int
main(void)
{
    size_t before = any_size(0, LEN_MAX), len = any_size(0, LEN_MAX);
    //@ split before;
    struct writer w = writer_of(room + LEN_MAX - before, before);

    ANY(data);
    if (any_bool()) {
        write_one(w, before);
    } else if (any_bool()) {
        writer_zero(&w, any_size(LEN_MAX + 1, SIZE_MAX));
        //@ assert w.failed && w.left == 0;
    } else {
        //@ split len;
        write_bytes(w, before, len);
    }
    return 0;
}

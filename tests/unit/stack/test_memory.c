// SPDX-License-Identifier: BSD-3-Clause
// A stack that finds no memory for its tables is none, and leaves nothing.
#include "stack/stack.h"

#include "../link/failing.h"

#include <errno.h>

static const struct stack_ops ops;

static const struct stack_config config = {
    .mtu = 1500, .max_conns = 8, .max_half_open = 4, .ring_bytes = 4096};

static void
expect_none(const char *call, uint32_t nth)
{
    fail_some(call, nth, 0, ENOMEM);
    assert_null(stack_new(&config, &ops, NULL, 0));
    failed(1);
}

TEST(stack_without_memory_is_none)
{
    for (uint32_t nth = 1; nth <= 6; nth++)
        expect_none("calloc", nth);
    for (uint32_t nth = 1; nth <= 2; nth++)
        expect_none("mmap64", nth);
    struct stack *s = stack_new(&config, &ops, NULL, 0);
    assert_non_null(s);
    stack_free(s);
    stack_free(NULL);
}

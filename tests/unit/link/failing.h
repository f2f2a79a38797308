// SPDX-License-Identifier: BSD-3-Clause
// One call of the C library that fails as a test says, in this process and its children. Whoever
// includes this is linked with `faults` and fault_args (meson.build).
#pragma once

#include "../test.h"

#include "fault/faults.h"

#include <sys/mman.h>

static inline struct fault_page *
fail_page(void)
{
    static struct fault_page *page;
    if (!page) {
        page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(page != MAP_FAILED);
        fault_follow(page);
    }
    return page;
}

// From now on the nth call of that name (from 1), and the `more` after it, fail with errnum.
static inline void
fail_some(const char *name, uint32_t nth, uint32_t more, int errnum)
{
    uint32_t call = 0;
    while (call < fault_calls() && strcmp(fault_call_name(call), name) != 0)
        call++;
    assert_true(call < fault_calls());
    *fail_page() = (struct fault_page){
        .role = FAULT_BROKER, .call = call, .nth = nth, .more = more, .errnum = errnum, .armed = 1};
}

static inline void
fail_next(const char *name, int errnum)
{
    fail_some(name, 1, 0, errnum);
}

// Ends it; asserts that as many calls have failed.
static inline void
failed(uint32_t count)
{
    fail_page()->armed = 0;
    assert_int_equal(fail_page()->injected, count);
}

// SPDX-License-Identifier: BSD-3-Clause
// A thin layer over cmocka: TEST(name) registers itself, runs under a timeout, and fails when it
// leaves a descriptor open or closes one that is not its own.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TEST_TIMEOUT_S 20

void test_register(const char *name, void (*fn)(void **));

#define TEST(name)                                                                                 \
    static void name(void **state);                                                                \
    __attribute__((constructor)) static void name##_register(void)                                 \
    {                                                                                              \
        test_register(#name, name);                                                                \
    }                                                                                              \
    static void name(void **state __attribute__((unused)))

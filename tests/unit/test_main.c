// SPDX-License-Identifier: BSD-3-Clause
// Runs the registered tests of one executable, each under a timeout and a descriptor count.
#include "test.h"

#include <assert.h>
#include <dirent.h>
#include <unistd.h>

#define TESTS_MAX 256

static struct CMUnitTest tests[TESTS_MAX];
static size_t test_count;

static int
count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int
before(void **state)
{
    *state = (void *)(intptr_t)count_fds();
    alarm(TEST_TIMEOUT_S);
    return 0;
}

static int
after(void **state)
{
    alarm(0);
    int was = (int)(intptr_t)*state;
    int is = count_fds();
    if (was != is)
        print_error("descriptors: %d before, %d after\n", was, is);
    return was == is ? 0 : -1;
}

void
test_register(const char *name, void (*fn)(void **))
{
    assert(test_count < TESTS_MAX);
    tests[test_count++] = (struct CMUnitTest){
        .name = name, .test_func = fn, .setup_func = before, .teardown_func = after};
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests(argv[0], tests, test_count, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// Guest memory without a guest: what is refused before it is mapped, the dirty log, and the SIGBUS
// handler among others' handlers and mappings.
#include "link/guest_memory.h"
#include "link/guest_memory_guard.h"

#include "failing.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE  4096u
#define BYTES (16 * PAGE)

static int
memfd(off_t size, unsigned flags)
{
    int fd = memfd_create("test", MFD_CLOEXEC | flags);
    if (fd >= 0)
        assert_int_equal(ftruncate(fd, size), 0);
    return fd;
}

static struct guest_region
region_at(uint64_t addr, uint64_t offset)
{
    return (struct guest_region){
        .guest_addr = addr, .size = PAGE, .user_addr = addr, .mmap_offset = offset};
}

static void
expect_refused(struct guest_region region, int fd, const char *why)
{
    struct guest_memory m = {.count = 0};
    struct error err = {{0}};
    assert_int_equal(guest_memory_map(&m, &region, &fd, 1, &err), -EINVAL);
    if (!strstr(err.text, why))
        fail_msg("%s", err.text);
    assert_int_equal(m.count, 0);
}

TEST(regions_that_cannot_be_are_refused)
{
    struct guest_memory m = {.count = 0};
    struct guest_region regions[GUEST_MEMORY_REGIONS_MAX + 1];
    struct error err;
    int fd = memfd(BYTES, 0);
    expect_refused(region_at(0, BYTES + PAGE), fd, "of a file of");
    expect_refused(region_at(0, BYTES), fd, "of a file of");
    expect_refused(region_at(0, UINT64_MAX), fd, "wraps");
    expect_refused(region_at(0, (uint64_t)INT64_MAX + 1), fd, "wraps");
    assert_int_equal(guest_memory_map(&m, regions, &fd, 0, &err), -EINVAL);
    assert_int_equal(guest_memory_map(&m, regions, &fd, GUEST_MEMORY_REGIONS_MAX + 1, &err),
                     -EINVAL);
    assert_int_equal(guest_memory_map_log(&m, fd, 0, 0, &err), -EINVAL);
    assert_int_equal(guest_memory_map_log(&m, fd, PAGE, (uint64_t)INT64_MAX + 1, &err), -EINVAL);
    assert_int_equal(guest_memory_map_log(&m, fd, PAGE, BYTES, &err), -EINVAL);
    close(fd);
}

TEST(memory_that_cannot_be_looked_at_or_mapped_is_refused)
{
    struct guest_memory m = {.count = 0};
    struct guest_region region = region_at(0, 0);
    struct error err;
    int fd = memfd(BYTES, 0);
    fail_next("fstat64", ENOMEM);
    assert_int_equal(guest_memory_map(&m, &region, &fd, 1, &err), -ENOMEM);
    failed(1);
    fail_next("mmap64", ENOMEM);
    assert_int_equal(guest_memory_map(&m, &region, &fd, 1, &err), -ENOMEM);
    failed(1);
    assert_string_equal(err.text, "memory: cannot map 4096 bytes: Cannot allocate memory");
    close(fd);
}

// Pages that nobody has reserved: as large as they are, and not to be had.
TEST(huge_pages_are_mapped_whole_or_refused)
{
    struct guest_memory m = {.count = 0};
    struct guest_region region = region_at(0, PAGE);
    struct error err = {{0}};
    int fd = memfd(2 << 20, MFD_HUGETLB);
    if (fd < 0)
        skip();
    int rc = guest_memory_map(&m, &region, &fd, 1, &err);
    if (rc < 0)
        assert_string_equal(err.text, "memory: cannot map 2097152 bytes: Cannot allocate memory");
    else
        assert_int_equal(m.regions[0].mapping.len, 2 << 20);
    guest_memory_unmap(&m);
    close(fd);
}

TEST(more_mappings_than_can_be_guarded_are_refused)
{
    enum { MEMORIES = 9 };
    static struct guest_memory m[MEMORIES];
    struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
    int fd = memfd(BYTES, 0), fds[GUEST_MEMORY_REGIONS_MAX];
    struct error err = {{0}};
    for (unsigned i = 0; i < GUEST_MEMORY_REGIONS_MAX; i++) {
        regions[i] = region_at((uint64_t)i * BYTES, i * PAGE);
        fds[i] = fd;
    }
    int rc = 0, made = 0;
    while (made < MEMORIES && rc == 0)
        rc = guest_memory_map(&m[made++], regions, fds, GUEST_MEMORY_REGIONS_MAX, &err);
    assert_int_equal(rc, -EMFILE);
    assert_non_null(strstr(err.text, "too many mappings"));
    for (int i = 0; i < MEMORIES; i++)
        guest_memory_unmap(&m[i]);
    assert_int_equal(guest_memory_map(&m[0], regions, fds, GUEST_MEMORY_REGIONS_MAX, &err), 0);
    guest_memory_unmap(&m[0]);
    close(fd);
}

TEST(dirty_pages_are_marked_where_there_is_a_log_for_them)
{
    struct guest_memory m = {.count = 0};
    struct guest_region region = region_at(8 * PAGE, 0);
    region.size = 4 * PAGE;
    struct error err;
    int fd = memfd(BYTES, 0), log = memfd(PAGE, 0);
    uint8_t elsewhere = 0;
    assert_int_equal(guest_memory_map(&m, &region, &fd, 1, &err), 0);
    uint8_t *data = guest_memory_at(&m, 8 * PAGE, 4 * PAGE);
    m.logging = true;
    guest_memory_dirty(&m, data, 1); // no log yet
    assert_int_equal(guest_memory_map_log(&m, log, 2, 0, &err), 0);
    guest_memory_dirty(&m, &elsewhere, 1);
    guest_memory_dirty(&m, data - 1, 1);
    guest_memory_dirty(&m, data + region.size, 1);
    guest_memory_dirty_addr(&m, 0, 0);
    guest_memory_dirty_addr(&m, UINT64_MAX, 2);
    guest_memory_dirty_addr(&m, 16 * PAGE, 1); // behind the log's end
    uint8_t bits[2];
    assert_int_equal(pread(log, bits, 2, 0), 2);
    assert_memory_equal(bits, "\0\0", 2);
    guest_memory_dirty(&m, data + PAGE, PAGE + 1);
    guest_memory_dirty_addr(&m, 15 * PAGE, 3 * PAGE); // over the end
    assert_int_equal(pread(log, bits, 2, 0), 2);
    assert_memory_equal(bits, ((const uint8_t[]){0, 0x86}), 2);
    guest_memory_unmap(&m);
    close(fd);
    close(log);
}

TEST(log_that_shrinks_is_lost)
{
    struct guest_memory m = {.count = 0};
    struct guest_region region = region_at(0, 0);
    struct error err;
    int fd = memfd(BYTES, 0), log = memfd(PAGE, 0);
    assert_int_equal(guest_memory_map(&m, &region, &fd, 1, &err), 0);
    assert_int_equal(guest_memory_map_log(&m, log, PAGE, 0, &err), 0);
    m.logging = true;
    assert_false(guest_memory_is_lost(&m));
    assert_int_equal(ftruncate(log, 0), 0);
    guest_memory_dirty_addr(&m, 0, 1);
    assert_true(guest_memory_is_lost(&m));
    guest_memory_unmap(&m);
    close(fd);
    close(log);
}

// --- others' SIGBUS ------------------------------------------------------------------------------

// The status of a process that runs fn.
static int
status_of(void (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL); // cmocka has one
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
expect_sigbus(void (*fn)(void))
{
    int status = status_of(fn);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

// Three pages behind which there is no file any more.
static volatile uint8_t *
lost_pages(void)
{
    int fd = memfd(3 * PAGE, 0);
    uint8_t *at = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || ftruncate(fd, 0) < 0)
        _exit(1);
    close(fd);
    return at;
}

static void
touch_below(void)
{
    volatile uint8_t *at = lost_pages();
    guard_add((void *)(uintptr_t)(at + PAGE), PAGE);
    at[0] = 1;
}

static void
touch_above(void)
{
    volatile uint8_t *at = lost_pages();
    guard_add((void *)(uintptr_t)(at + PAGE), PAGE);
    at[2 * PAGE] = 1;
}

static void
touch_guarded(void)
{
    volatile uint8_t *at = lost_pages();
    int slot = guard_add((void *)(uintptr_t)(at + PAGE), PAGE);
    at[PAGE] = 1;
    _exit(guard_is_lost(slot) && at[PAGE] == 1 ? 7 : 1);
}

static void
touch_without_memory(void)
{
    volatile uint8_t *at = lost_pages();
    guard_add((void *)(uintptr_t)at, PAGE);
    fail_next("mmap64", ENOMEM);
    at[0] = 1;
}

static void
be_sent_one(void)
{
    guard_add((void *)(uintptr_t)lost_pages(), PAGE);
    kill(getpid(), SIGBUS);
}

TEST(faults_of_others_kill_as_ever)
{
    expect_sigbus(touch_below);
    expect_sigbus(touch_above);
    expect_sigbus(touch_without_memory);
    expect_sigbus(be_sent_one);
    assert_int_equal(WEXITSTATUS(status_of(touch_guarded)), 7);
}

static void
on_foreign(int number, siginfo_t *info, void *context)
{
    _exit(9);
}

static void
touch_below_with_handler(void)
{
    struct sigaction action = {.sa_sigaction = on_foreign, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    touch_below();
}

TEST(handler_that_was_there_before_gets_what_is_not_ours)
{
    assert_int_equal(WEXITSTATUS(status_of(touch_below_with_handler)), 9);
}

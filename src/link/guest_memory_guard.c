// SPDX-License-Identifier: BSD-3-Clause
// The SIGBUS handler. No siglongjmp: the faulting instruction is simply run again, over zero pages,
// so that no code has to be written with a jump out of its middle in mind. What the handler reads
// is in a fixed table; mmap(2) and sigaction(2) are all that it calls. A handler has no argument of
// its own, hence the table is the one mutable global of this layer.
#include "link/guest_memory_guard.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#define GUARD_SLOTS 64

struct guard {
    volatile uintptr_t start; // 0: the slot is free
    volatile size_t len;
    volatile sig_atomic_t lost;
};

static struct guard guards[GUARD_SLOTS];
static struct sigaction handler_before;

static bool
cover(struct guard *g)
{
    // The whole range at once: one fault per mapping, however often it is touched.
    void *start = (void *)g->start;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (mmap(start, g->len, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
        return false;
    g->lost = 1;
    return true;
}

static void
on_sigbus(int number, siginfo_t *info, void *context)
{
    int errnum = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    // Only the kernel's own have an address (sigaction(2), si_code).
    for (int i = 0; i < GUARD_SLOTS && info->si_code > 0; i++) {
        struct guard *g = &guards[i];
        if (g->start && at >= g->start && at - g->start < g->len && cover(g)) {
            errno = errnum;
            return;
        }
    }
    // Not ours: as if we had never been here. The access faults again when we return.
    sigaction(SIGBUS, &handler_before, NULL);
    if (info->si_code <= 0)
        raise(number);
    errno = errnum;
}

// Each time anew: somebody may have set another handler since.
static bool
install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, before;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &before) < 0)
        return false;
    if (!(before.sa_flags & SA_SIGINFO) || before.sa_sigaction != on_sigbus)
        handler_before = before;
    return true;
}

int
guard_add(void *start, size_t len)
{
    if (!install())
        return -1;
    for (int i = 0; i < GUARD_SLOTS; i++) {
        if (guards[i].start)
            continue;
        guards[i].len = len;
        guards[i].lost = 0;
        guards[i].start = (uintptr_t)start;
        return i;
    }
    return -1;
}

void
guard_remove(int slot)
{
    guards[slot].start = 0;
}

bool
guard_is_lost(int slot)
{
    return guards[slot].lost;
}

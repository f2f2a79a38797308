// SPDX-License-Identifier: BSD-3-Clause
// See faults.h. Each try is a process of its own, so that it may die, be locked up, or lose memory
// that a failure has made unreachable without harm to the next.
#include "faults.h"

#include "test.h"

#include "base/log.h"
#include "fault/faults.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NO_CALL       UINT32_MAX
#define TRY_TIMEOUT_S 15
#define ALL_TIMEOUT_S 60  // instead of TEST_TIMEOUT_S
#define LEAKED        100 // exit status: it left a descriptor

static struct fault_page *page;

enum faults_end
faults_failed(const struct error *err)
{
    return err->text[0] != '\0' ? FAULTS_FAILED : FAULTS_WRONG;
}

static void
on_log(void *ctx, enum log_level level, const char *line)
{
}

static int
count_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    closedir(dir);
    return n;
}

_Noreturn static void
be_tried(const struct faults *f)
{
    log_set_sink(on_log, NULL);
    signal(SIGPIPE, SIG_IGN); // as who serves has it
    alarm(TRY_TIMEOUT_S);
    int before = f->locked_up ? 0 : count_descriptors();
    fault_follow(page);
    page->armed = 1;
    int status = (int)f->work(f->ctx);
    page->armed = 0;
    if (!f->locked_up && count_descriptors() != before)
        status = LEAKED;
    _exit(status);
}

// The exit status, or minus the signal.
static int
try_once(const struct faults *f)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        be_tried(f);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    page->armed = 0;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void
try_fault(const struct faults *f, uint32_t role, size_t call, uint32_t nth, int errnum)
{
    *page = (struct fault_page){.role = role, .call = (uint32_t)call, .nth = nth, .errnum = errnum};
    int status = try_once(f);
    if (status != FAULTS_WENT_WELL && status != FAULTS_FAILED)
        fail_msg("role %u: %s number %u: errno %d: ended by %d", role, fault_call_name(call), nth,
                 errnum, status);
    if (f->check)
        f->check(f->ctx, fault_call_name(call));
}

static unsigned
try_call(const struct faults *f, uint32_t role, size_t call, uint32_t times)
{
    unsigned tried = 0;
    const int *errnos = fault_call_errnos(call);
    uint32_t most = f->nth_max && times > f->nth_max ? f->nth_max : times;
    for (uint32_t nth = 1; nth <= most; nth++) {
        for (int e = 0; e < f->errors && errnos[e] != 0; e++) {
            try_fault(f, role, call, nth, errnos[e]);
            tried++;
        }
    }
    return tried;
}

unsigned
faults_try_all(const struct faults *f)
{
    unsigned tried = 0;
    alarm(ALL_TIMEOUT_S);
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *page = (struct fault_page){.call = NO_CALL};
    assert_int_equal(try_once(f), FAULTS_WENT_WELL);
    if (f->check)
        f->check(f->ctx, "");
    const struct fault_page counted = *page;
    for (uint32_t role = 0; role < FAULT_ROLES; role++)
        for (size_t call = 0; call < fault_calls(); call++)
            tried += try_call(f, role, call, counted.calls[role][call]);
    munmap(page, sizeof(*page));
    return tried;
}

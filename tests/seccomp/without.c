// SPDX-License-Identifier: BSD-3-Clause
// vmchannel, but that its worker's filter, or its starter's, lacks the rule named by the
// environment: linked with --wrap for both. With the name "list" it prints those there are, the
// starter's behind a word. For tests/seccomp/check.py.
#include "broker/sandbox.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIABLE "VMCHANNEL_WITHOUT"
#define STARTER  "starter "

int __wrap_sandbox_filter(struct error *err);
int __wrap_sandbox_starter_filter(bool opens_queue, struct error *err);

__attribute__((constructor)) static void
list(void)
{
    const char *name = getenv(VARIABLE);
    if (!name || strcmp(name, "list") != 0)
        return;
    for (size_t i = 0; (name = sandbox_rule_name(i)); i++)
        puts(name);
    for (size_t i = 0; (name = sandbox_starter_rule_name(i)); i++)
        printf(STARTER "%s\n", name);
    fflush(stdout);
    _exit(0);
}

int
__wrap_sandbox_filter(struct error *err)
{
    const char *wanted = getenv(VARIABLE), *name;
    size_t without = SIZE_MAX;
    for (size_t i = 0; wanted && (name = sandbox_rule_name(i)); i++)
        if (strcmp(name, wanted) == 0)
            without = i;
    int rc = sandbox_filter_without(without, err);
    // What a failed assertion does.
    if (rc == 0 && getenv("VMCHANNEL_ABORT"))
        abort();
    return rc;
}

int
__wrap_sandbox_starter_filter(bool opens_queue, struct error *err)
{
    const char *wanted = getenv(VARIABLE), *name;
    size_t without = SIZE_MAX, word = strlen(STARTER);
    for (size_t i = 0; wanted && (name = sandbox_starter_rule_name(i)); i++)
        if (strncmp(wanted, STARTER, word) == 0 && strcmp(name, wanted + word) == 0)
            without = i;
    return sandbox_starter_filter_without(without, opens_queue, err);
}

// SPDX-License-Identifier: BSD-3-Clause
// vmchannel, but that its worker's filter lacks the rule named by the environment: linked with
// --wrap=sandbox_filter. With the name "list" it prints those there are. For
// tests/seccomp/check.py.
#include "broker/sandbox.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIABLE "VMCHANNEL_WITHOUT"

int __wrap_sandbox_filter(struct error *err);

__attribute__((constructor)) static void
list(void)
{
    const char *name = getenv(VARIABLE);
    if (!name || strcmp(name, "list") != 0)
        return;
    for (size_t i = 0; (name = sandbox_rule_name(i)); i++)
        puts(name);
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

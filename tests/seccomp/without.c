// SPDX-License-Identifier: BSD-3-Clause
// vmchannel, but that the filter of its worker, starter or broker lacks the rule named by the
// environment: linked with --wrap for each. With the name "list" it prints those there are, the
// starter's and the broker's behind a word. For tests/seccomp/check.py.
#include "broker/sandbox.h"
#include "broker/sandbox_broker.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIABLE "VMCHANNEL_WITHOUT"
#define STARTER  "starter "
#define BROKER   "broker "

typedef const char *rule_name(size_t index);

int __wrap_sandbox_filter(struct error *err);
int __wrap_sandbox_starter_filter(bool opens_queue, struct error *err);
int __wrap_sandbox_broker_filter(unsigned needs, struct error *err);

static void
print_all(const char *word, rule_name *name_of)
{
    const char *name;
    for (size_t i = 0; (name = name_of(i)); i++)
        printf("%s%s\n", word, name);
}

__attribute__((constructor)) static void
list(void)
{
    const char *name = getenv(VARIABLE);
    if (!name || strcmp(name, "list") != 0)
        return;
    print_all("", sandbox_rule_name);
    print_all(STARTER, sandbox_starter_rule_name);
    print_all(BROKER, sandbox_broker_rule_name);
    fflush(stdout);
    _exit(0);
}

// The number of the rule to leave out; SIZE_MAX when it is another filter's.
static size_t
number_of(const char *word, rule_name *name_of)
{
    const char *wanted = getenv(VARIABLE), *name;
    size_t length = strlen(word);
    if (!wanted || strncmp(wanted, word, length) != 0)
        return SIZE_MAX;
    for (size_t i = 0; (name = name_of(i)); i++)
        if (strcmp(name, wanted + length) == 0)
            return i;
    return SIZE_MAX;
}

// What a failed assertion does, in the process that the environment names.
static int
abort_if(const char *process, int rc)
{
    const char *wanted = getenv("VMCHANNEL_ABORT");
    if (rc == 0 && wanted && strcmp(wanted, process) == 0)
        abort();
    return rc;
}

int
__wrap_sandbox_filter(struct error *err)
{
    size_t without = number_of("", sandbox_rule_name);
    return abort_if("worker", sandbox_filter_without(without, err));
}

int
__wrap_sandbox_starter_filter(bool opens_queue, struct error *err)
{
    size_t without = number_of(STARTER, sandbox_starter_rule_name);
    return sandbox_starter_filter_without(without, opens_queue, err);
}

int
__wrap_sandbox_broker_filter(unsigned needs, struct error *err)
{
    size_t without = number_of(BROKER, sandbox_broker_rule_name);
    return abort_if("broker", sandbox_broker_filter_without(without, needs, err));
}

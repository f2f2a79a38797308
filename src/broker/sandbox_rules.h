// SPDX-License-Identifier: BSD-3-Clause
// How the filters of system calls are written down: a table of rules, each with a name. For the
// files sandbox_*.c alone.
#pragma once

#include "base/error.h"

#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

#define CONDITIONS_MAX 3

struct rule {
    const char *name;
    int call;
    unsigned conditions;
    struct scmp_arg_cmp condition[CONDITIONS_MAX];
    unsigned when; // one of these needs makes it part of the filter; 0: always
};

// int arguments: the upper half of the register means nothing.
#define IS(arg, value)   SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)(value))
#define LACKS(arg, bits) SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, (bits), 0)

// clang-format off
#define CALL(call)                 {#call, SCMP_SYS(call), 0, {{0}}, 0}
#define CALL_IF(when, call)        {#call, SCMP_SYS(call), 0, {{0}}, (when)}
#define IOCTL(request)             {"ioctl " #request, SCMP_SYS(ioctl), 1, {IS(1, request)}, 0}
#define IOCTL_IF(when, request)    {"ioctl " #request, SCMP_SYS(ioctl), 1, {IS(1, request)}, (when)}
#define FCNTL(command)             {"fcntl " #command, SCMP_SYS(fcntl), 1, {IS(1, command)}, 0}
#define SETSOCKOPT(level, option)                                                                  \
    {"setsockopt " #option, SCMP_SYS(setsockopt), 2, {IS(1, level), IS(2, option)}, 0}
#define GETSOCKOPT(option)                                                                         \
    {"getsockopt " #option, SCMP_SYS(getsockopt), 2, {IS(1, SOL_SOCKET), IS(2, option)}, 0}
#define GETSOCKOPT_IF(when, option)                                                                \
    {"getsockopt " #option, SCMP_SYS(getsockopt), 2, {IS(1, SOL_SOCKET), IS(2, option)}, (when)}
#define SOCKET_IF(when, domain)                                                                    \
    {"socket " #domain, SCMP_SYS(socket), 1, {IS(0, domain)}, (when)}
// clang-format on

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

// Loads a filter that kills the process for any call that no rule allows; all rules but number
// `without`, of those with conditions on needs the ones that `needs` has. After no_new_privs. 0 or
// -errno with err.
int sandbox_load(const struct rule *rules, size_t count, size_t without, unsigned needs,
                 struct error *err);
// The worker's, for who makes one.
const struct rule *sandbox_worker_rules(size_t *count);

// SPDX-License-Identifier: BSD-3-Clause
// Comparisons that tell a libFuzzer program nothing are not told to it: those with 0, and those of
// two addresses. UBSan makes one for each access (is it aligned, did the pointer wrap); they took a
// third of the time, and pushed the comparisons to be solved out of libFuzzer's short memory.
//
// Linked with --wrap: the compiler's calls come here.
#include <stdint.h>

#define ADDRESS_MIN (1ull << 40) // of what is in our memory; hardly a number of an input

void __real___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __real___sanitizer_cov_trace_const_cmp8(uint64_t constant, uint64_t b);
void __wrap___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __wrap___sanitizer_cov_trace_const_cmp8(uint64_t constant, uint64_t b);

__attribute__((no_sanitize("coverage"))) void
__wrap___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b)
{
    if (a >= ADDRESS_MIN && b >= ADDRESS_MIN && (a ^ b) < ADDRESS_MIN)
        return;
    __real___sanitizer_cov_trace_cmp8(a, b);
}

__attribute__((no_sanitize("coverage"))) void
__wrap___sanitizer_cov_trace_const_cmp8(uint64_t constant, uint64_t b)
{
    if (constant != 0)
        __real___sanitizer_cov_trace_const_cmp8(constant, b);
}

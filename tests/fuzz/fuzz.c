// SPDX-License-Identifier: BSD-3-Clause
// The helpers of fuzz.h.
#include "fuzz.h"

#include "base/log.h"

#include <signal.h>

static void
quiet(void *ctx, enum log_level level, const char *line)
{
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    log_set_sink(quiet, NULL);
    signal(SIGPIPE, SIG_IGN);
    setenv("CMOCKA_TEST_ABORT", "1", 1); // the unit tests' helpers assert by cmocka
    return 0;
}

uint8_t *
fuzz_exact(const uint8_t *from, size_t len)
{
    uint8_t *block = malloc(len > 0 ? len : 1);
    assert(block);
    if (from && len > 0)
        memcpy(block, from, len);
    return block;
}

char *
fuzz_string(struct cursor *c, size_t max)
{
    size_t len = c->left < max ? c->left : max;
    const uint8_t *nul = memchr(c->at, 0, len);
    if (nul)
        len = (size_t)(nul - c->at);
    char *text = malloc(len + 1);
    assert(text);
    cursor_bytes(c, text, len);
    text[len] = '\0';
    return text;
}

void
fuzz_expect_reason(const struct error *err)
{
    assert(err->text[0] != '\0' && memchr(err->text, 0, sizeof(err->text)));
}

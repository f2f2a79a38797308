// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer entry for the control protocol, both halves: the input is calls, split at NUL, each of
// which must be answered by one JSON text that the asking half understands, or end the connection;
// and it is a reply, which must be understood or refused.
#include "control/client.h"
#include "control/fake_guest.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A heap block of exactly that size, so that ASan sees the first byte beyond.
static char *
exact(const uint8_t *from, size_t len)
{
    char *block = calloc(1, len > 0 ? len : 1);
    assert(block);
    if (len > 0)
        memcpy(block, from, len);
    return block;
}

static bool
serve_one(const uint8_t *data, size_t len)
{
    struct fake_guest guest = {.removed = 0};
    struct error err;
    char *call = exact(data, len), *reply = NULL;
    size_t reply_len = 0;
    int fd = -1;
    bool ok = control_serve(&fake_ops, &guest, call, len, &fd, &reply, &reply_len);
    assert(ok || !reply);
    if (reply) {
        assert(reply_len > 0 && strlen(reply) == reply_len - 1);
        int rc = control_reply_parse(reply, reply_len - 1, &err);
        assert(rc == 0 || strncmp(err.text, "test: ", 6) == 0);
        assert(rc == 0 || strstr(err.text, "makes no sense") == NULL);
    }
    free(reply);
    free(call);
    return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    char *reply = exact(data, size);
    control_reply_parse(reply, size, &err);
    free(reply);
    while (size > 0) {
        const uint8_t *end = memchr(data, 0, size);
        size_t len = end ? (size_t)(end - data) : size;
        if (!serve_one(data, len) || !end)
            break;
        data += len + 1;
        size -= len + 1;
    }
    return 0;
}

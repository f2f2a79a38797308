// SPDX-License-Identifier: BSD-3-Clause
// Host ends whose connection closed in order while their codec still held bytes for the host: they
// were acknowledged to the guest, so they are written before the end is closed.
#pragma once

#include "host/end.h"
#include "loop/loop.h"

struct linger_list {
    struct loop *loop;
    struct linger *first;
};

// Takes over *end, which is in no loop. It is closed when all was written, when it breaks, or a
// minute later.
void linger_add(struct linger_list *list, const struct host_end *end);
void linger_free_all(struct linger_list *list);

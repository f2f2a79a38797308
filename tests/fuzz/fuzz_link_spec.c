// SPDX-License-Identifier: BSD-3-Clause
// The grammar of --link: any text is a link, or is refused with a reason; what was accepted is
// whole, and its name in the log, without a comma of its own, means the same.
//
// Input: the text.
#include "fuzz.h"

#include "link/spec.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct link_spec spec, again;
    struct error err = {{0}};
    static char name[1024], name_again[1024], tiny[8];
    struct cursor c = cursor_of(data, size);
    char *text = fuzz_string(&c, 2048);
    int rc = link_spec_parse(text, &spec, &err);
    assert(rc <= 0);
    if (rc < 0) {
        fuzz_expect_reason(&err);
    } else {
        assert(spec.kind <= LINK_VHOST_USER && spec.carrier <= LINK_CARRIER_FD);
        link_spec_name(&spec, tiny, sizeof(tiny));
        assert(memchr(tiny, 0, sizeof(tiny)));
        link_spec_name(&spec, name, sizeof(name));
        if (!strstr(text, ",,")) { // it is for people: a comma is not doubled again
            rc = link_spec_parse(name, &again, &err);
            assert(rc == 0 && again.kind == spec.kind && again.server == spec.server);
            assert(strcmp(again.path, spec.path) == 0 && again.fd == spec.fd);
            assert(strcmp(link_spec_name(&again, name_again, sizeof(name_again)), name) == 0);
        }
    }
    free(text);
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
// A KubeVirt VirtualMachineInstance as JSON: any text is read, or refused with a reason; what was
// read is whole.
//
// Input: the text.
#include "fuzz.h"

#include "control/vmi.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vmi vmi;
    struct error err = {{0}};
    char *text = (char *)fuzz_exact(data, size);
    int rc = vmi_parse(text, size, &vmi, &err);
    assert(rc <= 0);
    if (rc < 0)
        fuzz_expect_reason(&err);
    for (size_t i = 0; rc == 0 && i < vmi.channel_count; i++)
        assert(vmi.channels[i][0] && !strpbrk(vmi.channels[i], " \t\n"));
    assert(rc < 0 || memchr(vmi.uid, 0, sizeof(vmi.uid)));
    assert(rc < 0 || memchr(vmi.socket_dir, 0, sizeof(vmi.socket_dir)));
    vmi_fini(&vmi);
    free(text);
    return 0;
}

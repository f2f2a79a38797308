// SPDX-License-Identifier: BSD-3-Clause
// The device grammar: any text is a device, or is refused with a reason; what was
// accepted is whole, and can be described.
//
// Input: which of the grammars, then the text.
#include "fuzz.h"

#include "host/device.h"

#define HAS_END(field) assert(memchr((field), 0, sizeof(field)))

static void
expect_whole(const struct device *d)
{
    char text[256];
    assert(d->kind <= DEVICE_VSOCK);
    HAS_END(d->path);
    HAS_END(d->remote.host);
    HAS_END(d->remote.port);
    HAS_END(d->local.host);
    HAS_END(d->local.port);
    HAS_END(d->name);
    HAS_END(d->logfile);
    assert(d->ipv4 || d->ipv6);
    assert(!(d->telnet && d->websocket) && (!d->websocket || d->server));
    assert(d->kind != DEVICE_UNIX || strlen(d->path) <= DEVICE_UNIX_PATH_MAX);
    assert(!device_is_exclusive(d->kind) || d->max == 1);
    assert(!device_accepts_early(d) || d->server);
    for (size_t room = 1; room <= sizeof(text); room *= 2) {
        memset(text, 'x', sizeof(text));
        device_describe(d, text, room);
        assert(memchr(text, 0, room));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct device device;
    static struct chardev_spec chardev;
    static struct channel_spec channel;
    char id[CHARDEV_ID_MAX + 1];
    struct error err = {{0}};
    struct cursor c = cursor_of(data, size);
    uint8_t which = cursor_u8(&c);
    char *text = fuzz_string(&c, 4096);
    int rc = 0;
    switch (which % 3) {
    case 0:
        rc = device_parse(text, &device, &err);
        if (rc == 0)
            expect_whole(&device);
        break;
    case 1:
        rc = chardev_parse(text, &chardev, &err);
        if (rc == 0) {
            assert(chardev_id_is_valid(chardev.id));
            assert(chardev_find_id(text, id) && strcmp(id, chardev.id) == 0);
            expect_whole(&chardev.device);
        }
        chardev_find_id(text, id);
        break;
    case 2:
        rc = channel_spec_parse(text, &channel, &err);
        if (rc == 0) {
            assert(channel.port > 0);
            HAS_END(channel.text);
        }
        break;
    }
    assert(rc <= 0);
    if (rc < 0)
        fuzz_expect_reason(&err);
    free(text);
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
// One guest's configuration from option after option, good ones and bad ones: what was refused is
// told with a reason and has changed nothing that matters, the rest is there.
//
// Input: lines, each a letter (which option) and its text.
#include "fuzz.h"

#include "config/guest_config.h"

static int
take(struct guest_config *g, char which, const char *text, struct error *err)
{
    size_t channels = g->channel_count, chardevs = g->chardev_count;
    int rc;
    switch (which) {
    case 'c':
        rc = guest_config_add_channel(g, text, err);
        assert(rc == 0 || g->channel_count == channels);
        return rc;
    case 'd':
        rc = guest_config_add_chardev(g, text, err);
        assert(rc == 0 || g->chardev_count == chardevs);
        return rc;
    case 'n':
        return guest_config_set_net(g, text, err);
    case 'N':
        return guest_config_set_name(g, text, err);
    case 'm':
        return guest_config_set_mtu(g, text, err);
    case 'x':
        return guest_config_set_max_conns(g, text, err);
    default:
        guest_config_refers_to_chardev(g, text);
        return 0;
    }
}

static void
expect_whole(const struct guest_config *g)
{
    assert(g->channel_count <= GUEST_CHANNELS_MAX);
    for (size_t i = 0; i < g->channel_count; i++)
        for (size_t j = 0; j < i && i < 64; j++)
            assert(g->channels[i].port != g->channels[j].port && g->channels[i].port > 0);
    assert(memchr(g->name, 0, sizeof(g->name)) && g->name[0]);
    assert(g->mtu >= 576 && g->mtu <= 65520);
    assert(g->max_conns >= 1 && g->max_conns <= 65536);
    assert(g->channel_addr == g->net + 4 && g->guest_addr == g->net + 15);
    assert((g->channel_addr & g->netmask) == g->net && (g->guest_addr & g->netmask) == g->net);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(data, size);
    char *text = fuzz_string(&c, size);
    static struct guest_config g;
    guest_config_init(&g);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        struct error err = {{0}};
        if (line[0] && take(&g, line[0], line + 1, &err) < 0)
            fuzz_expect_reason(&err);
        expect_whole(&g);
    }
    struct error err = {{0}};
    if (guest_config_finish(&g, &err) < 0)
        fuzz_expect_reason(&err);
    guest_config_fini(&g);
    free(text);
    return 0;
}

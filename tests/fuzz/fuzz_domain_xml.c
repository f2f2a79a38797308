// SPDX-License-Identifier: BSD-3-Clause
// Domain XML: what is taken comes back byte for byte, is the same when it is translated again, and
// has the same channels; one more and one less is as before. Nothing is refused without a reason.
//
// Input: the document.
#include "fuzz.h"

#include "config/domain_xml.h"

static bool
is_same(const struct buffer *b, const void *data, size_t len)
{
    return b->len == len && memcmp(b->data, data, len) == 0;
}

static struct domain_info
read_again(const struct buffer *xml)
{
    struct domain_info info;
    struct error err;
    int rc = domain_xml_read(xml->data, xml->len, NULL, &info, &err);
    assert(rc == 0);
    return info;
}

static bool
has_channel(const struct domain_info *info, const char *text)
{
    for (size_t i = 0; i < info->channel_count; i++)
        if (strcmp(info->channels[i].text, text) == 0)
            return true;
    return false;
}

// In any order, which is that of the document: an interface that was added to a translated domain
// may stand before those that are in its metadata. No port is there twice.
static void
expect_same_channels(const struct domain_info *a, const struct domain_info *b)
{
    assert(a->channel_count == b->channel_count);
    for (size_t i = 0; i < a->channel_count; i++)
        assert(has_channel(b, a->channels[i].text));
}

static void
expect_round_trip(const struct buffer *out, const char *in, size_t len)
{
    static const struct domain_xml_options options;
    struct buffer again = {0}, back = {0};
    struct error err;
    int rc = domain_xml_translate(out->data, out->len, &options, &again, &err);
    assert(rc == 0 && is_same(&again, out->data, out->len));
    rc = domain_xml_reverse(out->data, out->len, NULL, &back, &err);
    assert(rc == 0 && is_same(&back, in, len));
    buffer_fini(&again);
    buffer_fini(&back);
}

static void
add_and_delete(const struct buffer *xml, const struct domain_info *info)
{
    struct buffer more = {0}, less = {0};
    struct error err = {{0}};
    uint16_t port = 65535;
    if (domain_xml_add_channel(xml->data, xml->len, NULL, "65535:unix:/p", &more, &err) == 0) {
        struct domain_info one = read_again(&more);
        assert(one.channel_count == info->channel_count + 1);
        domain_info_fini(&one);
        int rc = domain_xml_del_channel(more.data, more.len, NULL, port, &less, &err);
        assert(rc == 0);
        struct domain_info before = read_again(&less);
        expect_same_channels(&before, info);
        domain_info_fini(&before);
    } else {
        fuzz_expect_reason(&err);
    }
    buffer_fini(&more);
    buffer_fini(&less);
}

static void
translate(const char *in, size_t len, const struct domain_info *info)
{
    static const struct domain_xml_options options;
    struct buffer out = {0};
    struct error err = {{0}};
    if (domain_xml_translate(in, len, &options, &out, &err) < 0) {
        fuzz_expect_reason(&err);
        buffer_fini(&out);
        return;
    }
    struct domain_info after = read_again(&out);
    expect_same_channels(&after, info);
    if (!info->is_translated)
        expect_round_trip(&out, in, len);
    add_and_delete(&out, &after);
    domain_info_fini(&after);
    buffer_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct domain_info info;
    struct buffer out = {0};
    struct error err = {{0}};
    char *in = (char *)fuzz_exact(data, size);
    if (domain_xml_read(in, size, NULL, &info, &err) == 0)
        translate(in, size, &info);
    else
        fuzz_expect_reason(&err);
    domain_info_fini(&info);
    if (domain_xml_reverse(in, size, NULL, &out, &err) < 0)
        fuzz_expect_reason(&err);
    buffer_fini(&out);
    free(in);
    return 0;
}

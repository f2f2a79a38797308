// SPDX-License-Identifier: BSD-3-Clause
// What a VirtualMachineInstance says, and what it may not say.
#include "test.h"

#include "control/vmi.h"

#include <errno.h>

static int
parse(const char *json, struct vmi *out, struct error *err)
{
    return vmi_parse(json, strlen(json), out, err);
}

TEST(annotations_say_the_channels)
{
    struct vmi vmi;
    struct error err;
    assert_int_equal(
        parse("{\"kind\":\"VirtualMachineInstance\",\"metadata\":{\"name\":\"vm\",\"uid\":\"u-1\","
              "\"annotations\":{\"vmchannel/channels\":\" 600:unix:/a\\n601:unix:/b,server,nowait "
              "\",\"vmchannel/socket-dir\":\"/run/x\"}},\"spec\":{}}",
              &vmi, &err),
        0);
    assert_string_equal(vmi.uid, "u-1");
    assert_string_equal(vmi.socket_dir, "/run/x");
    assert_int_equal(vmi.channel_count, 2);
    assert_string_equal(vmi.channels[0], "600:unix:/a");
    assert_string_equal(vmi.channels[1], "601:unix:/b,server,nowait");
    vmi_fini(&vmi);
}

TEST(without_annotations_there_are_no_channels)
{
    static const char *const documents[] = {
        "{}",
        "{\"metadata\":{}}",
        "{\"metadata\":{\"annotations\":{}}}",
        "{\"metadata\":{\"annotations\":null}}",
        "{\"metadata\":[]}",
        "{\"metadata\":{\"annotations\":{\"vmchannel/channels\":\" \"}}}"};
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        struct vmi vmi;
        struct error err;
        assert_int_equal(parse(documents[i], &vmi, &err), 0);
        assert_int_equal(vmi.channel_count, 0);
        assert_string_equal(vmi.socket_dir, "");
        vmi_fini(&vmi);
    }
}

static void
refused(const char *json, const char *part)
{
    struct vmi vmi;
    struct error err = {{0}};
    assert_int_equal(parse(json, &vmi, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("'%s' gave '%s', without '%s'", json, err.text, part);
    vmi_fini(&vmi);
}

TEST(bad_documents_are_refused_in_one_line)
{
    refused("", "not JSON");
    refused("{\n\"metadata\": x}", "line 2");
    refused("[]", "not a JSON object");
    refused("\"text\"", "not JSON");
    refused("{\"metadata\":{\"annotations\":{\"vmchannel/channels\":600}}}", "vmchannel/channels");
    refused("{\"metadata\":{\"annotations\":{\"vmchannel/socket-dir\":\"run\"}}}", "'run'");
}

// SPDX-License-Identifier: BSD-3-Clause
// The translation of domain XML, its way back, and what a domain in any form says.
#include "test.h"

#include "config/domain_xml.h"

#include <errno.h>
#include <stdio.h>

#define HEAD   "<domain type='kvm'>\n  <name>vm</name>\n"
#define UUID   "  <uuid>11111111-2222-3333-4444-555555555555</uuid>\n"
#define MEMORY "  <memory unit='MiB'>64</memory>\n"
#define TAIL   "  </devices>\n</domain>\n"
#define ELEMENT                                                                                    \
    "<interface type='vmchannel'><source port='600'/><target path='/some/path'/></interface>"
#define PLAIN HEAD UUID MEMORY "  <devices>\n    " ELEMENT "\n" TAIL

// The caller frees.
static char *
translate(const char *in)
{
    struct domain_xml_options options = {.file = "dom.xml"};
    struct buffer out = {0};
    struct error err = {{0}};
    if (domain_xml_translate(in, strlen(in), &options, &out, &err) < 0)
        fail_msg("%s\n%s", err.text, in);
    return out.data;
}

static char *
reverse(const char *in)
{
    struct buffer out = {0};
    struct error err = {{0}};
    if (domain_xml_reverse(in, strlen(in), "dom.xml", &out, &err) < 0)
        fail_msg("%s\n%s", err.text, in);
    return out.data;
}

static void
has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in:\n%s", part, text);
}

static void
has_not(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("'%s' in:\n%s", part, text);
}

// There and back byte for byte, and a second time the same. Gives the translation.
static char *
round_trip(const char *in)
{
    char *out = translate(in);
    char *again = translate(out);
    char *back = reverse(out);
    assert_string_equal(again, out);
    assert_string_equal(back, in);
    char *devices = strdup(strstr(out, "<devices"));
    *strstr(devices, "</devices") = '\0';
    has_not(devices, "type='vmchannel'");
    free(devices);
    free(again);
    free(back);
    return out;
}

TEST(the_element_becomes_an_interface_and_shared_memory)
{
    char *out = round_trip(PLAIN);
    has(out, "    <interface type='vhostuser'>\n");
    has(out, "<source type='unix' path='/run/vmchannel/11111111-2222-3333-4444-555555555555.sock' "
             "mode='client'>\n        <reconnect enabled='yes' timeout='1'/>\n      </source>\n");
    has(out, "<model type='virtio'/>");
    has(out, "<alias name='ua-vmchannel'/>");
    has(out, "<mac address='52:54:00:");
    has(out, MEMORY "  <memoryBacking>\n    <source type='memfd'/>\n    <access mode='shared'/>\n"
                    "  </memoryBacking>\n");
    has(out, "xmlns:vmchannel='urn:vmchannel:domain:1.0'");
    has_not(out, "override");
    free(out);
}

TEST(emulation_gets_an_interface_without_vectors)
{
    char *out =
        round_trip("<domain type='qemu'>\n  <name>vm</name>\n  <devices>\n    " ELEMENT "\n" TAIL);
    has(out, "<qemu:property name='vectors' type='unsigned' value='0'/>");
    has(out, "<qemu:device alias='ua-vmchannel'>");
    free(out);
}

TEST(several_elements_are_one_interface)
{
    char *out = round_trip(HEAD UUID MEMORY
                           "  <devices>\n    <emulator>/q</emulator>\n    " ELEMENT "\n"
                           "    <!-- the second --><interface type=\"vmchannel\">\n"
                           "      <target path='/b'/>\n      <source port='601'/>\n"
                           "      <mac address='52:54:00:00:00:09'/>\n"
                           "      <address type='pci' slot='0x09'/>\n"
                           "    </interface> text\n"
                           "    <console type='pty'/> and <channel type='unix'>\n"
                           "      <source mode='bind' path='/c'/>\n"
                           "      <target type='guestfwd' address='10.0.2.4' port='602'/>\n"
                           "    </channel>\n" TAIL);
    const char *first = strstr(out, "<interface type='vhostuser'>");
    assert_non_null(first);
    assert_null(strstr(first + 1, "<interface type='vhostuser'>"));
    has(first, "<mac address='52:54:00:00:00:09'/>");
    has(first, "<address type='pci' slot='0x09'/>");
    free(out);
}

// What stands around our elements in real documents, and must come back.
TEST(everything_else_comes_back_byte_for_byte)
{
    static const char *const documents[] = {
        "<domain type='kvm'><name>vm</name><devices>" ELEMENT "</devices></domain>",
        "<?xml version='1.0' encoding='utf-8'?>\n\n<!-- <domain> -->\n" PLAIN "<!-- end -->\n",
        "\xef\xbb\xbf" PLAIN,
        "<domain type='kvm'>\r\n\t<name>vm</name>\r\n\t<devices>\r\n\t\t" ELEMENT
        "\r\n\t</devices>\r\n</domain>\r\n",
        HEAD "  <title>a &amp; b &#10; <![CDATA[<devices>]]></title>\n  <devices>\n" ELEMENT
             "</devices></domain>",
        HEAD "  <metadata/>\n  <memoryBacking />\n  <devices>\n    " ELEMENT "\n" TAIL,
        HEAD "  <metadata>\n    <a:b xmlns:a='urn:a'>\n\n </a:b>\n  </metadata>\n"
             "  <memoryBacking>\n    <hugepages/>\n  </memoryBacking>\n  <devices>\n    " ELEMENT
             "\n" TAIL,
        HEAD "  <metadata></metadata><memoryBacking>\n  </memoryBacking>\n  <devices>\n    " ELEMENT
             "\n" TAIL,
        HEAD "  <metadata>text</metadata>\n  <devices> x " ELEMENT " y " TAIL,
        "<domain type='qemu' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "  <name>vm</name>\n  <devices>\n    " ELEMENT "\n  </devices>\n"
        "  <q:commandline>\n    <q:arg value='-s'/>\n  </q:commandline>\n</domain>",
        "<domain type='qemu' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "  <name>vm</name>\n  <devices>\n    " ELEMENT "\n  </devices>\n"
        "  <q:override>\n    <q:device alias='ua-x'/>\n  </q:override>\n</domain>",
        "<domain type='qemu' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "  <name>vm</name>\n  <devices>\n    " ELEMENT "\n  </devices>\n  <q:override/>\n</domain>",
        "<domain type='qemu'><name>vm</name><devices>" ELEMENT "</devices><metadata/></domain>",
        "<domain type='qemu'>\n <name>vm</name>\n <devices>\n " ELEMENT
        "\n </devices>\n <metadata/>\n <memoryBacking/></domain>",
        "<domain type='qemu'>\n  <name>vm</name>\n<devices\n>\n\n" ELEMENT
        "\n\n  </devices\n></domain\n>",
        HEAD "  <devices>\n    <disk type=\"file\"><source file='a>b\"'/></disk>\n    " ELEMENT
             "\n" TAIL,
    };
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++)
        free(round_trip(documents[i]));
}

TEST(a_domain_without_our_elements_stays_as_it_is)
{
    const char *in = HEAD "<devices><interface type='user'/><channel type='unix'>"
                          "<target type='virtio'/></channel><channel type='unix'>"
                          "<source mode='bind' path='/c'/><target type='guestfwd' "
                          "address='10.0.2.1' port='4600'/></channel></devices></domain>";
    char *out = translate(in), *back = reverse(in);
    assert_string_equal(out, in);
    assert_string_equal(back, in);
    free(out);
    free(back);
}

TEST(a_comment_may_begin_with_what_ends_a_tag)
{
    const char *in = "<!--> <!no DTD -->" HEAD "<devices/></domain>";
    char *out = translate(in);
    assert_string_equal(out, in);
    free(out);
}

TEST(memory_that_is_shared_already_is_left_alone)
{
    char *out = round_trip(HEAD UUID "  <memoryBacking>\n    <source type='file'/>\n"
                                     "    <access mode='shared'/>\n  </memoryBacking>\n"
                                     "  <devices>\n    " ELEMENT "\n" TAIL);
    has_not(out, "memfd");
    free(out);
    out = round_trip(HEAD "  <cpu><numa><cell id='0' memAccess='shared'/></numa></cpu>\n"
                          "  <memoryBacking><source type='memfd'/></memoryBacking>\n"
                          "  <devices>\n    " ELEMENT "\n" TAIL);
    has_not(out, "<access");
    free(out);
}

TEST(the_uuid_is_the_domains_own_or_the_same_each_time)
{
    const char *in = HEAD "  <devices>\n    " ELEMENT "\n" TAIL;
    struct domain_xml_options here = {.seed = "host-a"}, there = {.seed = "host-b"};
    struct domain_xml_options given = {.uuid = "99999999-2222-3333-4444-555555555555"};
    struct buffer a = {0}, b = {0}, c = {0}, d = {0};
    struct error err;
    assert_int_equal(domain_xml_translate(in, strlen(in), &here, &a, &err), 0);
    assert_int_equal(domain_xml_translate(in, strlen(in), &here, &b, &err), 0);
    assert_int_equal(domain_xml_translate(in, strlen(in), &there, &c, &err), 0);
    assert_int_equal(domain_xml_translate(in, strlen(in), &given, &d, &err), 0);
    assert_string_equal(a.data, b.data);
    assert_string_not_equal(a.data, c.data);
    has(d.data, "<uuid>99999999-2222-3333-4444-555555555555</uuid>");
    buffer_fini(&a);
    buffer_fini(&b);
    buffer_fini(&c);
    buffer_fini(&d);
}

// libvirt takes the UUID of <sysinfo> where there is no <uuid>, and refuses another one beside it.
TEST(the_uuid_of_sysinfo_is_the_domains)
{
    char *out = round_trip(HEAD "  <sysinfo type='smbios'><system>"
                                "<entry name='uuid'>E4686D2C6E8D4335B8FD81BEE22F4814</entry>"
                                "</system></sysinfo>\n  <devices>\n    " ELEMENT "\n" TAIL);
    has(out, "/e4686d2c-6e8d-4335-b8fd-81bee22f4814.sock");
    has_not(out, "<uuid>");
    free(out);
}

TEST(an_element_added_to_a_translated_domain_joins_the_others)
{
    char *out = translate(PLAIN);
    const char *place = strstr(out, TAIL);
    char more[8192];
    snprintf(more, sizeof(more),
             "%.*s    <interface type='vmchannel'><source port='601'/><target path='/b'/>"
             "</interface>\n%s",
             (int)(place - out), out, place);
    char *both = translate(more), *back = reverse(both);
    assert_string_equal(back, HEAD UUID MEMORY
                        "  <devices>\n    " ELEMENT "\n    <interface type='vmchannel'>"
                        "<source port='601'/><target path='/b'/></interface>\n" TAIL);
    free(out);
    free(both);
    free(back);
}

TEST(a_copy_with_another_uuid_gets_a_socket_of_its_own)
{
    char *out = translate(PLAIN);
    memcpy(strstr(out, "<uuid>1111") + 6, "7777", 4);
    char *again = translate(out);
    has(again, "/run/vmchannel/77771111-");
    has_not(again, "/run/vmchannel/11111111-");
    free(out);
    free(again);
}

static struct domain_info
read_info(const char *in)
{
    struct domain_info info;
    struct error err = {{0}};
    if (domain_xml_read(in, strlen(in), "dom.xml", &info, &err) < 0)
        fail_msg("%s", err.text);
    return info;
}

TEST(a_reader_sees_the_channels_in_any_form)
{
    char *out = translate(PLAIN);
    struct domain_info user = read_info(PLAIN), translated = read_info(out);
    assert_false(user.is_translated);
    assert_null(user.socket);
    assert_int_equal(user.channels[0].line, 6);
    assert_true(translated.is_translated);
    assert_string_equal(translated.socket,
                        "/run/vmchannel/11111111-2222-3333-4444-555555555555.sock");
    for (int i = 0; i < 2; i++) {
        struct domain_info *info = i ? &translated : &user;
        assert_string_equal(info->name, "vm");
        assert_string_equal(info->type, "kvm");
        assert_string_equal(info->uuid, "11111111-2222-3333-4444-555555555555");
        assert_int_equal(info->channel_count, 1);
        assert_int_equal(info->channels[0].port, 600);
        assert_string_equal(info->channels[0].path, "/some/path");
        assert_string_equal(info->channels[0].text, "600:unix:/some/path");
        assert_false(info->channels[0].server);
        domain_info_fini(info);
    }
    free(out);
}

TEST(options_of_an_element_are_those_of_the_device)
{
    struct domain_info info = read_info(
        HEAD "<devices><interface type='vmchannel'><source port='1'/>"
             "<target path='/a,b&amp;&#x63;' mode='bind'/><alias name='ua-db'/></interface>"
             "<channel type='unix'><source path='/c' mode='connect'>"
             "<reconnect enabled='yes' timeout='3'/></source>"
             "<target type='guestfwd' address='10.0.2.4' port='2'/><alias name='channel0'/>"
             "</channel></devices></domain>");
    assert_string_equal(info.channels[0].text, "1:unix:/a,,b&c,server=on,wait=off,name=ua-db");
    assert_string_equal(info.channels[0].path, "/a,b&c");
    assert_true(info.channels[0].server);
    assert_string_equal(info.channels[1].text, "2:unix:/c,reconnect=3");
    domain_info_fini(&info);
}

TEST(proxy_is_an_attribute_of_the_target_in_either_spelling)
{
    char *out = round_trip(HEAD UUID MEMORY
                           "  <devices>\n    <interface type='vmchannel'><source port='1'/>\n"
                           "      <target proxy=\"v2\" path='/a' mode='bind'/></interface>\n"
                           "    <channel type='unix'><source path='/b'/>"
                           "<target type='guestfwd' address='10.0.2.4' port='2' proxy='v2'/>"
                           "</channel>\n" TAIL);
    struct domain_info info = read_info(out);
    assert_string_equal(info.channels[0].text, "1:unix:/a,server=on,wait=off,proxy=v2");
    assert_string_equal(info.channels[1].text, "2:unix:/b,proxy=v2");
    domain_info_fini(&info);

    struct buffer more = {0};
    assert_int_equal(domain_xml_add_channel(out, strlen(out), "d", "3:unix:/c,proxy=v2,reconnect=4",
                                            &more, NULL),
                     0);
    info = read_info(more.data);
    assert_string_equal(info.channels[2].text, "3:unix:/c,reconnect=4,proxy=v2");
    domain_info_fini(&info);
    char *back = reverse(more.data);
    has(back,
        "      <target path='/c' proxy='v2'>\n        <reconnect enabled='yes' timeout='4'/>\n");
    free(back);
    buffer_fini(&more);
    free(out);
}

TEST(channels_come_and_go)
{
    char *out = translate(PLAIN);
    struct buffer more = {0}, one = {0}, none = {0}, meta = {0}, bad = {0};
    struct error err = {{0}};
    assert_int_equal(
        domain_xml_add_channel(out, strlen(out), "d", "601:unix:/b,server,nowait", &more, &err), 0);
    struct domain_info info = read_info(more.data);
    assert_int_equal(info.channel_count, 2);
    assert_string_equal(info.channels[1].text, "601:unix:/b,server=on,wait=off");
    domain_info_fini(&info);
    char *back = reverse(more.data);
    has(back, "    " ELEMENT "\n    <interface type='vmchannel'>\n      <source port='601'/>\n"
              "      <target path='/b' mode='bind'/>\n    </interface>\n  </devices>");
    free(back);

    assert_int_equal(domain_xml_add_channel(more.data, more.len, "d", "601:unix:/c", &bad, &err),
                     -EINVAL);
    has(err.text, "601: is there already");
    assert_int_equal(domain_xml_metadata(more.data, more.len, "d", &meta, &err), 0);
    has(meta.data, "<channels added='metadata memoryBacking' places='0 0'>\n    " ELEMENT);

    assert_int_equal(domain_xml_del_channel(more.data, more.len, "d", 600, &one, &err), 0);
    assert_int_equal(domain_xml_del_channel(one.data, one.len, "d", 601, &none, &err), 0);
    info = read_info(none.data);
    assert_int_equal(info.channel_count, 0);
    assert_non_null(info.socket);
    domain_info_fini(&info);
    back = reverse(none.data);
    assert_string_equal(back, HEAD UUID MEMORY "  <devices>\n" TAIL);
    free(back);
    assert_int_equal(domain_xml_del_channel(none.data, none.len, "d", 601, &bad, &err), -EINVAL);
    has(err.text, "channel 601: there is none");
    buffer_fini(&more);
    buffer_fini(&one);
    buffer_fini(&none);
    buffer_fini(&meta);
    buffer_fini(&bad);
    free(out);
}

// As virDomainSetMetadata leaves it: double quotes, and its prefix wherever there was none.
#define RECORD                                                                                     \
    "  <metadata>\n    <vmchannel:channels xmlns:vmchannel=\"urn:vmchannel:domain:1.0\" "          \
    "added=\"metadata memoryBacking\" places=\"0 0\">\n"
#define RECORD_END                                                                                 \
    "    </vmchannel:channels>\n    <app:note xmlns:app=\"urn:app\"><app:x/></app:note>\n"         \
    "  </metadata>\n"
#define REST                                                                                       \
    MEMORY "  <memoryBacking>\n    <source type='memfd'/>\n    <access mode='shared'/>\n"          \
           "  </memoryBacking>\n  <devices>\n    <interface type='vhostuser'>\n"                   \
           "      <alias name='ua-vmchannel'/>\n    </interface>\n" TAIL
#define PREFIXED                                                                                   \
    HEAD UUID RECORD "      <vmchannel:interface type='vmchannel'><!-- <vmchannel:a/> -->\n"       \
                     "        <vmchannel:source port=\"600\"/>\n"                                  \
                     "        <vmchannel:target path=\"/a\"><vmchannel:reconnect enabled='yes' "   \
                     "timeout='2'/></vmchannel:target >\n      </vmchannel:interface>\n"           \
                     "      <vmchannel:interface type='vmchannel'>\n"                              \
                     "        <vmchannel:source port='601'/>\n"                                    \
                     "        <vmchannel:target path='/b'/>\n"                                     \
                     "      </vmchannel:interface>\n" RECORD_END REST

TEST(elements_with_our_prefix_are_the_users)
{
    struct domain_info info = read_info(PREFIXED);
    assert_int_equal(info.channel_count, 2);
    assert_string_equal(info.channels[0].text, "600:unix:/a,reconnect=2");
    assert_string_equal(info.channels[1].text, "601:unix:/b");
    assert_int_equal(info.channels[1].line, 10);
    domain_info_fini(&info);
    char *back = reverse(PREFIXED);
    assert_string_equal(
        back, HEAD UUID
        "  <metadata>\n    <app:note xmlns:app=\"urn:app\"><app:x/></app:note>\n  "
        "</metadata>\n" MEMORY
        "  <devices>\n    <interface type='vmchannel'><!-- <vmchannel:a/> -->\n"
        "      <source port=\"600\"/>\n      <target path=\"/a\"><reconnect enabled='yes' "
        "timeout='2'/></target >\n    </interface>\n    <interface type='vmchannel'>\n"
        "      <source port='601'/>\n      <target path='/b'/>\n    </interface>\n" TAIL);
    free(back);
}

TEST(a_prefix_is_ours_by_its_namespace)
{
    char *other = translate(PLAIN);
    struct buffer text = {0};
    const char *at = strstr(other, ELEMENT);
    buffer_add(&text, other, (size_t)(at - other));
    buffer_add_text(&text, "<v:interface xmlns:v='urn:vmchannel:domain:1.0' type='vmchannel'>"
                           "<v:source port='7'/><v:target path='/v'/><v:1/><w:x xmlns:w='urn:w'/>"
                           "</v:interface><w:interface xmlns:w='urn:w' type='vmchannel'/>");
    buffer_add_text(&text, at + strlen(ELEMENT));
    struct domain_info info = read_info(text.data);
    assert_int_equal(info.channel_count, 1);
    assert_string_equal(info.channels[0].text, "7:unix:/v");
    domain_info_fini(&info);
    buffer_fini(&text);
    free(other);
}

TEST(channels_come_and_go_beside_prefixed_ones)
{
    struct buffer more = {0}, one = {0}, meta = {0};
    struct error err = {{0}};
    assert_int_equal(
        domain_xml_add_channel(PREFIXED, strlen(PREFIXED), "d", "602:unix:/c", &more, &err), 0);
    assert_int_equal(domain_xml_metadata(more.data, more.len, "d", &meta, &err), 0);
    has(meta.data, "<channels added='metadata memoryBacking' places='0 0 0'>\n"
                   "      <interface type='vmchannel'><!-- <vmchannel:a/> -->\n"
                   "        <source port=\"600\"/>\n");
    has(meta.data, "      <interface type='vmchannel'>\n        <source port='602'/>\n"
                   "        <target path='/c'/>\n      </interface>\n    </channels>");
    has_not(meta.data, "<vmchannel:interface");
    has(more.data, "<app:note xmlns:app=\"urn:app\"><app:x/></app:note>");

    assert_int_equal(domain_xml_del_channel(more.data, more.len, "d", 600, &one, &err), 0);
    struct domain_info info = read_info(one.data);
    assert_int_equal(info.channel_count, 2);
    assert_string_equal(info.channels[0].text, "601:unix:/b");
    assert_string_equal(info.channels[1].text, "602:unix:/c");
    domain_info_fini(&info);
    buffer_fini(&one);
    assert_int_equal(domain_xml_del_channel(PREFIXED, strlen(PREFIXED), "d", 601, &one, &err), 0);
    has(one.data, "</target >\n      </interface>\n    </vmchannel:channels>\n");

    buffer_fini(&more);
    buffer_fini(&one);
    buffer_fini(&meta);
}

TEST(only_what_xml_can_say_can_be_added)
{
    static const char *const bad[] = {"600:unix:/b,max=1",   "600:pty",
                                      "600:unix:b",          "600:unix:/b,server",
                                      "600:unix:/b,name=x",  "600:unix:/b,abstract=on",
                                      "600:unix:/b,rate=1k", "600:unix:/b,conn-rate=5",
                                      "600:unix:/b,idle=9"};
    const char *in = HEAD "  <devices/>\n</domain>\n";
    struct error err;
    struct buffer out = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(domain_xml_add_channel(in, strlen(in), "d", bad[i], &out, &err), -EINVAL);
        has(err.text, "accepted: PORT:unix:/PATH");
    }
    assert_int_equal(domain_xml_add_channel(in, strlen(in), "d",
                                            "600:unix:/a'<,reconnect=2,name=ua-x", &out, &err),
                     0);
    has(out.data, "  <devices>\n    <interface type='vmchannel'>\n      <source port='600'/>\n"
                  "      <target path='/a&apos;&lt;'>\n"
                  "        <reconnect enabled='yes' timeout='2'/>\n      </target>\n"
                  "      <alias name='ua-x'/>\n    </interface>\n  </devices>\n");
    struct domain_info info = read_info(out.data);
    assert_string_equal(info.channels[0].text, "600:unix:/a'<,reconnect=2,name=ua-x");
    domain_info_fini(&info);
    buffer_fini(&out);
}

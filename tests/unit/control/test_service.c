// SPDX-License-Identifier: BSD-3-Clause
// The serving half of the control protocol: each method, and what is no call or no good one.
#include "test.h"

#include "control/client.h"
#include "fake_guest.h"

#include <fcntl.h>

#define CONTROL "org.vmchannel.Control."
#define SERVICE "org.varlink.service."

static struct fake_guest guest;

// The reply to a call; "" for none, NULL where the connection is to end.
static const char *
ask_with(const char *call, size_t len, int *fd)
{
    static char last[20000];
    char *reply = NULL;
    size_t reply_len = 0;
    guest = (struct fake_guest){.removed = 0};
    // A heap block of its size, so that a sanitizer sees a read beyond it.
    char *copy = malloc(len + 1);
    memcpy(copy, call, len);
    bool ok = control_serve(&fake_ops, &guest, copy, len, fd, &reply, &reply_len);
    free(copy);
    if (!ok) {
        assert_null(reply);
        return NULL;
    }
    last[0] = '\0';
    if (reply) {
        assert_int_equal(strlen(reply) + 1, reply_len);
        assert_true(reply_len < sizeof(last));
        memcpy(last, reply, reply_len);
    }
    free(reply);
    return last;
}

static const char *
ask(const char *call)
{
    int fd = -1;
    return ask_with(call, strlen(call), &fd);
}

#define assert_has(text, piece) assert_non_null(strstr(text, piece))

TEST(each_method_answers)
{
    assert_string_equal(
        ask("{\"method\":\"" CONTROL "List\"}"),
        "{\"parameters\":{\"channels\":[{\"port\":600,\"inward\":false,\"device\":\"unix:/0\","
        "\"name\":\"one\"},{\"port\":601,\"inward\":false,\"device\":\"unix:/1\"}]}}");
    assert_string_equal(ask("{\"method\":\"" CONTROL "Info\",\"parameters\":null}"),
                        "{\"parameters\":{\"name\":\"vm1\",\"version\":\"1.2\",\"pid\":7,"
                        "\"worker\":8,\"link\":\"tap,ifname=\\\\xff\\\\x1b\",\"uptime\":9,"
                        "\"restarts\":1}}");
    const char *stats = ask("{\"method\":\"" CONTROL "Stats\",\"parameters\":{}}");
    assert_has(stats, "\"up\":1,\"frames_in\":9223372036854775807,");
    assert_has(stats, "\"resets_sent\":3}");
    assert_has(stats, "{\"port\":601,\"inward\":false,\"connections\":1,\"opened\":0,");
    assert_has(ask("{\"method\":\"" SERVICE "GetInfo\"}"),
               "\"interfaces\":[\"org.varlink.service\",\"org.vmchannel.Control\"]");
    assert_has(ask("{\"method\":\"" SERVICE "GetInterfaceDescription\","
                   "\"parameters\":{\"interface\":\"org.vmchannel.Control\"}}"),
               "\\ninterface org.vmchannel.Control\\n");
}

TEST(add_and_delete_reach_the_guest)
{
    assert_string_equal(
        ask("{\"method\":\"" CONTROL "Add\",\"parameters\":{\"channel\":\"700:null\"}}"),
        "{\"parameters\":{\"first\":700,\"last\":700}}");
    assert_string_equal(guest.added, "700:null");
    assert_string_equal(ask("{\"method\":\"" CONTROL "Add\",\"parameters\":{\"channel\":\"no\"}}"),
                        "{\"error\":\"" CONTROL "Refused\",\"parameters\":{\"reason\":"
                        "\"a \\\"reason\\\" \\\\xff\"}}");
    assert_string_equal(ask("{\"method\":\"" CONTROL "Delete\",\"parameters\":{\"port\":600}}"),
                        "{\"parameters\":{}}");
    assert_int_equal(guest.removed, 600);
    assert_string_equal(ask("{\"method\":\"" CONTROL "Delete\",\"parameters\":{\"port\":601}}"),
                        "{\"error\":\"" CONTROL "NoSuchChannel\",\"parameters\":{\"port\":601}}");
}

TEST(capture_takes_the_descriptor_and_others_do_not)
{
    const char *call = "{\"method\":\"" CONTROL "Capture\",\"parameters\":{\"snaplen\":96}}";
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_string_equal(ask_with(call, strlen(call), &fd), "{\"parameters\":{}}");
    assert_int_equal(guest.captured, 96);
    assert_int_equal(fd, -1);
    assert_has(ask(call), CONTROL "Refused");
    assert_int_equal(guest.captured, 0);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    call = "{\"method\":\"" CONTROL "List\"}";
    ask_with(call, strlen(call), &fd);
    assert_int_equal(close(fd), 0);
}

TEST(flags_of_a_call)
{
    assert_string_equal(ask("{\"method\":\"" CONTROL "Delete\",\"parameters\":{\"port\":600},"
                            "\"oneway\":true}"),
                        "");
    assert_int_equal(guest.removed, 600);
    assert_string_equal(ask("{\"method\":\"" CONTROL "Delete\",\"parameters\":{\"port\":600},"
                            "\"more\":true,\"oneway\":false}"),
                        "{\"parameters\":{}}");
    assert_has(ask("{\"method\":\"" CONTROL "List\",\"upgrade\":true}"),
               SERVICE "MethodNotImplemented");
    assert_null(ask("{\"method\":\"" CONTROL "List\",\"more\":1}"));
}

TEST(unknown_names_are_told)
{
    assert_string_equal(ask("{\"method\":\"" CONTROL "Bogus\"}"),
                        "{\"error\":\"" SERVICE "MethodNotFound\",\"parameters\":{\"method\":"
                        "\"Bogus\"}}");
    static const char *const calls[] = {"{\"method\":\"a.b.C\"}", "{\"method\":\"a.b.\"}"};
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(ask(calls[i]), "{\"error\":\"" SERVICE "InterfaceNotFound\","
                                           "\"parameters\":{\"interface\":\"a.b\"}}");
    assert_has(ask("{\"method\":\"\"}"), "InterfaceNotFound");
    assert_has(ask("{\"method\":\"List\"}"), "\"interface\":\"List\"");
    assert_has(ask("{\"method\":\"" SERVICE "GetInterfaceDescription\",\"parameters\":"
                   "{\"interface\":\"..\"}}"),
               "\"interface\":\"..\"");
}

// Call, and the parameter that is named as wrong.
static const char *const bad_parameters[][2] = {
    {CONTROL "List\",\"parameters\":{\"x\":1", "x"},
    {CONTROL "Add\",\"parameters\":{\"channel\":1", "channel"},
    {CONTROL "Add\",\"parameters\":{\"channel\":null", "channel"},
    {CONTROL "Add\",\"parameters\":{\"channel\":\"a\",\"y\":{}", "y"},
    {CONTROL "Delete\",\"parameters\":{\"port\":0", "port"},
    {CONTROL "Delete\",\"parameters\":{\"port\":65536", "port"},
    {CONTROL "Delete\",\"parameters\":{\"port\":-1", "port"},
    {CONTROL "Delete\",\"parameters\":{\"port\":600.0", "port"},
    {CONTROL "Delete\",\"parameters\":{\"port\":\"600\"", "port"},
    {CONTROL "Capture\",\"parameters\":{\"snaplen\":65551", "snaplen"},
    {SERVICE "GetInterfaceDescription\",\"parameters\":{\"interface\":[]", "interface"},
};

TEST(wrong_parameters_are_named_and_nothing_is_done)
{
    for (size_t i = 0; i < sizeof(bad_parameters) / sizeof(bad_parameters[0]); i++) {
        char call[300], wanted[300];
        snprintf(call, sizeof(call), "{\"method\":\"%s}}", bad_parameters[i][0]);
        snprintf(wanted, sizeof(wanted),
                 "{\"error\":\"" SERVICE "InvalidParameter\",\"parameters\":{\"parameter\":"
                 "\"%s\"}}",
                 bad_parameters[i][1]);
        assert_string_equal(ask(call), wanted);
        assert_string_equal(guest.added, "");
        assert_int_equal(guest.removed, 0);
    }
}

TEST(control_characters_do_not_get_through)
{
    static const char *const texts[] = {"600:unix:/a\\nb", "600:unix:/a\\u001bb", "\\u007f",
                                        "a\\tb", "a\\u009bb"};
    for (size_t i = 0; i < 5; i++) {
        char call[300];
        snprintf(call, sizeof(call),
                 "{\"method\":\"" CONTROL "Add\",\"parameters\":{\"channel\":\"%s\"}}", texts[i]);
        assert_has(ask(call), "control character");
        assert_string_equal(guest.added, "");
    }
}

TEST(what_is_no_call_ends_the_connection)
{
    static const char *const texts[] = {
        "",
        "x",
        "{}",
        "[]",
        "null",
        "1",
        "{\"method\":1}",
        "{\"method\":\"" CONTROL "List\"",
        "{\"method\":\"" CONTROL "List\"}{}",
        "{\"method\":\"" CONTROL "List\",\"method\":\"" CONTROL "List\"}",
        "{\"method\":\"" CONTROL "List\",\"parameters\":[]}",
        "{\"method\":\"a\\u0000b\"}",
        "{\"method\":\"\xff\"}",
        "{\"method\":\"\\ud800\"}",
        "{\"method\":1e999}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_null(ask(texts[i]));
    assert_null(({
        int fd = -1;
        ask_with("{\"method\":\"a\0b\"}", 16, &fd);
    }));
}

TEST(deep_nesting_is_refused)
{
    char *deep = malloc(CONTROL_CALL_MAX);
    int fd = -1;
    memset(deep, '[', CONTROL_CALL_MAX);
    assert_null(ask_with(deep, CONTROL_CALL_MAX, &fd));
    for (size_t i = 0; i + 5 <= CONTROL_CALL_MAX; i += 5)
        memcpy(deep + i, "{\"a\":", 5);
    assert_null(ask_with(deep, CONTROL_CALL_MAX - 1, &fd));
    free(deep);
}

// --- the asking half -----------------------------------------------------------------------------

static int
hear(const char *reply, struct error *err)
{
    return control_reply_parse(reply, strlen(reply), err);
}

TEST(replies_that_make_no_sense_are_errors)
{
    static const char *const texts[] = {"",
                                        "[]",
                                        "{\"error\":1}",
                                        "{\"parameters\":1}",
                                        "{",
                                        "{\"error\":\"a\",\"parameters\":[]}"};
    struct error err;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_true(hear(texts[i], &err) < 0);
    // What is missing or of another type is empty or zero.
    assert_int_equal(hear("{}", &err), 0);
    assert_int_equal(hear("{\"parameters\":{\"name\":1,\"pid\":\"x\",\"channels\":[1,{},null],"
                          "\"link\":[]}}",
                          &err),
                     0);
    assert_int_equal(hear("{\"parameters\":{\"channels\":{}}}", &err), 0);
}

TEST(errors_are_told_in_one_line_without_control_characters)
{
    struct error err;
    assert_int_equal(hear("{\"error\":\"" CONTROL "Refused\",\"parameters\":{\"reason\":"
                          "\"a\\u001b[31m\\nb\"}}",
                          &err),
                     -EPERM);
    assert_string_equal(err.text, "test: a\\x1b[31m\\x0ab");
    assert_int_equal(hear("{\"error\":\"x\\ny\"}", &err), -EPROTO);
    assert_string_equal(err.text, "test: answered x\\x0ay");
    assert_int_equal(hear("{\"error\":\"" CONTROL "NoSuchChannel\"}", &err), -ENOENT);
}

// SPDX-License-Identifier: BSD-3-Clause
// See service.h. A call that varlink understands gets an answer, if only an error's; what is not
// even a call gets none.
#include "control/service.h"

#include "base/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "org.varlink.service."
#define CONTROL "org.vmchannel.Control."

static const char interface_text[] =
#include "control/interface_text.inc"
    ;

static const char service_text[] =
    "# The Varlink Service Interface is provided by every varlink service. It\n"
    "# describes the service and the interfaces it implements.\n"
    "interface org.varlink.service\n\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n  product: string,\n  version: string,\n  url: string,\n"
    "  interfaces: []string\n)\n\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
    "error InterfaceNotFound (interface: string)\n\n"
    "error MethodNotFound (method: string)\n\n"
    "error MethodNotImplemented (method: string)\n\n"
    "error InvalidParameter (parameter: string)\n";

struct call {
    const struct control_ops *ops;
    void *ctx;
    json_t *parameters; // an object or NULL
    int *fd;
};

// --- answers: each gives a new reply object, or NULL when out of memory --------------------------

static json_t *
answer(json_t *parameters)
{
    return parameters ? json_pack("{so}", "parameters", parameters) : NULL;
}

static json_t *
answer_error(const char *name, const char *key, json_t *value)
{
    return value ? json_pack("{s:s, s:{so}}", "error", name, "parameters", key, value) : NULL;
}

// Text of ours that may be no UTF-8, as paths may.
static json_t *
text_of(const char *text)
{
    char escaped[2048];
    json_t *string = json_string(text);
    return string ? string : json_string(log_escape(escaped, sizeof(escaped), text, strlen(text)));
}

static json_t *
answer_refused(const struct error *err)
{
    return answer_error(CONTROL "Refused", "reason", text_of(err->text));
}

static json_t *
answer_invalid(const char *parameter)
{
    return answer_error(SERVICE "InvalidParameter", "parameter", text_of(parameter));
}

// Numbers of JSON are signed here; nothing counts so far.
static json_t *
number_of(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static int
add_numbers(json_t *to, const void *object, const struct control_number *numbers, size_t count)
{
    int rc = 0;
    for (size_t i = 0; i < count; i++)
        rc |= json_object_set_new(to, numbers[i].name,
                                  number_of(control_number_get(object, &numbers[i])));
    return rc;
}

// --- parameters ----------------------------------------------------------------------------------

// The name of a parameter other than `known` (NULL: every one), else NULL.
static const char *
unknown_parameter(const struct call *c, const char *known)
{
    const char *key;
    json_t *value;
    json_object_foreach(c->parameters, key, value)
    {
        if (!known || strcmp(key, known) != 0)
            return key;
    }
    return NULL;
}

static bool
int_parameter(const struct call *c, const char *name, json_int_t min, json_int_t max,
              json_int_t *out)
{
    const json_t *value = json_object_get(c->parameters, name);
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= min && *out <= max;
}

// --- methods -------------------------------------------------------------------------------------

static json_t *
get_info(struct call *c)
{
    return answer(json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", "vmchannel", "product",
                            "vmchannel", "version", VMCHANNEL_VERSION, "url", "", "interfaces",
                            "org.varlink.service", "org.vmchannel.Control"));
}

static json_t *
get_description(struct call *c)
{
    const char *name = json_string_value(json_object_get(c->parameters, "interface"));
    if (!name)
        return answer_invalid("interface");
    if (strcmp(name, "org.vmchannel.Control") == 0)
        return answer(json_pack("{s:s}", "description", interface_text));
    if (strcmp(name, "org.varlink.service") == 0)
        return answer(json_pack("{s:s}", "description", service_text));
    return answer_error(SERVICE "InterfaceNotFound", "interface", text_of(name));
}

static json_t *
info(struct call *c)
{
    struct control_info i = {0};
    c->ops->info(c->ctx, &i);
    return answer(json_pack("{so, s:s, s:I, s:I, so, so, so}", "name", text_of(i.name), "version",
                            i.version, "pid", (json_int_t)i.pid, "worker", (json_int_t)i.worker,
                            "link", text_of(i.link), "uptime", number_of(i.uptime_s), "restarts",
                            number_of(i.restarts)));
}

static json_t *
channel_of(const struct control_channel *ch)
{
    json_t *o = json_pack("{s:i, s:b, so}", "port", ch->port, "inward", ch->inward, "device",
                          text_of(ch->device));
    if (o && ch->name[0] && json_object_set_new(o, "name", text_of(ch->name)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *
channel_stats_of(const struct control_channel *ch)
{
    json_t *o = json_pack("{s:i, s:b}", "port", ch->port, "inward", ch->inward);
    if (o && add_numbers(o, ch, control_channel_numbers, CONTROL_CHANNEL_NUMBERS) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

// All channels, each as `of` makes it.
static json_t *
channels(struct call *c, json_t *(*of)(const struct control_channel *))
{
    json_t *array = json_array();
    struct control_channel ch = {0};
    for (size_t at = 0; array && c->ops->next_channel(c->ctx, &at, &ch);) {
        if (json_array_append_new(array, of(&ch)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *
list(struct call *c)
{
    return answer(json_pack("{so}", "channels", channels(c, channel_of)));
}

static json_t *
stats(struct call *c)
{
    struct control_link counts = {0};
    c->ops->link(c->ctx, &counts);
    json_t *link = json_object();
    if (add_numbers(link, &counts, control_link_numbers, CONTROL_LINK_NUMBERS) < 0) {
        json_decref(link);
        return NULL;
    }
    return answer(json_pack("{so, so}", "link", link, "channels", channels(c, channel_stats_of)));
}

// Text that goes into logs and to terminals.
static bool
has_control_character(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)) // C1 in UTF-8
            return true;
    return false;
}

static json_t *
add(struct call *c)
{
    const char *text = json_string_value(json_object_get(c->parameters, "channel"));
    struct error err = {{0}};
    uint16_t first = 0, last = 0;
    if (!text)
        return answer_invalid("channel");
    if (has_control_character(text)) {
        error_set(&err, 0, "channel: has a control character (accepted: PORT:DEVICE without)");
        return answer_refused(&err);
    }
    if (c->ops->add(c->ctx, text, &first, &last, &err) < 0)
        return answer_refused(&err);
    return answer(json_pack("{s:i, s:i}", "first", first, "last", last));
}

static json_t *delete (struct call *c)
{
    struct error err = {{0}};
    json_int_t port;
    if (!int_parameter(c, "port", 1, UINT16_MAX, &port))
        return answer_invalid("port");
    int rc = c->ops->remove(c->ctx, (uint16_t)port, &err);
    if (rc == -ENOENT)
        return answer_error(CONTROL "NoSuchChannel", "port", json_integer(port));
    return rc < 0 ? answer_refused(&err) : answer(json_object());
}

static json_t *
capture(struct call *c)
{
    struct error err = {{0}};
    json_int_t snaplen;
    if (!int_parameter(c, "snaplen", 1, CONTROL_SNAPLEN_MAX, &snaplen))
        return answer_invalid("snaplen");
    if (*c->fd < 0) {
        error_set(&err, 0,
                  "capture: no descriptor came with the call (accepted: a SOCK_SEQPACKET "
                  "Unix socket)");
        return answer_refused(&err);
    }
    int fd = *c->fd;
    *c->fd = -1;
    if (c->ops->capture(c->ctx, fd, (uint32_t)snaplen, &err) < 0)
        return answer_refused(&err);
    return answer(json_object());
}

static const struct method {
    const char *name;
    const char *parameter; // its only one, NULL: none
    json_t *(*serve)(struct call *c);
} methods[] = {
    {SERVICE "GetInfo", NULL, get_info},
    {SERVICE "GetInterfaceDescription", "interface", get_description},
    {CONTROL "Info", NULL, info},
    {CONTROL "List", NULL, list},
    {CONTROL "Add", "channel", add},
    {CONTROL "Delete", "port", delete},
    {CONTROL "Stats", NULL, stats},
    {CONTROL "Capture", "snaplen", capture},
};

// --- calls ---------------------------------------------------------------------------------------

static json_t *
answer_unknown(const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t len = dot ? (size_t)(dot + 1 - name) : 0;
    bool known = (len == strlen(SERVICE) && memcmp(name, SERVICE, len) == 0) ||
                 (len == strlen(CONTROL) && memcmp(name, CONTROL, len) == 0);
    if (known)
        return answer_error(SERVICE "MethodNotFound", "method", text_of(dot + 1));
    return answer_error(SERVICE "InterfaceNotFound", "interface",
                        json_stringn(name, dot ? len - 1 : strlen(name)));
}

static json_t *
serve(struct call *c, const char *name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        const struct method *m = &methods[i];
        if (strcmp(m->name, name) != 0)
            continue;
        const char *unknown = unknown_parameter(c, m->parameter);
        return unknown ? answer_invalid(unknown) : m->serve(c);
    }
    return answer_unknown(name);
}

// Takes the reply over. False when it could not be made.
static bool
print(json_t *reply, char **out, size_t *len)
{
    *out = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
    json_decref(reply);
    if (!*out)
        return false;
    *len = strlen(*out) + 1;
    return true;
}

// An absent flag is false; what is no boolean makes no call.
static bool
flag(const json_t *call, const char *name, bool *out)
{
    const json_t *value = json_object_get(call, name);
    *out = json_is_true(value);
    return !value || json_is_boolean(value);
}

bool
control_serve(const struct control_ops *ops, void *ctx, const char *call, size_t len, int *fd,
              char **reply, size_t *reply_len)
{
    *reply = NULL;
    json_t *root = json_loadb(call, len, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(root, "method"));
    json_t *parameters = json_object_get(root, "parameters");
    bool oneway, more, upgrade, ok = false;
    if (!name || (parameters && !json_is_object(parameters) && !json_is_null(parameters)) ||
        !flag(root, "oneway", &oneway) || !flag(root, "more", &more) ||
        !flag(root, "upgrade", &upgrade))
        goto out;
    struct call c = {
        .ops = ops,
        .ctx = ctx,
        .parameters = json_is_object(parameters) ? parameters : NULL,
        .fd = fd,
    };
    // `more` is granted with one reply, which says that none continues it.
    json_t *r = upgrade ? answer_error(SERVICE "MethodNotImplemented", "method", text_of(name))
                        : serve(&c, name);
    if (oneway)
        json_decref(r);
    ok = oneway || print(r, reply, reply_len);
out:
    json_decref(root);
    return ok;
}

void
control_service_warm(void)
{
    json_object_seed(0);
}

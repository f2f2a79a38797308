// SPDX-License-Identifier: BSD-3-Clause
// The user's elements, in either spelling: what channel each asks for, what it says of the
// interface, and what they may not have in common. Where they stand, and what becomes of them, is
// left to the translation.
#include "config/domain_xml_internal.h"

#include "config/guest_config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERFACE "<interface type='vmchannel'>"
#define CHANNEL   "<channel type='unix'> with target guestfwd"
#define ADDRESS   "10.0.2.4"

// One spelling of the element.
struct spelling {
    const char *what;
    const char *attributes, *children, *source, *target; // accepted, as lists for a message
    uint32_t (*port_node)(const struct domain *d, uint32_t node);
    uint32_t (*path_node)(const struct domain *d, uint32_t node);
    const char *port_form, *path_form; // what to write where it is missing
};

static uint32_t
source_of(const struct domain *d, uint32_t node)
{
    return xml_child(&d->xml, node, "source");
}

static uint32_t
target_of(const struct domain *d, uint32_t node)
{
    return xml_child(&d->xml, node, "target");
}

static const struct spelling as_interface = {
    .what = INTERFACE,
    .attributes = "type",
    .children = "source, target, alias, mac, model, address, rom",
    .source = "port",
    .target = "path, mode, proxy",
    .port_node = source_of,
    .path_node = target_of,
    .port_form = "<source port='600'/>",
    .path_form = "<target path='/some/path'/>",
};

static const struct spelling as_channel = {
    .what = CHANNEL,
    .attributes = "type",
    .children = "source, target, alias",
    .source = "path, mode",
    .target = "type, address, port, proxy",
    .port_node = target_of,
    .path_node = source_of,
    .port_form = "port='600' in <target>",
    .path_form = "path='/some/path' in <source>",
};

static bool
value_is(const struct domain *d, uint32_t node, const char *name, const char *value)
{
    char found[XML_VALUE_MAX];
    return xml_value(&d->xml, node, name, found) && strcmp(found, value) == 0;
}

// One at another address is not for us: it stays libvirt's, which connects it to nothing.
static bool
is_guestfwd(const struct domain *d, uint32_t node)
{
    return xml_is_named(&d->xml, node, "channel") && value_is(d, node, "type", "unix") &&
           value_is(d, target_of(d, node), "type", "guestfwd") &&
           value_is(d, target_of(d, node), "address", ADDRESS);
}

bool
element_is_ours(const struct domain *d, uint32_t node)
{
    return (xml_is_named(&d->xml, node, "interface") && value_is(d, node, "type", "vmchannel")) ||
           is_guestfwd(d, node);
}

// Whether a name is in a list such as "path, mode".
static bool
is_listed(const char *list, const char *name, size_t len)
{
    for (const char *at = list; *at; at += strspn(at, ", ")) {
        size_t n = strcspn(at, ",");
        if (n == len && memcmp(at, name, len) == 0)
            return true;
        at += n;
    }
    return false;
}

// Names of another namespace are nobody's business here.
static int
check_attributes(const struct domain *d, uint32_t node, const char *what, const char *accepted,
                 struct error *err)
{
    struct xml_attr attr = {0};
    while (node != XML_NONE && xml_next_attr(&d->xml, node, &attr)) {
        const char *name = d->xml.text + attr.name;
        if (memchr(name, ':', attr.name_len) || is_listed(accepted, name, attr.name_len))
            continue;
        return domain_error(d, node, err, "%s: attribute '%.*s': unknown (accepted: %s)", what,
                            (int)attr.name_len, name, accepted);
    }
    return 0;
}

static int
check_children(const struct domain *d, uint32_t node, const struct spelling *s, struct error *err)
{
    for (uint32_t c = xml_child(&d->xml, node, NULL); c != XML_NONE;
         c = xml_next(&d->xml, c, NULL)) {
        const struct xml_node *child = &d->xml.nodes[c];
        const char *name = d->xml.text + child->start + 1;
        if (memchr(name, ':', child->name_len))
            continue;
        if (!is_listed(s->children, name, child->name_len))
            return domain_error(d, c, err, "%s: <%.*s>: unknown (accepted: %s)", s->what,
                                (int)child->name_len, name, s->children);
        for (uint32_t o = xml_child(&d->xml, node, NULL); o != c; o = xml_next(&d->xml, o, NULL))
            if (d->xml.nodes[o].name_len == child->name_len &&
                memcmp(d->xml.text + d->xml.nodes[o].start + 1, name, child->name_len) == 0)
                return domain_error(d, c, err, "%s: <%.*s>: given twice", s->what,
                                    (int)child->name_len, name);
    }
    int rc = check_attributes(d, node, s->what, s->attributes, err);
    if (rc == 0)
        rc = check_attributes(d, source_of(d, node), "<source>", s->source, err);
    if (rc == 0)
        rc = check_attributes(d, target_of(d, node), "<target>", s->target, err);
    return rc;
}

static int
read_port(const struct domain *d, uint32_t node, const struct spelling *s, uint16_t *out,
          struct error *err)
{
    char value[XML_VALUE_MAX];
    uint32_t place = s->port_node(d, node);
    if (!xml_value(&d->xml, place, "port", value))
        return domain_error(d, place == XML_NONE ? node : place, err, "%s: no port (accepted: %s)",
                            s->what, s->port_form);
    if (!channel_port_parse(value, strlen(value), out))
        return domain_error(d, place, err, "%s: port '%.64s': accepted: 1 to 65535", s->what,
                            value);
    return 0;
}

static int
read_path(const struct domain *d, uint32_t node, const struct spelling *s, uint16_t port,
          char out[XML_VALUE_MAX], struct error *err)
{
    uint32_t place = s->path_node(d, node);
    if (!xml_value(&d->xml, place, "path", out) || out[0] == '\0')
        return domain_error(d, place == XML_NONE ? node : place, err,
                            "channel %u: no path (accepted: %s)", port, s->path_form);
    if (out[0] != '/')
        return domain_error(d, place, err,
                            "channel %u: path '%.120s': not absolute (accepted: /some/path)", port,
                            out);
    if (strlen(out) > DEVICE_UNIX_PATH_MAX)
        return domain_error(d, place, err, "channel %u: path '%.40s...': over %d bytes", port, out,
                            DEVICE_UNIX_PATH_MAX);
    return 0;
}

// libvirt's words for who listens: "connect" is ours by default, "bind" makes the socket at once.
static int
read_mode(const struct domain *d, uint32_t node, const struct spelling *s, uint16_t port,
          bool *server, struct error *err)
{
    char value[XML_VALUE_MAX];
    uint32_t place = s->path_node(d, node);
    *server = xml_value(&d->xml, place, "mode", value) && strcmp(value, "bind") == 0;
    if (value[0] == '\0' || *server || strcmp(value, "connect") == 0)
        return 0;
    return domain_error(d, place, err,
                        "channel %u: mode '%.64s': unknown (accepted: connect, bind)", port, value);
}

static void
add_escaped(struct buffer *b, const char *text)
{
    for (; *text; text++) {
        buffer_add(b, text, 1);
        if (*text == ',')
            buffer_add(b, ",", 1);
    }
}

// Whether it is enabled; *out is the element then. libvirt knows two words for that, and takes none
// for no.
static int
read_reconnect(const struct domain *d, uint32_t place, uint16_t port, uint32_t *out,
               struct error *err)
{
    char value[XML_VALUE_MAX];
    uint32_t node = xml_child(&d->xml, place, "reconnect");
    bool is_said = xml_value(&d->xml, node, "enabled", value);
    *out = is_said && strcmp(value, "yes") == 0 ? node : XML_NONE;
    if (!is_said || *out == node || strcmp(value, "no") == 0)
        return 0;
    return domain_error(d, node, err,
                        "channel %u: reconnect enabled='%.64s': unknown (accepted: yes, no)", port,
                        value);
}

// The channel as -vmchannel has it, so that one parser judges both.
static int
make_channel(const struct domain *d, struct element *e, const struct spelling *s, uint16_t port,
             const char *path, bool server, struct error *err)
{
    char name[XML_VALUE_MAX], seconds[XML_VALUE_MAX], proxy[XML_VALUE_MAX];
    struct buffer text = {0};
    struct error why;
    uint32_t reconnect;
    int rc = read_reconnect(d, s->path_node(d, e->node), port, &reconnect, err);
    if (rc < 0)
        return rc;
    buffer_printf(&text, "%u:unix:", port);
    add_escaped(&text, path);
    if (server)
        buffer_add_text(&text, ",server=on,wait=off");
    if (reconnect != XML_NONE) {
        xml_value(&d->xml, reconnect, "timeout", seconds);
        buffer_add_text(&text, ",reconnect=");
        add_escaped(&text, seconds);
    }
    if (xml_value(&d->xml, target_of(d, e->node), "proxy", proxy)) {
        buffer_add_text(&text, ",proxy=");
        add_escaped(&text, proxy);
    }
    // An alias without "ua-" is libvirt's own numbering, which a live domain shows.
    uint32_t alias = xml_child(&d->xml, e->node, "alias");
    if (xml_value(&d->xml, alias, "name", name) && strncmp(name, "ua-", 3) == 0) {
        buffer_add_text(&text, ",name=");
        add_escaped(&text, name);
    }
    e->text = text.data;
    if (text.failed)
        return domain_out_of_memory(d, err);
    if (channel_spec_parse(e->text, &e->channel, &why) < 0)
        return domain_error(d, e->node, err, "%s", why.text);
    return 0;
}

// e->text is set when it is to be freed, also on failure.
static int
parse_element(const struct domain *d, uint32_t node, struct element *e, struct error *err)
{
    const struct spelling *s = is_guestfwd(d, node) ? &as_channel : &as_interface;
    char path[XML_VALUE_MAX];
    uint16_t port;
    bool server;
    memset(e, 0, sizeof(*e));
    e->node = node;
    int rc = check_children(d, node, s, err);
    if (rc == 0)
        rc = read_port(d, node, s, &port, err);
    if (rc == 0)
        rc = read_path(d, node, s, port, path, err);
    if (rc == 0)
        rc = read_mode(d, node, s, port, &server, err);
    if (rc == 0)
        rc = make_channel(d, e, s, port, path, server, err);
    bool is_interface = s == &as_interface;
    e->mac = is_interface ? xml_child(&d->xml, node, "mac") : XML_NONE;
    e->model = is_interface ? xml_child(&d->xml, node, "model") : XML_NONE;
    e->address = is_interface ? xml_child(&d->xml, node, "address") : XML_NONE;
    e->rom = is_interface ? xml_child(&d->xml, node, "rom") : XML_NONE;
    return rc;
}

static int
check_model(const struct domain *d, const struct elements *all, struct error *err)
{
    char value[XML_VALUE_MAX], first[XML_VALUE_MAX] = "";
    for (size_t i = 0; i < all->count; i++) {
        uint32_t model = all->list[i].model;
        if (model == XML_NONE)
            continue;
        xml_value(&d->xml, model, "type", value);
        if (!is_listed("virtio, virtio-transitional, virtio-non-transitional", value,
                       strlen(value)))
            return domain_error(d, model, err,
                                "model '%.64s': not in libvirt, whose vhost-user is virtio alone "
                                "(accepted: virtio, virtio-transitional, virtio-non-transitional)",
                                value);
        if (first[0] != '\0' && strcmp(first, value) != 0)
            return domain_error(d, model, err,
                                "model '%.64s': another one has '%.64s', and all vmchannel "
                                "interfaces of a domain are one (accepted: one model)",
                                value, first);
        memcpy(first, value, sizeof(first));
    }
    return 0;
}

static bool
is_mac(const char *text)
{
    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return false;
    // The lowest bit of the first byte is for groups.
    return text[17] == '\0' && strchr("13579bBdDfF", text[1]) == NULL;
}

static int
check_mac(const struct domain *d, uint32_t mac, struct error *err)
{
    char value[XML_VALUE_MAX], other[XML_VALUE_MAX];
    const struct xml_doc *x = &d->xml;
    xml_value(x, mac, "address", value);
    if (!is_mac(value))
        return domain_error(d, mac, err,
                            "mac '%.64s': not the address of an interface (accepted: as in "
                            "52:54:00:12:34:56)",
                            value);
    for (uint32_t n = xml_child(x, d->devices, "interface"); n != XML_NONE;
         n = xml_next(x, n, "interface")) {
        uint32_t theirs = xml_child(x, n, "mac");
        if (n == d->nic || theirs == mac || theirs == XML_NONE || element_is_ours(d, n))
            continue;
        if (xml_value(x, theirs, "address", other) && strcasecmp(value, other) == 0)
            return domain_error(d, mac, err, "mac '%s': the interface at line %u has it too", value,
                                x->nodes[n].line);
    }
    return 0;
}

// What the one interface can have once, and which member of an element it is.
static int
check_once(const struct domain *d, const struct elements *all, const char *what, size_t member,
           struct error *err)
{
    const struct element *first = NULL;
    for (size_t i = 0; i < all->count; i++) {
        const struct element *e = &all->list[i];
        uint32_t node;
        memcpy(&node, (const char *)e + member, sizeof(node));
        if (node == XML_NONE)
            continue;
        if (first)
            return domain_error(d, node, err,
                                "<%s>: the vmchannel interface at line %u has one, and all of a "
                                "domain are one interface (accepted: <%s> in one of them)",
                                what, d->xml.nodes[first->node].line, what);
        first = e;
        int rc = member == offsetof(struct element, mac) ? check_mac(d, node, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
check_together(const struct domain *d, const struct elements *all, struct error *err)
{
    for (size_t i = 0; i < all->count; i++)
        for (size_t j = 0; j < i; j++)
            if (all->list[i].channel.port == all->list[j].channel.port)
                return domain_error(d, all->list[i].node, err,
                                    "port %u: line %u has it already (accepted: each port once)",
                                    all->list[i].channel.port,
                                    d->xml.nodes[all->list[j].node].line);
    int rc = check_once(d, all, "mac", offsetof(struct element, mac), err);
    if (rc == 0)
        rc = check_once(d, all, "address", offsetof(struct element, address), err);
    if (rc == 0)
        rc = check_once(d, all, "rom", offsetof(struct element, rom), err);
    return rc < 0 ? rc : check_model(d, all, err);
}

// Those among the children of a node.
static int
collect_from(const struct domain *d, uint32_t parent, struct elements *all, struct error *err)
{
    for (uint32_t n = xml_child(&d->xml, parent, NULL); n != XML_NONE;
         n = xml_next(&d->xml, n, NULL)) {
        if (!element_is_ours(d, n))
            continue;
        if (all->count == GUEST_CHANNELS_MAX)
            return domain_error(d, n, err, "over %d channels", GUEST_CHANNELS_MAX);
        struct element *grown = realloc(all->list, (all->count + 1) * sizeof(*grown));
        if (!grown)
            return domain_out_of_memory(d, err);
        all->list = grown;
        int rc = parse_element(d, n, &all->list[all->count++], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// libvirt would drop it without a word.
static int
check_places(const struct domain *d, struct error *err)
{
    for (uint32_t n = xml_child(&d->xml, d->root, NULL); n != XML_NONE;
         n = xml_next(&d->xml, n, NULL))
        if (element_is_ours(d, n))
            return domain_error(d, n, err, "<%.*s>: is a device (accepted: in <devices>)",
                                (int)d->xml.nodes[n].name_len,
                                d->xml.text + d->xml.nodes[n].start + 1);
    return 0;
}

int
elements_collect(const struct domain *d, struct elements *out, struct error *err)
{
    *out = (struct elements){0};
    int rc = check_places(d, err);
    if (rc == 0)
        rc = collect_from(d, d->channels, out, err);
    out->in_metadata = out->count;
    if (rc == 0)
        rc = collect_from(d, d->devices, out, err);
    return rc < 0 ? rc : check_together(d, out, err);
}

void
elements_fini(struct elements *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->list[i].text);
    free(e->list);
    *e = (struct elements){0};
}

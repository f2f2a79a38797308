// SPDX-License-Identifier: BSD-3-Clause
// One channel more or less in a domain's XML: in our metadata when the domain is translated, else
// among its devices. What that means to a domain that runs is left to the caller.
#include "config/domain_xml_translate.h"

#include <stdio.h>
#include <string.h>

#define FORM "PORT:unix:/PATH[,server,nowait][,reconnect=S][,proxy=v2][,name=ua-NAME]"

static bool
has_limit(const struct device *dev)
{
    return dev->max > 0 || dev->conn_rate > 0 || dev->idle_s > 0 || dev->rate > 0;
}

// What the user's element can say is all that the device may be.
static int
check_channel(const struct channel_spec *c, struct error *err)
{
    const struct device *dev = &c->device;
    const char *why = NULL;
    if (dev->kind != DEVICE_UNIX || dev->abstract)
        why = "domain XML has Unix sockets with a path alone";
    else if (dev->path[0] != '/')
        why = "the path is not absolute";
    else if (dev->server && dev->wait)
        why = "a socket of domain XML does not wait";
    else if (dev->name[0] != '\0' && strncmp(dev->name, "ua-", 3) != 0)
        why = "its name is an alias of libvirt's, which begins with ua-";
    else if (dev->telnet || dev->websocket || dev->logfile[0] != '\0' || has_limit(dev))
        why = "an option of it has no form in domain XML";
    return why ? error_set(err, 0, "channel %u: '%.100s': %s (accepted: " FORM ")", c->port,
                           c->text, why)
               : 0;
}

static void
emit_element(const struct channel_spec *c, const struct layout *l, struct buffer *b)
{
    const struct device *dev = &c->device;
    layout_line(l, b, 0);
    buffer_add_text(b, "<interface type='vmchannel'>");
    layout_line(l, b, 1);
    buffer_printf(b, "<source port='%u'/>", c->port);
    layout_line(l, b, 1);
    buffer_add_text(b, "<target path='");
    xml_escape(b, dev->path);
    buffer_add_text(b, dev->server ? "' mode='bind'" : "'");
    if (dev->proxy)
        buffer_add_text(b, " proxy='v2'");
    if (dev->reconnect_s > 0) {
        buffer_add_text(b, ">");
        layout_line(l, b, 2);
        buffer_printf(b, "<reconnect enabled='yes' timeout='%u'/>", dev->reconnect_s);
        layout_line(l, b, 1);
        buffer_add_text(b, "</target>");
    } else {
        buffer_add_text(b, "/>");
    }
    if (dev->name[0] != '\0') {
        layout_line(l, b, 1);
        buffer_add_text(b, "<alias name='");
        xml_escape(b, dev->name);
        buffer_add_text(b, "'/>");
    }
    layout_line(l, b, 0);
    buffer_add_text(b, "</interface>");
}

// The record with all elements but one, and a new one behind them; each of the two may be missing.
static int
emit_record(const struct domain *d, const struct elements *all, size_t but,
            const struct channel_spec *more, bool with_prefix, struct buffer *b, struct error *err)
{
    struct record old = {0}, r = {0};
    struct place last = {0};
    int rc = record_read(d, &old, err);
    r.added = old.added;
    bool ok = rc == 0;
    for (size_t i = 0; i < all->in_metadata && ok; i++) {
        if (i < old.count)
            last = old.places[i];
        if (i != but)
            ok = record_grow(&r, last);
    }
    if (more && ok)
        ok = record_grow(&r, last);
    if (rc == 0 && !ok)
        rc = domain_out_of_memory(d, err);
    struct layout inner = layout_in(d, d->channels), outer = layout_in(d, d->metadata);
    record_emit_start(&r, with_prefix, b);
    for (size_t i = 0; i < all->in_metadata; i++) {
        uint32_t from, to;
        record_span(d, all, i, &from, &to);
        if (i != but)
            buffer_add(b, d->xml.text + from, to - from);
    }
    if (more)
        emit_element(more, &inner, b);
    layout_line(&outer, b, 0);
    record_emit_end(with_prefix, b);
    record_fini(&old);
    record_fini(&r);
    return rc;
}

static int
load(struct domain *d, struct elements *all, const char *in, size_t len, const char *file,
     struct error *err)
{
    int rc = domain_load(d, in, len, file, err);
    return rc < 0 ? rc : elements_collect(d, all, err);
}

static int
replace_record(const struct domain *d, const struct elements *all, size_t but,
               const struct channel_spec *more, struct edits *e, struct error *err)
{
    const struct xml_node *n = &d->xml.nodes[d->channels];
    edit_begin(e, n->start, n->end - n->start);
    int rc = emit_record(d, all, but, more, true, &e->text, err);
    edit_end(e);
    return rc;
}

static int
add_device(const struct domain *d, const struct channel_spec *c, struct edits *e, struct error *err)
{
    if (d->devices == XML_NONE)
        return domain_error(d, d->root, err, "no <devices>");
    struct layout l = layout_in(d, d->devices);
    edit_open(d, d->devices, e);
    emit_element(c, &l, &e->text);
    edit_close(d, d->devices, e);
    return 0;
}

static int
check_new(const struct domain *d, const struct elements *all, const struct channel_spec *c,
          struct error *err)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].channel.port == c->port)
            return domain_error(d, all->list[i].node, err, "channel %u: is there already", c->port);
    return 0;
}

int
domain_xml_add_channel(const char *in, size_t len, const char *file, const char *channel,
                       struct buffer *out, struct error *err)
{
    struct domain d = {0};
    struct elements all = {0};
    struct edits e = {0};
    struct channel_spec c;
    int rc = channel_spec_parse(channel, &c, err);
    if (rc == 0)
        rc = check_channel(&c, err);
    if (rc == 0)
        rc = load(&d, &all, in, len, file, err);
    if (rc == 0)
        rc = check_new(&d, &all, &c, err);
    if (rc == 0)
        rc = d.channels == XML_NONE ? add_device(&d, &c, &e, err)
                                    : replace_record(&d, &all, SIZE_MAX, &c, &e, err);
    if (rc == 0)
        rc = edits_apply(&d, &e, out, err);
    edits_fini(&e);
    elements_fini(&all);
    domain_fini(&d);
    return rc;
}

static int
del_channel(const struct domain *d, const struct elements *all, uint16_t port, struct edits *e,
            struct error *err)
{
    size_t n = 0;
    while (n < all->count && all->list[n].channel.port != port)
        n++;
    if (n == all->count)
        return domain_error(d, d->root, err, "channel %u: there is none", port);
    if (n < all->in_metadata)
        return replace_record(d, all, n, NULL, e, err);
    const struct xml_node *node = &d->xml.nodes[all->list[n].node];
    edit_cut(e, xml_space_before(&d->xml, node->start), node->end);
    return 0;
}

int
domain_xml_del_channel(const char *in, size_t len, const char *file, uint16_t port,
                       struct buffer *out, struct error *err)
{
    struct domain d;
    struct elements all = {0};
    struct edits e = {0};
    int rc = load(&d, &all, in, len, file, err);
    if (rc == 0)
        rc = del_channel(&d, &all, port, &e, err);
    if (rc == 0)
        rc = edits_apply(&d, &e, out, err);
    edits_fini(&e);
    elements_fini(&all);
    domain_fini(&d);
    return rc;
}

int
domain_xml_metadata(const char *in, size_t len, const char *file, struct buffer *out,
                    struct error *err)
{
    struct domain d;
    struct elements all = {0};
    int rc = load(&d, &all, in, len, file, err);
    if (rc == 0 && d.channels == XML_NONE)
        rc = domain_error(&d, d.root, err, "not translated: no vmchannel in its metadata");
    if (rc == 0)
        rc = emit_record(&d, &all, SIZE_MAX, NULL, false, out, err);
    if (rc == 0 && out->failed)
        rc = domain_out_of_memory(&d, err);
    elements_fini(&all);
    domain_fini(&d);
    return rc;
}

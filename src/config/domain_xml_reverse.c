// SPDX-License-Identifier: BSD-3-Clause
// Stock libvirt's XML to the user's: takes away what the translation added, as the record in our
// metadata tells, and puts the user's elements where they were. As every addition begins behind a
// ">" with white space of its own, taking away an element and the white space before it leaves the
// text as it was; and what libvirt laid out anew stays well laid out.
#include "config/domain_xml_translate.h"

#include <string.h>

static uint32_t
start_with_space(const struct domain *d, uint32_t node)
{
    return xml_space_before(&d->xml, d->xml.nodes[node].start);
}

static void
cut_element(const struct domain *d, uint32_t node, struct edits *e)
{
    if (node != XML_NONE)
        edit_cut(e, start_with_space(d, node), d->xml.nodes[node].end);
}

static bool
is_only_child(const struct domain *d, uint32_t node)
{
    const struct xml_node *n = &d->xml.nodes[node];
    return n->previous == XML_NONE && n->next == XML_NONE;
}

// What was <so/> and was opened for us is <so/> again.
static void
close_again(const struct domain *d, uint32_t node, struct edits *e)
{
    const struct xml_node *n = &d->xml.nodes[node];
    edit_begin(e, n->open_end - 1, 0);
    buffer_add_text(&e->text, "/");
    edit_end(e);
    edit_cut(e, n->open_end, n->end);
}

// A child of ours in a parent that was ours too (the bit whole), or was empty (content), or had
// other children. What somebody else put beside it stays.
static void
cut_child(const struct domain *d, uint32_t child, unsigned added, enum added whole,
          enum added content, struct edits *e)
{
    uint32_t parent = d->xml.nodes[child].parent;
    if ((added & whole) && is_only_child(d, child))
        cut_element(d, parent, e);
    else if ((added & content) && is_only_child(d, child))
        close_again(d, parent, e);
    else
        cut_element(d, child, e);
}

static bool
value_is(const struct domain *d, uint32_t node, const char *name, const char *value)
{
    char found[XML_VALUE_MAX];
    return xml_value(&d->xml, node, name, found) && strcmp(found, value) == 0;
}

static void
cut_memory(const struct domain *d, unsigned added, struct edits *e)
{
    uint32_t node = xml_child(&d->xml, d->root, "memoryBacking");
    uint32_t source = xml_child(&d->xml, node, "source");
    uint32_t access = xml_child(&d->xml, node, "access");
    uint32_t children = 0;
    if (node == XML_NONE)
        return;
    for (uint32_t n = d->xml.nodes[node].first_child; n != XML_NONE; n = d->xml.nodes[n].next)
        children++;
    // Somebody may have changed ours to something else.
    bool cuts_source = (added & (ADDED_MEMORY | ADDED_SOURCE)) && source != XML_NONE &&
                       value_is(d, source, "type", "memfd");
    bool cuts_access = (added & (ADDED_MEMORY | ADDED_ACCESS)) && access != XML_NONE &&
                       value_is(d, access, "mode", "shared");
    bool cuts_all = children == (uint32_t)cuts_source + (uint32_t)cuts_access;
    if (cuts_all && (added & ADDED_MEMORY)) {
        cut_element(d, node, e);
    } else if (cuts_all && (added & ADDED_MEMORY_CONTENT) && children > 0) {
        close_again(d, node, e);
    } else {
        cut_element(d, cuts_source ? source : XML_NONE, e);
        cut_element(d, cuts_access ? access : XML_NONE, e);
    }
}

// Whether a name outside of this element has the prefix.
static bool
uses_prefix(const struct domain *d, const char *prefix, uint32_t but)
{
    size_t len = strlen(prefix);
    const struct xml_node *out = &d->xml.nodes[but];
    for (uint32_t i = 0; i < d->xml.count; i++) {
        const struct xml_node *n = &d->xml.nodes[i];
        const char *name = d->xml.text + n->start + 1;
        if ((n->start < out->start || n->start >= out->end) && n->name_len > len &&
            memcmp(name, prefix, len) == 0 && name[len] == ':')
            return true;
    }
    return false;
}

// libvirt moves the declaration of QEMU's namespace to the domain's start tag.
static void
cut_namespace(const struct domain *d, uint32_t override, struct edits *e)
{
    char prefix[XML_VALUE_MAX], name[XML_VALUE_MAX + 8] = "xmlns:";
    struct xml_attr attr = {0};
    if (!xml_prefix_of(&d->xml, d->root, QEMU_NAMESPACE, prefix) ||
        uses_prefix(d, prefix, override))
        return;
    memcpy(name + strlen(name), prefix, strlen(prefix) + 1);
    while (xml_next_attr(&d->xml, d->root, &attr))
        if (xml_attr_is(&d->xml, &attr, name))
            edit_cut(e, xml_space_before(&d->xml, attr.name), attr.value + attr.value_len + 1);
}

static void
cut_override(const struct domain *d, unsigned added, struct edits *e)
{
    uint32_t device, override = override_find(d, &device);
    if (!(added & (ADDED_OVERRIDE | ADDED_OVERRIDE_DEVICE)) || device == XML_NONE)
        return;
    bool whole = (added & ADDED_OVERRIDE) && is_only_child(d, device);
    if (whole && (added & ADDED_NAMESPACE))
        cut_namespace(d, override, e);
    cut_child(d, device, added, ADDED_OVERRIDE, ADDED_OVERRIDE_CONTENT, e);
}

// The offset that a place means now; behind the last of the devices when there are fewer.
static uint32_t
find_place(const struct domain *d, struct place place)
{
    const struct xml_node *nodes = d->xml.nodes;
    if (d->nic == XML_NONE)
        return insertion_point(d, d->devices);
    uint32_t at = d->nic;
    for (; place.nodes > 0 && nodes[at].next != XML_NONE; place.nodes--)
        at = nodes[at].next;
    uint32_t next = nodes[at].next;
    uint32_t limit = next == XML_NONE ? nodes[d->devices].close : nodes[next].start;
    return place.bytes < limit - nodes[at].end ? nodes[at].end + place.bytes
                                               : xml_space_before(&d->xml, limit);
}

// libvirt writes metadata anew, with double quotes where we have single ones; and the devices in an
// order of its own, in which places counted before mean nothing.
static bool
is_rewritten(const struct domain *d)
{
    struct xml_attr attr = {0};
    return xml_next_attr(&d->xml, d->channels, &attr) && d->xml.text[attr.value - 1] == '"';
}

// Whether it is a tag that stands behind white space; in a value no "<" may be.
static bool
is_before_tag(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at < end && *at == '<';
}

// Text with another line break and indentation in front of its tags.
static void
add_indented(struct buffer *b, const char *text, size_t len, const char *from, const char *to)
{
    size_t from_len = strlen(from);
    for (const char *at = text, *end = text + len; at < end;) {
        const char *next = from_len > 0 ? memmem(at, (size_t)(end - at), from, from_len) : NULL;
        const char *behind = next ? next + from_len : end;
        bool moves = next && is_before_tag(behind, end);
        buffer_add(b, at, (size_t)((moves ? next : behind) - at));
        if (moves)
            buffer_add_text(b, to);
        at = behind;
    }
}

static int
put_back(const struct domain *d, const struct elements *all, const struct record *r,
         struct edits *e, struct error *err)
{
    struct place place = {0};
    if (d->devices == XML_NONE || xml_is_self_closed(&d->xml, d->devices))
        return domain_error(d, d->channels, err,
                            "no <devices> that the vmchannel interfaces could stand in");
    bool rewritten = is_rewritten(d);
    struct layout from = layout_in(d, d->channels), to = layout_in(d, d->devices);
    for (size_t i = 0; i < all->in_metadata; i++) {
        uint32_t start, end;
        if (i < r->count && !rewritten)
            place = r->places[i];
        record_span(d, all, i, &start, &end);
        edit_begin(e, find_place(d, place), 0);
        add_indented(&e->text, d->xml.text + start, end - start, rewritten ? from.line : "",
                     to.line);
        edit_end(e);
    }
    return 0;
}

static int
reverse(const struct domain *d, struct buffer *out, struct error *err)
{
    struct elements all = {0};
    struct record r = {0};
    struct edits e = {0};
    int rc = elements_collect(d, &all, err);
    if (rc == 0)
        rc = record_read(d, &r, err);
    if (rc == 0) {
        if (r.added & ADDED_UUID)
            cut_element(d, xml_child(&d->xml, d->root, "uuid"), &e);
        cut_child(d, d->channels, r.added, ADDED_METADATA, ADDED_METADATA_CONTENT, &e);
        cut_memory(d, r.added, &e);
        cut_element(d, d->nic, &e);
        cut_override(d, r.added, &e);
        if (all.in_metadata > 0)
            rc = put_back(d, &all, &r, &e, err);
    }
    if (rc == 0)
        rc = edits_apply(d, &e, out, err);
    edits_fini(&e);
    record_fini(&r);
    elements_fini(&all);
    return rc;
}

int
domain_xml_reverse(const char *in, size_t len, const char *file, struct buffer *out,
                   struct error *err)
{
    struct domain d;
    int rc = domain_load(&d, in, len, file, err);
    if (rc == 0 && d.channels != XML_NONE) {
        rc = reverse(&d, out, err);
    } else if (rc == 0) {
        buffer_add(out, in, len);
        rc = out->failed ? domain_out_of_memory(&d, err) : 0;
    }
    domain_fini(&d);
    return rc;
}

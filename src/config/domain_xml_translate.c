// SPDX-License-Identifier: BSD-3-Clause
// The user's XML to stock libvirt's: what is missing is added, the user's elements are moved into
// <metadata>, and one interface stands for them. The way back is domain_xml_reverse.c's, which
// knows of each edit here.
#include "config/domain_xml_translate.h"

#include "base/siphash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t
insertion_point(const struct domain *d, uint32_t parent)
{
    const struct xml_node *p = &d->xml.nodes[parent];
    return p->last_child == XML_NONE ? p->open_end : d->xml.nodes[p->last_child].end;
}

bool
edit_open(const struct domain *d, uint32_t parent, struct edits *e)
{
    const struct xml_node *p = &d->xml.nodes[parent];
    bool self_closed = xml_is_self_closed(&d->xml, parent);
    if (self_closed)
        edit_cut(e, p->open_end - 2, p->open_end - 1);
    edit_begin(e, insertion_point(d, parent), 0);
    if (self_closed && !e->failed)
        e->list[e->count - 1].is_inside = true;
    return self_closed;
}

void
edit_close(const struct domain *d, uint32_t parent, struct edits *e)
{
    const struct xml_node *p = &d->xml.nodes[parent];
    if (xml_is_self_closed(&d->xml, parent)) {
        struct layout l = layout_in(d, p->parent);
        layout_line(&l, &e->text, 0);
        buffer_printf(&e->text, "</%.*s>", (int)p->name_len, d->xml.text + p->start + 1);
    }
    edit_end(e);
}

// Version 8 of RFC 9562, whose bits are ours to make: the same for the same name on the same host.
static void
make_uuid(const char *seed, const char *name, char out[UUID_LEN + 1])
{
    uint64_t half[2];
    struct buffer text = {0};
    buffer_printf(&text, "%s\n%s", seed, name);
    for (uint64_t i = 0; i < 2; i++) {
        struct siphash_key key = {.k0 = 0x766d6368616e6e65, .k1 = i};
        half[i] = text.failed ? 0 : siphash(&key, text.data, text.len);
    }
    buffer_fini(&text);
    half[0] = (half[0] & ~0xf000ull) | 0x8000;
    half[1] = (half[1] & ~(3ull << 62)) | 1ull << 63;
    snprintf(out, UUID_LEN + 1, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(half[0] >> 32),
             (unsigned)(half[0] >> 16) & 0xffff, (unsigned)half[0] & 0xffff,
             (unsigned)(half[1] >> 48), (unsigned long long)half[1] & 0xffffffffffff);
}

// QEMU's prefix, and the rest from the UUID: a domain keeps its address.
static void
make_mac(const char *uuid, char out[18])
{
    struct siphash_key key = {.k0 = 0x6d6163, .k1 = 0};
    uint64_t hash = siphash(&key, uuid, strlen(uuid));
    snprintf(out, 18, "52:54:00:%02x:%02x:%02x", (unsigned)(hash & 0xff),
             (unsigned)(hash >> 8 & 0xff), (unsigned)(hash >> 16 & 0xff));
}

static int
find_uuid(const struct domain *d, const struct domain_xml_options *o, struct edits *e,
          struct record *r, char uuid[UUID_LEN + 1], struct error *err)
{
    char name[XML_VALUE_MAX];
    uint32_t node = xml_child(&d->xml, d->root, "name");
    if (!xml_text(&d->xml, node, name) || name[0] == '\0')
        return domain_error(d, d->root, err, "no <name>, which a domain must have");
    int rc = domain_uuid(d, uuid, err);
    if (rc != 0)
        return rc;
    if (o->uuid)
        snprintf(uuid, UUID_LEN + 1, "%s", o->uuid);
    else
        make_uuid(o->seed ? o->seed : "", name, uuid);
    struct layout l = layout_in(d, d->root);
    edit_begin(e, d->xml.nodes[node].end, 0);
    layout_line(&l, &e->text, 0);
    buffer_printf(&e->text, "<uuid>%s</uuid>", uuid);
    edit_end(e);
    r->added |= ADDED_UUID;
    return 0;
}

// Where the elements are, all seen from the end of the first one; see struct place.
static bool
note_places(const struct domain *d, const struct elements *all, struct record *r)
{
    const struct xml_node *nodes = d->xml.nodes;
    struct place place = {0};
    uint32_t at = all->list[0].node, end = nodes[at].end;
    bool ok = record_grow(r, place);
    for (uint32_t n = nodes[at].next; n != XML_NONE && ok; n = nodes[n].next) {
        if (nodes[n].name_len > 0 && element_is_ours(d, n)) {
            place.bytes += xml_space_before(&d->xml, nodes[n].start) - end;
            ok = record_grow(r, place);
        } else {
            place.nodes++;
            place.bytes = 0;
        }
        end = nodes[n].end;
    }
    return ok;
}

static void
add_node_text(const struct domain *d, uint32_t node, struct buffer *b)
{
    const struct xml_node *n = &d->xml.nodes[node];
    buffer_add(b, d->xml.text + n->start, n->end - n->start);
}

// What an element says of the interface, as it is written there, or our own words.
static void
emit_child(const struct domain *d, const struct elements *all, size_t member,
           const struct layout *l, const char *ours, struct buffer *b)
{
    uint32_t node = XML_NONE;
    for (size_t i = 0; i < all->count && node == XML_NONE; i++)
        memcpy(&node, (const char *)&all->list[i] + member, sizeof(node));
    if (node == XML_NONE && !ours)
        return;
    layout_line(l, b, 1);
    if (node != XML_NONE)
        add_node_text(d, node, b);
    else
        buffer_add_text(b, ours);
}

static void
emit_interface(const struct domain *d, const struct elements *all, const char *directory,
               const char *uuid, const struct layout *l, struct buffer *b)
{
    char mac[64], address[18];
    make_mac(uuid, address);
    snprintf(mac, sizeof(mac), "<mac address='%s'/>", address);
    buffer_add_text(b, "<interface type='" NIC_TYPE "'>");
    emit_child(d, all, offsetof(struct element, mac), l, mac, b);
    layout_line(l, b, 1);
    buffer_add_text(b, "<source type='unix' path='");
    xml_escape(b, directory);
    buffer_printf(b, "/%s.sock' mode='client'>", uuid);
    layout_line(l, b, 2);
    buffer_add_text(b, "<reconnect enabled='yes' timeout='1'/>");
    layout_line(l, b, 1);
    buffer_add_text(b, "</source>");
    emit_child(d, all, offsetof(struct element, model), l, "<model type='virtio'/>", b);
    layout_line(l, b, 1);
    buffer_add_text(b, "<alias name='" DOMAIN_XML_ALIAS "'/>");
    emit_child(d, all, offsetof(struct element, rom), l, NULL, b);
    emit_child(d, all, offsetof(struct element, address), l, NULL, b);
    layout_line(l, b, 0);
    buffer_add_text(b, "</interface>");
}

// The elements go, each with the white space before it; the interface comes where the first was.
static void
edit_devices(const struct domain *d, const struct elements *all, const char *directory,
             const char *uuid, struct edits *e)
{
    struct layout l = layout_in(d, d->devices);
    for (size_t i = 0; i < all->count; i++) {
        const struct xml_node *n = &d->xml.nodes[all->list[i].node];
        uint32_t from = xml_space_before(&d->xml, n->start);
        edit_begin(e, from, n->end - from);
        if (i == 0) {
            buffer_add(&e->text, d->xml.text + from, n->start - from);
            emit_interface(d, all, directory, uuid, &l, &e->text);
        }
        edit_end(e);
    }
}

static void
emit_record(const struct domain *d, const struct elements *all, const struct record *r,
            const struct layout *l, unsigned depth, struct buffer *b)
{
    layout_line(l, b, depth);
    record_emit_start(r, true, b);
    for (size_t i = 0; i < all->count; i++) {
        const struct xml_node *n = &d->xml.nodes[all->list[i].node];
        uint32_t from = xml_space_before(&d->xml, n->start);
        buffer_add(b, d->xml.text + from, n->end - from);
    }
    layout_line(l, b, depth);
    record_emit_end(true, b);
}

// The record knows all that was added, so it comes last.
static void
edit_metadata(const struct domain *d, const struct elements *all, struct record *r, struct edits *e)
{
    struct layout l = layout_in(d, d->root);
    if (d->metadata != XML_NONE) {
        struct layout inner = layout_in(d, d->metadata);
        if (edit_open(d, d->metadata, e))
            r->added |= ADDED_METADATA_CONTENT;
        emit_record(d, all, r, &inner, 0, &e->text);
        edit_close(d, d->metadata, e);
        return;
    }
    r->added |= ADDED_METADATA;
    uint32_t after = xml_child(&d->xml, d->root, "uuid");
    if (after == XML_NONE)
        after = xml_child(&d->xml, d->root, "name"); // which is there, find_uuid saw it
    edit_begin(e, d->xml.nodes[after].end, 0);
    layout_line(&l, &e->text, 0);
    buffer_add_text(&e->text, "<metadata>");
    emit_record(d, all, r, &l, 1, &e->text);
    layout_line(&l, &e->text, 0);
    buffer_add_text(&e->text, "</metadata>");
    edit_end(e);
}

static int
check_type(const struct domain *d, struct error *err)
{
    char type[XML_VALUE_MAX];
    static const char *const good[] = {"kvm", "qemu", "hvf"};
    xml_value(&d->xml, d->root, "type", type);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (strcmp(type, good[i]) == 0)
            return 0;
    return domain_error(d, d->root, err,
                        "domain type '%.64s': vmchannel interfaces are for QEMU (accepted: kvm, "
                        "qemu, hvf)",
                        type);
}

// An interface of somebody else's that has our name would be taken for ours on the way back.
static int
check_alias(const struct domain *d, struct error *err)
{
    if (d->channels != XML_NONE || d->nic == XML_NONE)
        return 0;
    return domain_error(d, d->nic, err,
                        "alias '" DOMAIN_XML_ALIAS "': is for the interface that is made for the "
                        "channels (accepted: another name)");
}

static int
build(const struct domain *d, const struct elements *all, const struct memory *m,
      const struct domain_xml_options *o, struct buffer *out, struct error *err)
{
    char uuid[UUID_LEN + 1];
    struct edits e = {0};
    struct record r = {0};
    int rc = find_uuid(d, o, &e, &r, uuid, err);
    if (rc < 0)
        goto out;
    if (!note_places(d, all, &r)) {
        rc = domain_out_of_memory(d, err);
        goto out;
    }
    r.added |= memory_edit(d, m, &e);
    edit_devices(d, all, o->directory ? o->directory : DOMAIN_XML_DIRECTORY, uuid, &e);
    r.added |= override_edit(d, &e);
    edit_metadata(d, all, &r, &e);
    rc = edits_apply(d, &e, out, err);
out:
    record_fini(&r);
    edits_fini(&e);
    return rc;
}

// A domain's copy by virt-clone has another UUID, and the socket of the first one.
static bool
is_whole(const struct domain *d)
{
    char path[XML_VALUE_MAX], uuid[UUID_LEN + 1], wanted[64];
    if (d->nic == XML_NONE || domain_uuid(d, uuid, NULL) != 1 ||
        !xml_value(&d->xml, xml_child(&d->xml, d->nic, "source"), "path", path))
        return false;
    snprintf(wanted, sizeof(wanted), "/%s.sock", uuid);
    size_t len = strlen(path), wanted_len = strlen(wanted);
    return len >= wanted_len && strcmp(path + len - wanted_len, wanted) == 0;
}

// A translated domain with something new in it is taken apart and put together again.
static int
translate_again(const char *in, size_t len, const struct domain_xml_options *o, struct buffer *out,
                struct error *err)
{
    struct buffer before = {0};
    int rc = domain_xml_reverse(in, len, o->file, &before, err);
    if (rc == 0)
        rc = domain_xml_translate(before.data, before.len, o, out, err);
    buffer_fini(&before);
    return rc;
}

int
domain_xml_translate(const char *in, size_t len, const struct domain_xml_options *options,
                     struct buffer *out, struct error *err)
{
    struct domain d;
    struct elements all = {0};
    struct memory m;
    int rc = domain_load(&d, in, len, options->file, err);
    if (rc == 0)
        rc = elements_collect(&d, &all, err);
    if (rc == 0 && all.count > 0)
        rc = check_type(&d, err);
    if (rc == 0 && all.count > 0)
        rc = check_alias(&d, err);
    if (rc == 0 && all.count > 0)
        rc = memory_check(&d, &m, err);
    if (rc < 0)
        goto out;
    bool is_new = all.count > all.in_metadata;
    if (!is_new && (d.channels == XML_NONE || is_whole(&d))) {
        buffer_add(out, in, len);
        rc = out->failed ? domain_out_of_memory(&d, err) : 0;
    } else if (d.channels != XML_NONE) {
        rc = translate_again(in, len, options, out, err);
    } else {
        rc = build(&d, &all, &m, options, out, err);
    }
out:
    elements_fini(&all);
    domain_fini(&d);
    return rc;
}

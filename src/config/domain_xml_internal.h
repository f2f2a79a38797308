// SPDX-License-Identifier: BSD-3-Clause
// What the parts of the domain XML translator share: a domain with its places found, the user's
// elements with what they say, and a list of edits to the text.
#pragma once

#include "config/domain_xml.h"
#include "config/domain_xml_scan.h"
#include "host/device.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"
#define NIC_TYPE       "vhostuser"

struct domain {
    const char *file;
    struct buffer plain; // the text without our prefix, when elements in our metadata had it
    struct xml_doc xml;  // of the caller's text, or of that
    uint32_t root, devices, metadata; // XML_NONE where missing
    uint32_t channels;                // our element in metadata
    uint32_t nic;                     // the interface that we made
};

// domain_xml.c. Reads and checks a document; domain_fini also after a failure.
int domain_load(struct domain *d, const char *in, size_t len, const char *file, struct error *err);
void domain_fini(struct domain *d);
// -EINVAL with err "FILE:LINE: MESSAGE", the line being that of the node.
int domain_error(const struct domain *d, uint32_t node, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// The UUID of the domain in lower case with dashes: 1; 0 when it has none; -EINVAL with err.
int domain_uuid(const struct domain *d, char out[UUID_LEN + 1], struct error *err);
int domain_out_of_memory(const struct domain *d, struct error *err);

// domain_xml_prefix.c. The domain's text with the elements within ours in <metadata> named without
// our prefix; empty when none has it. The line of each node stays the same.
int domain_strip_prefix(const struct domain *d, struct buffer *out, struct error *err);

// domain_xml_elements.c.
struct element { // one of the user's
    uint32_t node;
    struct channel_spec channel;
    char *text;                        // "600:unix:/some/path,...", heap
    uint32_t mac, model, address, rom; // children that are the interface's; XML_NONE without
};

struct elements {
    struct element *list; // heap
    size_t count;
    size_t in_metadata; // how many of them, the first ones
};

// Whether a child of <devices> is one of ours to translate.
bool element_is_ours(const struct domain *d, uint32_t node);
// All of them, those in our metadata first, each checked, and against each other.
int elements_collect(const struct domain *d, struct elements *out, struct error *err);
void elements_fini(struct elements *e);

// domain_xml_edit.c. Cuts and insertions at offsets of the document.
struct edit {
    uint32_t at, cut;      // what is there for so many bytes goes away
    size_t text, text_len; // in edits.text, put in its place
    // Adds to what ends at this place, and so comes before what is put behind that.
    bool is_inside;
};

struct edits {
    struct edit *list; // heap
    size_t count;
    struct buffer text;
    bool failed; // memory ran out
};

// Begins an edit; what is added to e->text until edit_end takes the place of `cut` bytes.
void edit_begin(struct edits *e, uint32_t at, uint32_t cut);
void edit_end(struct edits *e);
// An edit that only cuts.
void edit_cut(struct edits *e, uint32_t from, uint32_t to);
// The document with all edits, which must not overlap; at one place those inside come first, then
// the order is that of making.
int edits_apply(const struct domain *d, struct edits *e, struct buffer *out, struct error *err);
void edits_fini(struct edits *e);

// Layout: the line break and indentation in front of children of a node, "" in a document without.
#define LAYOUT_MAX 128
struct layout {
    char line[LAYOUT_MAX]; // such as "\n    "
    char unit[LAYOUT_MAX]; // what one level more has in front, such as "  "
};
// That of a child of parent, existing or new.
struct layout layout_in(const struct domain *d, uint32_t parent);
// A new line, so many levels deeper.
void layout_line(const struct layout *l, struct buffer *b, unsigned depth);

// domain_xml_record.c: our element in <metadata>.
enum added { // what the translation made, and the reverse takes away; words of the attribute
    ADDED_UUID = 1,
    ADDED_METADATA = 2,
    ADDED_METADATA_CONTENT = 4, // it was <metadata/>
    ADDED_MEMORY = 8,           // <memoryBacking> as a whole
    ADDED_MEMORY_CONTENT = 16,  // it was <memoryBacking/>
    ADDED_SOURCE = 32,
    ADDED_ACCESS = 64,
    ADDED_OVERRIDE = 128, // <qemu:override>
    ADDED_OVERRIDE_CONTENT = 256,
    ADDED_OVERRIDE_DEVICE = 512,
    ADDED_NAMESPACE = 1024, // the domain had no prefix for QEMU's namespace
};

// Where a user's element was, counted from the end of the translated interface: behind so many
// nodes, then so many bytes of text.
struct place {
    uint32_t nodes, bytes;
};

struct record {
    unsigned added; // of enum added
    struct place *places;
    size_t count;
};

int record_read(const struct domain *d, struct record *out, struct error *err);
void record_fini(struct record *r);
// One more, place unknown: behind the last one. False without memory.
bool record_grow(struct record *r, struct place place);
// The start tag: "<vmchannel:channels xmlns:vmchannel=... added=... places=...>", or without
// prefix.
void record_emit_start(const struct record *r, bool with_prefix, struct buffer *out);
void record_emit_end(bool with_prefix, struct buffer *out);
// The user's element number n in our metadata with what stands before it, as offsets.
void record_span(const struct domain *d, const struct elements *e, size_t n, uint32_t *from,
                 uint32_t *to);

// SPDX-License-Identifier: BSD-3-Clause
// Where things stand in an XML document: offsets of elements, comments and their like, for who
// wants to cut and splice the text itself. The document is known to be well-formed, in UTF-8 and
// without a DTD (domain_xml.c sees to that); one that is not is refused or misread, never overrun.
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XML_NONE      UINT32_MAX // no such node
#define XML_VALUE_MAX 1024       // of a value that is read, with its zero byte; longer ones are cut

struct xml_node {
    uint32_t start;    // of "<"
    uint32_t open_end; // behind the start tag
    uint32_t close;    // of the end tag; open_end when the element is written <so/>
    uint32_t end;      // behind all of it
    uint32_t name_len; // the name is behind "<"; 0: a comment, CDATA or processing instruction
    uint32_t line;     // of "<", from 1
    uint32_t parent, first_child, last_child, next, previous; // node numbers or XML_NONE
};

struct xml_doc {
    const char *text; // the caller's
    uint32_t len;
    struct xml_node *nodes; // heap, in the order of their starts; [root] is the root element
    uint32_t count, size;
    uint32_t root;
};

// 0, -EINVAL or -ENOMEM, with err without the file's name. doc is to be freed in any case.
int xml_scan(struct xml_doc *doc, const char *text, size_t len, struct error *err);
void xml_doc_fini(struct xml_doc *doc);

bool xml_is_named(const struct xml_doc *doc, uint32_t node, const char *name);
bool xml_is_self_closed(const struct xml_doc *doc, uint32_t node);
// First child element of that name (NULL: any) from this child on; XML_NONE without one. A node of
// XML_NONE has no children.
uint32_t xml_child(const struct xml_doc *doc, uint32_t node, const char *name);
uint32_t xml_next(const struct xml_doc *doc, uint32_t node, const char *name);
// The attributes of an element one after the other, as offsets; attr begins as zero.
struct xml_attr {
    uint32_t name, name_len;
    uint32_t value, value_len; // within the quotes, as written
};
bool xml_next_attr(const struct xml_doc *doc, uint32_t node, struct xml_attr *attr);
bool xml_attr_is(const struct xml_doc *doc, const struct xml_attr *attr, const char *name);
// The value of an attribute, or the text of an element without that of its children: with
// references resolved. "" and false when it is not there.
bool xml_value(const struct xml_doc *doc, uint32_t node, const char *name, char out[XML_VALUE_MAX]);
bool xml_text(const struct xml_doc *doc, uint32_t node, char out[XML_VALUE_MAX]);
// Whether the element's name is NAME (NULL: any) in the namespace, by whatever prefix.
bool
xml_is_in_namespace(const struct xml_doc *doc, uint32_t node, const char *uri, const char *name);
// The prefix that the element has for a namespace, by itself or an ancestor, into out; false: none.
bool
xml_prefix_of(const struct xml_doc *doc, uint32_t node, const char *uri, char out[XML_VALUE_MAX]);
// Start of the white space that ends at this offset.
uint32_t xml_space_before(const struct xml_doc *doc, uint32_t offset);
// Text as the value of an attribute in single quotes.
void xml_escape(struct buffer *out, const char *text);

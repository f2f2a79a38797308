// SPDX-License-Identifier: BSD-3-Clause
// The parts that the translation of a domain is put together from, each with the edits it needs.
#pragma once

#include "config/domain_xml_internal.h"

// Behind the last thing in an element, its white space at the end left out.
uint32_t insertion_point(const struct domain *d, uint32_t parent);
// Begins an edit that adds to the end of an element, which is opened when it is <written so/>:
// true. edit_close ends the edit.
bool edit_open(const struct domain *d, uint32_t parent, struct edits *e);
void edit_close(const struct domain *d, uint32_t parent, struct edits *e);

// domain_xml_memory.c.
struct memory {
    uint32_t node; // <memoryBacking>, XML_NONE without
    bool needs_source, needs_access;
};
int memory_check(const struct domain *d, struct memory *out, struct error *err);
// The bits of enum added for what it adds.
unsigned memory_edit(const struct domain *d, const struct memory *m, struct edits *e);

// domain_xml_override.c. QEMU before 8.0 crashes under emulation when vhost-user meets MSI-X: for
// type='qemu' the interface gets no vectors. The bits of enum added.
unsigned override_edit(const struct domain *d, struct edits *e);
// The domain's own <qemu:override>, XML_NONE without; and our device in it.
uint32_t override_find(const struct domain *d, uint32_t *device);

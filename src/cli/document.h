// SPDX-License-Identifier: BSD-3-Clause
// Documents that commands read whole, such as domain XML, and what they write.
#pragma once

#include "base/buffer.h"
#include "base/error.h"

// The file at path, or standard input for NULL and "-". 0, or -errno with err; a document over
// DOMAIN_XML_MAX is an error. out is to be freed in any case.
int document_read(const char *path, struct buffer *out, struct error *err);
// To standard output, whole. 0, or -errno with err.
int document_write(const struct buffer *text, struct error *err);
// What tells this host from others: its machine-id, or "" where there is none. Returns out.
const char *document_host_seed(char out[64]);

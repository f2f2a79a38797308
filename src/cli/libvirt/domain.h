// SPDX-License-Identifier: BSD-3-Clause
// Domains through libvirt, in the words of their user: translated on the way in, reversed on the
// way out. All of these exit with a line when they fail.
#pragma once

#include "base/buffer.h"

#include <libvirt/libvirt.h>
#include <stdbool.h>

// uri NULL: libvirt's own default.
virConnectPtr connection_open(const char *command, const char *uri);

// Translates the user's XML, which was read from `file`, and has libvirt define or start it. A
// domain without <uuid> gets that of the existing one of its name. The caller frees.
virDomainPtr domain_submit(virConnectPtr c, const char *command, const char *file,
                           const struct buffer *xml, bool start);
// By name, number or UUID.
virDomainPtr domain_find(virConnectPtr c, const char *command, const char *word);
// The user's XML; flags as for virDomainGetXMLDesc.
void domain_text(virDomainPtr domain, const char *command, unsigned flags, struct buffer *out);

// Changes our metadata alone: "add PORT:DEVICE" or "del PORT". affect: one of
// VIR_DOMAIN_AFFECT_LIVE and _CONFIG.
void domain_record(virDomainPtr domain, const char *command, const char *change, unsigned affect);

// Says what libvirt's last error was, behind "COMMAND: WHAT: ".
_Noreturn void die_libvirt(const char *command, const char *what);

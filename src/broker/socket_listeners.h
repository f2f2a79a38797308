// SPDX-License-Identifier: BSD-3-Clause
// The listening sockets of a socket link, for each channel of the guest.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "config/guest_config.h"
#include "link/listener.h"
#include "link/spec.h"

#include <stdint.h>

// Opens them on the guest's side: out[i] for channel i. *hybrid: for a hybrid link the same with
// their paths, heap with room for GUEST_CHANNELS_MAX, else NULL. 0, or -errno with err filled;
// nothing is left then, all of out is LINK_LISTENER_NONE.
int
socket_listeners_open(const struct guest_config *guest, const struct link_spec *link,
                      struct link_listener *out, struct unix_listener **hybrid, struct error *err);
// One more, for channel `index`; hybrid as it was given. 0, or -errno with err filled.
int
socket_listeners_add(const struct guest_config *guest, const struct link_spec *link, uint16_t index,
                     struct link_listener *all, struct unix_listener *hybrid, struct error *err);
// Closes and removes that of one channel; harmless when there is none.
void
socket_listeners_remove(uint16_t index, struct link_listener *all, struct unix_listener *hybrid);
// Closes and removes all; frees hybrid.
void socket_listeners_close(struct link_listener *all, struct unix_listener *hybrid, size_t count);

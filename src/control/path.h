// SPDX-License-Identifier: BSD-3-Clause
// Where control sockets are: RUNTIME/NAME/control for the guest called NAME, in a directory that
// only we may enter.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

#define CONTROL_PATH_SIZE 108 // of sun_path

// The directory of all: $VMCHANNEL_RUNTIME_DIR, else /run/vmchannel for root, else
// $XDG_RUNTIME_DIR/vmchannel. 0, or -errno with err (none is known, or it is too long).
int control_runtime_dir(char out[CONTROL_PATH_SIZE], struct error *err);
// A name that can be a directory of its own there.
bool control_name_is_valid(const char *name);
// The socket of a guest; a `name` with a slash is the path itself. 0, or -errno with err.
int control_path(const char *name, char out[CONTROL_PATH_SIZE], struct error *err);
// Makes the directories above the socket of a guest: 0700, but for the one of all, which others may
// pass through. One of the guest's that is there must be ours, or that user's ((uid_t)-1: nobody
// else's). 0, or -errno with err.
int control_path_make(const char *name, uid_t user, char out[CONTROL_PATH_SIZE], struct error *err);
// Removes the guest's own directory, if it is empty.
void control_path_remove(const char *path);

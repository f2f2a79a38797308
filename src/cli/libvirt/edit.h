// SPDX-License-Identifier: BSD-3-Clause
// A text in the user's editor.
#pragma once

#include "base/buffer.h"

#include <limits.h>

// Writes the text to a new file, whose name it gives, runs $VISUAL, $EDITOR or vi on it, and reads
// what has become of it. Exits when that fails; the file stays until the caller removes it.
void edit_text(const struct buffer *before, struct buffer *after, char file[PATH_MAX]);

// SPDX-License-Identifier: BSD-3-Clause
// vmchannel-libvirt, the program that alone is linked with libvirt, as the others see it.
#pragma once

// Becomes it: COMMAND is of `vmchannel define` and its like, or "record", with the words that
// cli/libvirt/main.c tells. Does not return; when the program cannot be executed it exits with a
// line that says so.
_Noreturn void
libvirt_program_become(const char *command, const char *uri, const char *how, const char *what);

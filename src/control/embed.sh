#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Prints the text file $1 as a C string. Called by meson, in whose own commands a backslash would
# not survive.
exec sed -e 's/[\\"]/\\&/g' -e 's/^/"/' -e 's/$/\\n"/' "$1"

#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# /init of a guest in which vmchannel itself runs: moves to a tmpfs, as pivot_root(2), a step of the
# worker's sandbox, is refused on the first root file system. From there on it is as any guest.
export PATH=/bin:/sbin
mkdir /new /run
mount -t tmpfs -o size=75%,mode=755 root /new
for entry in /*; do
    [ "$entry" = /new ] || cp -a "$entry" /new/
done
exec switch_root /new /sbin/agent

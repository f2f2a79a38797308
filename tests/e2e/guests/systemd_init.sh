#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# /init of a guest whose first process is the machine's own systemd: /usr is the machine's, to be
# read only; all else is made here, or comes from /root of the initramfs.
export PATH=/bin:/sbin
load-drivers
modprobe 9pnet_virtio
modprobe 9p
mkdir /new
mount -t tmpfs -o mode=755 root /new
cd /new || exit 1
mkdir -p usr proc sys dev run tmp etc var/log var/lib
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 usr usr
mount -t tmpfs -o mode=755 local usr/local
for directory in bin sbin lib lib64; do
    ln -s usr/$directory $directory
done
cp -r /root/. .
exec switch_root /new /lib/systemd/systemd

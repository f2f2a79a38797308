#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# /init of the User Mode Linux guests: obeys the first serial line as guest_init.sh obeys the second
# serial port. There are no drivers to load: UML's are built in.
export PATH=/bin
busybox mkdir -p /proc /sys /dev /tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
busybox --install -s /bin
ip link set lo up
stty -F /dev/ttyS0 raw -echo
exec 3<>/dev/ttyS0
echo "agent: ready" >&3
while read -r line <&3; do
    sh -c "$line" </dev/null >/tmp/agent.out 2>&1
    code=$?
    cat /tmp/agent.out >&3
    printf '\nagent: exit %d\n' $code >&3
done
poweroff -f

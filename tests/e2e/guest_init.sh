#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# /init of the tests' QEMU guests: loads drivers, then obeys the second serial port: one line, one
# shell command; its output goes back, then "agent: exit CODE". Who obeys is a child of init's:
# orphans become init's, and the end of one would cost a `read` under way what it has read.
export PATH=/bin:/sbin
if [ $$ = 1 ]; then
    load-drivers # mounts /dev, so nothing may be written to /dev/null before
    "$0" &
    wait
fi
ip link set lo up
stty -F /dev/ttyS1 raw -echo 115200
exec 3<>/dev/ttyS1
echo "agent: ready" >&3
while read -r line <&3; do
    sh -c "$line" </dev/null >/tmp/agent.out 2>&1
    code=$?
    cat /tmp/agent.out >&3
    printf '\nagent: exit %d\n' $code >&3
done
poweroff -f

#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Shows vmchannel at work: a program on the host that knows only a Unix socket converses with (a) a
# process in a network namespace and (b) a Linux guest in QEMU, both of which know only TCP. It
# installs and builds nothing (`make demo` does, then calls this), and leaves nothing behind.
#
#   demo.sh [BUILD_DIR]      default: build
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../build}
vmchannel=${VMCHANNEL:-$build/src/cli/vmchannel}
host_pid=

fail() {
    echo "demo.sh: $*" >&2
    exit 1
}

title() {
    printf '\n=== %s\n\n' "$*"
}

# Each line of standard input with a name in front; the guest's serial port ends lines with CR.
label() {
    sed -u "s/\r\$//; s/^/$1 | /"
}

clean_up() {
    [ -z "$host_pid" ] || kill "$host_pid" 2>/dev/null || true
    rm -rf "$tmp"
}

start_host_program() {
    sed -n '/^listener/,$p' "$here/host_program.py" | sed 's/^/    /'
    echo
    mkfifo "$tmp/host"
    label "host " <"$tmp/host" &
    timeout 100 python3 "$here/host_program.py" "$socket" >"$tmp/host" &
    host_pid=$!
    for _ in $(seq 50); do
        [ -S "$socket" ] && return
        sleep 0.1
    done
    fail "$socket: the host program did not start"
}

# Runs a command with its output shown, and kept in $tmp/NAME. Gives its exit status.
run_shown() {
    name=$1
    filter=$2
    shift 2
    {
        "$@" </dev/null 2>&1 || echo "$?" >"$tmp/$name.status"
    } | tee "$tmp/$name" | sed -u -n "$filter" | label "guest"
    [ ! -e "$tmp/$name.status" ] || return "$(cat "$tmp/$name.status")"
}

process_in_namespace() {
    cat >"$tmp/process.sh" <<'SCRIPT'
echo "my addresses: $(ip -o -4 addr show | awk '{ print $4 }' | xargs)"
echo "my routes:    $(ip -4 route | awk '{ print $1, $2, $3 }')"
echo "I connect to 10.0.2.4, port 600, and say hello"
echo "hello from a process in a namespace" | timeout 5 busybox nc 10.0.2.4 600 |
    sed 's/^/the answer:   /'
echo "I try port 601, which is no channel"
timeout 5 busybox nc 10.0.2.4 601 2>&1 | sed 's/^nc: //'
SCRIPT
    echo "\$ vmchannel run -vmchannel 600:unix:$socket -- sh process.sh"
    run_shown process p timeout -k 2 15 "$vmchannel" run -vmchannel "600:unix:$socket" -- \
        sh "$tmp/process.sh" || fail "(a) ended with status $?"
    grep -q 'the answer:.*hello from a process' "$tmp/process" || fail "(a) there was no answer"
}

guest_in_qemu() {
    cat >"$tmp/init" <<'SCRIPT'
#!/bin/sh
/sbin/load-drivers
driver=$(basename "$(readlink /sys/class/net/eth0/device/driver)")
echo "guest: Linux $(uname -r) is up; its NIC is driven by $driver"
udhcpc -i eth0 -q -n -t 5 >/dev/null 2>&1
echo "guest: my addresses: $(ip -o -4 addr show | awk '{ print $4 }' | xargs) (by DHCP)"
echo "guest: my routes:    $(ip -4 route | awk '{ print $1, $2, $3 }')"
echo "guest: I connect to 10.0.2.4, port 600, and say hello"
echo "hello from a Linux guest" | timeout 5 nc 10.0.2.4 600 | sed 's/^/guest: the answer:   /'
echo "guest: I try port 601, which is no channel"
timeout 5 nc 10.0.2.4 601 </dev/null 2>&1 | sed 's/^nc: /guest: /'
echo "guest: I power off"
poweroff -f
SCRIPT
    kernel=$(ls -v /boot/vmlinuz-* 2>/dev/null | tail -n 1)
    [ -r "$kernel" ] || fail "/boot/vmlinuz-*: no kernel (install linux-image-amd64)"
    KERNEL_VERSION=${kernel#/boot/vmlinuz-} "$here/initramfs.sh" "$tmp/initramfs" "$tmp/init"

    echo "\$ vmchannel qemu qemu-system-x86_64 -m 256 ... -vmchannel 600:unix:$socket"
    # What the firmware and the kernel print is left out.
    run_shown console 's/^.*guest: //p' timeout -k 2 60 "$vmchannel" qemu qemu-system-x86_64 \
        -accel tcg -m 256 -nodefaults -display none -serial stdio -no-reboot -kernel "$kernel" \
        -initrd "$tmp/initramfs" -append "console=ttyS0 quiet" -vmchannel "600:unix:$socket" ||
        fail "(b) QEMU ended with status $?: $(tail -n 5 "$tmp/console")"
    grep -q 'the answer:.*hello from a Linux guest' "$tmp/console" || fail "(b) there was no answer"
}

[ -x "$vmchannel" ] || fail "$vmchannel: not built (make demo builds it)"
tmp=$(mktemp -d /tmp/vmchannel-demo.XXXXXX)
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
socket=$tmp/service.sock

title "On the host: a program that does bind, listen and accept on a Unix socket"
start_host_program
title "(a) A process in a network namespace of its own"
process_in_namespace
title "(b) A Linux guest in QEMU (emulated, it takes some seconds to boot)"
guest_in_qemu
title "Done: the same host program served both, and neither can reach anything else."

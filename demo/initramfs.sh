#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds the initramfs of a small Linux guest: busybox, the network drivers of Debian's own kernel
# and one init script. Used by demo.sh and by the end-to-end tests; boots nothing itself.
#
#   initramfs.sh OUT INIT_SCRIPT [FILE:DEST ...]
#
# OUT          the image to write (cpio, not compressed: cheaper to boot under emulation)
# INIT_SCRIPT  becomes /init; its first line should be #!/bin/sh
# FILE:DEST    further files, with the mode they have (FILE may not contain a colon)
#
# Environment: KERNEL_VERSION, default the newest below /boot that has modules.
# EXTRA_MODULES, further modules by name; the guest loads them by itself, with modprobe.
# In the guest, /sbin/load-drivers mounts /proc, /sys and /dev where that is missing and loads the
# drivers of the devices found.
set -eu

MODULES="
    virtio_pci virtio_net
    e1000 e1000e 8139cp 8139too pcnet32 ne2k-pci vmxnet3
    xhci_pci ehci_pci uhci_hcd usbnet cdc_ether rndis_host
    af_packet virtio_rng virtio_console
    ${EXTRA_MODULES:-}"

fail() {
    echo "initramfs.sh: $*" >&2
    exit 1
}

newest_kernel() {
    for image in $(ls -v -r /boot/vmlinuz-* 2>/dev/null); do
        version=${image#/boot/vmlinuz-}
        if [ -e "/lib/modules/$version/modules.dep" ]; then
            echo "$version"
            return
        fi
    done
    fail "/boot/vmlinuz-*: no kernel with modules found (install linux-image-amd64)"
}

find_busybox() {
    for candidate in /bin/busybox /usr/bin/busybox; do
        if [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
    fail "busybox: not found (install busybox-static)"
}

# Copies a module and what it depends on; one that is built into the kernel is no file.
copy_module() {
    /sbin/modprobe --show-depends --set-version "$version" "$1" 2>/dev/null |
        while read -r how path _; do
            [ "$how" = insmod ] || continue
            mkdir -p "$root$(dirname "$path")"
            case $path in
            *.xz) xz -dc "$path" >"$root${path%.xz}" ;;
            *.zst) zstd -qdc "$path" >"$root${path%.zst}" ;;
            *) cp "$path" "$root$path" ;;
            esac
        done
}

[ $# -ge 2 ] || {
    echo "usage: initramfs.sh OUT INIT_SCRIPT [FILE:DEST ...]" >&2
    exit 2
}
out=$1
init=$2
shift 2
[ -r "$init" ] || fail "$init: cannot be read"
version=${KERNEL_VERSION:-$(newest_kernel)}
busybox=$(find_busybox)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' HUP INT TERM

mkdir -p "$root/bin" "$root/sbin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" \
    "$root/etc/udhcpc"
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done

mkdir -p "$root/lib/modules/$version"
for file in modules.order modules.builtin modules.builtin.modinfo; do
    cp "/lib/modules/$version/$file" "$root/lib/modules/$version/"
done
for module in $MODULES; do
    copy_module "$module"
done
/sbin/depmod -b "$root" "$version"

cat >"$root/sbin/load-drivers" <<'SCRIPT'
#!/bin/sh
# Loads the drivers of all devices, and of those that the first ones make appear (virtio's, USB's),
# until there is a network interface. USB devices show up when they like: wait for them up to 3 s.
[ -e /proc/self ] || mount -t proc proc /proc
[ -e /sys/class ] || mount -t sysfs sysfs /sys
[ -e /dev/null ] || mount -t devtmpfs devtmpfs /dev

load() {
    aliases=$(cat $(find /sys/devices -name modalias) | grep -E '^(pci|usb|virtio):' | sort -u)
    # One at a time: busybox's modprobe stops at the first alias that no driver wants.
    for alias in $aliases; do
        modprobe -b "$alias"
    done 2>/dev/null
}

load
load
for try in $(seq 30); do
    [ "$(ls /sys/class/net)" = lo ] || break
    case $aliases in *bc0Csc03*) sleep 0.1 ;; *) break ;; esac
    load
done
:
SCRIPT
chmod 755 "$root/sbin/load-drivers"

# The smallest script that udhcpc can do with: address, MTU and what else the lease says.
cat >"$root/etc/udhcpc/default.script" <<'SCRIPT'
#!/bin/sh
case $1 in
deconfig) ip addr flush dev "$interface"; ip link set "$interface" up ;;
bound | renew)
    ip addr replace "$ip/${mask:-24}" dev "$interface"
    [ -z "${mtu:-}" ] || ip link set "$interface" mtu "$mtu"
    set >"/tmp/lease.$interface"
    ;;
esac
:
SCRIPT
chmod 755 "$root/etc/udhcpc/default.script"

cp "$init" "$root/init"
chmod 755 "$root/init"
for extra in "$@"; do
    file=${extra%%:*}
    dest=${extra#*:}
    [ "$file" != "$extra" ] || fail "$extra: is not FILE:DEST"
    mkdir -p "$root$(dirname "/$dest")"
    cp -L "$file" "$root/$dest"
done

(cd "$root" && find . | sort | "$busybox" cpio -o -H newc -R 0:0) >"$out.new" 2>/dev/null ||
    fail "$out: cannot be written"
mv "$out.new" "$out"

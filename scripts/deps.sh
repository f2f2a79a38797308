#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Installs the Debian packages that are missing, and says which.
#
#   deps.sh build|sim|demo|bench|profile|check|coverage|prove
#
# build: compiling vmchannel; sim: and the simulation; demo: and a QEMU guest; bench: and the
# peers that vmchannel is measured with; profile: and perf; check: all tests; coverage: and what
# counts branches; prove: what proves.
# Needs root or sudo only when something is missing. Elsewhere than on Debian it installs nothing:
# what is missing will be named by whatever needs it.
set -eu

BUILD="gcc libc6-dev libjansson-dev libseccomp-dev libxml2-dev meson ninja-build nettle-dev
    pkg-config scdoc"
GUEST="qemu-system-x86 busybox-static cpio kmod linux-image-amd64"
DEMO="$GUEST iproute2 python3"
# Other hypervisors, and what stands behind a channel: real programs, started by the tests.
PEERS="user-mode-linux runsc socat inetutils-telnet netcat-openbsd picocom nodejs node-ws
    openssh-client openssh-server redis-tools nginx-light"
BENCH="$DEMO passt slirp4netns socat"
# libvirt: its daemons and their user, its schema, its QEMU driver within virsh, and domain XML that
# others wrote. systemd: the first process of a guest.
LIBVIRT="libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system libvirt-dev
    libxml2-utils systemd virtinst"
CHECK="$DEMO $LIBVIRT clang dpdk-dev libclang-rt-14-dev libcmocka-dev liblwip-dev git iputils-ping
    procps strace python3-pytest python3-scapy python3-websockets $PEERS"

case ${1-} in
build) wanted="$BUILD" ;;
sim) wanted="$BUILD liblwip-dev" ;;
demo) wanted="$BUILD $DEMO" ;;
bench) wanted="$BUILD $BENCH" ;;
profile) wanted="$BUILD $BENCH linux-perf" ;;
check) wanted="$BUILD $CHECK" ;;
coverage) wanted="$BUILD $CHECK llvm" ;;
prove) wanted="frama-c-base gcc libc6-dev python3" ;;
*)
    echo "usage: deps.sh build|sim|demo|bench|profile|check|coverage|prove" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null; then
    echo "deps.sh: no apt-get here; needed are what Debian calls:" $wanted
    exit 0
fi

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing what is missing, which takes a minute or two:$missing"
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "deps.sh: neither root nor sudo: install them as root, by apt-get install$missing" >&2
    exit 1
fi

log=$(mktemp)
policy=
trap 'rm -f "$log"; [ -z "$policy" ] || $as_root rm -f "$policy"' EXIT
trap 'exit 1' HUP INT TERM
# Servers among the packages are for the tests to start: none is to begin its service now.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi
apt_get() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-unsafe-io -o DPkg::Lock::Timeout=300 \
        "$@" </dev/null >"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    echo "deps.sh: apt-get $1 failed" >&2
    return 1
}
apt_get update
apt_get install --no-install-recommends $missing

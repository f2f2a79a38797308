#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of the fuzz targets: what has broken others, one file per case and shape.

usage: seeds.py [--check]

corpus/TARGET/NN-WHAT, where NN is the case of docs/security.md; --check compares instead. All other
files of the corpus were found by a fuzzer. Formats are told at the top of each fuzz_TARGET.c.
"""

import struct
import sys
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
US, GUEST = bytes([10, 0, 2, 4]), bytes([10, 0, 2, 15])
OUR_MAC, GUEST_MAC = bytes.fromhex("52550a000204"), bytes.fromhex("525400010203")
ALL = b"\xff" * 6
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def u16(*values):
    return struct.pack(f">{len(values)}H", *(v & 0xffff for v in values))


def u32(*values):
    return struct.pack(f">{len(values)}I", *(v & 0xffffffff for v in values))


# --- frames --------------------------------------------------------------------------------------

HAS_HEADER, MENDED, ADDRESSED, FROM_GUEST, TURN, FULL, LONG = 1, 2, 4, 8, 16, 32, 64


def record(frame, flags=MENDED | TURN, cut=200, header=None, length=None):
    flags |= HAS_HEADER if header else 0
    length = len(frame) if length is None else length
    flags |= LONG if length > len(frame) else 0
    return bytes([flags, cut]) + u16(length) + (header or b"") + frame


def frames(*records, caps=3):
    return bytes([caps]) + b"".join(records)


def ether(payload, kind=0x0800, dst=OUR_MAC, src=GUEST_MAC):
    return dst + src + u16(kind) + payload


def ip(payload=b"", protocol=6, src=GUEST, dst=US, ihl=5, total=None, fragment=0, version=4,
       options=b""):
    total = 20 + len(options) + len(payload) if total is None else total
    return bytes([version << 4 | ihl, 0]) + u16(total, 1, fragment) + bytes([64, protocol, 0, 0]) \
        + src + dst + options + payload


def tcp(flags=SYN, seq=1, ack=0, sport=40000, dport=600, options=b"", offset=None, payload=b"",
        window=65535, urgent=0):
    offset = 5 + len(options) // 4 if offset is None else offset
    return u16(sport, dport) + u32(seq, ack) + bytes([offset << 4, flags]) + \
        u16(window, 0, urgent) + options + payload


def udp(payload=b"", sport=68, dport=67, length=None):
    return u16(sport, dport, 8 + len(payload) if length is None else length, 0) + payload


def icmp(kind=8, code=0, rest=bytes(4), payload=b"x" * 8):
    return bytes([kind, code, 0, 0]) + rest + payload


def arp(op=1, sender_mac=GUEST_MAC, sender=GUEST, target=US, hlen=6, plen=4, hardware=1,
        protocol=0x0800):
    return u16(hardware, protocol) + bytes([hlen, plen]) + u16(op) + sender_mac + sender + \
        bytes(6) + target


NET6 = b"\xfd\x10\0\0\0\2" + bytes(9)
GROUP6 = b"\xff\2" + bytes(9) + b"\1\xff\0\0\4"


def ip6(payload=b"", following=59, length=None, src=NET6 + b"\x15", dst=NET6 + b"\4", hops=255):
    length = len(payload) if length is None else length
    return b"\x60\0\0\0" + u16(length) + bytes([following, hops]) + src + dst + payload


def vnet(flags=0, gso=0, hdr_len=0, gso_size=0, start=0, offset=0):
    return struct.pack("<BBHHHH", flags, gso, hdr_len, gso_size, start, offset)


def frame_seeds():
    syn = ether(ip(tcp()))
    for name, kind in (("arp", 0x0806), ("ipv4", 0x0800), ("ipv6", 0x86dd), ("other", 0x88cc)):
        whole = {"arp": ether(arp(), kind), "ipv4": syn, "ipv6": ether(ip6(bytes(40)), kind),
                 "other": ether(bytes(50), kind)}[name]
        for first in (0, 21, 42):
            yield f"01-{name}-of-{first}-bytes-and-more", frames(
                *(record(whole[:n], flags=TURN) for n in range(first, min(first + 21, 61))))
    yield "02-arp-odd", frames(*(record(ether(a, 0x0806, dst=ALL)) for a in (
        arp(hlen=0), arp(hlen=255), arp(plen=16), arp(hardware=6), arp(protocol=0x86dd),
        arp(sender=US), arp(sender=GUEST, target=GUEST), arp(sender_mac=ALL), arp(op=0), arp(op=2),
        arp(op=65535), arp(sender_mac=OUR_MAC), arp(sender=bytes(4)))))
    yield "03-vlan-and-qinq", frames(
        record(ether(u16(5, 0x0800) + ip(tcp()), 0x8100)),
        record(ether(u16(5, 0x8100, 6, 0x0800) + ip(tcp()), 0x88a8)),
        record(ether(u16(5), 0x8100)))
    yield "03-mtu-and-one-more-or-less", frames(*(
        record(ether(ip(icmp(payload=b"m" * (n - 28)), protocol=1))) for n in (1499, 1500, 1501)))
    yield "03-frame-of-65535-bytes", frames(
        record(ether(ip(icmp(), protocol=1, total=65521)), length=65535),
        record(ether(ip(tcp(ACK), total=65521)), length=65535))
    yield "04-header-lengths", frames(*(
        record(ether(ip(tcp(), ihl=n))) for n in (0, 1, 4, 6, 10, 15)))
    yield "04-total-lengths", frames(*(
        record(ether(ip(tcp(), total=n))) for n in (0, 19, 20, 39, 40, 41, 100, 65535)))
    yield "04-padded-and-other-versions", frames(
        record(ether(ip(tcp()) + bytes(20))), record(ether(ip(tcp(), version=5))),
        record(ether(ip(tcp(), version=0))))
    more, at = 0x2000, lambda n: n // 8
    yield "05-fragments", frames(*(record(ether(ip(b"f" * n, fragment=f))) for n, f in (
        (1480, more), (64, more), (64, more | at(32)), (16, at(64)), (8, at(65528)),
        (64, at(65528)), (0, more), (0, at(8)), (1, more | at(8)))))
    chain = b"".join(bytes([0, 0]) + bytes(6) for _ in range(64))
    yield "06-ipv6-extension-headers", frames(*(record(ether(p, 0x86dd)) for p in (
        ip6(chain, 0), ip6(b"\x3b\0\0\0" + bytes(4), 60), ip6(b"\0\0\1\0\1\0\0\0", 0),
        ip6(tcp(), 6, length=0), ip6(tcp(), 6, length=65535), ip6(tcp(), 6, length=3),
        ip6(b"\6\0\0\0\0\0\0\1" + tcp(), 44), ip6(b"\6\0\1\4\0\0\0\0" + tcp(), 0),
        ip6(b"\x2b\0\x1e\4\0\0\0\0" + b"\6\0\0\0\0\0\0\0" + tcp(), 60),
        ip6(b"\6\0\xc2\4\0\1\0\0" + tcp(), 0), ip6(b"\6\0\0\1\0\0\0\0" + tcp(), 43))))
    quoted = ip(tcp(ACK))
    yield "07-icmp-errors", frames(*(record(ether(ip(icmp(3, 4, u16(0, m), q), protocol=1)))
                                     for m in (0, 68, 1279, 65535)
                                     for q in (quoted, quoted[:20], quoted[:9], b"",
                                               ip(tcp(), src=b"\1\2\3\4"))))
    yield "07-echo-up-to-64-kib", frames(
        *(record(ether(ip(icmp(), protocol=1, total=n)), length=14 + n)
          for n in (28, 36, 1500, 1501, 32768, 65535)))
    ndp = [bytes([135, 0, 0, 0]) + bytes(4) + bytes(15) + b"\4" + o for o in (
        b"", b"\1\0" + GUEST_MAC, b"\1\1" + GUEST_MAC, b"\1\xff" + GUEST_MAC)]
    ndp += [bytes([kind, 0, 0, 0]) + bytes(12) + o for kind in (133, 134, 136) for o in (
        b"", b"\3\0", b"\5\1\0\0\0\0\5\xdc")]
    yield "09-ndp", frames(*(record(ether(ip6(p, 58), 0x86dd)) for p in ndp))
    routers = b"\xff\2" + bytes(13) + b"\2"
    yield "09-ndp-solicitations", frames(*(record(ether(ip6(p, 58, src=s, dst=d), 0x86dd))
                                           for p, d in ((ndp[0], GROUP6), (ndp[2], GROUP6),
                                                        (ndp[4], routers))
                                           for s in (NET6 + b"\x15", bytes(16), GROUP6)))
    yield "09-ping-by-ipv6", frames(*(record(ether(ip6(icmp(128, payload=b"p" * n), 58), 0x86dd))
                                      for n in (0, 1452, 1453)))
    talk6 = [tcp(), tcp(ACK, 2, 1), tcp(ACK, 2, 1, payload=b"hello"), tcp(4, 7), tcp(dport=601)]
    for caps in (0, 1, 5):
        yield f"09-connection-by-ipv6-caps-{caps}", frames(
            *(record(ether(ip6(t, 6), 0x86dd)) for t in talk6), caps=caps)
    yield "09-sources-by-ipv6", frames(*(record(ether(ip6(tcp(), 6, src=s), 0x86dd)) for s in (
        bytes(16), bytes(15) + b"\1", GROUP6, NET6 + b"\4", bytes(10) + b"\xff\xff" + GUEST)))
    others = (b"\xff" * 4, b"\xe0\0\0\1", b"\x7f\0\0\1", bytes(4), US, b"\x0a\0\2\xff", b"\1\2\3\4")
    yield "10-sources", frames(*(record(ether(ip(tcp(), src=a))) for a in others))
    yield "10-destinations", frames(*(record(ether(ip(tcp(), dst=a))) for a in others))
    yield "10-land", frames(record(ether(ip(tcp(sport=600), src=US))),
                            record(ether(ip(tcp(sport=600), src=US), src=OUR_MAC)))
    yield "11-checksum-field-outside", frames(*(record(syn, TURN, header=vnet(1, start=s, offset=o))
                                                for s, o in ((0, 0), (13, 0), (14, 16), (34, 16),
                                                             (34, 65535), (65535, 65535),
                                                             (53, 0), (54, 0), (34, 19))))
    yield "12-segment-sizes", frames(*(
        record(ether(ip(tcp(ACK, payload=b"g" * 300))), header=vnet(1, kind, length, size, 34, 16))
        for kind in (0, 1, 3, 4, 5, 0x81, 255) for size, length in ((0, 54), (1, 0), (65535, 9))))
    bad = bytearray(syn)
    yield "13-bad-checksums", frames(record(bytes(bad), TURN), record(syn, TURN, header=vnet(2)),
                                     record(syn, TURN, header=vnet(0)),
                                     record(syn, header=vnet(3, start=34, offset=16)))
    options = (b"\2\0\0\0", b"\2\1\0\0", b"\2\4\0\0", b"\2\4\0\1", b"\2\x28\0\0", b"\1" * 40,
               b"\3\3\x0f\0", b"\3\3\xff\0", b"\3\0\0\0", b"\0\1\1\1", b"\x08\x0a" + bytes(10),
               b"\5\x22" + b"\xff" * 32 + b"\1\1", b"\5\0\1\1", b"\xff\xff\1\1", b"\2\4\0\x30")
    yield "14-options-of-a-syn", frames(*(
        record(ether(ip(tcp(options=o, sport=41000 + i)))) for i, o in enumerate(options)))
    yield "14-data-offsets", frames(*(
        record(ether(ip(tcp(offset=n, sport=42000 + n)))) for n in range(16)))
    yield "23-syn-with-data-and-timestamps", frames(
        record(ether(ip(tcp(payload=b"early")))),
        *(record(ether(ip(tcp(sport=43000 + t, options=b"\1\1\x08\x0a" + u32(t, 0)))))
          for t in (0, 1, 65535)))
    yield "45-link-full", frames(record(syn, MENDED | FULL), record(syn, MENDED | FULL | TURN),
                                 record(ether(arp(), 0x0806), FULL), record(syn))


# --- DHCP ----------------------------------------------------------------------------------------

def dhcp(options, op=1, hlen=6, mac=GUEST_MAC, sname=bytes(64), file=bytes(128)):
    return bytes([op, 1, hlen, 0]) + u32(0x12345678) + bytes(20) + mac + bytes(10) + sname + file \
        + bytes.fromhex("63825363") + options


def dhcp_seeds():
    for name, options in (
            ("discover", b"\x35\1\1\xff"), ("request", b"\x35\1\3\x32\4" + GUEST + b"\xff"),
            ("request-of-another", b"\x35\1\3\x32\4\1\2\3\4\x36\4" + US + b"\xff"),
            ("inform", b"\x35\1\x08\xff"), ("past-the-end", b"\x35\1\1\x0c\xff"),
            ("no-end", b"\x35\1\1"), ("empty-option", b"\x35\0\xff"), ("nothing", b""),
            ("overload", b"\x35\1\1\x34\1\3\xff"), ("overload-255", b"\x35\1\1\x34\1\xff\xff"),
            ("overload-of-no-length", b"\x34\0\x35\1\1\xff")):
        yield f"08-{name}", b"\x0c" + dhcp(options)
    yield "08-overloaded-fields-without-end", b"\x0c" + dhcp(
        b"\x34\1\3\xff", sname=b"\x35\1\1" + b"\1" * 61, file=b"\x0c\x7f" + b"n" * 126)
    yield "08-other-hardware", b"\x0c" + dhcp(b"\x35\1\1\xff", hlen=255)
    yield "08-reply-from-the-guest", b"\x0c" + dhcp(b"\x35\1\2\xff", op=2)


# --- TCP -----------------------------------------------------------------------------------------

(NOW, NOW2, BEFORE, NEXT, EDGE, BEYOND, FAR, BY) = range(8)  # where a segment stands
GOES_ON, KEEP, TAMPER = 128, 64, 32


def seg(flags, seq=NOW, ack=NOW, window=0, length=0, what=0, extra=b""):
    return bytes([0, flags, seq | ack << 3 | window << 6, what | length]) + extra


def wait(n):
    return bytes([8, n])


def writes(n):
    return bytes([9]) + u16(n)


def takes(n):
    return bytes([10]) + u16(n)


SHUT = bytes([11, 0, 0])
RESET = bytes([12, 0, 0])
RESET_AFTER = bytes([12, 0, 1])
ORPHAN = bytes([12, 0, 2])
CONNECT = bytes([15])


def link(full, take=63):
    return bytes([13, full | 2 | take << 2])


def answer(hold=0, refuse=0, reject=0):
    return bytes([14, hold | refuse << 1 | reject << 2])


OPEN = seg(SYN, what=GOES_ON) + seg(ACK)
WIDE = seg(SYN, what=GOES_ON | 16, extra=b"\7" + u16(1460) + b"\7") + seg(ACK)  # MSS, scale, SACK
DATA = seg(ACK | PSH, length=4, what=GOES_ON)  # 48 bytes


def near(*offsets):
    return u16(*(0x8000 + n for n in offsets))


def tcp_seeds():
    def program(*ops, how=2):
        return bytes([how]) + b"".join(ops)

    for where, name in ((NOW, "edge"), (NEXT, "inside"), (EDGE, "last"), (BEYOND, "beyond"),
                        (FAR, "far")):
        yield f"16-rst-and-syn-{name}", program(OPEN, *[seg(f, where) for f in
                                                        (RST, SYN, SYN | ACK, RST | ACK)] * 3, DATA)
    yield "17-acks-of-what-was-not-sent", program(
        OPEN, writes(100), *(seg(ACK, ack=a) for a in (NEXT, EDGE, FAR, BEFORE)), DATA)
    yield "17-sequence-numbers-wrap", program(OPEN, *[DATA] * 6, writes(3000), seg(ACK), SHUT,
                                              how=6)
    urgent = [seg(ACK | URG | f, length=2, what=GOES_ON | 8, extra=u16(p))
              for p in (0, 1, 65535) for f in (0, FIN)]
    yield "18-urgent", program(OPEN, *urgent[::2], *urgent[::2], urgent[1])
    yield "19-window-shut-probed-and-open", program(
        OPEN, seg(ACK, window=1), writes(5000), wait(3), seg(ACK, window=1), wait(5),
        seg(ACK, window=1), wait(6), seg(ACK), wait(2), seg(ACK))
    yield "19-window-shrinks", program(
        WIDE, writes(30000), seg(ACK, window=3), seg(ACK, window=1), wait(3), seg(ACK, window=2),
        wait(4), seg(ACK))
    yield "19-our-window-probed", program(
        OPEN, link(0, 0), *[seg(ACK, length=6, what=GOES_ON)] * 4, seg(ACK, BEFORE),
        seg(ACK, BEFORE, length=2), seg(ACK, length=2), wait(3), takes(200), takes(3000),
        takes(65535), DATA, how=1)
    out_of_order = b"".join(seg(ACK, BY, length=2, extra=near(n)) for n in range(40, 0, -2))
    yield "20-one-byte-out-of-order-backwards", program(OPEN, out_of_order, DATA)
    yield "20-overlaps-with-other-bytes", program(
        OPEN, seg(ACK, BY, length=4, extra=near(10)), seg(ACK, BY, length=4, what=TAMPER,
                                                         extra=near(2)),
        seg(ACK, length=4, what=TAMPER), DATA)
    sack = bytes([16 * 3]) + near(100, 500, -100, 50, 3000, -2000)
    yield "21-sack-of-any-kind", program(
        WIDE, writes(20000), *[seg(ACK, what=16, extra=sack)] * 5, wait(3), seg(ACK))
    small = seg(SYN, what=GOES_ON | 16, extra=b"\5" + u16(48)) + seg(ACK)
    yield "21-sack-with-an-mss-of-48", program(
        small, out_of_order[:5 * 8], writes(2000), seg(ACK), wait(3), seg(ACK))
    yield "22-fin-with-data-and-again", program(
        OPEN, seg(FIN | ACK, length=4, what=GOES_ON), seg(FIN | ACK, BEFORE), SHUT, seg(ACK),
        seg(FIN | ACK, BEFORE), wait(5))
    yield "22-fin-out-of-order", program(
        OPEN, seg(FIN | ACK, BY, extra=near(48)), DATA, seg(ACK, BY, extra=near(1)), SHUT, seg(ACK))
    yield "22-simultaneous-close", program(
        OPEN, SHUT, seg(FIN | ACK, ack=BEFORE, what=GOES_ON), seg(ACK), wait(6),
        seg(SYN, what=GOES_ON))
    yield "22-half-close-both-ways", program(
        OPEN, SHUT, seg(ACK), DATA, DATA, seg(FIN | ACK, what=GOES_ON), OPEN,
        seg(FIN | ACK, what=GOES_ON), writes(3000), seg(ACK), SHUT, seg(ACK))
    yield "23-held-syn-again-and-anew", program(
        answer(hold=1), seg(SYN), seg(SYN), seg(SYN, EDGE), seg(RST), answer(), wait(6), OPEN)
    yield "23-syn-in-time-wait", program(
        OPEN, SHUT, seg(ACK), seg(FIN | ACK, what=GOES_ON), seg(SYN, BEFORE), seg(SYN, EDGE,
                                                                                 what=GOES_ON))
    yield "24-silence-after-the-handshake", program(OPEN, wait(7), wait(7), wait(6), wait(6))
    yield "24-acks-lost", program(OPEN, writes(3000), wait(3), wait(4), seg(ACK, ack=BEFORE),
                                  wait(5), seg(ACK))
    yield "25-data-while-held-then-refused", program(
        answer(hold=1), seg(SYN, what=GOES_ON), DATA, seg(FIN | ACK), answer(reject=1), OPEN)
    yield "25-active-open", program(CONNECT, seg(SYN | ACK, what=GOES_ON), seg(ACK), DATA,
                                    writes(100), RESET_AFTER, seg(ACK), how=66)
    yield "22-simultaneous-open-with-data", program(
        CONNECT, seg(SYN), seg(SYN | ACK | FIN, BEFORE, length=4), SHUT, seg(ACK), how=66)
    yield "25-active-open-of-an-unknown-mac", program(CONNECT, wait(4), wait(5))
    yield "44-link-full", program(OPEN, link(1), writes(9000), DATA, wait(4), link(0), seg(ACK),
                                  how=50)
    yield "45-host-end-breaks", program(OPEN, DATA, writes(500), RESET, OPEN, writes(70),
                                        RESET_AFTER, DATA, seg(ACK), OPEN, SHUT, seg(ACK),
                                        seg(FIN | ACK, what=GOES_ON), ORPHAN)


# --- virtqueue -----------------------------------------------------------------------------------

def desc(index, where=0, length=0, flags=0, following=0, table=0):
    return bytes([0, index | table << 7, where, length, flags, following])


def post(*heads):
    return b"".join(bytes([3, i, h]) for i, h in enumerate(heads)) + bytes([4, len(heads)])


TAKE, TAKE_WRITABLE, UNTAKE, PUBLISH, WANT, NO_KICK, ALL_OF_IT = \
    b"\7\2", b"\x09\2", b"\7\1", b"\x0a", b"\x0b", b"\x0c", b"\x0f"


def virtqueue_seeds():
    def program(*ops, how=4 | 16, where=0, race=b""):
        start = bytes([how | (64 if race else 0), where]) + (bytes([len(race)]) if race else b"")
        return start + race + b"".join(ops)

    run = TAKE + PUBLISH + ALL_OF_IT
    loops = {"itself": desc(1, flags=1, following=1),
             "two": desc(1, flags=1, following=2) + desc(2, flags=1, following=1),
             "all": b"".join(desc(i, flags=1, following=(i + 1) % 16) for i in range(16)),
             "next-out-of-range": desc(1, flags=1, following=16)}
    for name, descs in loops.items():
        yield f"26-loop-{name}", program(descs, post(1), run)
    for i, name in enumerate(("good", "over-the-end", "second-region", "into-the-hole", "zero",
                              "below", "wraps", "past")):
        yield f"27-address-{name}", program(desc(1, where=i, length=4), post(1), run)
    for i, name in enumerate(("short", "0", "1", "16", "64", "128", "of-a-region", "4-gib")):
        yield f"28-length-{name}", program(desc(1, length=i), post(1), run)
    yield "29-directions", program(desc(1, flags=2), desc(2, flags=1, following=3),
                                   desc(3, flags=2), post(1, 2), run, TAKE_WRITABLE)
    tables = {"nested": desc(0, flags=4, length=5, table=1),
              "in-a-circle": desc(0, flags=1, following=0, table=1),
              "that-leads-out": desc(0, flags=1, following=9, table=1),
              "good": desc(0, flags=1, following=1, table=1) + desc(1, table=1)}
    for name, descs in tables.items():
        yield f"30-indirect-{name}", program(desc(1, flags=4, length=5), descs, post(1), run)
    yield "30-indirect-with-next", program(desc(1, flags=5, length=5), post(1), run)
    yield "30-indirect-of-a-part", program(desc(1, flags=4, length=0), post(1), run)
    yield "30-indirect-of-nothing", program(desc(1, flags=4, length=1), post(1), run)
    yield "30-indirect-not-negotiated", program(desc(1, flags=4, length=5), post(1), run, how=4)
    racing = b"".join(u16(0x10 + o) + v for o, v in (
        (0, bytes(8)), (8, b"\0\0\1\0\5\0\1\0"), (8, b"\x40\0\0\0\0\0\0\0"),
        (0, struct.pack("<Q", 0x4000c000)))) + u16(0x4000) + b"\0\0\5\0\1\0\1\0"
    yield "31-racing-driver", program(desc(1, flags=1, following=2), desc(2), post(1, 1, 2),
                                      *[ALL_OF_IT, WANT, b"\x04\3"] * 20, race=racing)
    for jump in (17, 32768, 65535):
        yield f"32-index-jumps-by-{jump}", program(desc(1), b"\5" + u16(jump), run)
    yield "32-heads-equal-and-again", program(desc(1), post(1, 1, 1, 1), UNTAKE, run, post(1), run)
    yield "33-used-ring-rewritten", program(
        desc(1), post(1), TAKE, *(bytes([6, v]) + u16(0x8000 + o) for o, v in
                                  ((0, 1), (2, 255), (4, 9))), PUBLISH, run)
    yield "33-descriptor-of-the-ring", program(desc(1, where=4 << 3), post(1), run, TAKE_WRITABLE)
    yield "34-broken-stays-broken", program(loops["itself"], post(1), run * 4, b"\x0d", run)
    yield "36-kicks", program(*[WANT, NO_KICK] * 4, desc(1), post(1), WANT, run, how=4 | 8)
    packed, avail, used = 128 | 16 | 2, 8, 16  # a ring of 4

    def entry(index, flags=avail, **kwargs):
        return desc(index, flags=flags, **{"length": 4, **kwargs})

    yield "37-packed-good", program(entry(0), entry(1, avail | 1), entry(2), run, how=packed)
    yield "37-packed-around", program(*[entry(i) + run for i in range(4)],
                                      *[entry(i, used) + run for i in range(4)], how=packed)
    yield "37-packed-wrong-round", program(entry(0, used), run, entry(0, avail | used), run,
                                           entry(0, 0), run, how=packed)
    yield "37-packed-no-length", program(entry(0, length=1), run, how=packed)
    yield "37-packed-id", program(entry(0, following=255), run, how=packed)
    yield "37-packed-without-end", program(*[entry(i, avail | 1) for i in range(4)], run,
                                           how=packed)
    yield "37-packed-indirect", program(entry(0, avail | 4, length=5), desc(0, table=1, length=4),
                                        desc(1, table=1, length=4), run, how=packed)
    yield "37-packed-events", program(entry(0), TAKE, bytes([6, 2]) + u16(0x4002), PUBLISH, WANT,
                                      NO_KICK, entry(1), UNTAKE, WANT, run, how=packed | 8)
    yield "37-packed-racing", program(*[entry(i) for i in range(4)], *[ALL_OF_IT, WANT] * 30,
                                      how=packed, race=b"".join(
                                          u16(8 + 16 * i) + bytes([16, 0, 0, 0, i, 0, f, g])
                                          for i in range(4) for f, g in ((128, 0), (1, 128))))
    yield "42-rings-overlap", program(desc(1), post(1), run, where=1)
    yield "42-ring-misaligned", program(desc(1), post(1), run, where=3)


# --- vhost-user ----------------------------------------------------------------------------------

def message(request, payload=b"", flags=1, lies=0, fds=()):
    return bytes([0, request, flags, lies, len(fds)]) + u16(len(payload)) + payload + bytes(fds)


def proper(which):
    return bytes([12, which])


FOLDER, PIPE, ZERO, TINY, EVENT, SOCKET, MEMORY = range(7)
SET_UP = b"".join(map(proper, (0, 1, 2, 3, 4, 5)))
BUSY = b"".join(bytes([9, n]) for n in (1, 2, 1, 2))


def state(index, num):
    return struct.pack("<II", index, num)


def vhost_user_seeds():
    yield "38-sizes-that-lie", SET_UP + message(2, bytes(8), lies=1)
    yield "38-size-of-4-gib", SET_UP + message(2, bytes(8), lies=3)
    yield "38-unknown-request", SET_UP + message(200)
    yield "38-other-version", SET_UP + message(3, flags=0x82)
    yield "38-replies-asked-for", SET_UP + message(3, flags=8) + message(1) + message(15) + \
        message(17) + message(11, state(0, 0)) + BUSY
    for n in (0, 8, 9):
        yield f"39-memory-table-with-{n}-descriptors", proper(0) + message(
            5, struct.pack("<II", 1, 0) + bytes(32), fds=[MEMORY] * n)
    yield "39-descriptors-where-none-belong", SET_UP + message(3, fds=[MEMORY, PIPE])
    for fd, name in ((FOLDER, "folder"), (PIPE, "pipe"), (ZERO, "dev-zero"), (TINY, "tiny"),
                     (SOCKET, "socket")):
        yield f"39-memory-is-a-{name}", proper(0) + bytes([3, 1, 255, fd]) + SET_UP + BUSY
        yield f"39-kick-is-a-{name}", SET_UP + message(12, bytes(8), fds=[fd]) + BUSY
    for name, regions in (("none", ()), ("nine", range(9)), ("overlap", (0, 0)),
                          ("of-no-size", (8,)), ("wraps", (12,)), ("too-large", (16,)),
                          ("offset-wraps", (192,)), ("two", (4, 5))):
        yield f"40-memory-{name}", SET_UP + bytes([3, len(regions), *regions]) + BUSY
    yield "41-memory-shrinks-under-rings", SET_UP + BUSY + bytes([8 | 16]) + bytes([9, 1]) + \
        bytes([8]) + BUSY
    yield "41-memory-taken-away-under-rings", SET_UP + BUSY + bytes([3, 1, 5]) + BUSY
    for num in (0, 3, 32768, 65536):
        yield f"42-ring-of-{num}", proper(0) + message(8, state(0, num)) + SET_UP + BUSY
    yield "42-ring-resized-live", SET_UP + BUSY + message(8, state(0, 128)) + BUSY
    yield "42-ring-255", SET_UP + message(8, state(255, 128))
    yield "42-enabled-without-address", proper(0) + message(18, state(0, 1)) + BUSY
    yield "42-base-asked-twice", SET_UP + BUSY + message(11, state(0, 0)) * 2 + BUSY
    yield "42-rings-overlap", SET_UP + bytes([4, 0, 0]) + u16(0, 0, 0, 0) + BUSY
    whole = message(2, struct.pack("<Q", 0x140000000))[7:]
    for cut in (1, 11):
        yield f"43-ends-within-a-message-{cut}", SET_UP + bytes([5, cut]) + (
            struct.pack("<III", 2, 1, 8) + whole)[:cut]


# --- streams, messages, broker, texts ------------------------------------------------------------

def stream_seeds():
    def framed(*lengths):
        return b"".join(u32(n) + bytes([n & 255]) * min(n, 3000) for n in lengths)

    good = framed(60, 14, 1, 1514, 60)
    yield "44-split-at-each-byte", bytes([255]) + bytes(255) + good[:255]
    yield "44-one-piece", b"\0" + good
    for n in (0, 65551, 2**32 - 1):
        yield f"44-length-{n}", b"\2\4\x30" + framed(60) + u32(n) + b"rest"
    yield "44-ends-within-a-frame", b"\0" + framed(60) + u32(60) + b"part"
    yield "44-ends-within-a-length", b"\0" + framed(60) + b"\0\0"


def message_seeds():
    for how in (0, 1):
        yield f"44-hello-and-frames-{how}", bytes([how | 8]) + u16(4) + b"VFKT" + u16(60) + \
            bytes(60) + u16(4) + b"VFKX" + u16(5) + b"VFKT!"
        yield f"44-empty-message-{how}", bytes([how]) + u16(60) + bytes(60) + u16(0) + u16(60) + \
            bytes(60)
        yield f"44-longest-and-longer-{how}", bytes([how | 4]) + u16(65535) + bytes(8)


def broker_seeds():
    def opening(session, channel):
        return bytes([3, session, channel])

    yield "47-every-channel-and-more", b"".join(opening(n, n) for n in range(8)) + \
        b"".join(bytes([1, 2, n, 5, 9, 1]) for n in range(4))
    yield "47-same-session-twice", opening(1, 1) * 3 + bytes([6, 1, 7, 1, 7, 1])
    yield "47-descriptors-attached", bytes([0x1b | 0xe0, 1, 0]) + bytes([2 | 8, 1]) + \
        bytes([0 | 24, 44]) + bytes(44)
    yield "47-flood-of-openings", b"".join(bytes([0x23, n, 3]) for n in range(200))
    yield "47-link-down-of-none-and-ours", bytes([2, 0, 2, 3, 2, 1, 2, 1])
    yield "47-garbage-of-every-length", b"".join(bytes([0, n]) + bytes(n) for n in range(1, 16))


def text_seeds():
    devices = ["unix:/run/s,server=on,wait=off", "tcp:[::1]:7,nodelay", "udp:h:1@l:2", "pty:/x",
               "file:/f,append=on", "pipe:/p", "stdio", "/dev/ttyS0", "null", "cmd:cat",
               "vsock:3:4",
               "unix:a,,b,abstract=on,tight=off,max=9,name=n", "mon:stdio", "telnet::23,server",
               "websocket::80,server,logfile=/l,logappend=on"]
    for i, text in enumerate(devices):
        yield "device", f"device-{i:02}", b"\0" + text.encode()
        yield "device", f"channel-{i:02}", b"\2600:" + text.encode()
    for i, text in enumerate(["socket,id=a,path=/p,server=on", "file,id=b,path=/f", "pty,id=c",
                              "udp,id=d,host=h,port=1", "null,id=e", "pipe,id=f,path=/q"]):
        yield "device", f"chardev-{i:02}", b"\1" + text.encode()
    yield "device", "47-escapes-and-dots", b"\0unix:/run/../\x1b[31m\n/etc,name=\x7f"
    links = ["stream,path=/s,server=on", "stream,addr=[::1]:9", "stream,fd=3",
             "tap,ifname=t,netns=n",
             "packet,ifname=v", "netns,path=/proc/1/ns/net", "message,path=/a,peer=/b",
             "message,udp=h:1,peer=h:2", "message,seqpacket=/s", "hybrid,path=/h", "vsock,cid=3",
             "vhost-user,path=/v,,w,server"]
    for i, text in enumerate(links):
        yield "link_spec", f"link-{i:02}", text.encode()
    yield "config", "all-options", (
        "c600:unix:/s\nc1000-1003:unix:/s/%p\nc601:chardev:a\ndsocket,id=a,path=/p\n"
        "n10.0.3.0/24\nNvm1\nm1500\nx64\nra\n").encode()
    yield "config", "47-names", (
        b"N..\nN\x1b[2J\nNa/b\nN\nn1.2.3.4/33\nm0\nx-1\nc600:stdio\nc1:stdio\n")


def document_seeds():
    yield "vmi", "annotations", (
        b'{"kind":"VirtualMachineInstance","metadata":{"name":"vm","uid":"u-1","annotations":'
        b'{"vmchannel/channels":" 600:unix:/a\\n601:unix:/b,server,nowait ",'
        b'"vmchannel/socket-dir":"/run/s"}}}')
    yield "vmi", "47-escapes", b'{"metadata":{"uid":"\\u0000\\u001b","annotations":[1e999,null]}}'
    yield "vmi", "47-nested", b'{"metadata":' * 40
    domain = ("<domain type='kvm'>\n  <name>vm</name>\n  <memory unit='MiB'>64</memory>\n"
              "  <devices>\n    {}\n  </devices>\n</domain>\n")
    element = ("<interface type='vmchannel'><source port='600'/><target path='/some/path'/>"
               "</interface>")
    guestfwd = ("<channel type='unix'><source mode='bind' path='/p'/><target type='guestfwd' "
                "address='10.0.2.4' port='600'/></channel>")
    for name, inner in (("one", element), ("two", element + element.replace("600", "601")),
                        ("same-port", element * 2), ("guestfwd", guestfwd), ("none", "")):
        yield "domain_xml", f"domain-{name}", domain.format(inner).encode()
    yield "domain_xml", "47-entities", (
        b"<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>")
    yield "domain_xml", "47-path-with-dots-and-escapes", domain.format(
        element.replace("/some/path", "/../&#27;&lt;&#x0a;")).encode()


def codec_seeds():
    yield "websocket", b"\1\x10\xff" + b"\x82\x85\1\2\3\4hello" + b"\x89\x80\0\0\0\0"
    yield "websocket-handshake", b"\3\7\xff" + b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    yield "websocket-lengths", b"\1\xff\xff" + b"\x82\xff" + b"\x80" + bytes(7) + b"mask"
    yield "telnet", b"\0\1\xff" + b"ab\xff\xff\xff\xfb\1\xff\xfa\x18\0vt\xff\xf0\xff\xf4\r\0"
    yield "telnet-server-cut", b"\2\3\xff" + b"\xff\xfd\3\xff\xfa" + b"x" * 40 + b"\xff"


def all_seeds():
    for target, seeds in (("frame", frame_seeds), ("dhcp", dhcp_seeds), ("tcp", tcp_seeds),
                          ("virtqueue", virtqueue_seeds), ("vhost_user", vhost_user_seeds),
                          ("stream", stream_seeds), ("message", message_seeds),
                          ("broker", broker_seeds), ("codec", codec_seeds)):
        for name, data in seeds():
            yield target, name, data
    yield from text_seeds()
    yield from document_seeds()


def main(argv):
    check = argv[1:] == ["--check"]
    if argv[1:] and not check:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    wrong = []
    for target, name, data in all_seeds():
        path = CORPUS / target / name
        if check:
            if not path.exists() or path.read_bytes() != data:
                wrong.append(f"{target}/{name}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name in wrong:
        print(f"corpus/{name} is not what seeds.py writes: run it")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

# SPDX-License-Identifier: BSD-3-Clause
"""What vmchannel promises of its speed, row by row, and whether a run kept it. A row is a figure,
or how many times better ours is than a peer, or a share of something else; `must` is the promise,
`aim` what we would like. Beside it stands what a limit reached in the same rounds, where one of
limit_subjects.py takes no more than we have to: what it does not reach, nobody does here."""

from statistics import median

from limit_subjects import RAW_SPLICE, RAW_TAP, RAW_TAP_UNIX, RAW_TCP, RAW_UNIX

TAP, NETNS, STREAM = "vmchannel tap", "vmchannel netns", "vmchannel stream"
VHOST = "vmchannel vhost-user"
QEMU, QEMU_VHOST = "vmchannel qemu", "vmchannel qemu vhost"
SEND, RECEIVE = "send", "receive"
BOTH_SIDES = f"{RAW_UNIX}, both sides"
WAYS = ((SEND, "guest to host"), (RECEIVE, "host to guest"))


class Bound:
    def __init__(self, sign, limit):
        self.sign, self.limit = sign, limit

    def holds(self, value):
        return value >= self.limit if self.sign == "≥" else value <= self.limit


def at_least(limit):
    return Bound("≥", limit)


def at_most(limit):
    return Bound("≤", limit)


def figure(name, measure, what):
    """The median of a subject's figure."""
    def value(results):
        values = results.values(name, (measure, what))
        return median(values) if values else None
    return value


def better_than(name, peer, measure, what):
    """How many times better ours is than the peer, as the median of the rounds' ratios."""
    return lambda results: results.ratio(name, peer, (measure, what))


def share(name, measure, what, of_measure, of_what, of_name=None):
    """A figure in relation to another, as the median of the rounds' quotients."""
    def value(results):
        pairs = zip(results.per_round(name, (measure, what)),
                    results.per_round(of_name or name, (of_measure, of_what)))
        shares = [a / b for a, b in pairs if a is not None and b]
        return median(shares) if shares else None
    return value


def both_sides(way):
    """The CPU time of a raw Unix socket's writer and reader together."""
    def value(results):
        pairs = zip(results.per_round(RAW_UNIX, (way, "writer")),
                    results.per_round(RAW_UNIX, (way, "reader")))
        sums = [a + b for a, b in pairs if a is not None and b is not None]
        return median(sums) if sums else None
    return value


def rows():
    """(what, unit, digits, value, must or None, aim or None, its limits: (name, value)...)"""
    yield from rows_of_bulk_by_tap()
    for way, words in WAYS:
        netns = f"netns, {words}"
        yield (f"{netns}: times pasta's splice", "×", 2,
               better_than(NETNS, "pasta splice", way, "gbit"), at_least(1), None,
               (RAW_SPLICE, better_than(RAW_SPLICE, "pasta splice", way, "gbit")))
        yield (f"{netns}: of loopback TCP", "", 2,
               share(NETNS, way, "gbit", way, "gbit", RAW_TCP), None, at_least(0.8),
               (RAW_SPLICE, share(RAW_SPLICE, way, "gbit", way, "gbit", RAW_TCP)))
        yield (f"{netns}: CPU", "s/GB", 3, figure(NETNS, way, "daemon"), at_most(0.14),
               at_most(0.10), (RAW_SPLICE, figure(RAW_SPLICE, way, "daemon")))
    for (way, words), limits in zip(WAYS, ((1.3, 0.8), (2.0, 1.2))):
        yield (f"stream, MTU 1500, {words}: CPU", "s/GB", 2, figure(STREAM, way, "daemon"),
               at_most(limits[0]), at_most(limits[1]), (BOTH_SIDES, both_sides(way)))
    for (way, words), side in zip(WAYS, ("writer", "reader")):
        yield (f"vhost-user, {words}", "Gbit/s", 1, figure(VHOST, way, "gbit"), at_least(20),
               at_least(35), (RAW_UNIX, figure(RAW_UNIX, way, "gbit")))
        yield (f"vhost-user, {words}: CPU", "s/GB", 3, figure(VHOST, way, "daemon"), at_most(0.18),
               at_most(0.12), (f"{RAW_UNIX}'s {side}", figure(RAW_UNIX, way, side)))
    for name, link in ((QEMU, "stream"), (QEMU_VHOST, "vhost-user")):
        for (way, words), limit in zip(WAYS, (2.5, 2)):
            qemu = f"QEMU guest, {link}, {words}"
            yield (f"{qemu}: times guestfwd", "×", 2,
                   better_than(name, "QEMU guestfwd", way, "gbit"), at_least(limit), None)
            yield (f"{qemu}: our part of the CPU time", "", 3,
                   share(name, way, "daemon", way, "path"), None, at_most(0.05))
    yield from rows_of_small_things()


def rows_of_bulk_by_tap():
    """All bytes go through a Unix socket, too: that is the limit of their number."""
    def times(peer, way):
        return (better_than(TAP, peer, way, "gbit"),
                (RAW_UNIX, better_than(RAW_UNIX, peer, way, "gbit")))

    for way, words in WAYS:
        tap = f"tap, {words}"
        value, limit = times("pasta", way)
        yield (f"{tap}: times pasta", "×", 2, value, at_least(1.5), None, limit)
        if way == SEND:
            value, limit = times("pasta 1500", way)
            yield (f"{tap}: times pasta at MTU 1500", "×", 1, value, at_least(8), None, limit)
            value, limit = times("slirp4netns", way)
            yield (f"{tap}: times slirp4netns", "×", 1, value, at_least(15), None, limit)
            yield (f"{tap}: of a raw Unix stream", "", 2,
                   share(TAP, way, "gbit", way, "gbit", RAW_UNIX), None, at_least(0.65))
        limits = (0.24, 0.20) if way == SEND else (0.26, 0.22)
        yield (f"{tap}: CPU", "s/GB", 3, figure(TAP, way, "daemon"), at_most(limits[0]),
               at_most(limits[1]), (RAW_TAP_UNIX, figure(RAW_TAP_UNIX, way, "daemon")))


def rows_of_small_things():
    yield ("connections, one after another", "1/s", 0, figure(TAP, "connect", "rate"),
           at_least(8000), at_least(15000), (RAW_TCP, figure(RAW_TCP, "connect", "rate")),
           (RAW_TAP, figure(RAW_TAP, "connect", "rate")))
    yield ("connections, one after another: times pasta", "×", 2,
           better_than(TAP, "pasta", "connect", "rate"), at_least(2), None,
           (RAW_TCP, better_than(RAW_TCP, "pasta", "connect", "rate")),
           (RAW_TAP, better_than(RAW_TAP, "pasta", "connect", "rate")))
    for what in ("p50", "p99"):
        yield (f"round trip, 1 byte, {what}: times pasta", "×", 2,
               better_than(TAP, "pasta", "trip1", what), at_least(1), None)
    yield ("round trip, 1 byte: CPU", "µs", 1, figure(TAP, "trip1", "cpu"), at_most(20),
           at_most(12), (RAW_TAP_UNIX, figure(RAW_TAP_UNIX, "trip1", "cpu")))
    yield ("memory at the start", "MiB", 1, figure(TAP, "memory", "mib"), at_most(6), at_most(3))
    yield ("memory at 10 000 idle connections", "MiB", 1, figure(TAP, "memory10000", "mib"),
           at_most(20), at_most(12))
    for name in (TAP, VHOST):
        yield (f"start to first answer, {name.removeprefix('vmchannel ')}", "ms", 1,
               figure(name, "first", "ms"), at_most(30), at_most(10))
    for way, words in WAYS:
        yield (f"16 connections, {words}: half spread over mean", "", 2,
               figure(TAP, f"{way}16", "unfair"), at_most(0.2), None)
        yield (f"16 connections, {words}: of one connection", "", 2,
               share(TAP, f"{way}16", "gbit", way, "gbit"), at_least(0.9), None,
               (RAW_TAP, share(RAW_TAP, f"{way}16", "gbit", way, "gbit")))
    yield ("what 10 000 idle connections take from the active one", "%", 1,
           figure("1 channel", "beside", "slower"), at_most(3), at_most(0))


def verdict(bound, value, limits=()):
    """(the bound, whether the value is within); `limits` are what the limits reached."""
    if bound is None:
        return "", ""
    limit = f"{bound.sign} {bound.limit:g}"
    if value is None:
        return limit, "not measured"
    if bound.holds(value):
        return limit, "met"
    is_beyond = any(not bound.holds(reached) for reached in limits)
    return limit, "not met, nor by the limit" if is_beyond else "**not met**"


def table(results):
    """The promises as cells; the first row is the head."""
    cells = [["", "measured", "must", "", "aim", "", "a limit here"]]
    for what, unit, digits, value_of, must, aim, *limits in rows():
        def words(value):
            return f"{value:.{digits}f} {unit}".replace(" ×", "×").strip()

        value = value_of(results)
        reached = [(name, limit_of(results)) for name, limit_of in limits]
        reached = [(name, at) for name, at in reached if at is not None]
        of_limits = [at for _, at in reached]
        cells.append([what, "–" if value is None else words(value),
                      *verdict(must, value, of_limits), *verdict(aim, value, of_limits),
                      "; ".join(f"{words(at)} ({name})" for name, at in reached)])
    return cells

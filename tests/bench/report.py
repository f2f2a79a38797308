# SPDX-License-Identifier: BSD-3-Clause
"""What was measured, as numbers and as text: medians with quartiles, and what the peers have in
relation to ours, as the median of the ratios within each round."""

from statistics import median

import verdicts

GUEST_TO_HOST, HOST_TO_GUEST = "guest to host", "host to guest"

# group of subjects -> how its tables begin
GROUPS = {"namespace": "", "machine": "QEMU guest, ", "scale": "Scale, "}

# (measurement, figure): title, unit, more is better, digits
FIGURES = {
    ("send", "gbit"): (f"{GUEST_TO_HOST}, 1 connection", "Gbit/s", True, 2),
    ("receive", "gbit"): (f"{HOST_TO_GUEST}, 1 connection", "Gbit/s", True, 2),
    ("send16", "gbit"): (f"{GUEST_TO_HOST}, 16 connections", "Gbit/s", True, 2),
    ("receive16", "gbit"): (f"{HOST_TO_GUEST}, 16 connections", "Gbit/s", True, 2),
    ("send", "daemon"): (f"{GUEST_TO_HOST}, CPU of the daemon", "s/GB", False, 3),
    ("receive", "daemon"): (f"{HOST_TO_GUEST}, CPU of the daemon", "s/GB", False, 3),
    ("send", "path"): (f"{GUEST_TO_HOST}, CPU of the whole path", "s/GB", False, 3),
    ("receive", "path"): (f"{HOST_TO_GUEST}, CPU of the whole path", "s/GB", False, 3),
    ("send16", "unfair"): (f"{GUEST_TO_HOST}, 16 connections, half spread over mean", "", False, 2),
    ("receive16", "unfair"): (f"{HOST_TO_GUEST}, 16 connections, half spread over mean", "", False,
                              2),
    ("trip1", "p50"): ("round trip, 1 byte, p50", "µs", False, 1),
    ("trip1", "p99"): ("round trip, 1 byte, p99", "µs", False, 1),
    ("trip1", "cpu"): ("round trip, 1 byte, CPU of the daemon", "µs", False, 1),
    ("trip64", "p50"): ("round trip, 64 bytes, p50", "µs", False, 1),
    ("trip64", "p99"): ("round trip, 64 bytes, p99", "µs", False, 1),
    ("connect", "rate"): ("connections, one after another", "1/s", True, 0),
    ("first", "ms"): ("start to first answered connection", "ms", False, 1),
    ("memory", "mib"): ("memory (PSS), no connection", "MiB", False, 2),
    ("memory1000", "mib"): ("memory (PSS), 1 000 idle connections", "MiB", False, 2),
    ("memory10000", "mib"): ("memory (PSS), 10 000 idle connections", "MiB", False, 2),
    ("rotate1", "p50"): ("round trip, 64 bytes, over 1 connection, p50", "µs", False, 1),
    ("rotate100", "p50"): ("round trip, 64 bytes, over 100 in turn, p50", "µs", False, 1),
    ("rotate10000", "p50"): ("round trip, 64 bytes, over 10 000 in turn, p50", "µs", False, 1),
    ("rotate1", "cpu"): ("round trip, over 1 connection, CPU of the daemon", "µs", False, 1),
    ("rotate100", "cpu"): ("round trip, over 100 in turn, CPU of the daemon", "µs", False, 1),
    ("rotate10000", "cpu"): ("round trip, over 10 000 in turn, CPU of the daemon", "µs", False, 1),
    ("beside", "slower"): ("what many idle connections take from the active one", "%", False, 1),
    ("beside", "dearer"): ("what they add to its CPU time", "%", False, 1),
}


# The same for one side of a socket, both ways in one table.
SIDES = {(way, side): (f"{words}, {side}", "s/GB")
         for way, words in (("send", GUEST_TO_HOST), ("receive", HOST_TO_GUEST))
         for side in ("writer", "reader")}


def quartiles(values):
    """(lower quartile, median, upper quartile), by linear interpolation."""
    ordered = sorted(values)

    def at(share):
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return at(0.25), at(0.5), at(0.75)


def spread_percent(values):
    low, middle, high = quartiles(values)
    return 100 * (high - low) / middle if middle else 0.0


class Results:
    """rounds[N][subject][measurement][figure]"""

    def __init__(self, about):
        self.about = about
        self.rounds = []
        self.spins_ms = []
        self.loads = []
        self.failures = []

    def begin_round(self):
        self.rounds.append({})

    def add(self, subject, measure, figures):
        self.rounds[-1].setdefault(subject, {})[measure] = figures

    def add_noise(self, spin_ms, load):
        self.spins_ms.append(spin_ms)
        self.loads.append(load)

    def per_round(self, subject, key):
        """One value or None for each round."""
        measure, figure = key
        return [r.get(subject, {}).get(measure, {}).get(figure) for r in self.rounds]

    def values(self, subject, key):
        return [v for v in self.per_round(subject, key) if v is not None]

    def names(self, key, group):
        """Subjects of the group that have the figure."""
        return [n for n, of in self.about["groups"].items()
                if of == group and self.values(n, key)]

    def ratio(self, ours, peer, key):
        """How many times better ours is: the median over the rounds."""
        more_is_better = FIGURES[key][2]
        ratios = []
        for a, b in zip(self.per_round(ours, key), self.per_round(peer, key)):
            if a and b:
                ratios.append(a / b if more_is_better else b / a)
        return median(ratios) if ratios else None

    @classmethod
    def of_json(cls, stored):
        kept = ("rounds", "spin_ms", "load_average", "failures", "units")
        results = cls({k: v for k, v in stored.items() if k not in kept})
        results.rounds, results.failures = stored["rounds"], stored["failures"]
        results.spins_ms, results.loads = stored["spin_ms"], stored["load_average"]
        return results

    def as_json(self):
        return {**self.about, "rounds": self.rounds,
                "spin_ms": self.spins_ms,
                "load_average": self.loads, "failures": self.failures,
                "units": {f"{m}.{f}": about[1] for (m, f), about in (FIGURES | SIDES).items()}}


def noise(results):
    loads, spins = results.loads, results.spins_ms
    lines = [f"Noise: a fixed loop took {median(spins):.1f} ms, quartiles "
             f"{spread_percent(spins):.0f} % apart, from {min(spins):.1f} to {max(spins):.1f}; "
             f"load average {min(loads):.1f} to {max(loads):.1f} on {results.about['cpus']} CPUs."]
    raw = results.values("raw Unix socket", ("send", "gbit"))
    if raw:
        lines.append(f"The raw Unix socket moved {median(raw):.1f} Gbit/s, quartiles "
                     f"{spread_percent(raw):.0f} % apart, from {min(raw):.1f} to {max(raw):.1f}.")
    if len(results.rounds) < 5:
        lines.append("Fewer than five rounds: an impression, not a measurement.")
    if results.about["quick"]:
        lines.append("Quick: too short for a peer that starts slowly, as pasta does; 1 000 idle "
                     "connections where it says 10 000.")
    if max(loads) > 2 + results.about["cpus"]:
        lines.append("Others were busy: compare by the ratios, and trust no absolute figure.")
    return lines


def table(results, key, group):
    """One figure over all subjects of a group that have it; [] when none has."""
    title, unit, _, digits = FIGURES[key]
    names = results.names(key, group)
    if not names:
        return []
    ours = [n for n in names if n in results.about["ours"]]
    head = [f"{GROUPS[group]}{title}{', ' + unit if unit else ''}", "median", "quartiles"]
    head += [n.removeprefix("vmchannel ") + " is" for n in ours]
    rows = []
    for name in names:
        low, middle, high = quartiles(results.values(name, key))
        cells = [name, f"{middle:.{digits}f}", f"{low:.{digits}f} – {high:.{digits}f}"]
        for mine in ours:
            ratio = results.ratio(mine, name, key) if mine != name else None
            cells.append(f"{ratio:.2f}×" if ratio else "")
        rows.append(cells)
    return as_table([head, *rows])


def sides_table(results):
    """What one write and one read of a socket take, by those subjects that are nothing else."""
    rows = []
    for (way, side), (words, _) in SIDES.items():
        for name in results.about["subjects"]:
            values = results.values(name, (way, side))
            if values:
                low, middle, high = quartiles(values)
                rows.append([f"{name}: {words}", f"{middle:.3f}", f"{low:.3f} – {high:.3f}"])
    head = ["CPU of one side of a socket, no daemon, s/GB", "median", "quartiles"]
    return as_table([head, *sorted(rows)]) if rows else []


def as_table(cells):
    widths = [max(len(r[i]) for r in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |" for r in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return lines + [""]


def as_text(results):
    about = results.about
    lines = [f"vmchannel and its peers, {about['when']}: Linux {about['kernel']}, {about['cpus']} "
             f"CPUs, {len(results.rounds)} interleaved rounds.", ""]
    lines += [f"- {name}: {what}" for name, what in about["subjects"].items()]
    lines += [f"- {program} {version}" for program, version in about["versions"].items()]
    lines += ["", *noise(results), "", *as_table(verdicts.table(results)),
              "\"is 2.00×\": ours is twice as good as the row, be it higher or lower; the median "
              "of the rounds' ratios.", "", *sides_table(results)]
    for group in GROUPS:
        for key in FIGURES:
            lines += table(results, key, group)
    if results.failures:
        lines += ["Failed:"] + [f"- {': '.join(f)}" for f in results.failures] + [""]
    return "\n".join(lines)


def put_between(path, markers, words):
    """Replaces what stands between two lines of a text."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    before, begin, rest = text.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise SystemExit(f"{path}: no lines {markers[0]!r} and {markers[1]!r}")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{before}{begin}\n\n{words.strip()}\n\n{end}{after}")

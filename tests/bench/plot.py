# SPDX-License-Identifier: BSD-3-Clause
"""The figures in SVG: a panel for each figure, a bar for each subject with a whisker from quartile
to quartile; and lines over the number of connections. No library: an SVG is text."""

from xml.sax.saxutils import escape

from report import FIGURES, GROUPS, quartiles

PANELS = [("send", "gbit"), ("receive", "gbit"), ("send16", "gbit"), ("receive16", "gbit"),
          ("send", "daemon"), ("receive", "daemon"), ("trip1", "p50"), ("trip1", "p99"),
          ("connect", "rate"), ("first", "ms"), ("memory", "mib"), ("memory10000", "mib")]
MACHINE_PANELS = [("send", "gbit"), ("receive", "gbit"), ("send", "path"), ("receive", "path")]
SCALE_PANELS = [("send", "daemon"), ("receive", "daemon"), ("trip1", "cpu"), ("connect", "rate"),
                ("memory", "mib")]
# title, unit, the figures over the number of connections
CURVES = [("CPU of the daemon for a round trip, over so many connections in turn", "µs",
           [(n, (f"rotate{n}", "cpu")) for n in (1, 100, 10000)]),
          ("guest to host, 1 connection beside so many idle ones", "Gbit/s",
           [(n, ("beside", f"gbit{n}")) for n in (0, 10, 100, 1000, 10000)]),
          ("its CPU of the daemon", "s/GB",
           [(n, ("beside", f"daemon{n}")) for n in (0, 10, 100, 1000, 10000)])]
CURVE_HEIGHT, CURVE_OF = 110, "1 channel"
COLUMNS = 2
PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH = 460, 130, 60
ROW_HEIGHT, TITLE_HEIGHT, GAP = 18, 26, 24
OURS, PEER, LIMIT = "#1f6f8b", "#b8b8b8", "#e0c36a"


def colour_of(name, results):
    is_ours = name in results.about["ours"]
    return OURS if is_ours else LIMIT if name.startswith("raw") else PEER


def text(x, y, words, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(words)}</text>")


def panel(results, key, group, x, y):
    names = results.names(key, group)
    title, unit, more_is_better, digits = FIGURES[key]
    better = "more" if more_is_better else "less"
    parts = [text(x, y + 14, f"{GROUPS[group]}{title} ({unit}; {better} is better)", weight="bold")]
    stats = {n: quartiles(results.values(n, key)) for n in names}
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / (max(high for _, _, high in stats.values()) or 1)
    left = x + LABEL_WIDTH
    for row, (name, (low, middle, high)) in enumerate(stats.items()):
        top = y + TITLE_HEIGHT + row * ROW_HEIGHT
        centre = top + ROW_HEIGHT / 2 - 2
        parts.append(text(left - 6, top + 12, name, "end"))
        parts.append(f'<rect x="{left}" y="{top + 1:.1f}" width="{middle * scale:.1f}" '
                     f'height="{ROW_HEIGHT - 5}" fill="{colour_of(name, results)}"/>')
        parts.append(f'<path d="M{left + low * scale:.1f} {centre:.1f}H{left + high * scale:.1f}" '
                     f'stroke="#222" stroke-width="1.5"/>')
        parts.append(text(left + max(middle, high) * scale + 5, top + 12, f"{middle:.{digits}f}"))
    return parts


def curve(results, title, unit, keys, x, y):
    """A line through the medians, from 0 up; the connections stand at even distances."""
    points = [(n, quartiles(values)) for n, key in keys
              if (values := results.values(CURVE_OF, key))]
    if len(points) < 2:
        return []
    parts = [text(x, y + 14, f"{title} ({unit})", weight="bold")]
    scale = CURVE_HEIGHT / (max(high for _, (_, _, high) in points) or 1)
    step = (PANEL_WIDTH - LABEL_WIDTH) / (len(points) - 1)
    floor = y + TITLE_HEIGHT + 12 + CURVE_HEIGHT
    places = [x + 40 + i * step for i in range(len(points))]
    parts.append(f'<path d="M{x + 20} {floor}H{places[-1] + 20:.1f}" stroke="#888"/>')
    line = " ".join(f"{at:.1f},{floor - middle * scale:.1f}"
                    for at, (_, (_, middle, _)) in zip(places, points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{OURS}" stroke-width="2"/>')
    for at, (n, (low, middle, high)) in zip(places, points):
        parts.append(f'<path d="M{at:.1f} {floor - low * scale:.1f}V{floor - high * scale:.1f}" '
                     f'stroke="#222" stroke-width="1.5"/>')
        parts.append(text(at, floor - high * scale - 5, f"{middle:.3g}", "middle"))
        parts.append(text(at, floor + 14, f"{n:,}".replace(",", " "), "middle"))
    return parts


def curves(results, y):
    """(parts, the height that they take)"""
    drawn = [c for c in CURVES if curve(results, *c, 0, 0)]
    height = TITLE_HEIGHT + CURVE_HEIGHT + 30 + GAP
    parts = []
    for i, c in enumerate(drawn):
        left = GAP + i % COLUMNS * (PANEL_WIDTH + GAP)
        parts += curve(results, *c, left, y + i // COLUMNS * height)
    return parts, (len(drawn) + COLUMNS - 1) // COLUMNS * height


def as_svg(results):
    """The whole picture, as text."""
    shown = [(key, group) for group, keys in (("namespace", PANELS), ("machine", MACHINE_PANELS),
                                              ("scale", SCALE_PANELS)) for key in keys]
    shown = [panel_of for panel_of in shown if results.names(*panel_of)]
    width = COLUMNS * (PANEL_WIDTH + GAP) + GAP
    parts, y = [], GAP
    for i in range(0, len(shown), COLUMNS):
        line = shown[i:i + COLUMNS]
        for column, (key, group) in enumerate(line):
            parts += panel(results, key, group, GAP + column * (PANEL_WIDTH + GAP), y)
        rows = max(len(results.names(*panel_of)) for panel_of in line)
        y += TITLE_HEIGHT + ROW_HEIGHT * rows + GAP
    lines, height = curves(results, y)
    parts += lines
    y += height
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        f'viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{y}" fill="#fff"/>', *parts, "</svg>", ""])

# SPDX-License-Identifier: BSD-3-Clause
"""The figures as bars, in SVG: a panel for each figure, a bar for each subject with a whisker from
quartile to quartile. No library: an SVG is text."""

from xml.sax.saxutils import escape

from report import FIGURES, GROUPS, quartiles

PANELS = [("send", "gbit"), ("receive", "gbit"), ("send16", "gbit"), ("receive16", "gbit"),
          ("send", "daemon"), ("receive", "daemon"), ("trip1", "p50"), ("trip1", "p99"),
          ("connect", "rate"), ("first", "ms"), ("memory", "mib"), ("memory10000", "mib")]
MACHINE_PANELS = [("send", "gbit"), ("receive", "gbit"), ("send", "path"), ("receive", "path")]
COLUMNS = 2
PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH = 460, 130, 60
ROW_HEIGHT, TITLE_HEIGHT, GAP = 18, 26, 24
OURS, PEER, LIMIT = "#1f6f8b", "#b8b8b8", "#e0c36a"


def colour_of(name):
    return OURS if name.startswith("vmchannel") else LIMIT if name.startswith("raw") else PEER


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
                     f'height="{ROW_HEIGHT - 5}" fill="{colour_of(name)}"/>')
        parts.append(f'<path d="M{left + low * scale:.1f} {centre:.1f}H{left + high * scale:.1f}" '
                     f'stroke="#222" stroke-width="1.5"/>')
        parts.append(text(left + max(middle, high) * scale + 5, top + 12, f"{middle:.{digits}f}"))
    return parts


def as_svg(results):
    """The whole picture, as text."""
    shown = [(key, "namespace") for key in PANELS] + [(key, "machine") for key in MACHINE_PANELS]
    shown = [panel_of for panel_of in shown if results.names(*panel_of)]
    width = COLUMNS * (PANEL_WIDTH + GAP) + GAP
    parts, y = [], GAP
    for i in range(0, len(shown), COLUMNS):
        line = shown[i:i + COLUMNS]
        for column, (key, group) in enumerate(line):
            parts += panel(results, key, group, GAP + column * (PANEL_WIDTH + GAP), y)
        rows = max(len(results.names(*panel_of)) for panel_of in line)
        y += TITLE_HEIGHT + ROW_HEIGHT * rows + GAP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        f'viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{y}" fill="#fff"/>', *parts, "</svg>", ""])

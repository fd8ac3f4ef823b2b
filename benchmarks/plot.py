"""Line charts as SVG: panels side by side, one legend below. Just what the benchmarks' results need."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

PANEL_WIDTH, PANEL_HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 78, 18, 42, 48
LEGEND_LINE, LEGEND_PAD = 20, 14
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which the colour-blind can tell apart."""
UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


@dataclass(frozen=True)
class Series:
    """One line through (x, y); on a logarithmic axis all values must be positive."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart. The y axis is logarithmic and in bytes; all panels share the names of their series."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False


def svg(panels: Sequence[Panel]) -> str:
    """The drawing. Raises `ValueError` without panels, or for a panel without points."""
    if not panels or any(not one.points for panel in panels for one in panel.series):
        raise ValueError("a plot needs panels, and each line points")
    names = list(dict.fromkeys(one.name for panel in panels for one in panel.series))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    width = PANEL_WIDTH * len(panels)
    height = PANEL_HEIGHT + LEGEND_PAD + LEGEND_LINE * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for place, panel in enumerate(panels):
        parts.append(f'<g transform="translate({place * PANEL_WIDTH} 0)">')
        parts += _panel(panel, colours)
        parts.append("</g>")
    for place, name in enumerate(names):
        y = PANEL_HEIGHT + LEGEND_PAD + place * LEGEND_LINE
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + 28}" y1="{y}" y2="{y}" {_stroke(colours[name])}/>')
        parts.append(f'<text x="{LEFT + 36}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, colours: dict[str, str]) -> list[str]:
    xs = [x for one in panel.series for x, _ in one.points]
    ys = [y for one in panel.series for _, y in one.points]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    inner_width, inner_height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
    place_x = _scale(min(xs), max(xs), LEFT, LEFT + inner_width, panel.log_x)
    place_y = _scale(low, max(high, 10 * low), TOP + inner_height, TOP, log=True)
    middle = LEFT + inner_width / 2
    parts = [
        f'<text x="{middle}" y="20" text-anchor="middle" font-size="14">{escape(panel.title)}</text>',
        f'<text x="{middle}" y="{PANEL_HEIGHT - 10}" text-anchor="middle">{escape(panel.x_label)}</text>',
        f'<text transform="translate(16 {TOP + inner_height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y_label)}</text>",
    ]
    for tick in decades(low, max(high, 10 * low)):
        y = place_y(tick)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + inner_width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{bytes_text(tick)}</text>')
    for tick in sorted(set(xs)) if len(set(xs)) <= 6 else _round_ticks(min(xs), max(xs)):
        x = place_x(tick)
        parts.append(f'<text x="{x:.1f}" y="{TOP + inner_height + 18}" text-anchor="middle">{tick:g}</text>')
    for one in panel.series:
        points = [(place_x(x), place_y(y)) for x, y in one.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" {_stroke(colours[one.name])}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[one.name]}"/>' for x, y in points]
    return parts


def _scale(low: float, high: float, first: float, last: float, log: bool) -> Callable[[float], float]:
    """value → place; a range of one value lies at its beginning."""
    if log:
        low, high = math.log10(low), math.log10(high)
    span = high - low or 1.0
    return lambda value: first + (last - first) * ((math.log10(value) if log else value) - low) / span


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from `low` to `high`, both included, which must be such powers."""
    first, last = round(math.log10(low)), round(math.log10(high))
    step = max(1, (last - first + 5) // 6)
    return [10.0**exponent for exponent in range(first, last + 1, step)]


def _round_ticks(low: float, high: float) -> list[float]:
    step = max(1, round((high - low) / 5))
    return [float(tick) for tick in range(math.ceil(low), math.floor(high) + 1, step)]


def bytes_text(count: float) -> str:
    """Like "10 MB"; in powers of a thousand."""
    place = min(len(UNITS) - 1, max(0, math.floor(math.log10(count) / 3 + 1e-9))) if count >= 1 else 0
    return f"{count / 1000**place:g} {UNITS[place]}"


def _stroke(colour: str) -> str:
    return f'stroke="{colour}" stroke-width="2"'

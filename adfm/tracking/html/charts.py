"""Small line charts as inline SVG; the page's script adds a cursor, of pointer or keys, that reads the values out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#0891b2", "#a16207", "#be185d")
WIDTH, HEIGHT = 320, 160
LEFT, RIGHT, TOP, BOTTOM = 44, 13, 6, 20
TITLE = 40
"""Height above a chart for its title and legend, in a file of its own."""
STYLE = (
    "text{font-family:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}.grid{stroke:#edf0f3}.hollow{fill:#fff}"
    ".tick{font-size:10.5px;fill:#5b6776}.title{font-size:12px;font-weight:600;fill:#1b2430}.key{font-size:11px}"
)
MOST_POINTS = 400
LEAST_SMOOTHED = 40
"""Lines of at least as many points get a smoothed line over the faint raw one."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart: points in the order of x, and by option how far each spreads above and below."""

    name: str
    points: Sequence[Point]
    spread: Sequence[float] | None = None
    """Half the height of the band at each point."""
    dots: bool = False
    """Draw each point, for values that are far apart."""
    smooth: bool = True
    """Draw a long line faint and its running mean over it."""
    notes: Sequence[str] | None = None
    """What the cursor says of each point beside its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place that a chart names: a point, or without `y` the whole height at `x`."""

    name: str
    x: float
    y: float | None = None


@dataclass(frozen=True, slots=True)
class Axes:
    """Where data lies in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, x: float) -> float:
        """Take x from data to the picture."""
        low, high = self.x
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        """Take y from data to the picture."""
        low, high = self.y
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def lines(series: Sequence[Series], *, title: str, paths: bool = False, marks: Sequence[Mark] = ()) -> Markup:
    """Draw series over a common x, with `title` for those who do not see it.

    With `paths`, y is not a function of x: each series is a way through the plane, its start hollow and its end filled.
    """
    series = [line if paths else thinned(line) for line in series if line.points]
    axes = _axes(series, marks)
    readout = Markup("")
    if not paths:
        said = Markup(' tabindex="0" aria-roledescription="chart, arrow keys read its values" data-readout="{}"')
        readout = said.format(_readout(series, axes))
    drawn = _drawing(series, axes, paths=paths) + _marks(marks, axes, len(series))
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}"{}>{}</svg>').format(
        WIDTH, HEIGHT, title, readout, drawn
    )


def figure(panels: Sequence[tuple[str, Sequence[Series]]], *, columns: int = 2) -> Markup:
    """Draw charts with their titles and legends side by side, as an SVG file of its own. Panels need a line each."""
    rows = math.ceil(len(panels) / columns)
    width, height = WIDTH, HEIGHT + TITLE
    parts = []
    for number, (title, series) in enumerate(panels):
        across, down = number % columns * width, number // columns * height
        drawn = [thinned(line) for line in series if line.points]
        chart = _drawing(drawn, _axes(drawn), paths=False)
        parts.append(
            Markup('<g transform="translate({} {})"><text class="title" x="8" y="16">{}</text>{}').format(
                across, down, title, _named(drawn)
            )
            + Markup('<g transform="translate(0 {})">{}</g></g>').format(TITLE, chart)
        )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{2}" height="{3}"><style>{4}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>{5}</svg>\n'
    ).format(
        columns * width, rows * height, 2 * columns * width, 2 * rows * height, Markup(STYLE), Markup("").join(parts)
    )


def _named(series: Sequence[Series]) -> Markup:
    key = Markup('<tspan fill="{}">{}   </tspan>')
    names = Markup("").join(key.format(COLOURS[i % len(COLOURS)], line.name) for i, line in enumerate(series))
    return Markup('<text class="key" x="8" y="31" xml:space="preserve">{}</text>').format(names)


def _drawing(series: Sequence[Series], axes: Axes, *, paths: bool) -> Markup:
    parts = [_grid(axes, whole_x=not paths)]
    for index, line in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        smooth = line.smooth and not line.dots and len(line.points) >= LEAST_SMOOTHED
        parts += [_band(line, axes, colour)] if line.spread is not None else []
        parts.append(_way(line.points, axes, colour, opacity=0.3 if smooth else 1.0))
        parts += [_way(_smooth_points(line), axes, colour)] if smooth else []
        parts += [_ends(line, axes, colour)] if paths else []
        parts += [_dots(line, axes, colour)] if line.dots or len(line.points) == 1 else []
    return Markup("").join(parts)


def thinned(line: Series) -> Series:
    """Replace neighbouring points by their mean where there are more than a picture can show."""
    stride = math.ceil(len(line.points) / MOST_POINTS)
    if stride == 1:
        return line
    chunks = [line.points[start : start + stride] for start in range(0, len(line.points), stride)]
    spread = line.spread and [_mean(line.spread[at : at + stride]) for at in range(0, len(line.points), stride)]
    notes = line.notes and [line.notes[at : at + stride][-1] for at in range(0, len(line.points), stride)]
    points = [(chunk[-1][0], _mean([y for _, y in chunk])) for chunk in chunks]
    return replace(line, points=points, spread=spread, notes=notes)


def smoothed(values: Sequence[float]) -> list[float]:
    """Average over a window of a tenth of the line, centred and cut at the ends.

    >>> smoothed([0.0, 3.0, 6.0])
    [0.0, 3.0, 6.0]
    """
    half = len(values) // 20
    return [_mean(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Choose round numbers between `low` and `high`.

    >>> ticks(0, 1)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> ticks(0, 37)
    [0, 10, 20, 30]
    """
    size = 10 ** math.floor(math.log10((high - low) / most))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10, 20) if (high - low) / (size * factor) <= most - 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """Write a number with three significant digits.

    >>> number(0.12345), number(1234567.0), number(0.0000321), number(40.0)
    ('0.123', '1.23M', '3.2e-05', '40')
    """
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if 0 < size < 1e-3:
        return f"{value:.2g}"
    return f"{value:.0f}" if size >= 1000 else f"{value:.3g}"


def _axes(series: Sequence[Series], marks: Sequence[Mark] = ()) -> Axes:
    xs = [x for line in series for x, _ in line.points] + [mark.x for mark in marks]
    edges = [y for line in series for lower, upper in _reach(line) for y in (lower, upper)]
    edges += [mark.y for mark in marks if mark.y is not None]
    return Axes(_room(min(xs), max(xs), margin=0.0), _room(min(edges), max(edges), margin=0.06))


def _reach(line: Series) -> list[tuple[float, float]]:
    """Give the lowest and the highest that is drawn at each point."""
    spread = line.spread if line.spread is not None else [0.0] * len(line.points)
    return [(y - half, y + half) for (_, y), half in zip(line.points, spread, strict=True)]


def _room(low: float, high: float, margin: float) -> tuple[float, float]:
    """Widen a range a little, and a range of one value so far that it can be drawn."""
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-12):
        half = abs(low) / 2 or 0.5
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)


def _grid(axes: Axes, *, whole_x: bool) -> Markup:
    rule = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    label = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    parts = []
    for tick in ticks(*axes.y):
        down = axes.down(tick)
        parts.append(rule.format(LEFT, WIDTH - RIGHT, down, down))
        parts.append(label.format(LEFT - 6, down + 3.5, "end", number(tick)))
    for tick in ticks(*axes.x):
        if tick == int(tick) or not whole_x:
            parts.append(label.format(axes.across(tick), HEIGHT - 5, "middle", number(tick)))
    return Markup("").join(parts)


def _band(line: Series, axes: Axes, colour: str) -> Markup:
    xs = [x for x, _ in line.points]
    lower, upper = zip(*_reach(line), strict=True)
    edge = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
    corners = _corners(edge, axes)
    return Markup('<polygon points="{}" fill="{}" fill-opacity="0.13"/>').format(corners, colour)


def _way(points: Sequence[Point], axes: Axes, colour: str, opacity: float = 1.0) -> Markup:
    polyline = (
        '<polyline points="{}" fill="none" stroke="{}" stroke-opacity="{}" stroke-width="1.6" stroke-linejoin="round"/>'
    )
    return Markup(polyline).format(_corners(points, axes), colour, opacity)


def _smooth_points(line: Series) -> list[Point]:
    means = smoothed([y for _, y in line.points])
    return [(x, mean) for (x, _), mean in zip(line.points, means, strict=True)]


def _dots(line: Series, axes: Axes, colour: str) -> Markup:
    dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.6" fill="{}"/>')
    return Markup("").join(dot.format(axes.across(x), axes.down(y), colour) for x, y in line.points)


def _ends(line: Series, axes: Axes, colour: str) -> Markup:
    filled = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4.5" fill="{}"/>')
    (x0, y0), (x1, y1) = line.points[0], line.points[-1]
    return _ring(x0, y0, axes, colour) + filled.format(axes.across(x1), axes.down(y1), colour)


def _ring(x: float, y: float, axes: Axes, colour: str) -> Markup:
    ring = '<circle class="hollow" cx="{:.1f}" cy="{:.1f}" r="4.5" stroke="{}" stroke-width="1.8"/>'
    return Markup(ring).format(axes.across(x), axes.down(y), colour)


def _marks(marks: Sequence[Mark], axes: Axes, first: int) -> Markup:
    rule = Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" stroke="{3}" stroke-dasharray="4 3"/>')
    parts = []
    for index, mark in enumerate(marks, start=first):
        colour = COLOURS[index % len(COLOURS)]
        if mark.y is None:
            parts.append(rule.format(axes.across(mark.x), TOP, HEIGHT - BOTTOM, colour))
        else:
            parts.append(_ring(mark.x, mark.y, axes, colour))
    return Markup("").join(parts)


def _corners(points: Sequence[Point], axes: Axes) -> str:
    return " ".join(f"{axes.across(x):.1f},{axes.down(y):.1f}" for x, y in points)


def _readout(series: Sequence[Series], axes: Axes) -> str:
    """Say, for the cursor, every x with its place in the picture and each line's value there."""
    xs = sorted({x for line in series for x, _ in line.points})
    values = [_spoken(line) for line in series]
    shown = [[known.get(x) for known in values] for x in xs]
    rows = [[round(axes.across(x), 1), number(x), *numbers] for x, numbers in zip(xs, shown, strict=True)]
    return json.dumps({"names": [line.name for line in series], "rows": rows})


def _spoken(line: Series) -> dict[float, str]:
    notes = line.notes or [""] * len(line.points)
    return {x: f"{number(y)} {note}".strip() for (x, y), note in zip(line.points, notes, strict=True)}


def legend(series: Sequence[Series], marks: Sequence[Mark] = ()) -> Markup:
    """Name the lines of a chart and its marks in their colours."""
    key = Markup('<span class="key"><i class="{}" style="color:{}"></i>{}</span>')
    shown = [("line", line.name) for line in series if line.points]
    shown += [("rule" if mark.y is None else "ring", mark.name) for mark in marks]
    return Markup("").join(
        key.format(shape, COLOURS[i % len(COLOURS)], escape(name)) for i, (shape, name) in enumerate(shown)
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

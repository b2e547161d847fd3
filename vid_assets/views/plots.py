"""Plots as PNG bytes: losses of a run, how many clips each step leaves, how a metric lies to its limit.

Figures are made without pyplot: it imports slowly, keeps figures alive, and is not safe in threads.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_MAIN, _FAINT, _BAD, _GREY = "#2563a8", "#b5cbe4", "#b8281f", "#5d6268"
_SECOND = "#c2571a"
#: Of what is compared with.
_OTHERS = ("#6b8f3a", "#8a5aa8", "#2a9d8f", "#a8862a", "#7a6a5d")


Points = Sequence[tuple[float, float]]


def loss_plot(
    losses: Sequence[float],
    title: str = "",
    *,
    steps: Sequence[int] | None = None,
    heldout: Points = (),
    level: tuple[str, float] | None = None,
    others: Mapping[str, Points] | None = None,
) -> bytes:
    """Losses by training step with their moving average; `steps` are 1, 2, 3, ... unless given.

    `heldout` are (step, loss) points of the same run on held-out samples, `others` those of runs to compare with, by
    name; `level` is a named loss that is drawn as a line across. A loss that is not finite leaves a gap, marked below.
    Raises `ValueError` if `steps` has another length.
    """
    if steps is not None and len(steps) != len(losses):
        raise ValueError(f"{len(steps)} steps for {len(losses)} losses")
    at = np.asarray(steps if steps is not None else np.arange(1, len(losses) + 1))
    values = np.asarray(losses, dtype=float)
    figure, axes = _figure(title)
    finite = np.isfinite(values)
    if not finite.any():
        return _nothing(figure, axes, "no finite loss" if len(values) else "no losses yet")
    # A handful of losses are points; many are a band behind their average.
    span = max(len(values) // 20, 1)
    if span == 1:
        axes.plot(at, np.where(finite, values, np.nan), "o-", color=_MAIN, markersize=3.5, label="loss")
    else:
        axes.plot(at, np.where(finite, values, np.nan), color=_FAINT, linewidth=0.9, label="loss")
        axes.plot(at, _moving_mean(values, span), color=_MAIN, linewidth=2, label=f"mean of {span}")
    if not finite.all():
        axes.plot(at[~finite], np.full((~finite).sum(), values[finite].min()), "x", color=_BAD)
        axes.text(0.99, 0.02, f"{(~finite).sum()} not finite", transform=axes.transAxes, ha="right", color=_BAD)
    if heldout:
        axes.plot(*zip(*heldout), "o-", color=_SECOND, markersize=4, linewidth=1.6, label="held out")
    for number, (name, points) in enumerate((others or {}).items()):
        colour = _OTHERS[number % len(_OTHERS)]
        axes.plot(*zip(*points), "o--", color=colour, markersize=3, linewidth=1.1, label=name)
    if level is not None:
        axes.axhline(level[1], color=_GREY, linewidth=1, linestyle=":", label=level[0])
    if len(axes.get_lines()) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def lines_plot(lines: Mapping[str, Points], title: str = "", *, across: str = "", up: str = "") -> bytes:
    """Some lines of (x, y) points by name, the first one in front."""
    figure, axes = _figure(title)
    drawn = {name: points for name, points in lines.items() if points}
    if not drawn:
        return _nothing(figure, axes, "nothing measured")
    for number, (name, points) in enumerate(drawn.items()):
        first = number == 0
        colour = _MAIN if first else _OTHERS[(number - 1) % len(_OTHERS)]
        style = {"linewidth": 2, "zorder": 3} if first else {"linewidth": 1.2, "linestyle": "--"}
        axes.plot(*zip(*points), marker="o", color=colour, markersize=4, label=name, **style)
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return _png(figure)


def funnel(steps: Sequence[tuple[str, int, float | None]], title: str = "") -> bytes:
    """Bars from top to bottom, one for each (label, number, hours of video): what each step leaves.

    Bars are as long as the hours where every step has them, else as the numbers. Each is labelled with both, and with
    its share of the first; a value above the first (clips are more than files) has no share.
    """
    figure, axes = _figure(title, height=0.9 + 0.42 * max(len(steps), 2))
    if not steps:
        return _nothing(figure, axes, "nothing counted yet")
    hours = [one[2] for one in steps if one[2] is not None]
    by_hours = len(hours) == len(steps) and max(hours) > 0
    lengths = [float(hour or 0) if by_hours else float(number) for _, number, hour in steps]
    rows = range(len(steps))
    axes.barh(rows, lengths, color=_MAIN, height=0.68)
    most = max(lengths) or 1.0
    for row, (length, (_, number, hour)) in enumerate(zip(lengths, steps)):
        share = f"  ({length / lengths[0]:.0%})" if row and length <= lengths[0] > 0 else ""
        words = f"{number:,}" + ("" if hour is None else f", {_duration(hour)}") + share
        axes.text(length + most * 0.01, row, words, va="center", color=_GREY)
    axes.set_yticks(rows, [label for label, *_ in steps])
    axes.set_xlim(0, most * 1.35)
    axes.invert_yaxis()
    axes.grid(False)
    axes.xaxis.set_visible(False)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return _png(figure)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


@dataclass(frozen=True)
class Distribution:
    """The values of one metric, and its limit: `op` is ">=" or "<=", what a good value has to be to it.

    None, and values that are not finite, are no number: they are counted and not drawn.
    """

    title: str
    values: Sequence[float | None]
    unit: str = ""
    limit: float | None = None
    op: str | None = None

    def __post_init__(self) -> None:
        if (self.limit is None) != (self.op is None) or self.op not in (None, ">=", "<="):
            raise ValueError(f"limit and op (>= or <=) belong together, got {self.limit!r} and {self.op!r}")


def histograms(distributions: Sequence[Distribution], columns: int = 1) -> bytes:
    """Several of them side by side, row by row."""
    columns = max(1, min(columns, len(distributions)))
    rows = max(1, -(-len(distributions) // columns))
    wide, high = (7.2, 3.2) if columns == 1 else (3.4, 2.1)
    figure = Figure(figsize=(wide * columns, high * rows), dpi=100 if columns == 1 else 80)
    FigureCanvasAgg(figure)
    for number, one in enumerate(distributions):
        row, column = divmod(number, columns)
        # Placed by hand, in inches: a layout that measures every text takes seconds for two dozen of them
        left, bottom = wide * column + 0.55, high * (rows - 1 - row) + 0.5
        place = (
            left / (wide * columns),
            bottom / (high * rows),
            (wide - 0.75) / (wide * columns),
            (high - 1) / (high * rows),
        )
        axes = figure.add_axes(place)
        _style(axes, "")
        _draw_histogram(axes, one)
    return _png(figure)


def _draw_histogram(axes: Axes, one: Distribution) -> None:
    known = np.array([value for value in one.values if value is not None and math.isfinite(value)], dtype=float)
    notes = []
    if len(known):
        edges = _edges(known, one.limit)
        limit = one.limit
        passes = np.ones(len(known), bool) if limit is None else (known >= limit if one.op == ">=" else known <= limit)
        for values, colour in ((known[passes], _MAIN), (known[~passes], _BAD)):
            axes.stairs(np.histogram(values, edges)[0], edges, fill=True, color=colour)
        if limit is not None:
            axes.axvline(limit, color="black", linewidth=1.2, linestyle="--")
            notes.append(f"{one.op} {limit:g}: {passes.sum()} of {len(known)} pass")
        if len(known) < len(one.values):
            notes.append(f"{len(one.values) - len(known)} not measured")
        axes.set_ylabel("clips", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    else:
        _say(axes, f"none of {len(one.values)} measured" if len(one.values) else "no values yet")
    axes.set_xlabel(one.unit, fontsize=8, loc="right", labelpad=1)
    axes.set_title(f"{one.title}\n{', '.join(notes)}".strip(), loc="left", fontsize=9)


def _edges(known: np.ndarray, limit: float | None) -> np.ndarray:
    """Edges of equal bins, one of them the limit, so that no bar holds kept and rejected values."""
    origin = known.min() if limit is None else limit
    low, high = min(known.min(), origin), max(known.max(), origin)
    width = (high - low) / min(max(len(known) // 3, 8), 40) or 1.0
    first, last = math.floor((low - origin) / width), math.ceil((high - origin) / width)
    return origin + width * np.arange(first, max(last, first + 1) + 1)


def _moving_mean(values: np.ndarray, span: int) -> np.ndarray:
    """Mean of the last `span` finite values, nan where there is none."""
    finite = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(finite, values, 0.0)]))
    count = np.cumsum(np.concatenate([[0], finite]))
    start = np.maximum(np.arange(len(values)) + 1 - span, 0)
    end = np.arange(len(values)) + 1
    many = count[end] - count[start]
    return np.where(many > 0, (total[end] - total[start]) / np.maximum(many, 1), np.nan)


def _figure(title: str, width: float = 7.2, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _style(axes, title)
    return figure, axes


def _style(axes: Axes, title: str, size: int = 11) -> None:
    axes.set_title(title, loc="left", fontsize=size)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e2", linewidth=0.7)
    axes.set_axisbelow(True)


def _nothing(figure: Figure, axes: Axes, words: str) -> bytes:
    _say(axes, words)
    return _png(figure)


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=_GREY)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

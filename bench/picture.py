"""The results as a picture: a panel of bars for each metric. The only module that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.contestants import TITLES
from bench.metrics import METRICS, Metric
from bench.report import number
from bench.results import Median, Results, medians

_COLUMNS = 3
_WIDTH, _HEIGHT = 4.2, 1.9
"""Of a panel, in inches."""

_COLORS = {"tcpbalance": "#1b6ca8", "portable": "#8fbcd9", "direct": "#d9d9d9"}
_OTHERS = "#9c8f7a"

_LOG_FROM = 8.0
"""Where the longest bar is this many times the shortest, the short ones could not be told apart."""

_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 8, "font.family": "sans-serif"}


def draw(results: Results, file: Path) -> None:
    """Draw the medians into an SVG file."""
    found = medians(results.outcomes)
    shown = [key for key in METRICS if key in found]
    rows = max(1, -(-len(shown) // _COLUMNS))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_COLUMNS * _WIDTH, rows * _HEIGHT), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
        for key, axes in zip(shown, panels, strict=False):
            _panel(axes, METRICS[key], [who for who in results.contestants if who in found[key]], found[key])
        for axes in list(figure.axes)[len(shown) :]:
            axes.set_axis_off()
        # Without the date, the same figures give the same file.
        figure.savefig(file, format="svg", metadata={"Date": None})


def _panel(axes: Any, metric: Metric, who: Sequence[str], figures: dict[str, Median]) -> None:
    """Draw one metric, first contestant at the top."""
    values = [figures[contestant].value for contestant in who]
    colors = [_COLORS.get(contestant, _OTHERS) for contestant in who]
    bars = axes.barh([TITLES[contestant] for contestant in who], values, color=colors)
    axes.bar_label(bars, [number(value) for value in values], padding=2)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    scale = ""
    if _needs_log(values):
        axes.set_xscale("log")
        axes.set_xlim(left=min(values) / 2)
        scale = ", on a log scale"
    # Each bar has its number, so that the axis would say nothing more.
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"{metric.title}\n{metric.unit}, {metric.better} is better{scale}", loc="left", fontsize=8)


def _needs_log(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > _LOG_FROM

"""Figures as SVG that takes its ink from the page: one drawing for light and dark."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour, which an SVG calls ``currentColor``."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe & Ito's, which colour-blind people tell apart; the page has a lighter set of the same hues for the dark."""
MARKERS = "osD^vP"
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "uan-da",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "grid.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,
}


class Drawing:
    """A figure under way, and its SVG once it is closed."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.svg = ""

    def axes(self, rows: int = 1, columns: int = 1) -> Sequence[Axes]:
        """Subplots, row by row."""
        return list(self.figure.subplots(rows, columns, squeeze=False).flat)


@contextmanager
def drawing(name: str, description: str, *, width: float = 4.4, height: float = 2.9) -> Iterator[Drawing]:
    """Draw in the block; afterwards ``svg`` is the figure, labelled for those who hear it.

    ``name`` makes its ids unlike those of other figures on the page; ``width`` and ``height`` are inches.
    """
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the page's reader has fonts of their own
        figure = Figure(figsize=(width, height), layout="constrained")
        made = Drawing(figure)
        yield made
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    made.svg = _for_page(buffer.getvalue(), name, description)


def _for_page(svg: str, name: str, description: str) -> str:
    svg = svg[svg.index("<svg") :].strip().replace(INK, "currentColor")
    for i, color in enumerate(COLORS):
        svg = svg.replace(color.lower(), f"var(--color-{i})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg id="{name}" role="img" aria-label="{label}" ', 1)


def sparkline(values: Sequence[float | None]) -> str:
    """A line without axes, scaled to its own range; gaps where a value is missing."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step, span = 96 / (len(values) - 1), (high - low) or 1.0
    points = [(2 + i * step, 22 - 20 * (v - low) / span) for i, v in enumerate(values) if v is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<svg class="spark" viewBox="0 0 100 24" aria-hidden="true"><polyline points="{path}"/></svg>'

"""The figures of a report; each takes plain numbers and returns SVG."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from uan_da.evaluation.report.svg import COLORS, INK, LINES, MARKERS, drawing

POINTS = 300
"""Images of each domain in a t-SNE."""
NAMED = 12
"""Up to this many classes are told apart by name; more would not be read."""
LONGEST = 24
"""Characters of a class's name beside a confusion matrix."""


def accuracy_by_epoch(series: Mapping[str, Sequence[float | None]], marks: Mapping[str, int]) -> str:
    """Lines of accuracy, by name; ``marks`` names epochs, such as the selected one."""
    with drawing("accuracy", f"Accuracy by epoch of {', '.join(series)}") as made:
        (ax,) = made.axes()
        for i, (name, values) in enumerate(series.items()):
            if any(v is not None for v in values):  # a domain without labels has no line
                _line(ax, i, name, [None if v is None else 100 * v for v in values])
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, -1.0), min(high, 101.0))
        heights = dict[int, list[str]]()
        for name, epoch in marks.items():
            heights.setdefault(epoch, []).append(name)
        for epoch, names in heights.items():
            ax.axvline(epoch, color=INK, alpha=0.4, linewidth=1, linestyle=":")
            ax.annotate(
                " = ".join(names), (epoch, 1.0), xycoords=("data", "axes fraction"), ha="right", va="bottom", fontsize=8
            )
        ax.set_ylabel("accuracy on test images, %")
        _epochs(ax)
    return made.svg


def losses_by_epoch(rows: Sequence[Mapping[str, float]]) -> str:
    """Lines of the loss and of every term and metric that the method logged."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with drawing("losses", f"Loss terms by epoch: {', '.join(names)}") as made:
        (ax,) = made.axes()
        values = {name: [row.get(name) for row in rows] for name in names}
        for i, name in enumerate(names):
            _line(ax, i, name, values[name])
        known = [v for line in values.values() for v in line if v is not None]
        if known and min(known) > 0 and max(known) > 30 * min(known):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_ylabel("mean over the epoch")
        _epochs(ax)
    return made.svg


def _line(ax: Axes, i: int, name: str, values: Sequence[float | None]) -> None:
    y = [np.nan if v is None else v for v in values]
    style: dict[str, Any] = {"color": COLORS[i % 6], "marker": MARKERS[i % 6], "linestyle": LINES[i % 6]}
    ax.plot(range(1, len(y) + 1), y, label=name, linewidth=1.6, **style)


def _epochs(ax: Axes) -> None:
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.figure.legend(loc="outside lower center", ncols=3)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], domain: str, name: str) -> str:
    """A confusion matrix: shade is the share of the row's label, the number a count."""
    matrix = np.asarray(counts)
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    size = len(classes)
    described = f"Confusion matrix of {domain}: {int(np.trace(matrix))} of {int(matrix.sum())} right"
    side = 4.0 + 0.07 * min(LONGEST, max(map(len, classes))) if size <= 2 * NAMED else 4.0
    with drawing(name, described, width=side, height=side) as made:
        (ax,) = made.axes()
        ax.grid(False)
        if size <= 2 * NAMED:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                color = COLORS[0] if row == column else COLORS[1]
                box = (column - 0.5, row - 0.5)
                ax.add_patch(Rectangle(box, 1, 1, color=color, alpha=0.1 + 0.5 * shares[row, column], linewidth=0))
                ax.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=80 / max(size, 10))
        else:
            shade = np.zeros((size, size, 4))
            shade[..., :3] = np.asarray([0, 114, 178]) / 255
            shade[..., 3] = shares
            ax.imshow(shade, interpolation="nearest", aspect="auto")
        ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="label")
        _class_ticks(ax, classes)
    return made.svg


def _class_ticks(ax: Axes, classes: Sequence[str]) -> None:
    if len(classes) > 2 * NAMED:
        return
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in classes]
    ax.set_xticks(range(len(classes)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    ax.set_yticks(range(len(classes)), names)


def embed(features: Sequence[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """t-SNE of several sets of features together (van der Maaten & Hinton, 2008), after PCA to 50: ``(N_i, 2)`` each.
    Fixed seed; empty where there are fewer than five images, or features that :func:`have_collapsed`."""
    chosen = [f[np.linspace(0, len(f) - 1, min(POINTS, len(f))).astype(int)] for f in features]
    x = np.concatenate(chosen).astype(np.float64)
    if len(x) < 5 or have_collapsed(x):
        return []
    x = (x - x.mean(0)) / np.abs(x).max()  # t-SNE looks at ratios of distances; squares of float32 over- and underflow
    x = PCA(min(50, *x.shape), random_state=0).fit_transform(x / x.std())
    x = np.pad(x, ((0, 0), (0, max(0, 2 - x.shape[1]))))  # it starts from two components
    perplexity = min(30.0, (len(x) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=0).fit_transform(x.astype(np.float32))
    ends = np.cumsum([len(f) for f in chosen])[:-1]
    return [np.asarray(part, dtype=np.float64) for part in np.split(points, ends)]


def have_collapsed(features: NDArray[Any]) -> bool:
    """Whether all images have the same features, to float32's precision, or some are no finite numbers: there is
    nothing to embed, and scikit-learn's t-SNE of equal points ends the process."""
    if not np.isfinite(features).all():
        return True
    return bool(np.ptp(features, 0).max() <= 4 * np.finfo(np.float32).eps * np.abs(features).max())


def tsne_by_domain(points: Mapping[str, NDArray[np.float64]]) -> str:
    """An embedding, coloured by domain."""
    with drawing("tsne-domain", "t-SNE of test features by domain", width=4.4, height=4.2) as made:
        (ax,) = made.axes()
        for i, (name, xy) in enumerate(points.items()):
            ax.scatter(
                xy[:, 0], xy[:, 1], s=9, c=COLORS[i % 6], marker=MARKERS[i % 6], alpha=0.65, linewidths=0, label=name
            )
        _bare(ax)
        ax.figure.legend(loc="outside lower center", ncols=3, markerscale=2)
    return made.svg


def class_marks(labels: Iterable[str]) -> dict[str, str]:
    """What stands for each class in :func:`tsne_by_class`: its name, if all are short; else a number, from 0. An
    unknown label, ``?``, stays that."""
    found = set(labels)
    classes = sorted(found - {"?"})
    short = len(classes) <= 2 * NAMED and all(len(label) <= 2 for label in classes)
    marks = {label: label if short else str(i) for i, label in enumerate(classes)}
    return marks | dict.fromkeys(found & {"?"}, "?")


def tsne_by_class(points: Mapping[str, NDArray[np.float64]], labels: Mapping[str, Sequence[str]], target: str) -> str:
    """The same by class: each image is its class, written small; the target's in the target's colour."""
    marks = class_marks(label for of_domain in labels.values() for label in of_domain)
    with drawing("tsne-class", "t-SNE of test features by class", width=4.4, height=4.2) as made:
        (ax,) = made.axes()
        _bare(ax)
        for i, (name, xy) in enumerate(points.items()):
            for point, label in zip(xy, labels[name], strict=True):
                ax.annotate(marks[label], tuple(point), color=COLORS[i % 6], fontsize=6.5, ha="center", va="center")
        everything = np.concatenate(list(points.values()))
        ax.set(xlim=_span(everything[:, 0]), ylim=_span(everything[:, 1]))
        for i, name in enumerate(points):
            ax.plot([], [], MARKERS[i % 6], color=COLORS[i % 6], label=name + (" (target)" if name == target else ""))
        ax.figure.legend(loc="outside lower center", ncols=3)
    return made.svg


def _span(x: NDArray[np.float64]) -> tuple[float, float]:
    margin = 0.05 * float(np.ptp(x) or 1.0)
    return float(x.min()) - margin, float(x.max()) + margin


def _bare(ax: Axes) -> None:
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)


def bars(
    name: str,
    description: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    label: str,
    intervals: Mapping[str, Sequence[float | None]] | None = None,
) -> str:
    """Grouped bars in percent: one group for each of ``groups``, one bar in it for each of ``series``.

    ``intervals`` are half the widths of lines at the ends of the bars, cut at 0 and 100 %. Names that are too long to
    stand side by side stand one below the other, the first on top.
    """
    lying = max(map(len, groups), default=0) * len(groups) > 60
    names = [textwrap.fill(group, 40) for group in groups]
    positions, share = np.arange(len(groups)), 0.8 / max(1, len(series))
    lines = sum(max(1 + text.count("\n"), 0.8 * len(series)) for text in names)
    size = {"width": 7.0, "height": 1.0 + 0.2 * lines} if lying else {"width": 4.4, "height": 2.6}
    with drawing(name, description, **size) as made:
        (ax,) = made.axes()
        for i, (key, values) in enumerate(series.items()):
            style: dict[str, Any] = {"color": COLORS[i % 6], "hatch": ("", "////", "xx")[i % 3], "label": key}
            at = positions + (i - (len(series) - 1) / 2) * share
            lengths = [0.0 if v is None else 100 * v for v in values]
            draw = ax.barh if lying else ax.bar
            draw(at, lengths, share * 0.92, edgecolor=INK, linewidth=0.4, **style)
            _intervals(ax, at, lengths, (intervals or {}).get(key, []), lying=lying)
        (ax.set_yticks if lying else ax.set_xticks)(positions, names)
        (ax.set_xlabel if lying else ax.set_ylabel)(label)
        ax.grid(False, axis="y" if lying else "x")
        if lying:
            ax.invert_yaxis()
            ax.margins(y=0.01)
        ax.figure.legend(loc="outside lower center", ncols=3)
    return made.svg


def _intervals(
    ax: Axes, at: NDArray[Any], lengths: Sequence[float], half: Sequence[float | None], *, lying: bool
) -> None:
    """Lines in percent; an unknown one is left out."""
    known = [(place, value, 100 * w) for place, value, w in zip(at, lengths, half, strict=False) if w is not None]
    for place, value, width in known:
        ends = [max(0.0, value - width), min(100.0, value + width)]
        both = (ends, [place, place]) if lying else ([place, place], ends)
        ax.plot(*both, color=INK, linewidth=1.2, marker="|" if lying else "_", markersize=5)

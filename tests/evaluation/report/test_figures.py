"""Figures of a user's own names."""

import re
import warnings

import numpy as np
import pytest

from uan_da.evaluation.report import figures


def test_names_of_rows_are_whole_and_lie_one_below_the_other() -> None:
    names = [f"adamatch uan K={k} shrink=0.5 train.optimizer.lr=1e-{k}" for k in range(1, 9)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = figures.bars("x", "described", names, {"last": [0.5] * 8, "selected": [None, *[0.4] * 7]}, "%")
    for name in names:
        assert all(word in svg for word in name.split())


def test_names_in_any_script_draw_without_a_warning() -> None:
    classes = ["蚂蚁", "アリ", "نملة", "चींटी", "$x_1$", "a" * 80]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = figures.confusion(np.eye(6, dtype=int).tolist(), classes, "街 [red]", "c")
    for name in classes[:5]:
        assert name in svg


def test_long_names_are_numbers_with_a_key() -> None:
    assert figures.class_marks(["b", "a", "b"]) == {"a": "a", "b": "b"}
    assert figures.class_marks(["bee", "ant"]) == {"ant": "0", "bee": "1"}
    assert figures.class_marks(map(str, range(30)))["29"] == "22"  # the place in the order of text


def test_an_unknown_label_is_no_class() -> None:
    assert figures.class_marks(["cat", "?", "dog", "cat"]) == {"?": "?", "cat": "0", "dog": "1"}
    assert figures.class_marks(["1", "?", "0"]) == {"?": "?", "0": "0", "1": "1"}


def test_intervals_are_lines_that_end_at_100_percent() -> None:
    """60 to 100 is half as long as 10 to 90, and begins above it."""

    def ends(*halves: float | None) -> list[tuple[float, float]]:
        svg = figures.bars("x", "described", ["a", "b"], {"last": [0.9, 0.5]}, "%", {"last": list(halves)})
        line = r'<path d="M ([\d.]+) ([\d.]+) \nL \1 ([\d.]+) \n" [^>]*stroke-width: 1\.2'
        return [(float(low), float(high)) for _, low, high in re.findall(line, svg)]

    assert ends(None, None) == []
    (low, high), (whole_low, whole_high) = ends(0.3, 0.4)
    assert (low - high) / (whole_low - whole_high) == pytest.approx(0.5)
    assert high < whole_high < low < whole_low  # SVG counts downwards

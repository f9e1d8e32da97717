"""The exponential of the kernels."""

from typing import Any

import numpy as np
import pytest
from numba.core.registry import cpu_target

from uan_da.norms.uan.kernels import sweep, vectors
from uan_da.norms.uan.kernels.compiler import compiled
from uan_da.norms.uan.kernels.memory import array, zeros
from uan_da.norms.uan.kernels.vectors import Avx512Vector, Vector

HAS_AVX512 = vectors.vectors_of(cpu_target.target_context) is Avx512Vector
CLASSES = [Vector, pytest.param(Avx512Vector, marks=pytest.mark.skipif(not HAS_AVX512, reason="no AVX-512 here"))]


@pytest.mark.parametrize(("degree", "parts", "accuracy"), [(5, 1, 5e-7), (11, 1, 5e-15), (2, 16, 5e-7)])
def test_the_polynomial_of_exp2(degree: int, parts: int, accuracy: float) -> None:
    """NumPy drops a last coefficient that is rounded to 0; the kernels take them in pairs."""
    coefficients = vectors.exp2_polynomial(degree, parts)
    assert len(coefficients) == degree + 1
    x = np.linspace(0, 1, 1001) / parts
    assert np.abs(np.polyval(coefficients[::-1], x) / np.exp2(x) - 1).max() < accuracy


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(("number", "accuracy"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("at_once", [1, 3])
def test_exp2_on_this_processor(
    kind: type, number: type, accuracy: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "vectors_of", lambda _: kind)

    def power(x: Any, g: Any, y: Any, row: Any, clusters: int) -> tuple[Any, list[Any]]:
        return x.exp2(x - (x.floor() - 60.0).maximum(0.0)), [x]

    run = sweep.sweep(power, at_once=at_once)

    @compiled(kind.__name__, number.__name__, at_once)  # type: ignore[untyped-decorator]
    def exp2(x: int, y: int, total: int, count: int) -> None:
        values, powers = array(x, (1, count), number), array(y, (1, count), number)
        sums = zeros((1, 64), np.float64)
        cut = sweep.pieces(values, 1, None, 1)
        run((0,), values, values, powers, None, 0, 1, zeros((1, 64), number), sums, cut)
        array(total, 1, np.float64)[0] = sums[0, 0]

    far = np.array([-61, -1e3, -1e13, -1e37], dtype=number)
    x = np.concatenate([far, np.linspace(-60, 120, 1003), np.arange(-60, 1000), [1e4 + 1 / 64]]).astype(number)
    y, total = np.empty_like(x), np.empty(1)
    exp2(x.ctypes.data, y.ctypes.data, total.ctypes.data, len(x))
    near = x[4:].astype(np.float64)
    expected = np.exp2(near - np.maximum(np.floor(near) - 60, 0))
    assert np.abs(y[4:] / expected - 1).max() < accuracy
    assert (y[:4] <= 1.001 * 2.0**-60).all()
    np.testing.assert_allclose(total, x.astype(np.float64).sum(), rtol=1e-6)


@pytest.mark.parametrize("kind", CLASSES)
def test_exp2_of_what_is_no_number(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "vectors_of", lambda _: kind)
    run = sweep.sweep(lambda x, g, y, row, clusters: (x.exp2(x), []))

    @compiled(kind.__name__)  # type: ignore[untyped-decorator]
    def exp2(x: int, y: int, count: int) -> None:
        values, powers = array(x, (1, count), np.float32), array(y, (1, count), np.float32)
        cut = sweep.pieces(values, 1, None, 1)
        run((0,), values, values, powers, None, 0, 1, zeros((1, 64), np.float32), zeros((0, 64), np.float64), cut)

    x = np.full(16, np.nan, dtype=np.float32)
    x[8:] = -np.inf
    y = np.empty_like(x)
    exp2(x.ctypes.data, y.ctypes.data, len(x))
    assert np.isnan(y[:8]).all()
    assert (y[8:] <= 1.001 * 2.0**-60).all()

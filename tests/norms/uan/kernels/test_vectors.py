"""The exponential of the kernels."""

import numpy as np
import pytest

from uan_da.norms.uan.kernels import vectors


@pytest.mark.parametrize(("number", "accuracy"), [("float", 5e-7), ("double", 5e-15)])
def test_the_polynomial_of_exp2(number: str, accuracy: float) -> None:
    """NumPy drops a last coefficient that is rounded to 0; the kernels take them in pairs."""
    coefficients = vectors._exp2_polynomial(vectors._DEGREE[number])
    assert len(coefficients) == vectors._DEGREE[number] + 1
    x = np.linspace(-0.5, 0.5, 1001)
    assert np.abs(np.polyval(coefficients[::-1], x) / np.exp2(x) - 1).max() < accuracy

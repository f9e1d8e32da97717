"""Enlargement about the centre, as the authors' ``clipped_zoom``."""

import math

import numpy as np

from uan_da.data.corruptions.corruption import Floats


def clipped_zoom(x: Floats, factor: float) -> Floats:
    """``x`` ``(N, H, W, C)`` enlarged linearly by ``factor`` ≥ 1 and cut to its size again.

    Linear interpolation is separable: a matrix for the rows and one for the columns.
    """
    rows, columns = (_interpolation(side, factor) for side in x.shape[1:3])
    enlarged: Floats = np.einsum("ih,nhwc,jw->nijc", rows, x, columns, optimize=True)
    return enlarged


def _interpolation(side: int, factor: float) -> Floats:
    """The matrix ``(side, side)`` that crops a line of pixels, enlarges the crop by ``factor``, and trims the rest."""
    crop = math.ceil(side / factor)
    start = (side - crop) // 2
    size = round(crop * factor)
    trim = (size - side) // 2
    position = np.arange(trim, trim + side) * ((crop - 1) / (size - 1))
    left = np.minimum(np.floor(position).astype(int), crop - 1)
    right = np.minimum(left + 1, crop - 1)
    matrix = np.zeros((side, side))
    line = np.arange(side)
    np.add.at(matrix, (line, start + left), 1 - (position - left))
    np.add.at(matrix, (line, start + right), position - left)
    return matrix

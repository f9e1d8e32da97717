"""Batch nuclear-norm maximisation as a validator."""

import torch

from uan_da.evaluation.predict import Predictions


def bnm(target: Predictions) -> float:
    """Nuclear norm ‖P‖∗ / N of the target's probabilities: confident and diverse (Cui et al., CVPR 2020).

    BNM, arXiv:2003.12237.
    """
    return float(torch.linalg.matrix_norm(target.probabilities, "nuc")) / len(target)

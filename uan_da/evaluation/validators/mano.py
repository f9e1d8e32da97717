"""Matrix norm of the normalised logits."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions

Scaling = Literal["taylor", "softmax"]


def mano(target: Predictions, *, order: Annotated[float, Field(ge=1)] = 4.0, scaling: Scaling = "taylor") -> float:
    r"""MaNo: the matrix norm of normalised logits on the target (Xie et al., NeurIPS 2024, arXiv:2405.18979).

    .. math:: \Big(\frac{1}{NK} \sum_{nk} σ(z_n)_k^p\Big)^{1/p}, \quad σ(z)_k = v(z)_k / \sum_j v(z)_j

    ``taylor``: v(z) = t(z) − min t(z), t(z) = 1 + z + z²/2, which overconfidence distorts less; ``softmax``: v = exp.
    The paper takes softmax where Φ, the mean of −log softmax over images and classes, exceeds 5. Φ moves during a
    training, and the score would jump where it crosses 5; so the recipe chooses one for a whole run.
    """
    z = target.logits.double()
    q = z.softmax(1) if scaling == "softmax" else _taylor(z)
    return float(q.pow(order).mean() ** (1 / order))


def _taylor(z: Tensor) -> Tensor:
    """The normalised second-order series of exp; a row of equal logits is zero, for nothing in it stands out."""
    series = 1 + z + z.square() / 2
    return F.normalize(series - series.amin(1, keepdim=True), p=1, dim=1)

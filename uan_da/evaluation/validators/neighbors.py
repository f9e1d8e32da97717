"""Validators that look at an image's nearest neighbours in the other domain."""

import torch
from torch import Tensor
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions

IMAGES = 1000
"""``knn`` looks at all pairs: of more images of a domain, this many, evenly spread over the set, stand for all."""
TIE = 1e-6
"""Images whose similarities, or squared distances in units of the greatest, differ by less are equally near."""


def nearest_source(target: Predictions, source_validation: Predictions) -> float:
    r"""Accuracy on the source, each image counted as often as it is a target image's nearest one.

    .. math:: \frac{1}{N_T} \sum_i 1[\hat y_{n(i)} = y_{n(i)}], \quad n(i) = \arg\max_j \cos(p_i, p_j)

    over the probabilities p of target images i and source images j. ``NearestSourceValidator`` of PyTorch Adapt
    (Musgrave et al., 2022, arXiv:2211.15673). Images that are equally near count as their mean; there it is the first.
    """
    right = (source_validation.classes == source_validation.labels).double()
    p, q = (F.normalize(each.probabilities.double(), dim=1) for each in (target, source_validation))
    return float(_over_nearest(1 - p @ q.T, right).mean())


def knn(target: Predictions, source_train: Predictions) -> float:
    r"""Minus the part of images whose nearest neighbour is of their own domain: −½ where the domains mix, −1 where not.

    .. math:: -\frac12 \sum_D \frac{1}{N_D} \sum_{i ∈ D} 1[n(i) ∈ D], \quad n(i) = \arg\min_{j ≠ i} ‖g_i − g_j‖

    over the features g of both domains D. ``KNNValidator`` of PyTorch Adapt (Musgrave et al., 2022, arXiv:2211.15673).
    It sees domains alone: a model may mix them and confuse the classes. Images that are equally near count as their
    mean.
    """
    sides = [_spread(each.features).double() for each in (source_train, target)]
    domain = torch.arange(2).repeat_interleave(torch.tensor([len(side) for side in sides])).double()
    x = torch.cat(sides)
    square = x.square().sum(1)
    distance = square[:, None] + square - 2 * x @ x.T
    distance = (distance / distance.amax().clamp_min(torch.finfo(x.dtype).tiny)).fill_diagonal_(torch.inf)
    in_target = _over_nearest(distance, domain)
    return -float((1 - in_target[domain == 0]).mean() + in_target[domain == 1].mean()) / 2


def _over_nearest(distance: Tensor, value: Tensor) -> Tensor:
    """The mean ``value`` ``(M,)`` of those at the least ``distance`` ``(N, M)``, of each row."""
    near = (distance <= distance.amin(1, keepdim=True) + TIE).to(value.dtype)
    return near @ value / near.sum(1)


def _spread(features: Tensor) -> Tensor:
    if len(features) <= IMAGES:
        return features
    return features[torch.linspace(0, len(features) - 1, IMAGES).long()]

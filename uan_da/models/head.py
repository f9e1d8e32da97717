"""Bottleneck and head: the layers between a backbone's features and the logits."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.recipe.network import Bottleneck, Head


def make_bottleneck(num_features: int, options: Bottleneck) -> nn.Sequential:
    """Linear, BatchNorm, activation, dropout, those that ``options`` has: ``(N, num_features)`` to
    ``(N, options.features)``."""
    layers: list[nn.Module] = [_linear(num_features, options.features, options.init_std)]
    if options.norm:
        layers.append(nn.BatchNorm1d(options.features))
    if options.activation == "relu":
        layers.append(nn.ReLU())  # not in place: a method may read what it is given twice
    if options.dropout:
        kind = NormKeepingDropout if options.dropout_keeps == "norm" else nn.Dropout
        layers.append(kind(options.dropout))
    return nn.Sequential(*layers)


class NormKeepingDropout(nn.Dropout):
    r"""Dropout that keeps the expected squared length of a feature vector (Xu et al., ICCV 2019, arXiv:1811.07456).

    .. math:: y_k = a_k x_k / \sqrt{1 - p}, \quad a_k = 1 \text{ with probability } 1 - p, \text{ else } 0

    in training; the identity in evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of any shape."""
        return super().forward(x) * math.sqrt(1 - self.p) if self.training else x


def make_head(num_features: int, num_classes: int, options: Head) -> nn.Module:
    """Features ``(N, num_features)`` to logits ``(N, num_classes)``: a linear layer, or cosines, with hidden ones
    before it and a BatchNorm behind it where ``options`` has them."""
    layers: list[nn.Module] = []
    widths = (num_features, *options.hidden, num_classes)
    for (before, after), dropout in zip(pairwise(widths), options.dropouts, strict=True):
        if layers:
            layers += [nn.BatchNorm1d(before)] if options.norm else []
            layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers.append(_linear(before, after, options.init_std))
    if options.cosine is not None:
        layers[-1] = CosineLinear(widths[-2], num_classes, options.cosine)
    if options.logits_norm:
        layers.append(nn.BatchNorm1d(num_classes))
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]


class CosineLinear(nn.Linear):
    r"""A classifier of directions: the cosine of the features and a weight of each class, over a temperature T.

    .. math:: z_k = \frac{1}{T} \frac{w_k · g}{‖w_k‖ ‖g‖}
    """

    def __init__(self, num_features: int, num_classes: int, temperature: float) -> None:
        super().__init__(num_features, num_classes, bias=False)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """``(N, num_features)`` to logits ``(N, num_classes)``."""
        return F.linear(F.normalize(x), F.normalize(self.weight)) / self.temperature


class SourceHeads(nn.Module):
    r"""A head for each source; the network's prediction is the weighted mean of their probabilities.

    .. math:: z = \log \sum_i w_i\, softmax(h_i(g))
    """

    weights: Tensor

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        """``heads``: from features to the logits of the same classes; their weights start equal."""
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.register_buffer("weights", torch.full((len(heads),), 1 / len(heads)))

    def forward(self, features: Tensor) -> Tensor:
        """``(N, num_features)`` to logits ``(N, num_classes)``."""
        log_p = torch.stack([head(features).log_softmax(1) for head in self.heads])
        return (log_p + self.weights.log()[:, None, None]).logsumexp(0)


def _linear(before: int, after: int, std: float | None) -> nn.Linear:
    linear = nn.Linear(before, after)
    if std is not None:
        nn.init.normal_(linear.weight, std=std)
        nn.init.zeros_(linear.bias)
    return linear

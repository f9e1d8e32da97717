"""Two heads on the same features, for the methods that let them disagree."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uan_da.data.batch import DomainImages
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier

Pair = tuple[Tensor, Tensor]
"""The logits ``(N, C)`` of the model's own head and of the second."""


def forward_both(
    model: Classifier, second_head: nn.Module, sides: Sequence[DomainImages], routing: Routing
) -> list[Pair]:
    """The logits of both heads for the weak view of each side, which goes through both by the same ``routing``."""
    outputs = forward(model, [side.weak for side in sides], [side.domain for side in sides], routing)
    features = [output.features for output in outputs]
    if routing == "separate":
        second = [second_head(each) for each in features]
    else:
        second = list(second_head(torch.cat(features)).split([len(each) for each in features]))
    return [(output.logits, logits) for output, logits in zip(outputs, second, strict=True)]

"""Source and target through the network: in one forward, or in one each."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainImages
from uan_da.models.classifier import Classifier, Output
from uan_da.norms import domain_context

Routing = Literal["joint", "separate"]
"""``joint``: one forward, so that domains share their batch statistics; ``separate``: one forward for each domain."""
Pair = tuple[Tensor, Tensor]
"""The logits ``(N, C)`` of the model's own head and of the second."""


def forward(model: Classifier, images: Sequence[Tensor], domains: Sequence[Tensor], routing: Routing) -> list[Output]:
    """The outputs of several image batches ``(N_i, C, H, W)`` with domain indices ``(N_i,)``, in their order."""
    if routing == "separate":
        return [_forward(model, x, domain) for x, domain in zip(images, domains, strict=True)]
    output = _forward(model, torch.cat(list(images)), torch.cat(list(domains)))
    sizes = [len(x) for x in images]
    parts = zip(torch.split(output.features, sizes), torch.split(output.logits, sizes), strict=True)
    return [Output(features, logits) for features, logits in parts]


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


def _forward(model: Classifier, images: Tensor, domain: Tensor) -> Output:
    with domain_context(model, domain):
        output: Output = model(images.contiguous(memory_format=torch.channels_last))
    return output

"""Source and target through the network: in one forward, or in one each."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from uan_da.models.classifier import Classifier, Output
from uan_da.norms import domain_context

Routing = Literal["joint", "separate"]
"""``joint``: one forward, so that domains share their batch statistics; ``separate``: one forward for each domain."""


def forward(model: Classifier, images: Sequence[Tensor], domains: Sequence[Tensor], routing: Routing) -> list[Output]:
    """The outputs of several image batches ``(N_i, C, H, W)`` with domain indices ``(N_i,)``, in their order."""
    if routing == "separate":
        return [_forward(model, x, domain) for x, domain in zip(images, domains, strict=True)]
    output = _forward(model, torch.cat(list(images)), torch.cat(list(domains)))
    sizes = [len(x) for x in images]
    parts = zip(torch.split(output.features, sizes), torch.split(output.logits, sizes), strict=True)
    return [Output(features, logits) for features, logits in parts]


def _forward(model: Classifier, images: Tensor, domain: Tensor) -> Output:
    with domain_context(model, domain):
        output: Output = model(images.contiguous(memory_format=torch.channels_last))
    return output

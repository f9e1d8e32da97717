"""A different operation for each image of a batch, at the price of one call per operation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]


def apply_per_group(images: Tensor, group: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Applies to each image the operation that its group names, one call per operation.

    A group without images costs nothing.

    Args:
        images: (N, C, H, W).
        group: (N,), integers in 0 … len(operations) − 1. The host reads how many images each group has, so a
            group that lives on the CPU spares images on a GPU a synchronisation.
        operations: each takes the images of its group, (n, C, H, W), and their places in the batch, (n,), and
            returns images of the same shape.

    Returns:
        (N, C, H, W), in the batch's order.
    """
    counts: list[int] = torch.bincount(group, minlength=len(operations)).tolist()
    places = torch.split(group.argsort(stable=True).to(images.device), counts)
    result = torch.empty_like(images)
    for operation, place in zip(operations, places, strict=True):
        if len(place):
            result.index_copy_(0, place, operation(images.index_select(0, place), place))
    return result

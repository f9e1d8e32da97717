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
    order = group.argsort(stable=True)
    places = order.to(images.device)
    parts = torch.split(images.index_select(0, places), counts)
    groups = zip(operations, parts, torch.split(places, counts), strict=True)
    changed = [operation(part, place) for operation, part, place in groups if len(place)]
    return torch.cat(changed).index_select(0, order.argsort().to(images.device)) if changed else images

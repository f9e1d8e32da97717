"""A different operation for each image of a batch, at the price of one call per operation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]


def apply_per_group_(images: Tensor, group: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Applies to each image the operation that its group names, in place, one call per operation.

    A group without images costs nothing.

    Args:
        images: (N, C, H, W).
        group: (N,), integers in 0 … len(operations) − 1. The host reads how many images each group has, so a
            group that lives on the CPU spares images on a GPU a synchronisation.
        operations: each takes the images of its group, (n, C, H, W), and their indices in the batch, (n,), and
            returns images of the same shape.

    Returns:
        ``images``.
    """
    counts: list[int] = torch.bincount(group, minlength=len(operations)).tolist()
    indices = group.argsort(stable=True).to(images.device)
    for operation, place in zip(operations, torch.split(indices, counts), strict=True):
        part = images.index_select(0, place)
        changed = operation(part, place) if len(place) else part
        if changed is not part:
            _write(images, place, changed)
    return images


def _write(images: Tensor, place: Tensor, changed: Tensor) -> None:
    if images.device.type == "cpu":
        images.numpy()[place.numpy()] = changed.numpy()  # image by image, where PyTorch would go value by value
    else:
        images.index_copy_(0, place, changed)

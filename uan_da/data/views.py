"""The views that augmentations make of an image: as large as what the network is built for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from uan_da.data.augment import Augmentation
from uan_da.data.augment.inputs import as_floats
from uan_da.data.domain_batch import View
from uan_da.data.resize import centre
from uan_da.errors import UserError
from uan_da.recipe import Recipe
from uan_da.recipe.network import Input


def standardize(images: Tensor, input: Input) -> Tensor:
    """(x − mean) / std of images ``(N, C, H, W)`` in [0, 1], or of bytes, which come out channels last: of their
    centre, where they are larger than the input."""
    if input.crop is not None and min(images.shape[2:]) > input.crop:
        images = centre(images, input.crop)
    if images.dtype == torch.uint8:
        floats = as_floats(images, torch.channels_last)  # in memory that nobody else has
        rows = floats.permute(0, 2, 3, 1).flatten(2)  # C values at a time would take far longer
        rows.sub_(_row(input.mean, images)).div_(_row(input.std, images))
        return floats
    mean, std = (torch.as_tensor(value, device=images.device).view(-1, 1, 1) for value in (input.mean, input.std))
    return (images - mean).div_(std)


def _row(value: float | tuple[float, float, float], images: Tensor) -> Tensor | float:
    """``value`` of a channel for each pixel of a row ``(W C,)``; a number is that of all."""
    return value if isinstance(value, float) else torch.tensor(value, device=images.device).repeat(images.shape[3])


def augmented(
    images: Tensor, augmentations: Sequence[Augmentation], input: Input, random: torch.Generator | None
) -> Tensor:
    """Images ``(N, C, H, W)``, bytes, through ``augmentations`` and standardized, channels last: what the network
    sees."""
    for augmentation in augmentations:
        keeps_bytes = getattr(augmentation, "keeps_bytes", False)
        images = augmentation(images if keeps_bytes else as_floats(images), random)
    return standardize(images, input).contiguous(memory_format=torch.channels_last)


def make_views(recipe: Recipe) -> dict[View, Sequence[Augmentation]]:
    """The recipe's augmentations, tried on a blank image where its method reads what they make.

    Raises:
        UserError: a view that the method reads has another side than the network's input.
    """
    views: dict[View, Sequence[Augmentation]] = {
        "weak": [augmentation() for augmentation in recipe.augment.weak],
        "strong": [augmentation() for augmentation in recipe.augment.strong],
    }
    for view in recipe.method.target.views:
        _check_side(view, views[view], recipe.input)
    return views


def _check_side(view: View, augmentations: Sequence[Augmentation], input: Input) -> None:
    blank = torch.zeros(1, input.channels, input.size, input.size, dtype=torch.uint8)
    try:
        height, width = augmented(blank, augmentations, input, torch.Generator()).shape[2:]
    except ValueError as error:
        raise UserError(f"augment.{view}: on images of input.size={input.size}: {error}") from error
    if (height, width) != (input.side, input.side):
        key = "size" if input.crop is None else "crop"
        raise UserError(
            f"augment.{view}: makes images of {height}×{width}, and the network sees {input.side}×{input.side} "
            f"(input.{key}): give the crop in augment.{view} that size, or set input.crop={min(height, width)}"
        )

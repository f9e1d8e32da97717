"""Real images to try an exported network on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from uan_da.data.adapter import Arrays, Examples
from uan_da.data.images import example_pixels
from uan_da.data.open_dataset import open_dataset
from uan_da.data.resize import centre
from uan_da.errors import UserError
from uan_da.recipe import Recipe
from uan_da.recipe.network import Input

MOST = 512
"""More images tell no more."""
PATCH = 128


@dataclass(frozen=True)
class Trial:
    """Images as an exported network is given them: float ``(N, C, side, side)`` in [0, 1]; ``what`` names them."""

    images: Tensor
    what: str


def trial_images(recipe: Recipe) -> Trial:
    """At most :data:`MOST` of the target's test images, evenly spread; where the data set is gone, pieces of
    scikit-learn's photographs."""
    target = recipe.task.target
    try:
        examples = open_dataset(recipe.dataset, recipe.trust).load(target, "test")
        indices = np.unique(np.linspace(0, len(examples) - 1, min(MOST, len(examples))).astype(int)).tolist()
        return Trial(_images(examples, indices, recipe.input), f"test images of {target}")
    except UserError:
        pieces = _photographs()
        return Trial(_images(pieces, range(len(pieces)), recipe.input), "pieces of photographs, for its data are gone")


def as_network_input(pixels: Tensor, input: Input) -> Tensor:
    """uint8 ``(N, C, size, size)`` to what an exported network is given."""
    return centre(pixels, input.side).float() / 255


def _images(examples: Examples, indices: Sequence[int], input: Input) -> Tensor:
    return as_network_input(torch.stack([example_pixels(examples, index, input)[0] for index in indices]), input)


def _photographs() -> Arrays:
    images = [
        photo[top : top + PATCH, left : left + PATCH]
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - PATCH + 1, PATCH)
        for left in range(0, photo.shape[1] - PATCH + 1, PATCH)
    ]
    return Arrays(np.stack(images), np.zeros(len(images)))

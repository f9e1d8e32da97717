"""Pictures of a data set: a grid per domain, and of the views that a method would see."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image

from uan_da.data.adapter import Adapter, labels_of
from uan_da.data.augment import Augmentation, Compose, Crop, Flip, RandAugment
from uan_da.data.images import to_pixels
from uan_da.data.order import ClassBalanced
from uan_da.errors import UserError
from uan_da.recipe.network import Input
from uan_da.seeding import generator

COLUMNS, ROWS = 10, 6
VIEWS: dict[str, Sequence[Augmentation]] = {
    "weak": (Flip(), Crop(padding=4)),
    "strong": (Flip(), Crop(padding=4), RandAugment()),
}


def write_previews(adapter: Adapter, domains: Sequence[str], folder: Path, size: int, seed: int = 0) -> list[Path]:
    """Write ``DOMAIN.png``, ``DOMAIN-weak.png`` and ``DOMAIN-strong.png`` of 60 training images for each domain.

    Where a domain has labels, a column of the grid holds one class; there are as many columns as classes, up to ten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for domain in domains:
        images, columns = sample(adapter, domain, size, seed)
        views = {"": images} | {
            f"-{name}": Compose(steps)(images, generator(seed, "preview", domain, name))
            for name, steps in VIEWS.items()
        }
        for suffix, view in views.items():
            path = folder / f"{domain}{suffix}.png"
            save_image(make_grid(view, nrow=columns, padding=2, pad_value=1.0), path)
            written.append(path)
    return written


def sample(adapter: Adapter, domain: str, size: int, seed: int) -> tuple[Tensor, int]:
    """Up to 60 training images of a domain in [0, 1], ``(N, 3, size, size)``, row after row, and the columns."""
    examples = adapter.load(domain, "train")
    if not len(examples):
        raise UserError(f"domain {domain!r}: the train split has no images")
    labels = labels_of(examples)
    shown = [label for label in torch.unique(labels).tolist() if label >= 0][:COLUMNS]
    indices = torch.arange(min(len(examples), COLUMNS * ROWS))
    if shown:
        chosen = torch.where(torch.isin(labels, torch.tensor(shown)), labels, -1)
        indices = ClassBalanced(chosen, seed, "preview", domain).indices(0, ROWS * len(shown))
        rows = indices.view(ROWS, len(shown))
        indices = rows.gather(1, labels[rows].argsort(dim=1)).flatten()
    input = Input(size=size, channels=3)
    images = torch.stack([to_pixels(examples[index][0], input) for index in indices.tolist()]).float() / 255
    return images, len(shown) or COLUMNS

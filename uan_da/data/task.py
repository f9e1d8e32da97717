"""A task: the domains of a recipe, ready to give batches to a method and test images to the evaluator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from uan_da.data.adapter import UNKNOWN, Adapter
from uan_da.data.augment import Augmentation
from uan_da.data.batch import DomainBatch, DomainImages, View
from uan_da.data.card import open_dataset
from uan_da.data.domain_loader import DomainLoader
from uan_da.data.images import Images, decode
from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.recipe import Recipe
from uan_da.recipe.schema import Input
from uan_da.seeding import generator

Role = Literal["source", "target"]


@dataclass(frozen=True)
class Domain:
    """One domain of a task: its training and test images, labels included; what leaves a task is masked."""

    name: str
    role: Role
    index: int
    train: Images
    test: Images


@dataclass(frozen=True)
class Task:
    """Source domain(s) → target domain on one data set."""

    domains: Sequence[Domain]
    """Sources in the order of the recipe, the target last."""
    classes: Sequence[str]
    layout: Input
    augmentations: dict[View, Sequence[Augmentation]]
    loaders: Sequence[DomainLoader]
    seed: int

    @property
    def target(self) -> Domain:
        """The domain that the model is adapted to."""
        return self.domains[-1]

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the source: over the largest, where there are several."""
        return max(loader.steps_per_pass for loader in self.loaders[:-1])

    def batch(self, step: int, views: Sequence[View]) -> DomainBatch:
        """The batch of a step. Target labels are masked here: no method can read them."""
        parts = [self._part(loader, step, views) for loader in self.loaders]
        target = parts[-1]
        masked = DomainImages(target.views, torch.full_like(target.labels, UNKNOWN), target.domain)
        return DomainBatch(DomainImages.cat(parts[:-1]), masked)

    def unlabelled(self, domain: Domain) -> Images:
        """The training images of a domain, without their labels."""
        return Images(domain.train.pixels, torch.full_like(domain.train.labels, UNKNOWN))

    def unlabelled_batches(self, domain: Domain, size: int) -> list[Tensor]:
        """The same, in batches ``(N, C, H, W)`` as the network sees them in evaluation."""
        return [standardize(pixels.float() / 255, self.layout) for pixels in torch.split(domain.train.pixels, size)]

    def _part(self, loader: DomainLoader, step: int, views: Sequence[View]) -> DomainImages:
        images = loader.batch(step)
        random = generator(self.seed, "augment", loader.domain, step)
        made = {view: self._view(images.pixels, view, random) for view in views}
        return DomainImages(made, images.labels, torch.full_like(images.labels, loader.index))

    def _view(self, pixels: Tensor, view: View, random: torch.Generator) -> Tensor:
        images = pixels.float() / 255
        for augmentation in self.augmentations[view]:
            images = augmentation(images, random)
        return standardize(images, self.layout)


def standardize(images: Tensor, layout: Input) -> Tensor:
    """(x − mean) / std of images in [0, 1], ``(N, C, H, W)``."""
    mean, std = (torch.as_tensor(value, device=images.device).view(-1, 1, 1) for value in (layout.mean, layout.std))
    return (images - mean) / std


def build_task(recipe: Recipe, device: torch.device) -> Task:
    """Open the recipe's data set and bring its domains to ``device``.

    Raises:
        UserError: a domain does not exist, is empty, or lacks what the task needs of it.
    """
    adapter = open_dataset(recipe.dataset)
    names = recipe.task.domains
    for name in names:
        if name not in adapter.domains:
            raise UserError(f"task {recipe.task}: {unknown('domain', name, adapter.domains)}")
    domains = [_domain(adapter, name, index, recipe, device) for index, name in enumerate(names)]
    loaders = [
        DomainLoader(domain.name, domain.index, domain.train, getattr(recipe.train.batch, domain.role), recipe.seed)
        for domain in domains
    ]
    augmentations: dict[View, Sequence[Augmentation]] = {
        "weak": [augmentation() for augmentation in recipe.augment.weak],
        "strong": [augmentation() for augmentation in recipe.augment.strong],
    }
    return Task(domains, tuple(adapter.classes), recipe.input, augmentations, loaders, recipe.seed)


def _domain(adapter: Adapter, name: str, index: int, recipe: Recipe, device: torch.device) -> Domain:
    role: Role = "target" if name == recipe.task.target else "source"
    train, test = (decode(adapter.load(name, split), recipe.input).to(device) for split in ("train", "test"))
    if role == "source" and bool((train.labels == UNKNOWN).any()):
        raise UserError(f"domain {name!r}: a source needs a label for every training image")
    return Domain(name, role, index, train, test)

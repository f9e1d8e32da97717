"""A task: the domains of a recipe, ready to give batches to a method and test images to the evaluator."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from uan_da.data.adapter import UNKNOWN, Adapter, Examples, Split
from uan_da.data.augment import Augmentation
from uan_da.data.card_dataset import CardDataset
from uan_da.data.classes import check_classes
from uan_da.data.crops import Crops
from uan_da.data.domain_batch import DomainBatch, DomainImages, View
from uan_da.data.domain_loader import DomainLoader
from uan_da.data.holdout import Part, draw_labelled, hold_out
from uan_da.data.image_files import DamagedImage, ImageFiles
from uan_da.data.images import Images, ImageSet
from uan_da.data.label_space import LabelSpace, dataset_of
from uan_da.data.progress import Progress, silent
from uan_da.data.split import SMALL
from uan_da.data.storage import store
from uan_da.data.unused import warn_of_unused
from uan_da.data.views import augmented, make_views, standardize
from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.norms.domain import evaluates_by_target
from uan_da.recipe import Recipe
from uan_da.recipe.classes import NO_CLASS
from uan_da.recipe.network import Input
from uan_da.recipe.schema import Batch
from uan_da.seeding import generator

Role = Literal["source", "target", "unseen"]
SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True)
class Domain:
    """One domain of a task: its training and test images, labels included; what leaves a task is masked.

    An ``unseen`` domain is not in the task: the model is only evaluated on it.
    """

    name: str
    role: Role
    index: int
    """By which norms know it; see :func:`target_index`."""
    train: ImageSet
    test: ImageSet
    validation: ImageSet | None = None
    """A source's images that were held out of ``train``, where the recipe's ``selection.holdout`` asks for it."""
    labelled: Part | None = None
    """A target's training images whose labels are given, which ``train`` then lacks."""


@dataclass(frozen=True)
class Task:
    """Source domain(s) → target domain on one data set; or one domain alone, a source that is its own target."""

    domains: Sequence[Domain]
    """Sources in the order of the recipe, the target last."""
    classes: Sequence[str]
    """The predictions of a network."""
    input: Input
    augmentations: dict[View, Sequence[Augmentation]]
    loaders: Sequence[DomainLoader]
    seed: int
    shared: int | None = None
    """Classes that a target shares which has others too: the first ones. The last one is ``unknown``."""
    labelled: DomainLoader | None = None
    """Of the target's images whose labels are given."""

    @property
    def target(self) -> Domain:
        """The domain that the model is adapted to."""
        return self.domains[-1]

    @property
    def sources(self) -> Sequence[Domain]:
        """The domains that the model learns the classes from."""
        return [domain for domain in self.domains if domain.role == "source"]

    @property
    def is_decoded(self) -> bool:
        """Whether all images of training are decoded, in memory or in a mapped file."""
        return all(isinstance(loader.images, Images) for loader in self.loaders)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the source: over the largest, where there are several."""
        return max(loader.steps_per_pass for loader in self.loaders[: len(self.sources)])

    def batch(
        self, step: int, views: Sequence[View], *, with_target: bool = True, target_labels: bool = False
    ) -> DomainBatch:
        """The batch of a step. Target labels are masked here: no method can read them.

        Args:
            step: counted from 0.
            views: what is made of each image.
            with_target: without it the target's side is empty, and costs nothing.
            target_labels: for upper bounds that ask for them by name.
        """
        known, targets = list(self.loaders[: len(self.sources)]), list(self.loaders[len(self.sources) :])
        sources = sum(loader.batch_size for loader in known)
        if not with_target:
            images = self._images(known, [], step, views)
            return DomainBatch(images, images[:0])
        known += [self.labelled] if self.labelled else []
        shown = sum(loader.batch_size for loader in known)
        images = self._images(known, targets, step, views, target_labels)
        target = images[-self.loaders[-1].batch_size :]
        return DomainBatch(
            images[:sources],
            target if target_labels or targets else target.masked(),
            images[sources:shown] if self.labelled else None,
        )

    def unlabelled(self, domain: Domain) -> ImageSet:
        """The training images of a domain, without their labels."""
        return domain.train.unlabelled()

    def unlabelled_batches(self, domain: Domain, size: int) -> Iterator[Tensor]:
        """The same, in batches ``(N, C, H, W)`` as the network sees them in evaluation."""
        return (standardize(images.pixels, self.input) for images in domain.train.batches(size))

    def _images(
        self,
        known: Sequence[DomainLoader],
        masked: Sequence[DomainLoader],
        step: int,
        views: Sequence[View],
        target_labels: bool = False,
    ) -> DomainImages:
        """All domains as one batch, which costs hardly more operations than one of them; the target's labels are not
        even in the memory that the source's are in."""
        loaders, shown = [*known, *masked], len(known) + len(masked) * target_labels
        indices = [loader.indices(step) for loader in loaders]
        random = generator(self.seed, "augment", step)
        if self._crops.keys() >= set(views):
            labels = [loader.images.labels[chosen] for loader, chosen in zip(loaders, indices, strict=True)]
            rows = torch.cat([chosen + first for chosen, first in zip(indices, self._firsts, strict=False)])
            made = {view: self._crops[view].look_up(rows, random) for view in views}
        else:
            parts = [loader.batch(step) for loader in loaders]
            labels, pixels = [part.labels for part in parts], torch.cat([part.pixels for part in parts])
            made = {view: augmented(pixels, self.augmentations[view], self.input, random) for view in views}
        labels[shown:] = [torch.full_like(hidden, UNKNOWN) for hidden in labels[shown:]]
        return DomainImages(
            made, torch.cat(labels), torch.cat([loader.domains for loader in loaders]), torch.cat(indices)
        )

    @cached_property
    def _crops(self) -> dict[View, Crops]:
        """The views that are looked up; none where target labels are given, for those images are a part of a set."""
        if self.labelled:
            return {}
        sets = [loader.images for loader in self.loaders]
        found = {view: Crops.of(sets, chosen, self.input) for view, chosen in self.augmentations.items()}
        return {view: crops for view, crops in found.items() if crops is not None}

    @cached_property
    def _firsts(self) -> list[int]:
        """The number of the first image of each loader, where all are counted."""
        return list(accumulate((len(loader.images) for loader in self.loaders), initial=0))


def build_task(recipe: Recipe, device: torch.device, progress: Progress = silent) -> Task:
    """Open the recipe's data set and bring its domains to ``device``.

    ``progress`` is called with the images that are decoded, and how many there are.

    Raises:
        UserError: a domain does not exist, is empty, or lacks what the task needs of it; or a view that the method
            reads is not as large as the network's input.
    """
    augmentations = make_views(recipe)
    adapter = dataset_of(recipe)
    names = recipe.task.domains
    for name in names:
        if name not in adapter.domains:
            raise UserError(f"task {recipe.task}: {unknown('domain', name, adapter.domains)}")
    splits = _store(adapter, names, recipe, device, progress)
    domains = [
        _domain(name, min(index, target_index(recipe)), train, test, recipe)
        for index, (name, train, test) in enumerate(zip(names, splits[::2], splits[1::2], strict=True))
    ]
    sources, target = [domain for domain in domains if domain.role == "source"], domains[-1]
    space = adapter if isinstance(adapter, LabelSpace) else None
    check_classes(
        adapter.classes,
        [domain.train.labels for domain in sources],
        [target.train.labels, target.test.labels],
        [domain.test.labels for domain in sources] if isinstance(adapter, CardDataset) else (),
        not_in_source=(NO_CLASS,) if recipe.rejects else (),
        not_in_target=space.names.source if space else (),
    )
    loaders, labelled = _loaders(domains, recipe, device), _labelled_loader(target, recipe, device)
    shared = len(space.names.shared) if space and recipe.rejects else None
    return Task(domains, tuple(adapter.classes), recipe.input, augmentations, loaders, recipe.seed, shared, labelled)


def task_of(recipe: Recipe, classes: Sequence[str], parts: Sequence[ImageSet], device: torch.device) -> Task:
    """A task of images that are there already, one set a domain in the recipe's order, which also stand for its test
    images; its data set is not opened.

    Raises:
        UserError: a label of a source is missing, a view that the method reads has another size than the input, or the
            recipe gives the domains classes of their own.
    """
    for key, given in (("classes", recipe.classes), ("target", recipe.target)):
        if given is not None:
            raise UserError(f"{key}: images that are given have the labels that they have; leave it out")
    domains = [
        _domain(name, min(index, target_index(recipe)), part, part, recipe)
        for index, (name, part) in enumerate(zip(recipe.task.domains, parts, strict=True))
    ]
    return Task(
        domains, tuple(classes), recipe.input, make_views(recipe), _loaders(domains, recipe, device), recipe.seed
    )


def target_index(recipe: Recipe) -> int:
    """The number by which norms know the target: the last source's, where the method is shown no target image, for then
    nothing has trained a branch of the target's own; a norm may evaluate by that branch nevertheless."""
    last = len(recipe.task.domains) - 1
    own = recipe.method.target.uses_target or evaluates_by_target(recipe.norm.target)
    return last if own else max(0, last - 1)


def load_unseen(task: Task, recipe: Recipe, spec: str, device: torch.device) -> Domain:
    """A domain beside the task's own: ``DOMAIN`` of the recipe's data set, or ``DATASET:DOMAIN``.

    Raises:
        UserError: there is no such domain, or its data set has other classes than the task.
    """
    dataset, _, name = spec.rpartition(":")
    adapter = dataset_of(recipe, dataset)
    if name not in adapter.domains:
        raise UserError(f"{dataset}: " * bool(dataset) + unknown("domain", name, adapter.domains))
    if tuple(adapter.classes) != tuple(task.classes):
        raise UserError(f"{spec}: its classes are not those of the task, {', '.join(task.classes)}")
    train, test = _store(adapter, [name], recipe, device)
    return Domain(spec, "unseen", task.target.index, train, test)


def _store(
    adapter: Adapter, names: Sequence[str], recipe: Recipe, device: torch.device, progress: Progress = silent
) -> list[ImageSet]:
    """Train and test images of each domain, one after the other."""
    parts = [_load(adapter, name, split) for name in names for split in SPLITS]
    if isinstance(adapter, CardDataset) and adapter.found_by_looking:
        warn_of_unused(adapter, [path for part in parts if isinstance(part, ImageFiles) for path in part.paths], names)
    try:
        return store(parts, recipe.input, device, progress=progress)
    except DamagedImage as error:
        check = f"uan-da datasets check {shlex.quote(recipe.dataset)}"
        raise UserError(
            f"{error}\nrepair it, or take it out of the data. All that is wrong with the data: {check}"
        ) from None


def _load(adapter: Adapter, name: str, split: Split) -> Examples:
    examples = adapter.load(name, split)
    if not len(examples):
        others = any(len(adapter.load(name, other)) for other in SPLITS)
        hint = f": {SMALL}" if others and isinstance(adapter, CardDataset) else ""
        raise UserError(f"domain {name!r}: the {split} split has no images{hint}")
    return examples


def _domain(name: str, index: int, train: ImageSet, test: ImageSet, recipe: Recipe) -> Domain:
    role: Role = "source" if name in recipe.task.sources else "target"
    if role == "source" and bool((train.labels == UNKNOWN).any()):
        raise UserError(f"domain {name!r}: a source needs a label for every training image")
    if role == "target" and recipe.target is not None:
        rest, labelled = draw_labelled(train, recipe.target.labelled, recipe.seed, name)
        return Domain(name, role, index, rest, test, labelled=labelled)
    if role == "target" or not recipe.selection.holdout:
        return Domain(name, role, index, train, test)
    train, validation = hold_out(train, recipe.selection.holdout, name)
    return Domain(name, role, index, train, test, validation)


def _loaders(domains: Sequence[Domain], recipe: Recipe, device: torch.device) -> list[DomainLoader]:
    """A loader for each domain; the classes of the target cannot be balanced, for its labels are not known."""
    batch, seed = recipe.train.batch, recipe.seed
    sources = [domain for domain in domains if domain.role == "source"]
    sizes = batch_sizes([len(domain.train) for domain in sources], batch)
    return [
        DomainLoader(domain.name, domain.index, domain.train, size, seed, batch.balance, device)
        for domain, size in zip(sources, sizes, strict=True)
    ] + [
        DomainLoader(domain.name, domain.index, domain.train, batch.target, seed, device=device)
        for domain in domains[len(sources) :]
    ]


def _labelled_loader(target: Domain, recipe: Recipe, device: torch.device) -> DomainLoader | None:
    """As many of the target's labelled images as of a source, in an order of their own."""
    if target.labelled is None:
        return None
    size = recipe.train.batch.source
    return DomainLoader(f"{target.name}, labelled", target.index, target.labelled, size, recipe.seed, device=device)


def batch_sizes(images: Sequence[int], batch: Batch) -> list[int]:
    """Images per step of each source that has ``images``; in all ``batch.source`` times the number of sources.

    ``proportional`` shares are rounded by largest remainders, and none is below one.
    """
    if batch.sources == "balanced":
        return [batch.source] * len(images)
    total = batch.source * len(images)
    exact = [max(1.0, total * count / sum(images)) for count in images]
    sizes = [int(share) for share in exact]
    by_remainder = sorted(range(len(images)), key=lambda index: sizes[index] - exact[index])
    for index in by_remainder[: max(0, total - sum(sizes))]:
        sizes[index] += 1
    return sizes

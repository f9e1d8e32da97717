"""A data set as a recipe's ``classes`` divide it between source and target."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from uan_da.data.adapter import UNKNOWN, Adapter, Arrays, Examples, Split, labels_of
from uan_da.data.image_files import ImageFiles
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.recipe import Recipe
from uan_da.recipe.classes import NO_CLASS, Classes


class LabelSpace:
    """The images of each domain that are of its own classes.

    A source keeps the images of shared and of source classes. Any other domain is a target: it keeps those of shared
    and of target classes, and the label of the latter is that of ``unknown``. A target's images without a label stay,
    for nobody knows what they are. ``classes`` are the predictions of a network: shared, source, ``unknown``.
    """

    def __init__(self, adapter: Adapter, classes: Classes, sources: Sequence[str]) -> None:
        """
        Raises:
            ValueError: the data set has not the classes that are asked for.
        """
        self.adapter, self.sources, self.domains = adapter, sources, adapter.domains
        self.names = classes.of(adapter.classes)
        self.classes = (*self.names.shared, *self.names.source, *([NO_CLASS] if self.names.target else []))

    def load(self, domain: str, split: Split) -> Examples:
        """The examples of one domain and split that are of its classes."""
        examples = self.adapter.load(domain, split)
        new = self._labels(domain)[labels_of(examples)]
        rows = (new != ABSENT).nonzero().flatten()
        return chosen(examples, rows, new[rows])

    def _labels(self, domain: str) -> Tensor:
        """The new label of each old one, ``(classes + 1,)``: the last entry is of −1."""
        shared, source, target = self.names
        new = torch.full((len(self.adapter.classes) + 1,), ABSENT)
        new[UNKNOWN] = UNKNOWN
        for label, name in enumerate(self.adapter.classes):
            if name in shared or (name in source and domain in self.sources):
                new[label] = self.classes.index(name)
            elif name in target and domain not in self.sources:
                new[label] = len(self.classes) - 1
        return new


ABSENT = -2
"""In place of a label: the domain has no such class."""


class Chosen:
    """Some of the examples of a data set, with labels of their own."""

    def __init__(self, examples: Examples, rows: list[int], labels: Tensor) -> None:
        self.examples, self.rows, self.labels = examples, rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.examples[self.rows[index]][0], int(self.labels[index])


def chosen(examples: Examples, rows: Tensor, labels: Tensor) -> Examples:
    """The examples at ``rows`` ``(M,)``, which get the ``labels`` ``(M,)``; files stay files, and arrays arrays."""
    indices = rows.tolist()
    if isinstance(examples, ImageFiles):
        return ImageFiles([examples.paths[index] for index in indices], labels.tolist())
    if isinstance(examples, Arrays):
        return Arrays(examples.images[rows.numpy()], labels.numpy())
    return Chosen(examples, indices, labels)


def dataset_of(recipe: Recipe, dataset: str = "") -> Adapter:
    """The data set of a recipe, or another, with the classes that the recipe gives each domain.

    Raises:
        UserError: it cannot be opened, or has not the classes that are asked for.
    """
    adapter = open_dataset(dataset or recipe.dataset, recipe.trust)
    if recipe.classes is None:
        return adapter
    try:
        return LabelSpace(adapter, recipe.classes, recipe.task.sources)
    except ValueError as error:
        raise UserError(f"classes: {error}") from None

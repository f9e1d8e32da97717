"""What a data set gives, held to the protocol: a user's mistake is found where it is made, and said by name."""

import traceback
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uan_da.data.adapter import UNKNOWN, Arrays, Examples, Split
from uan_da.data.as_image import as_image
from uan_da.data.image_files import ImageFiles
from uan_da.errors import UserError


class CheckedAdapter:
    """An adapter of the user's own; what is wrong with its names is said at once, the rest when it is read."""

    def __init__(self, name: str, adapter: Any) -> None:
        """``name`` is that of the data set.

        Raises:
            UserError: the adapter lacks a part of the protocol, or its domains or classes are no list of names.
        """
        missing = [part for part in ("domains", "classes", "load") if not hasattr(adapter, part)]
        if missing:
            raise UserError(
                f"dataset {name!r}: an adapter has domains, classes and load(domain, split); missing: {missing[0]}"
            )
        self.name, self.adapter = name, adapter
        self.domains = check_names(f"dataset {name!r}: domains", adapter.domains)
        self.classes = check_names(f"dataset {name!r}: classes", adapter.classes)

    def load(self, domain: str, split: Split) -> Examples:
        """The adapter's examples, checked.

        Raises:
            UserError: the adapter's ``load`` fails, or gives no data set.
        """
        where = f"dataset {self.name!r}, domain {domain!r}, {split}"
        try:
            examples = self.adapter.load(domain, split)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{where}: load(domain, split) fails: {said(error)}") from error
        return checked(examples, self.classes, where)


class CheckedExamples:
    """Examples of any map-style data set: PIL images and labels, or an error that names the image."""

    def __init__(self, examples: Any, classes: Sequence[str], where: str) -> None:
        self.examples, self.classes, self.where = examples, classes, where
        self.count = len(examples)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index >= self.count:
            raise IndexError(index)  # ends a loop over the examples
        image, label = self._pair(index)
        try:
            return as_image(image), label_of(label, self.classes)
        except UserError as error:
            raise UserError(f"{self.where}: image {index}: {error}") from None

    @cached_property
    def labels(self) -> Tensor:
        """All labels ``(N,)``, int64; without opening an image where the data set has them as ``labels``."""
        given = getattr(self.examples, "labels", None)
        found = [self._pair(index)[1] for index in range(len(self))] if given is None else given
        return check_labels(found, len(self), self.classes, self.where)

    def _pair(self, index: int) -> tuple[Any, Any]:
        try:
            found = self.examples[index]
        except UserError as error:
            raise UserError(f"{self.where}: image {index}: {error}") from None
        except Exception as error:
            raise UserError(f"{self.where}: image {index} cannot be read: {said(error)}") from error
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise UserError(f"{self.where}: image {index}: expected a pair (image, label), but got {_kind(found)}")
        return found[0], found[1]


def checked(examples: Any, classes: Sequence[str], where: str) -> Examples:
    """``examples`` held to the protocol; ``where`` begins every message.

    Raises:
        UserError: they are no map-style data set, or labels that are known already are no classes.
    """
    if isinstance(examples, ImageFiles | Arrays):
        check_labels(examples.labels, len(examples), classes, where)
        return examples
    if isinstance(examples, CheckedExamples):
        return examples
    if not hasattr(examples, "__len__") or not hasattr(examples, "__getitem__"):
        raise UserError(
            f"{where}: load(domain, split) returns a data set with __len__ and __getitem__, but got {_kind(examples)}"
        )
    return CheckedExamples(examples, classes, where)


def check_labels(labels: Any, count: int, classes: Sequence[str], where: str) -> Tensor:
    """All labels as int64 ``(N,)``.

    Raises:
        UserError: there are more or fewer than images, or one is no class; names the first, and says how many.
    """
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise UserError(f"{where}: labels: expected one number an image, but got the shape {values.shape}")
    if len(values) != count:
        raise UserError(f"{where}: {len(values)} labels for {count} images")
    if not (isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.integer)):
        values = np.array([_named(value, index, classes, where) for index, value in enumerate(values)], dtype=np.int64)
    wrong = np.flatnonzero((values < UNKNOWN) | (values >= len(classes)))
    if len(wrong):
        others = f", and {len(wrong) - 1} more image(s) have such labels" if len(wrong) > 1 else ""
        raise UserError(f"{where}: image {wrong[0]}: {_out_of_range(int(values[wrong[0]]), classes)}{others}")
    return torch.from_numpy(values.astype(np.int64))


def label_of(value: Any, classes: Sequence[str]) -> int:
    """A label as an index into ``classes``, −1 where unknown.

    Raises:
        UserError: it is no whole number, or no class.
    """
    label = _whole(value, classes)
    if not UNKNOWN <= label < len(classes):
        raise UserError(_out_of_range(label, classes))
    return label


def _whole(value: Any, classes: Sequence[str]) -> int:
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str) and value in classes:
        raise UserError(f"the label is the name {value!r}; give its index in classes, {list(classes).index(value)}")
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UserError(f"label {value!r} is not an index into classes ({UNKNOWN} is unknown)")
    return int(value)


def check_names(what: str, given: Any) -> tuple[str, ...]:
    """Names of domains or classes.

    Raises:
        UserError: they are no list of text, or two are the same, or look the same.
    """
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise UserError(f"{what}: expected a list of names, but got {given!r}")
    names = tuple(given)
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"{what}: expected names, but got {name!r}")
    if not names:
        raise UserError(f"{what}: the list is empty")
    twins = unicode_twins(names)
    if twins:
        raise UserError(
            f"{what}: {twins[0]!r} appears twice" if twins[0] == twins[1] else f"{what}: {looks_alike(*twins)}"
        )
    return names


def unicode_twins(names: Sequence[str]) -> tuple[str, str] | None:
    """The first two names that are the same, or differ only in how Unicode spells them."""
    seen: dict[str, str] = {}
    for name in names:
        form = unicodedata.normalize("NFC", name)
        if form in seen:
            return seen[form], name
        seen[form] = name
    return None


def looks_alike(one: str, other: str) -> str:
    """What is to be said of two spellings of one name."""
    return f"{one!r} is spelled in two ways, which look the same: {one!a} and {other!a}; rename one of them"


def said(error: BaseException) -> str:
    """An error of the user's code in one line: what, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _named(value: Any, index: int, classes: Sequence[str], where: str) -> int:
    try:
        return _whole(value, classes)
    except UserError as error:
        raise UserError(f"{where}: image {index}: {error}") from None


def _out_of_range(label: int, classes: Sequence[str]) -> str:
    return f"label {label} is not one of {len(classes)} classes (0 to {len(classes) - 1}; {UNKNOWN} is unknown)"


def _kind(value: Any) -> str:
    return "None" if value is None else repr(type(value).__name__)

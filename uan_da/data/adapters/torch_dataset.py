"""Map-style data sets of PyTorch, such as torchvision's."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import AfterValidator, ValidationInfo

from uan_da.data.adapter import Split
from uan_da.data.as_image import as_image
from uan_da.errors import UserError
from uan_da.names import Names
from uan_da.trust import trust_in

CLASSES = Names("dataset", {})
"""None has a name of its own: they are found as ``module:Class``, in the working directory too."""


def _own_code(name: str, info: ValidationInfo) -> str:
    try:
        trust_in(info.context).check(CLASSES.kind, name)
    except UserError as error:
        raise ValueError(str(error)) from error
    return name


class Converted:
    """A map-style data set whose images may be PIL images, uint8 arrays ``(H, W[, 3])`` or tensors ``(C, H, W)``."""

    def __init__(self, dataset: Any, labels: Any = None) -> None:
        self.dataset = dataset
        known = getattr(dataset, "targets", None) if labels is None else labels
        if known is not None:
            self.labels = known

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        image, label = self.dataset[index]
        return as_image(image), label


class TorchDataset:
    """A map-style torch data set: ``module:Class`` and its arguments, those of each split beside the common ones."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        dataset: Annotated[str, AfterValidator(_own_code)],
        arguments: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        test: dict[str, Any] | None = None,
    ) -> None:
        """``{folder}`` and ``{domain}`` in an argument that is text stand for the data set's folder and the domain."""
        self.folder, self.classes, self.dataset, self.arguments = folder, classes, dataset, arguments or {}
        self.of_split: dict[Split, dict[str, Any]] = {"train": train or {}, "test": test or {}}

    def load(self, domain: str, split: Split) -> Converted:
        """The data set, built with the arguments of the split."""
        if ":" not in self.dataset:
            raise UserError(f"dataset {self.dataset!r}: expected module:Class")
        target = CLASSES.load(self.dataset)
        if not (inspect.isclass(target) and hasattr(target, "__getitem__") and hasattr(target, "__len__")):
            raise UserError(f"dataset {self.dataset!r}: expected a class of map-style data sets")
        given = self.arguments | self.of_split[split]
        fields = {"folder": str(self.folder), "domain": domain}
        filled = {key: value.format_map(fields) if isinstance(value, str) else value for key, value in given.items()}
        try:
            return Converted(target(**filled))
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise UserError(f"dataset {self.dataset!r}, {split}: {error}") from None

"""Data sets of Hugging Face's ``datasets`` (the extra ``hf``)."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from uan_da.data.adapter import UNKNOWN, Split
from uan_da.data.as_image import as_image
from uan_da.errors import UserError
from uan_da.names import unknown


class Rows:
    """Examples from a ``datasets.Dataset`` with a column of images and one of labels."""

    def __init__(self, dataset: Any, *, image: str = "image", label: str | None = "label") -> None:
        for column in filter(None, (image, label)):
            if column not in dataset.column_names:
                raise UserError(f"Hugging Face data set: {unknown('column', column, dataset.column_names)}")
        self.dataset, self.image, self.label = dataset, image, label
        labels = [UNKNOWN] * len(dataset) if label is None else list(dataset[label])
        self.labels = [UNKNOWN if value is None else value for value in labels]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image = self.dataset[index][self.image]
        if isinstance(image, dict):  # undecoded
            image = Image.open(io.BytesIO(image["bytes"]) if image.get("bytes") else image["path"])
        return as_image(image), self.labels[index]


class HuggingFace:
    """A Hugging Face data set, by name or local folder."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        dataset: str,
        config: str | None = None,
        data_dir: str | None = None,
        image: str = "image",
        label: str | None = "label",
        train: str = "train",
        test: str = "test",
    ) -> None:
        """``dataset``, ``config`` and ``data_dir`` may hold ``{folder}`` and ``{domain}``: a domain may be any of them.

        ``train`` and ``test`` are its splits, in the notation of ``datasets``: ``train[:80%]``.
        """
        self.folder, self.classes, self.image, self.label = folder, classes, image, label
        self.arguments = {"path": dataset, "name": config, "data_dir": data_dir}
        self.splits: dict[Split, str] = {"train": train, "test": test}

    def load(self, domain: str, split: Split) -> Rows:
        """The rows of the split; labels are what the data set's label column says."""
        try:
            from datasets import load_dataset  # type: ignore[attr-defined, unused-ignore]
        except ImportError:
            raise UserError("adapter 'hugging_face' needs: pip install 'uan-da[hf]'") from None
        fields = {"folder": str(self.folder), "domain": domain}
        given = {key: value.format_map(fields) for key, value in self.arguments.items() if value is not None}
        try:
            found = load_dataset(**given, split=self.splits[split])
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"Hugging Face data set {given['path']!r}, {self.splits[split]}: {error}") from None
        return Rows(found, image=self.image, label=self.label)

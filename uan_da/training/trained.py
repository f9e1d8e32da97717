"""A trained network, ready for images of any origin."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd
import torch

from uan_da.data.image_files import ImageFiles
from uan_da.data.images import decode
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.evaluation.predict import BATCH, Predictions, predict
from uan_da.models.classifier import Classifier, build_model
from uan_da.recipe import Recipe
from uan_da.training.run import Run


@dataclass(frozen=True)
class Trained:
    """The network of a run with the weights of one of its checkpoints, and the names of its classes."""

    recipe: Recipe
    model: Classifier
    classes: tuple[str, ...]
    step: int
    device: torch.device

    @classmethod
    def load(cls, run: Run, checkpoint: str, device: torch.device) -> Self:
        """The run's network; no image of its data set is needed.

        Raises:
            UserError: the run lacks the checkpoint, or its classes are not known.
        """
        recipe, classes = run.recipe, class_names(run)
        model = build_model(recipe, len(classes), pretrained=False).to(device)
        step = run.load_weights(model, checkpoint, device)
        return cls(recipe, model, classes, step, device)

    @property
    def domain(self) -> int:
        """The index that images of no known domain get: the target's."""
        return self.recipe.target_index

    def classify(self, images: ImageFiles) -> Predictions:
        """Answers on image files, which are decoded a batch at a time.

        Raises:
            DamagedImage: a file cannot be read; names it.
        """
        layout, parts = self.recipe.input, []
        for start in range(0, len(images), BATCH):
            place = slice(start, start + BATCH)
            some = decode(ImageFiles(images.paths[place], images.labels[place]), layout)
            parts.append(predict(self.model, some, layout, self.domain))
        return Predictions.cat(parts)


def class_names(run: Run) -> tuple[str, ...]:
    """The names of a run's classes: from what its folder says of them, else from its data set.

    Raises:
        UserError: neither has them.
    """
    for name in ("adapt.json", "evaluation/last.json"):
        path = run.folder / name
        if path.is_file():
            return tuple(json.loads(path.read_text(encoding="utf-8"))["classes"])
    try:
        return tuple(open_dataset(run.recipe.dataset).classes)
    except UserError as error:
        raise UserError(
            f"{run.folder}: the names of its classes are in its data set, which cannot be opened: {error}"
        ) from None


def answers_table(paths: Sequence[Path], answers: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    """One row an image: ``file``, the predicted ``class`` by name, and its probability as ``confidence``."""
    return pd.DataFrame(
        {
            "file": [str(path) for path in paths],
            "class": [classes[label] for label in answers.classes.tolist()],
            "confidence": answers.probabilities.double().amax(1).numpy().round(6),
        }
    )

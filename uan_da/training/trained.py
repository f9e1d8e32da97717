"""A trained network, ready for images of any origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd
import torch
from torch import nn

from uan_da.data.image_files import ImageFiles
from uan_da.data.images import decode
from uan_da.data.task import target_index
from uan_da.errors import UserError
from uan_da.evaluation.predict import BATCH, NonFinitePredictions, Predictions, predict
from uan_da.models.classifier import Classifier, build_model
from uan_da.models.weights import load_head
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
        """The run's network, from its folder alone: its data set may be gone.

        Raises:
            UserError: the run lacks the checkpoint, or a file of it is damaged.
        """
        recipe, classes = run.recipe, run.record.classes
        model = build_model(recipe, len(classes), pretrained=False).to(device)
        step = run.load_weights(model, checkpoint, device)
        return cls(recipe, model, classes, step, device)

    @classmethod
    def published(cls, recipe: Recipe, classes: Sequence[str], device: torch.device) -> Self:
        """The network that ``backbone.weights`` of ``recipe`` hold, with the head that they were trained with.

        Raises:
            UserError: they cannot be had, hold no head, or do not fit the recipe's network or the classes.
        """
        model = build_model(recipe, len(classes))
        weights = recipe.backbone.weights
        if not isinstance(model.head, nn.Linear) or recipe.bottleneck is not None:
            raise UserError("published weights have a linear head: leave out bottleneck, head.hidden, head.logits_norm")
        load_head(model.head, recipe.backbone.name, weights)
        return cls(recipe, model.to(device).eval(), tuple(classes), 0, device)

    @property
    def domain(self) -> int:
        """The index that images of no known domain get: the target's."""
        return target_index(self.recipe)

    def require_closed_set(self) -> None:
        """For what knows no other setting; UserError where the recipe gives source or target classes of their own."""
        if self.recipe.setting != "closed_set":
            raise UserError(
                f"methods for streams serve closed_set, and the run is of {self.recipe.setting} adaptation: its "
                "recipe's 'classes' gives domains classes of their own"
            )

    def classify(self, images: ImageFiles) -> Predictions:
        """Predictions on image files, which are decoded a batch at a time.

        Raises:
            DamagedImage: a file cannot be read; names it.
            NonFinitePredictions: a prediction is not finite; names the file.
        """
        input, parts = self.recipe.input, []
        for start in range(0, len(images), BATCH):
            rows = slice(start, start + BATCH)
            some = decode(ImageFiles(images.paths[rows], images.labels[rows]), input)
            try:
                parts.append(predict(self.model, some, input, self.domain))
            except NonFinitePredictions as error:
                raise error.about(str(images.paths[start + error.first])) from None
        return Predictions.cat(parts)


def confidence_table(paths: Sequence[Path | str], predictions: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    """One row an image: ``file``, the predicted ``class`` by name, and its probability as ``confidence``."""
    return pd.DataFrame(
        {
            "file": [str(path) for path in paths],
            "class": [classes[label] for label in predictions.classes.tolist()],
            "confidence": predictions.probabilities.double().amax(1).numpy().round(6),
        }
    )

"""Images in any form, and a run's predictions on them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from uan_da.data.adapter import UNKNOWN
from uan_da.data.as_image import as_image
from uan_da.data.images import decode
from uan_da.data.own_images import expand, images_at
from uan_da.errors import UserError
from uan_da.evaluation.predict import Predictions, predict
from uan_da.training.trained import Trained

ImagesLike = Any
"""A folder, a file, a pattern (``photos/*.jpg``), a list of those; or images: PIL's, arrays ``(H, W[, C])`` of bytes or
of floats in [0, 1], tensors ``(C, H, W)``, one after the other or stacked."""


def predict_images(trained: Trained, images: ImagesLike) -> tuple[list[str], Predictions]:
    """The name of each image (its file, or its index), and the predictions.

    Raises:
        UserError: there is no image, or one cannot be read.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    if not given:
        raise UserError("no images were given")
    if all(isinstance(each, str | Path) for each in given):
        files = images_at(_expanded(given))
        return [str(path) for path in files.paths], trained.classify(files)
    stored = decode([(as_image(each), UNKNOWN) for each in given], trained.recipe.input)
    predictions = predict(trained.model, stored, trained.recipe.input, trained.domain)
    return [str(index) for index in range(len(given))], predictions


def _expanded(words: Iterable[str | Path]) -> list[Path]:
    return [path for word in words for path in expand(str(word))]

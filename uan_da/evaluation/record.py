"""The files that an evaluation leaves in a run folder, for people, for pandas and for the report."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from uan_da.data.adapter import UNKNOWN
from uan_da.data.images import ImageSet
from uan_da.data.resize import resize
from uan_da.data.task import Domain
from uan_da.evaluation.evidence import subset_indices
from uan_da.evaluation.predict import Predictions
from uan_da.files import whole_file

FEATURES = 500
"""Images of each domain whose features are kept."""
THUMBNAIL = 64
"""Pixels: larger images are kept at this size."""


def predictions_table(
    predictions: Mapping[str, Predictions], domains: Sequence[Domain], classes: Sequence[str], split: str
) -> pd.DataFrame:
    """One row an image: domain, role, split, index in it, label and prediction by name (an unknown label is empty),
    whether they agree, the confidence, and the probability of the label."""
    parts = []
    for domain in domains:
        own = predictions[domain.name]
        labels, predicted = own.labels.numpy(), own.classes.numpy()
        known = labels != UNKNOWN
        p = own.probabilities.double().numpy()
        columns: dict[str, Any] = {
            "domain": domain.name,
            "role": domain.role,
            "split": split,
            "index": np.arange(len(labels)),
            "label": [classes[label] if label != UNKNOWN else None for label in labels],
            "predicted": [classes[c] for c in predicted],
            "correct": np.where(known, labels == predicted, None),
            "confidence": p.max(1).round(6),
            "probability_of_label": np.where(known, p[np.arange(len(p)), labels], np.nan).round(6),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def save_arrays(
    path: Path, predictions: Mapping[str, Predictions], domains: Sequence[Domain], shown: Iterable[Mapping[str, Any]]
) -> None:
    """``features/DOMAIN`` (float16, those beyond its range at its ends) and ``rows/DOMAIN`` (their indices in the
    predictions) of at most 500 images a domain, and ``image/DOMAIN/INDEX`` (uint8 ``(H, W, C)``) of those ``shown``."""
    arrays: dict[str, NDArray[Any]] = {}
    by_name = {domain.name: domain for domain in domains}
    for name, own in predictions.items():
        rows = subset_indices(len(own), name)
        rows = rows[np.linspace(0, len(rows) - 1, min(FEATURES, len(rows))).astype(int)]
        arrays[f"features/{name}"] = own.features[rows].half().nan_to_num().numpy()
        arrays[f"rows/{name}"] = rows.numpy()
    for image in shown:
        (found,) = by_name[image["domain"]].test.stream([torch.tensor([image["index"]])])
        arrays[f"image/{image['domain']}/{image['index']}"] = _thumbnail(found.pixels[0])
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def save_examples(path: Path, images: ImageSet, found: Sequence[Mapping[str, Any]]) -> None:
    """``condition/NUMBER``, uint8 ``(M, H, W, C)``: the example images of each condition, by their ``indices``."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for number, one in enumerate(found):
        (examples,) = images.stream([torch.tensor(one["indices"])])
        arrays[f"condition/{number}"] = np.stack([_thumbnail(pixels) for pixels in examples.pixels])
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _thumbnail(pixels: Tensor) -> NDArray[np.uint8]:
    if max(pixels.shape[1:]) > THUMBNAIL:
        pixels = resize(pixels, THUMBNAIL, THUMBNAIL)
    image: NDArray[np.uint8] = pixels.permute(1, 2, 0).cpu().numpy()
    return image

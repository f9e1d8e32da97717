"""The numbers of a target that has classes which the source lacks."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from uan_da.data.adapter import UNKNOWN
from uan_da.evaluation.metrics import auroc, class_accuracies, confusion
from uan_da.evaluation.predict import Predictions

KEYS = ("h_score", "known", "unknown", "mean", "auroc")


def open_set_metrics(predictions: Predictions, shared: int) -> dict[str, float | None]:
    r"""What papers on open-set and universal adaptation report, from the labelled images of a target.

    Args:
        predictions: their last class is ``unknown``.
        shared: the number of classes that source and target share, which are the first ones.

    Returns:
        ``known``: OS*, the mean over the shared classes of a class's accuracy, where ``unknown`` is a wrong prediction;
        ``unknown``: UNK, the part of the images of private classes that is rejected;
        ``h_score``: their harmonic mean, :math:`2ku/(k + u)` (Fu et al., ECCV 2020; Bucci et al., ECCV 2020,
        arXiv:2007.12360);
        ``mean``: OS, the mean accuracy of the shared classes and of ``unknown`` as one more;
        ``auroc``: the chance that an image of a private class is stranger than one of a shared class, by the logit of
        ``unknown`` less the greatest other one.
        None for what no image tells. Classes without an image are left out.
    """
    accuracies = class_accuracies(confusion(predictions))
    of_shared = [accuracy for accuracy in accuracies[:shared] if accuracy is not None]
    known, unknown = float(np.mean(of_shared)) if of_shared else None, accuracies[-1]
    labelled = predictions.labels != UNKNOWN
    logits, labels = predictions.logits[labelled].double(), predictions.labels[labelled]
    strange = (logits[:, -1] - logits[:, :-1].amax(1)).numpy()
    values = (
        _h_score(known, unknown),
        known,
        unknown,
        None if known is None or unknown is None else (sum(of_shared) + unknown) / (len(of_shared) + 1),
        auroc(strange, (labels == logits.shape[1] - 1).numpy()),
    )
    return dict(zip(KEYS, values, strict=True))


def headline(numbers: Mapping[str, Any]) -> tuple[str, float | None]:
    """What papers rank methods by on a domain, of its block in ``results.json``: the name and the number."""
    if "open_set" in numbers:
        return "H-score", numbers["open_set"]["h_score"]
    return "accuracy", numbers["accuracy"]


def main_measures(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Of a row of ``metrics.jsonl`` the number by which each domain is judged: the accuracy on its test images, or of a
    target with unknown classes the H-score."""
    return {**row["domains"], **row.get("h_score", {})}


def _h_score(known: float | None, unknown: float | None) -> float | None:
    if known is None or unknown is None:
        return None
    return 2 * known * unknown / (known + unknown) if known and unknown else 0.0

"""What adapting did to the predictions on the same images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uan_da.evaluation.metrics import correct_predictions, domain_metrics, paired_gain
from uan_da.evaluation.predict import Predictions


def before_after(before: Predictions, after: Predictions) -> dict[str, Any]:
    """Both predictions summarised, and what lies between them.

    Returns:
        ``n`` images, ``labelled`` of them; ``before`` and ``after`` as :func:`summary` has them; ``changed``, the
        number of images with another class; ``shift``, the total variation distance ½ Σ_k |after_k − before_k| of the
        shares of the predicted classes; and ``gain``, the paired gain of accuracy (numbers are None without labels).
    """
    ends = {"before": summary(before), "after": summary(after)}
    shares = [torch.tensor(end["class_shares"], dtype=torch.float64) for end in ends.values()]
    return {
        "n": len(before),
        "labelled": domain_metrics(before)["n"],
        **ends,
        "changed": int((before.classes != after.classes).sum()),
        "shift": float((shares[1] - shares[0]).abs().sum() / 2),
        "gain": paired_gain(correct_predictions(after), correct_predictions(before)),
    }


EXAMPLES = 7
"""Images named of each condition."""


def conditions(
    before: Predictions, after: Predictions, groups: Tensor | None, images: Sequence[str]
) -> list[dict[str, Any]] | None:
    """The groups of images that a method found, the largest first; None where it looks for none.

    Args:
        before, after: the predictions of ``N`` images.
        groups: the group ``(N,)`` of each image.
        images: what the images are called.

    Returns:
        For each group: ``share`` of all images; mean ``confidence`` and, of the labelled images, ``accuracy``, each a
        pair of before and after; and some ``examples``, evenly spread, with their
        ``indices``.
    """
    if groups is None:
        return None
    found = []
    for group in torch.unique(groups):
        rows = (groups == group).nonzero().flatten()
        ends = [summary(side.of(rows)) for side in (before, after)]
        chosen = rows[torch.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).long()]
        found.append(
            {
                "share": len(rows) / len(groups),
                "confidence": [end["confidence"] for end in ends],
                "accuracy": [end["accuracy"] for end in ends],
                "examples": [images[row] for row in chosen.tolist()],
                "indices": chosen.tolist(),
            }
        )
    return sorted(found, key=lambda one: -one["share"])


def summary(predictions: Predictions) -> dict[str, Any]:
    """``confidence``, the mean of the greatest probability; ``entropy``, the mean in nats; ``class_shares``, the share
    of the images that each class is predicted for; ``accuracy`` and its 95 % ``interval`` (None without labels)."""
    p = predictions.probabilities.double()
    counts = predictions.classes.bincount(minlength=p.shape[1])
    numbers = domain_metrics(predictions)
    return {
        "confidence": float(p.amax(1).mean()),
        "entropy": float(torch.special.entr(p).sum(1).mean()),
        "class_shares": (counts / len(predictions)).tolist(),
        "accuracy": numbers["accuracy"],
        "interval": numbers["interval"],
    }

"""Why adaptation helps or does not: the diagnostics of a model on the test images of its task."""

from collections.abc import Mapping
from typing import Any

import torch

from uan_da.data.adapter import UNKNOWN
from uan_da.data.task import Task
from uan_da.evaluation.clusters import cluster_report
from uan_da.evaluation.evaluate import prepared
from uan_da.evaluation.evidence import subset, subset_indices
from uan_da.evaluation.metrics import confusion
from uan_da.evaluation.predict import Predictions
from uan_da.evaluation.shift import class_alignment, label_shift, proxy_a_distance
from uan_da.models.classifier import Classifier
from uan_da.recipe.schema import Evaluation

MISTAKES = 24
"""Misclassified target images that are kept for the report."""


def diagnose(
    model: Classifier, task: Task, options: Evaluation, predictions: Mapping[str, Predictions]
) -> dict[str, Any]:
    """Everything beside the plain metrics: confusion matrices, distances of the domains, clusters, mistakes.

    ``predictions`` are those on the test images. Target labels are read, here as in the metrics.
    """
    source = Predictions.cat([predictions[domain.name] for domain in task.sources])
    target = predictions[task.target.name]
    shares = label_shift(torch.cat([domain.train.labels for domain in task.sources]).cpu(), target)
    return {
        "confusion": {name: confusion(own).tolist() for name, own in predictions.items()},
        "a_distance": proxy_a_distance(source.features, target.features),
        "class_alignment": class_alignment(source, target),
        "label_shift": shares,
        "clusters": _clusters(model, task, options),
        "mistakes": _mistakes(task.target.name, target),
    }


def _clusters(model: Classifier, task: Task, options: Evaluation) -> list[dict[str, Any]]:
    images = {domain.name: subset(domain.test, domain.name) for domain in task.domains}
    layers = cluster_report(lambda domain: prepared(model, task, domain, options), task.domains, images, task.input)
    rows = {domain.name: subset_indices(len(domain.test), domain.name) for domain in task.domains}
    for layer in layers:  # a row of the subset becomes the image's index in the domain
        layer["examples"] = [
            [{"domain": e["domain"], "index": int(rows[e["domain"]][e["row"]])} for e in own]
            for own in layer["examples"]
        ]
    return layers


def _mistakes(name: str, target: Predictions) -> list[dict[str, Any]]:
    """The most confident wrong predictions on the target."""
    wrong = ((target.labels != UNKNOWN) & (target.classes != target.labels)).nonzero().flatten()
    confidence = target.probabilities.amax(1)
    order = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    return [
        {
            "domain": name,
            "index": int(i),
            "label": int(target.labels[i]),
            "predicted": int(target.classes[i]),
            "confidence": float(confidence[i]),
        }
        for i in order
    ]

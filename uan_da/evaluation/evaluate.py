"""A model's numbers on every domain of a task."""

import copy
from collections.abc import Sequence
from typing import Any

from uan_da.data.adapter import Split
from uan_da.data.task import Domain, Task
from uan_da.evaluation.before_after import summary
from uan_da.evaluation.metrics import domain_metrics, harmonic_mean
from uan_da.evaluation.open_set import open_set_metrics
from uan_da.evaluation.predict import BATCH, NonFinitePredictions, Predictions, predict
from uan_da.models.classifier import Classifier
from uan_da.norms import recalibrate
from uan_da.norms.distributed import alone
from uan_da.recipe.schema import Evaluation


def predictions_on_test(model: Classifier, task: Task, options: Evaluation) -> dict[str, Predictions]:
    """Predictions on the test images of every domain, ``name → predictions``; the model is left as it was."""
    return {domain.name: predict_domain(model, task, domain, options) for domain in task.domains}


def predict_domain(
    model: Classifier, task: Task, domain: Domain, options: Evaluation, split: Split = "test"
) -> Predictions:
    """Predictions on one domain, whose norms are recalibrated where the options ask for it; sources keep their own.

    Raises:
        NonFinitePredictions: a prediction is not finite; names the domain.
    """
    images = domain.test if split == "test" else domain.train
    try:
        return predict(prepared(model, task, domain, options), images, task.input, domain.index)
    except NonFinitePredictions as error:
        raise error.about(f"domain {domain.name!r}, {split} images") from None


def prepared(model: Classifier, task: Task, domain: Domain, options: Evaluation) -> Classifier:
    """``model`` as it is used on ``domain``: itself, or a copy with statistics of the domain's training images."""
    if domain.role == "source" or options.recalibrate == "none":
        return model
    model = copy.deepcopy(model)
    with alone():  # each of several processes comes to the same
        recalibrate(model, task.unlabelled_batches(domain, BATCH), domain=domain.index)
    return model


def summarize(
    predictions: dict[str, Predictions], domains: Sequence[Domain], split: Split = "test", *, shared: int | None = None
) -> dict[str, dict[str, Any]]:
    """The ``domains`` block of ``results.json``: with what needs no labels, ``confidence`` and ``class_shares``; and,
    where a target has classes beside the ``shared`` ones, ``open_set``."""
    roles = {domain.name: domain.role for domain in domains}
    found = {}
    for name, own in predictions.items():
        known = summary(own)
        unlabelled = {key: known[key] for key in ("confidence", "class_shares")}
        found[name] = {"role": roles[name], "split": split, **domain_metrics(own), **unlabelled}
        if shared is not None and roles[name] != "source":
            found[name]["open_set"] = open_set_metrics(own, shared)
    return found


def domains_harmonic_mean(domains: dict[str, dict[str, Any]]) -> float | None:
    """The harmonic mean of source and target accuracy in a ``domains`` block, None without a target."""
    by_role: dict[str, list[float | None]] = {"source": [], "target": []}
    for numbers in domains.values():
        by_role[numbers["role"]].append(numbers["accuracy"])
    return harmonic_mean(by_role["source"], by_role["target"][0] if by_role["target"] else None)

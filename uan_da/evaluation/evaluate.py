"""A model's numbers on every domain of a task."""

import copy
from typing import Any

from uan_da.data.task import Domain, Task
from uan_da.evaluation.metrics import domain_metrics
from uan_da.evaluation.predict import BATCH, Predictions, predict
from uan_da.models.classifier import Classifier
from uan_da.norms import recalibrate
from uan_da.recipe.schema import Evaluation


def test_predictions(model: Classifier, task: Task, options: Evaluation) -> dict[str, Predictions]:
    """Predictions on the test images of every domain, ``name → predictions``; the model is left as it was."""
    return {domain.name: _predict_test(model, task, domain, options) for domain in task.domains}


def _predict_test(model: Classifier, task: Task, domain: Domain, options: Evaluation) -> Predictions:
    if domain.role == "target" and options.recalibrate == "target":
        model = copy.deepcopy(model)
        recalibrate(model, task.unlabelled_batches(domain, BATCH), domain=domain.index)
    return predict(model, domain.test, task.layout, domain.index)


def summarize(predictions: dict[str, Predictions], task: Task) -> dict[str, dict[str, Any]]:
    """The ``domains`` block of ``results.json``."""
    roles = {domain.name: domain.role for domain in task.domains}
    return {
        name: {"role": roles[name], "split": "test", **domain_metrics(answers)} for name, answers in predictions.items()
    }

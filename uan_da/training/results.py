"""``results.json``: what came of a training."""

from typing import Any

from uan_da.data.task import Task
from uan_da.errors import UserError
from uan_da.evaluation.evaluate import domains_harmonic_mean, predictions_on_test, summarize
from uan_da.evaluation.metrics import correct_predictions, paired_gain
from uan_da.evaluation.predict import Predictions
from uan_da.training.run import Run
from uan_da.training.training import Training


class Measured:
    """What the test images said after each epoch that this process has trained, so that none is predicted twice."""

    def __init__(self) -> None:
        self.domains: dict[int, dict[str, Any]] = {}
        """The numbers on every domain, by the step."""
        self.last: dict[str, Predictions] = {}
        """The predictions after the latest of those steps."""

    def measure(self, predictions: dict[str, Predictions], task: Task, step: int) -> dict[str, Any]:
        """The numbers on every domain by its predictions, those of the model of ``step``."""
        if step >= max(self.domains, default=0):
            self.last = predictions
        self.domains[step] = summarize(predictions, task.domains, shared=task.shared)
        return self.domains[step]


def selections(training: Training, run: Run, measured: Measured) -> dict[str, Any]:
    """``results.json`` without its baseline; ``measured`` has the last epoch's predictions, the model its weights.

    All is derived from one checkpoint's manifest, so that a run that has ended can be given its results anew.
    """
    recipe, model = training.recipe, training.evaluated
    manifest = run.checkpoints.find(run.identity)
    if manifest is None:
        raise UserError(f"{run.folder}: has no checkpoint")
    names = [*(["oracle"] if recipe.selection.oracle else []), "selected", "last"]
    missing = [name for name in names if manifest.files[name].step not in measured.domains]
    for name in dict.fromkeys([*missing, "last"] if missing else []):  # the model ends as the last
        step = run.fill(model, run.checkpoints.load(manifest.files[name], training.device))
        if step not in measured.domains:
            predictions = predictions_on_test(model, training.task, recipe.evaluation)
            measured.measure(predictions, training.task, step)
    found: dict[str, Any] = {"last": {}, "selected": {}, "oracle": {}}
    for name in names:
        step = manifest.files[name].step
        domains = measured.domains[step]
        epoch = -(-step // training.steps_per_epoch)
        found[name] = {"epoch": epoch, "domains": domains, "harmonic_mean": domains_harmonic_mean(domains)}
    found["selected"]["validator"] = recipe.selection.validator.name
    parts = {"method": recipe.method.name, "norm": recipe.norm.name, "backbone": recipe.backbone.name}
    found_by = {"task": str(recipe.task), **parts, "seed": recipe.seed, "selections": found}
    labelled = training.task.target.labelled
    return found_by if labelled is None else found_by | {"labelled": labelled.indices.tolist()}


def gains(adapted: dict[str, Predictions], plain: dict[str, Predictions], target: str) -> dict[str, Any]:
    """What adapting gained on the labelled test images of each domain; below 0 is a loss."""
    found = {
        name: paired_gain(correct_predictions(adapted[name]), correct_predictions(plain[name])) for name in adapted
    }
    return {"gain": found.pop(target), "source_gain": found}

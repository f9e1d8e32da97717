"""``results.json``: what came of a training."""

from typing import Any

from uan_da.errors import UserError
from uan_da.evaluation.evaluate import domains_h_score, summarize, test_predictions
from uan_da.evaluation.metrics import correct_answers, paired_gain
from uan_da.evaluation.predict import Predictions
from uan_da.training.run import Run
from uan_da.training.training import Training


def selections(training: Training, run: Run) -> tuple[dict[str, Any], dict[str, Predictions]]:
    """``results.json`` without its baseline, and the last epoch's predictions; the model ends at its last epoch.

    All is derived from one checkpoint's manifest, so that a run that has ended can be given its results anew.
    """
    recipe, task, model = training.recipe, training.task, training.answering
    manifest = run.checkpoints.find(run.identity)
    if manifest is None:
        raise UserError(f"{run.folder}: has no checkpoint")
    found: dict[str, Any] = {"last": {}, "selected": {}, "oracle": {}}
    for name in [*(["oracle"] if recipe.selection.oracle else []), "selected", "last"]:
        step = run.fill(model, run.checkpoints.load(manifest.files[name], training.device))
        answers = test_predictions(model, task, recipe.evaluation)
        epoch, domains = -(-step // training.steps_per_epoch), summarize(answers, task)
        found[name] = {"epoch": epoch, "domains": domains, "h_score": domains_h_score(domains)}
    found["selected"]["validator"] = recipe.selection.validator.name
    names = {key: getattr(recipe, key).name for key in ("method", "norm", "backbone")}
    return {"task": str(recipe.task), **names, "seed": recipe.seed, "selections": found}, answers


def gains(adapted: dict[str, Predictions], plain: dict[str, Predictions], target: str) -> dict[str, Any]:
    """What adapting gained on the labelled test images of each domain; below 0 is a loss."""
    found = {name: paired_gain(correct_answers(adapted[name]), correct_answers(plain[name])) for name in adapted}
    return {"gain": found.pop(target), "source_gain": found}

"""One training from its recipe to its results."""

import time
from pathlib import Path
from typing import Any

import torch

from uan_da.errors import UserError
from uan_da.evaluation.evaluate import summarize, test_predictions
from uan_da.evaluation.metrics import paired_gain
from uan_da.evaluation.predict import Predictions, predict
from uan_da.recipe import Recipe
from uan_da.training.checkpoint import load_checkpoint, save_checkpoint
from uan_da.training.device import choose_device
from uan_da.training.interrupt import Interrupted, noticing_signals
from uan_da.training.monitor import Monitor, Silent
from uan_da.training.run import Run
from uan_da.training.training import NonFiniteLoss, Training


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    with_baseline: bool = False,
    monitor: Monitor | None = None,
) -> Run:
    """Train ``recipe`` in the folder ``out``.

    Args:
        recipe: what to train.
        out: the run folder; it must be empty, unless ``resume`` goes on in it or ``overwrite`` replaces it.
        device: ``auto``, or a name of PyTorch's.
        with_baseline: also train ``source_only`` (in ``out/baseline``) and compare; the run itself stays the same.
        monitor: is told of steps and epochs.

    Raises:
        UserError: the folder, the data or the device cannot be used.
        NonFiniteLoss: the loss became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved, and ``resume`` goes on from it.
    """
    run, monitor = Run(out), monitor or Silent()
    training = Training.build(recipe, choose_device(device))
    with torch.random.fork_rng():
        if resume:
            _resume(training, run)
        else:
            run.create(recipe, overwrite)
            save_checkpoint(run.checkpoint("last"), training.state_dict())
        monitor.start(training, run)
        started = time.perf_counter()
        _fit(training, run, monitor)
        seconds = time.perf_counter() - started
        results, answers = _results(training, run)
    baseline: dict[str, Any] = {"method": "source_only", "selections": {}}
    if with_baseline:
        baseline |= _baseline(recipe, run, device, overwrite, monitor, answers)
    run.save_model(training.model)
    run.write_json("timing.json", {"train_seconds": seconds, "steps": training.total_steps})
    run.write_json("results.json", results | {"baseline": baseline, "schema": 1})
    (run.folder / "done").touch()
    return run


def _resume(training: Training, run: Run) -> None:
    """Bring ``training`` to where the run in the folder stopped."""
    before, now = Run.open(run.folder).recipe.to_dict(), training.recipe.to_dict()
    if before != now:
        raise UserError(
            f"{run.folder}: --resume needs the recipe it was started with; these differ: {_differing(before, now)}"
        )
    training.load_state_dict(load_checkpoint(run.checkpoint("last"), training.device))
    run.keep_metrics(training.step)


def _differing(before: Any, now: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(_differing(before.get(key), now.get(key), f"{path}.{key}".lstrip(".")) for key in keys)
    return f"{path} (was {before}, is {now})"


def _fit(training: Training, run: Run, monitor: Monitor) -> None:
    """Step to the end; a checkpoint at each epoch's end, and where a signal stops it."""
    with noticing_signals() as stop:
        while training.step < training.total_steps:
            try:
                training.advance()
            except NonFiniteLoss as error:
                raise NonFiniteLoss(f"{error}; the last good checkpoint is {run.checkpoint('last')}") from None
            monitor.step(training)
            if training.at_epoch_end:
                monitor.epoch(_finish_epoch(training, run))
            if stop.number is not None and training.step < training.total_steps:
                save_checkpoint(run.checkpoint("last"), training.state_dict())
                raise Interrupted(stop.number)


def _finish_epoch(training: Training, run: Run) -> dict[str, Any]:
    """Evaluate, score without target labels, log, and save: ``last``, and ``selected`` where the score is the best."""
    task, recipe = training.task, training.recipe
    earlier = [row["score"] for row in run.metrics()]
    target = predict(training.model, task.unlabelled(task.target), task.layout, task.target.index)
    score = recipe.selection.validator(target)
    domains = summarize(test_predictions(training.model, task, recipe.evaluation), task)
    row = {"epoch": training.epoch, "step": training.step, "train": training.take_averages(), "score": score}
    row["domains"] = {name: numbers["accuracy"] for name, numbers in domains.items()}
    run.append_metrics(row)
    state = training.state_dict()
    if score > max(earlier, default=float("-inf")):
        save_checkpoint(run.checkpoint("selected"), state)
    save_checkpoint(run.checkpoint("last"), state)
    return row


def _results(training: Training, run: Run) -> tuple[dict[str, Any], dict[str, Predictions]]:
    """``results.json`` without its baseline, and the last epoch's predictions; the model ends at its last epoch."""
    recipe, task, model = training.recipe, training.task, training.model
    selections: dict[str, Any] = {"last": {}, "selected": {}, "oracle": {}}
    for name in ("selected", "last"):
        step = run.load_weights(model, name, training.device)
        answers = test_predictions(model, task, recipe.evaluation)
        epoch = -(-step // training.steps_per_epoch)
        selections[name] = {"epoch": epoch, "domains": summarize(answers, task)}
    selections["selected"]["validator"] = recipe.selection.validator.name
    names = {key: getattr(recipe, key).name for key in ("method", "norm", "backbone")}
    return {"task": str(recipe.task), **names, "seed": recipe.seed, "selections": selections}, answers


def _baseline(
    recipe: Recipe, run: Run, device: str, overwrite: bool, monitor: Monitor, answers: dict[str, Predictions]
) -> dict[str, Any]:
    """Train ``source_only`` in the same way; its selections, and what adaptation gained on the target's test images."""
    plain = train(
        recipe.with_method("source_only"),
        run.folder / "baseline",
        device=device,
        overwrite=overwrite,
        monitor=monitor,
    )
    training = Training.build(plain.recipe, choose_device(device))
    plain.load_weights(training.model, "last", training.device)
    target = training.task.target.name
    other = test_predictions(training.model, training.task, recipe.evaluation)[target]
    correct, baseline = (p.classes.eq(p.labels).numpy() for p in (answers[target], other))
    return {"selections": plain.results["selections"], "gain": paired_gain(correct, baseline)}

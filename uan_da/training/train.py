"""One training from its recipe to its results."""

import time
from pathlib import Path
from typing import Any

import torch

from uan_da.errors import UserError
from uan_da.evaluation.evaluate import domains_h_score, summarize, test_predictions
from uan_da.evaluation.evidence import Evidence, all_scores
from uan_da.evaluation.metrics import correct_answers, paired_gain
from uan_da.evaluation.predict import Predictions
from uan_da.recipe import Recipe
from uan_da.training.checkpoint import load_checkpoint, save_checkpoint
from uan_da.training.device import choose_device
from uan_da.training.interrupt import Interrupted, noticing_signals
from uan_da.training.monitor import Monitor, Silent
from uan_da.training.run import SILENT, Run
from uan_da.training.training import NonFiniteLoss, Training


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    with_baseline: bool | Recipe = False,
    monitor: Monitor | None = None,
) -> Run:
    """Train ``recipe`` in the folder ``out``.

    Args:
        recipe: what to train.
        out: the run folder; it must be empty, unless ``resume`` goes on in it or ``overwrite`` replaces it.
        device: ``auto``, or a name of PyTorch's.
        with_baseline: also train ``source_only`` (in ``out/baseline``) and compare; the run itself stays the same. A
            recipe in its place says how: one that changes more than the method's name, as ``per_method`` does.
        monitor: is told of steps and epochs.

    Raises:
        UserError: the folder, the data or the device cannot be used.
        NonFiniteLoss: the loss became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved, and ``resume`` goes on from it.
    """
    if with_baseline and recipe.task.alone:
        raise UserError(f"--with-baseline: the task {recipe.task} has no target, and source_only is all there is")
    run, monitor = Run(out), monitor or Silent()
    training = Training.build(recipe, choose_device(device), fresh=not resume)
    with torch.random.fork_rng():
        if resume:
            _resume(training, run)
        else:
            run.create(recipe, overwrite)
            save_checkpoint(run.checkpoint("last"), training.state_dict())
        what = f"{recipe.task} {recipe.method.name} {recipe.norm.name}"
        run.log(f"{what}: from step {training.step} of {training.total_steps}")
        monitor.start(training, run)
        _fit(training, run, monitor)
        results, answers = _results(training, run)
    baseline: dict[str, Any] = {"method": "source_only", "selections": {}}
    run.save_model(training.answering)
    run.write_json("results.json", results | {"baseline": baseline, "schema": 1})
    if with_baseline:
        plain = recipe.source_only() if with_baseline is True else with_baseline
        baseline |= _baseline(plain, run, device, resume, monitor, answers)
        run.write_json("results.json", results | {"baseline": baseline, "schema": 1})
    (run.folder / "done").touch()
    run.log(f"done, {run.seconds:.0f} s of training")
    return run


def _resume(training: Training, run: Run) -> None:
    """Bring ``training`` to where the run in the folder stopped."""
    recipes = Run.open(run.folder).recipe, training.recipe
    before, now = ({key: value for key, value in r.to_dict().items() if key not in SILENT} for r in recipes)
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
    clock = Clock(run)
    with noticing_signals() as stop:
        while training.step < training.total_steps:
            try:
                training.advance()
                monitor.step(training)
                if training.at_epoch_end:
                    monitor.epoch(_finish_epoch(training, run))
            except NonFiniteLoss as error:
                run.log(str(error))
                raise NonFiniteLoss(f"{error}; the last good checkpoint is {run.checkpoint('last')}") from None
            if training.at_epoch_end or stop.number is not None:
                clock.write(training.step)
            if stop.number is not None:
                save_checkpoint(run.checkpoint("last"), training.state_dict())
                run.log(f"stopped by a signal after step {training.step}")
                raise Interrupted(stop.number)


class Clock:
    """Seconds of training, those before a resume included, in the run's ``timing.json``."""

    def __init__(self, run: Run) -> None:
        self.run, self.before, self.started = run, run.seconds, time.perf_counter()

    def write(self, step: int) -> None:
        """So many steps took until now."""
        seconds = self.before + time.perf_counter() - self.started
        self.run.write_json("timing.json", {"train_seconds": seconds, "steps": step})


def _finish_epoch(training: Training, run: Run) -> dict[str, Any]:
    """Evaluate, score without target labels, log, and save: ``last``, and ``selected`` where the score is the best."""
    task, recipe = training.task, training.recipe
    earlier = run.metrics()
    evidence = Evidence(training.answering, task)
    if not evidence.finite:
        raise NonFiniteLoss(f"step {training.step}: after it the network's answers are no numbers")
    scores = all_scores(evidence, recipe.selection.validator)
    domains = summarize(test_predictions(training.answering, task, recipe.evaluation), task)
    row: dict[str, Any] = {"epoch": training.epoch, "step": training.step, "train": training.take_averages()}
    row |= {"score": scores[recipe.selection.validator.name], "validators": scores}
    row["domains"] = {name: numbers["accuracy"] for name, numbers in domains.items()}
    run.append_metrics(row)
    run.log(f"epoch {row['epoch']}: loss {row['train']['loss']:.4f}, accuracy {row['domains']}, score {row['score']}")
    state = training.state_dict()
    if _is_best(row["score"], [before["score"] for before in earlier]):
        save_checkpoint(run.checkpoint("selected"), state)
    if recipe.selection.oracle:
        target = task.target.name
        if _is_best(row["domains"][target], [before["domains"][target] for before in earlier]):
            save_checkpoint(run.checkpoint("oracle"), state)
    save_checkpoint(run.checkpoint("last"), state)
    return row


def _is_best(value: float | None, earlier: list[float | None]) -> bool:
    """Whether ``value`` is the first of all, or above all; one that is None (not a number) is below any other."""
    known = [before for before in earlier if before is not None]
    return not earlier or (value is not None and value > max(known, default=float("-inf")))


def _results(training: Training, run: Run) -> tuple[dict[str, Any], dict[str, Predictions]]:
    """``results.json`` without its baseline, and the last epoch's predictions; the model ends at its last epoch."""
    recipe, task, model = training.recipe, training.task, training.answering
    selections: dict[str, Any] = {"last": {}, "selected": {}, "oracle": {}}
    for name in [*(["oracle"] if recipe.selection.oracle else []), "selected", "last"]:
        step = run.load_weights(model, name, training.device)
        answers = test_predictions(model, task, recipe.evaluation)
        epoch, domains = -(-step // training.steps_per_epoch), summarize(answers, task)
        selections[name] = {"epoch": epoch, "domains": domains, "h_score": domains_h_score(domains)}
    selections["selected"]["validator"] = recipe.selection.validator.name
    names = {key: getattr(recipe, key).name for key in ("method", "norm", "backbone")}
    return {"task": str(recipe.task), **names, "seed": recipe.seed, "selections": selections}, answers


def _baseline(
    recipe: Recipe, run: Run, device: str, resume: bool, monitor: Monitor, answers: dict[str, Predictions]
) -> dict[str, Any]:
    """Train ``recipe`` beside the run; its selections, and what adaptation gained on the target's test images."""
    folder = run.folder / "baseline"
    goes_on = resume and Run(folder).recipe_file.is_file()
    plain = train(recipe, folder, device=device, resume=goes_on, monitor=monitor)
    training = Training.build(recipe, choose_device(device), fresh=False)
    plain.load_weights(training.answering, "last", training.device)
    target = training.task.target.name
    others = test_predictions(training.answering, training.task, recipe.evaluation)
    gains = {name: _gain(answers[name], others[name]) for name in answers}
    source_gain = {name: gain for name, gain in gains.items() if name != target}
    return {"selections": plain.results["selections"], "gain": gains[target], "source_gain": source_gain}


def _gain(adapted: Predictions, plain: Predictions) -> dict[str, Any]:
    """What adapting gained on the labelled images of one domain; below 0 is a loss."""
    return paired_gain(correct_answers(adapted), correct_answers(plain))

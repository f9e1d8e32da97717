"""One training from its recipe to its results."""

from pathlib import Path
from typing import Any

import torch

from uan_da.data.progress import Progress, silent
from uan_da.errors import UserError
from uan_da.evaluation.evaluate import predictions_on_test
from uan_da.evaluation.evidence import Evidence, all_scores, check_validator
from uan_da.evaluation.open_set import main_measures
from uan_da.evaluation.predict import NonFinitePredictions, Predictions
from uan_da.files import write_json
from uan_da.norms.distributed import alone, process_number
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.checkpoint import Manifest
from uan_da.training.device import choose_device
from uan_da.training.distributed import agreed, joined, own_device, share_evaluated, share_state
from uan_da.training.failure import last_good, told
from uan_da.training.finite import NonFiniteLoss
from uan_da.training.interrupt import Interrupted, noticing_signals
from uan_da.training.lock import locked
from uan_da.training.longer import lengthen
from uan_da.training.monitor import Monitor, Silent
from uan_da.training.record import Record
from uan_da.training.results import Measured, gains, selections
from uan_da.training.resume import check_resumable, stopped_at
from uan_da.training.run import Run
from uan_da.training.saver import Saver
from uan_da.training.training import Training
from uan_da.trust import TELLING


def train(
    recipe: Recipe | str | Path,
    out: Path | str,
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    with_baseline: bool | Recipe = False,
    monitor: Monitor | None = None,
    reading: Progress = silent,
) -> Run:
    """Train ``recipe`` in the folder ``out``; under ``torchrun``, in all its processes, of which the first one writes.

    Args:
        recipe: what to train, or the name or file of a recipe.
        out: the run folder; it must be empty, unless ``resume`` goes on in it or ``overwrite`` replaces it. ``recipe``
            may then have more epochs or steps than the run was started with.
        device: ``auto``, or a name of PyTorch's.
        with_baseline: also train ``source_only`` (in ``out/baseline``) and compare; the run itself stays the same. A
            recipe in its place says how: one that changes more than the method's name, as ``per_method`` does.
        monitor: is told of steps and epochs.
        reading: is called with the number of images that are decoded before the first step, and of all.

    Raises:
        UserError: the folder, the data or the device cannot be used, or another process trains in the folder.
        NonFiniteLoss: the loss became NaN or infinite; the last good checkpoint is kept.
        Failure: the disk or memory failed; the last good checkpoint is kept.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; a checkpoint was saved, and ``resume`` goes on from it.

    Example:
        >>> recipe = load_recipe("digits", ["norm=bn", "train.epochs=1", "train.steps_per_epoch=1"])
        >>> run = train(recipe, "runs/first", device="cpu")
        >>> run.done
        True
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, trust=TELLING)
    check_validator(recipe.selection.validator)
    with joined():
        device = own_device(device)
        if process_number() > 0:
            _follow(recipe, device, with_baseline)
            return Run(out, recipe.trust)
        return _train(recipe, out, device, overwrite, resume, with_baseline, monitor, reading)[0]


def _train(
    recipe: Recipe,
    out: Path | str,
    device: str,
    overwrite: bool,
    resume: bool,
    with_baseline: bool | Recipe,
    monitor: Monitor | None,
    reading: Progress = silent,
) -> tuple[Run, dict[str, Predictions]]:
    """The run, and the last epoch's predictions on the test images of each domain."""
    if with_baseline and recipe.task.alone:
        raise UserError(f"--with-baseline: the task {recipe.task} has no target, and source_only is all there is")
    run, monitor = Run(out, recipe.trust), monitor or Silent()
    check_resumable(run) if resume else run.check_free(overwrite)
    with told(run), locked(run.folder):
        with torch.random.fork_rng():
            training, manifest = _begin(recipe, run, choose_device(device), resume, overwrite, reading)
            share_state(training)
            what = f"{recipe.task} {recipe.method.name} {recipe.norm.name}"
            run.log(f"{what}: from step {training.step} of {training.total_steps}")
            monitor.start(training, run)
            measured = Measured()
            with Saver(run, manifest) as saver:
                _fit(training, run, saver, measured, monitor)
            with alone():
                results = selections(training, run, measured)
        baseline: dict[str, Any] = {"method": "source_only", "selections": {}}
        run.save_model(training.evaluated)
        _write_results(run, results, baseline)
        if with_baseline:
            plain = recipe.source_only() if with_baseline is True else with_baseline
            baseline |= _baseline(plain, run, device, resume, monitor, measured.last)
            _write_results(run, results, baseline)
        run.finish()
        run.log(f"done, {run.seconds:.0f} s of training")
    return run, measured.last


def _begin(
    recipe: Recipe, run: Run, device: torch.device, resume: bool, overwrite: bool, reading: Progress
) -> tuple[Training, Manifest]:
    """A training at its first step in a new folder, or where the run in the folder stopped."""
    record = Record.of(recipe)
    manifest = stopped_at(run, recipe, record) if resume else None
    training = Training.build(recipe, device, fresh=manifest is None, reading=reading)
    if manifest is None:
        run.create(recipe, record, overwrite or resume)
        return training, Manifest(run.identity)
    training.load_state_dict(run.checkpoints.load(manifest.files["last"], device))
    try:
        run.check_whole("environment.json")
    except UserError:
        run.write_environment()
    (run.folder / "done").unlink(missing_ok=True)
    lengthen(run, training)
    run.write_copies(manifest)
    return training, manifest


def _fit(training: Training, run: Run, saver: Saver, measured: Measured, monitor: Monitor) -> None:
    """Step to the end; a checkpoint at each epoch's end, every few minutes, and where a signal stops it."""
    seconds = 60 * training.recipe.train.checkpoint_minutes
    if not saver.manifest.files:
        saver.save(training.step, training.state_dict())
    with noticing_signals() as stop:
        while training.step < training.total_steps:
            try:
                training.advance()
                monitor.step(training)
                if training.at_epoch_end:
                    monitor.epoch(_finish_epoch(training, run, saver, measured))
                number = agreed(stop.number)
                if not training.at_epoch_end and (number is not None or saver.seconds_since >= seconds):
                    saver.save(training.step, training.state_dict())
            except (NonFiniteLoss, NonFinitePredictions) as error:
                saver.wait()
                after = "" if isinstance(error, NonFiniteLoss) else f"step {training.step}: after it "
                run.log(f"{after}{error}")
                raise NonFiniteLoss(
                    f"{after}{error}; {last_good(run)}. Resumed, the training comes to the same; "
                    "lower train.optimizer.lr, and start anew with --overwrite"
                ) from None
            saver.check()
            _stop_where_asked(training, run, saver, number)


def _stop_where_asked(training: Training, run: Run, saver: Saver, number: int | None) -> None:
    if number is not None:
        saver.wait()
        run.log(f"stopped by a signal after step {training.step}")
        raise Interrupted(number)


def _finish_epoch(training: Training, run: Run, saver: Saver, measured: Measured) -> dict[str, Any]:
    """Evaluate, score without target labels, log, and save: ``last``, and ``selected`` where the score is the best."""
    recipe, (evidence, predictions) = training.recipe, predict_epoch(training)
    scores = all_scores(evidence, recipe.selection.validator)
    domains = measured.measure(predictions, training.task, training.step)
    row: dict[str, Any] = {"epoch": training.epoch, "step": training.step, "train": training.take_averages()}
    row |= {"score": scores[recipe.selection.validator.name], "validators": scores}
    row["domains"] = {name: numbers["accuracy"] for name, numbers in domains.items()}
    if training.task.shared is not None:
        row["h_score"] = {name: own["open_set"]["h_score"] for name, own in domains.items() if "open_set" in own}
    h_score = f", H-score {row['h_score']}" if "h_score" in row else ""
    said = f"accuracy {row['domains']}{h_score}, score {row['score']}"
    run.log(f"epoch {row['epoch']}: loss {row['train']['loss']:.4f}, {said}")
    names, target = [], training.task.target.name
    if _is_best(row["score"], [before["score"] for before in saver.metrics]):
        names.append("selected")
    best = _is_best(main_measures(row)[target], [main_measures(before)[target] for before in saver.metrics])
    if recipe.selection.oracle and best:
        names.append("oracle")
    saver.metrics.append(row)
    saver.save(training.step, training.state_dict(), names)
    return row


def predict_epoch(training: Training) -> tuple[Evidence, dict[str, Predictions]]:
    """What the network predicts at an epoch's end, on images of training and of test: several processes share them."""
    model, task = share_evaluated(training), training.task
    evidence = Evidence(model, task).computed(training.recipe.selection.validator)
    return evidence, predictions_on_test(model, task, training.recipe.evaluation)


def _is_best(value: float | None, earlier: list[float | None]) -> bool:
    """Whether ``value`` is the first of all, or above all; one that is None (not a number) is below any other."""
    known = [before for before in earlier if before is not None]
    return not earlier or (value is not None and value > max(known, default=float("-inf")))


def _write_results(run: Run, results: dict[str, Any], baseline: dict[str, Any]) -> None:
    write_json(run.folder / "results.json", results | {"baseline": baseline, "schema": 1})


def _baseline(
    recipe: Recipe, run: Run, device: str, resume: bool, monitor: Monitor, predictions: dict[str, Predictions]
) -> dict[str, Any]:
    """Train ``recipe`` beside the run; its selections, and what adaptation gained on the target's test images."""
    folder = run.folder / "baseline"
    plain, others = _train(recipe, folder, device, False, resume and folder.is_dir(), False, monitor)
    return {"selections": plain.results["selections"], **gains(predictions, others, recipe.task.target)}


def _follow(recipe: Recipe, device: str, with_baseline: bool | Recipe) -> None:
    """What the processes beside the first do: the same steps and predictions, on their share of the images. They write
    nothing."""
    with torch.random.fork_rng():
        training = Training.build(recipe, choose_device(device), fresh=False)
        share_state(training)
        with noticing_signals() as stop:
            while training.step < training.total_steps:
                training.advance()
                if training.at_epoch_end:
                    predict_epoch(training)
                    training.take_averages()
                number = agreed(stop.number)
                if number is not None:
                    raise Interrupted(number)
    if with_baseline:
        _follow(recipe.source_only() if with_baseline is True else with_baseline, device, False)

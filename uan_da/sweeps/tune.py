"""A search for hyper-parameters that reads no target label: a validator's score is all that it sees."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from uan_da.errors import UserError
from uan_da.recipe import Recipe, load_recipe
from uan_da.sweeps.folder import check_grid_folder
from uan_da.sweeps.jobs import Event, Executor, Job, run_folder
from uan_da.sweeps.run_id import RunIds
from uan_da.sweeps.sheet import Sheet
from uan_da.sweeps.sheets import NONE
from uan_da.sweeps.space import Space
from uan_da.sweeps.work import TrainingJob, cut
from uan_da.training.run import Run
from uan_da.trust import TELLING

STARTUP = 5
"""Whole trials before the first may be stopped early."""
SEED = 0
"""Of the sampler: the same command draws the same trials, whatever the recipe's seed."""


@dataclass(frozen=True)
class Trial:
    """A point of the space, and what its run came to."""

    number: int
    point: Sequence[str]
    """``key=value`` texts."""
    run_id: str
    recipe: Recipe = field(repr=False)
    scores: Sequence[float | None] = ()
    """The validator's, by epoch."""
    state: str = "failed"
    """``done``, ``stopped`` early, or ``failed``."""
    error: str = ""
    target: float | None = None
    """Accuracy of the selected checkpoint, to be looked at: nothing is chosen by it."""
    source: float | None = None

    @property
    def score(self) -> float | None:
        """The best of all epochs, which is the selected checkpoint's."""
        return max((score for score in self.scores if score is not None), default=None)

    @property
    def epoch(self) -> int | None:
        """Of the best score, the first of equals."""
        return None if self.score is None else 1 + list(self.scores).index(self.score)


@dataclass(frozen=True)
class Search:
    """All trials of a search, the best first."""

    validator: str
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial | None:
        """The one that the validator chose."""
        return next((trial for trial in self.trials if trial.state == "done"), None)


def tune(
    recipe: str | Path,
    overrides: Iterable[str],
    space: Space,
    *,
    out: Path | str,
    trials: int,
    validator: str,
    executor: Executor,
    at_once: int = 1,
    start: Callable[[int, Sequence[Job]], None] | None = None,
    tell: Callable[[Event], None] | None = None,
) -> Search:
    """Search ``space`` by Optuna's TPE (Bergstra et al., NeurIPS 2011), ``at_once`` trials at a time.

    A trial's value is the best score of its epochs by ``validator``, which is the score of the checkpoint that the run
    keeps as ``selected``. A run stops after an epoch by which its best score is below the median of the best scores of
    the trials before it by the same epoch (the median rule of Golovin et al., KDD 2017). Every draw is a function of
    the scores before it, and runs are kept by their run id: the same call goes on where it was interrupted.

    Args:
        recipe: a shipped recipe's name, or a file.
        overrides: ``key=value`` texts, the same for all trials.
        space: what is searched.
        out: the folder; runs in it are shared with a comparison there.
        trials: how many, with those that are done.
        validator: a validator's name, or its block as YAML.
        executor: who trains the runs.
        at_once: trials that are drawn together; the draws depend on it.
        start: is told how many trials are over, and the jobs that are next.
        tell: is told what becomes of them.

    Raises:
        UserError: Optuna is not installed, or a point of the space is no recipe.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    optuna = _optuna()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    check_grid_folder(Path(out))
    folder, run_ids, over = Path(out), RunIds(executor.threads), list[Trial]()
    while len(over) < trials:
        drawn = [study.ask() for _ in range(min(at_once, trials - len(over)))]
        batch = []
        for number, one in enumerate(drawn, len(over)):
            point = space.draw(one)
            resolved = load_recipe(recipe, [*overrides, *point, f"selection.validator={validator}"], TELLING)
            batch.append(Trial(number, point, run_ids.of(resolved), resolved))
        floors = floors_of(over)
        jobs = _jobs(batch, folder.absolute(), floors)
        if start is not None:
            start(len(over), jobs)
        errors = _train(executor, jobs, tell)
        for one, trial in zip(drawn, batch, strict=True):
            over.append(_outcome(trial, run_folder(folder, trial.run_id), floors, errors.get(trial.run_id, "")))
            _report(optuna, study, one, over[-1])
    return Search(validator, sorted(over, key=_rank))


def floors_of(trials: Sequence[Trial]) -> dict[int, float]:
    """Epoch → the median of the best scores by then, of the trials that were whole; nothing before there are enough."""
    whole = [best_by_epoch(trial.scores) for trial in trials if trial.state == "done"]
    if len(whole) < STARTUP:
        return {}
    epochs = min(map(len, whole))
    return {epoch + 1: median(best[epoch] for best in whole) for epoch in range(epochs)}


def best_by_epoch(scores: Sequence[float | None]) -> list[float]:
    """The largest so far; a score that is not a number is below any other."""
    best, found = float("-inf"), []
    for score in scores:
        best = max(best, float("-inf") if score is None else score)
        found.append(best)
    return found


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("uan-da tune needs Optuna: pip install 'uan-da[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _jobs(batch: Sequence[Trial], folder: Path, floors: Mapping[int, float]) -> list[Job]:
    """What is left to train of a batch: equal points are one run."""
    left = {trial.run_id: trial for trial in batch if not _is_over(run_folder(folder, trial.run_id), floors)}
    return [TrainingJob(trial.run_id, folder, trial.recipe.to_dict(), floors) for trial in left.values()]


def _is_over(folder: Path, floors: Mapping[int, float]) -> bool:
    return (folder / "done").is_file() or cut(Run(folder).metrics(), floors) is not None


def _train(executor: Executor, jobs: Sequence[Job], tell: Callable[[Event], None] | None) -> dict[str, str]:
    """The errors of those that failed, by run id."""
    errors: dict[str, str] = {}

    def hear(event: Event) -> None:
        if event.kind == "failed":
            errors[event.run_id] = event.error
        if tell is not None:
            tell(event)

    executor.run(jobs, hear)
    return errors


def _outcome(trial: Trial, folder: Path, floors: Mapping[int, float], error: str) -> Trial:
    """The trial with what its run's files say; one that would have been stopped counts as that, even if it is done."""
    run = Run(folder)
    metrics = run.metrics()
    stopped = cut(metrics, floors)
    scores = [row["score"] for row in metrics[:stopped]]
    if stopped is not None:
        return replace(trial, scores=scores, state="stopped")
    if not run.done:
        return replace(trial, scores=scores, error=error)
    domains = run.results["selections"]["selected"]["domains"].values()
    known = [d["accuracy"] for d in domains if d["role"] == "source" and d["accuracy"] is not None]
    source = sum(known) / len(known) if known else None
    target = next(d["accuracy"] for d in domains if d["role"] == "target")
    return replace(trial, scores=scores, state="done", target=target, source=source)


def _report(optuna: Any, study: Any, one: Any, trial: Trial) -> None:
    """Tell Optuna; of a run that was stopped it uses the last score."""
    states = optuna.trial.TrialState
    for epoch, best in enumerate(best_by_epoch(trial.scores), 1):
        if best > float("-inf"):
            one.report(best, epoch)
    if trial.state == "done" and trial.score is not None:
        study.tell(one, trial.score)
    else:
        study.tell(one, state=states.PRUNED if trial.state == "stopped" else states.FAIL)


def _rank(trial: Trial) -> tuple[bool, float]:
    """Whole trials first, by score; None is last."""
    return trial.state != "done", float("inf") if trial.score is None else -trial.score


def sheet(search: Search, space: Space) -> Sheet:
    """The trials, and which validator ranked them."""
    head = ["", "trial", *space.keys, "state", search.validator, "epoch", "source", "target"]
    rows = []
    for rank, trial in enumerate(search.trials, 1):
        values = [text.partition("=")[2] for text in trial.point]
        score = NONE if trial.score is None else f"{trial.score:.4f}"
        epoch = NONE if trial.epoch is None else str(trial.epoch)
        accuracies = [NONE if share is None else f"{100 * share:.1f}" for share in (trial.source, trial.target)]
        rows.append([str(rank), str(trial.number), *values, trial.state, score, epoch, *accuracies])
    notes = [
        f"ranked and selected by {search.validator}, which reads no target label",
        "source, target: test accuracy of the selected checkpoint, %, to be looked at; nothing was chosen by it",
    ]
    return Sheet(f"{len(search.trials)} trials, by {search.validator}", head, rows, 3 + len(space.keys), notes)

"""The table of docs/evaluation.md: how far a ranking of runs without target labels is that by labels.

    python docs/tables/ranking_without_labels.py NAME=FOLDER … --out ranking_without_labels.csv

Each folder holds finished runs of one task: trainings, as `uan-da compare` leaves them, or a training and its adapted
runs (`uan-da adapt`). Runs of different names are never ranked together. A run is scored as it ended: by the
validators' scores of its last epoch (`metrics.jsonl`); where one is not there, and in an adapted run, by scoring its
network on the target's unlabelled training images. The truth is the accuracy on the target's test images. For each
validator: Spearman's rank correlation of score and accuracy over the runs, and the regret: the best run's accuracy
minus that of the run with the best score, in points.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from uan_da.data.task import Task, build_task
from uan_da.evaluation.evaluate import predictions_on_test
from uan_da.evaluation.evidence import Evidence
from uan_da.evaluation.metrics import domain_metrics
from uan_da.evaluation.ranking import Scored, rank_validators
from uan_da.names import VALIDATORS
from uan_da.training.run import Run
from uan_da.training.trained import Trained


def scored(run: Run) -> Scored:
    """A finished run's scores, and its accuracy on the target's test images."""
    target = run.recipe.task.target
    if (run.folder / "adapt.json").is_file():
        return _scored_now(run)
    last = run.metrics()[-1]
    if VALIDATORS.targets.keys() <= last["validators"].keys():
        return Scored(last["validators"], last["domains"][target])
    return Scored(_scored_now(run).scores | last["validators"], last["domains"][target])


def _scored_now(run: Run) -> Scored:
    """An adapted run keeps no scores, and a training none by a costly validator: the network is asked."""
    model = Trained.load(run, "last", torch.device("cpu")).model
    task = _task(run)
    evidence = Evidence(model, task)
    scores = {name: evidence.score(VALIDATORS.load(name)) for name in VALIDATORS.targets}
    predictions = predictions_on_test(model, task, run.recipe.evaluation)[task.target.name]
    return Scored(scores, domain_metrics(predictions)["accuracy"])


def _task(run: Run, kept: dict[str, Task] = {}) -> Task:  # noqa: B006  # runs of one group share their images
    key = f"{run.recipe.dataset} {run.recipe.task} {run.recipe.norm.name}"
    if key not in kept:
        kept[key] = build_task(run.recipe, torch.device("cpu"))
    return kept[key]


def finished(folder: Path) -> list[Run]:
    """The finished runs in a folder, or in its folder ``runs``."""
    paths = [path.parent for place in (folder, folder / "runs") for path in sorted(place.glob("*/recipe.yaml"))]
    return [Run.open(path) for path in paths if (path / "done").is_file() or (path / "adapt.json").is_file()]


def main(groups: Sequence[tuple[str, Path]], out: Path) -> None:
    """Write the CSV: a row a task and validator, and the means over tasks."""
    tasks = {name: [scored(run) for run in finished(folder)] for name, folder in groups}
    with out.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["task", "validator", "runs", "correlation", "accuracy", "regret"])
        for name, runs in tasks.items():
            for rank in rank_validators({name: runs}):
                correlation = "" if rank.correlation is None else f"{rank.correlation:.3f}"
                figures = [f"{100 * rank.accuracy:.1f}", f"{100 * rank.regret:.1f}"]
                rows.writerow([name, rank.validator, rank.checkpoints, correlation, *figures])
        for rank in rank_validators(tasks):
            correlation = "" if rank.correlation is None else f"{rank.correlation:.3f}"
            figures = [f"{100 * rank.accuracy:.1f}", f"{100 * rank.regret:.1f}"]
            rows.writerow(["mean of tasks", rank.validator, rank.checkpoints, correlation, *figures])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, default=Path("ranking_without_labels.csv"))
    given = parser.parse_args()
    main([(name, Path(folder)) for name, _, folder in (text.partition("=") for text in given.groups)], given.out)

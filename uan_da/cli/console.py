"""What the commands print: a header, progress, a row an epoch, and the tables at the end."""

import shlex
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from uan_da.cli.advice import advice
from uan_da.cli.terminal import print_sheet, rich_console
from uan_da.evaluation.open_set import headline, main_measures
from uan_da.evaluation.verdict import source_cost, verdict
from uan_da.sweeps.sheet import Sheet
from uan_da.training.run import Run
from uan_da.training.training import Training

WIDTH = 9
EVERY = 10.0
"""Seconds between lines about the images that are read, where there is no bar."""
BAR = 0.1
"""Seconds between two moves of the bar of images: each sums up all before, to know the speed."""


class Console:
    """Tells a training on the terminal; where there is none, in plain lines without a progress bar."""

    def __init__(self) -> None:
        plain = not sys.stdout.isatty()
        self.rich = rich_console()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
        )
        self.progress = Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.rich,
            disable=plain,
            transient=True,
        )
        self.bar = self.progress.add_task("reading", total=None, unit="images")
        self.plain, self.told, self.moved = plain, time.monotonic(), float("-inf")
        self.heads: dict[str, str] = {}
        """The head of each domain's column."""

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        """One line, unwrapped."""
        self.rich.print(text, soft_wrap=True)

    def show(self, sheet: Sheet) -> None:
        """A table."""
        print_sheet(self.rich, sheet)

    def fail(self, text: str) -> None:
        """One line to standard error."""
        self.progress.stop()
        print(f"error: {text}", file=sys.stderr)

    def read(self, done: int, total: int | None) -> None:
        """Move the bar of the images that are decoded; without a terminal, a line every ten seconds."""
        now = time.monotonic()
        if now - self.moved > BAR or done == total:
            self.moved, speed = now, self.progress.tasks[0].speed
            unit = "images" if speed is None else f"images, {speed:.0f}/s"
            self.progress.update(self.bar, completed=done, total=total, unit=unit)
        if self.plain and now - self.told > EVERY:
            self.told = now
            self.say(f"reading: {done} of {total} images")

    def start(self, training: Training, run: Run) -> None:
        """The header, and the head of the epochs' table."""
        recipe, task = training.recipe, training.task
        parts = {key: getattr(recipe, key).name for key in ("backbone", "norm", "method")}
        self.say(f"{recipe.dataset} {str(recipe.task).replace(':', '→')}  " + _pairs(parts))
        counts = {d.name: f"{len(d.train)} train, {len(d.test)} test" for d in task.domains}
        self.say(f"{_pairs(counts)}  {len(task.classes)} classes")
        facts = {
            "device": training.device,
            "steps": training.total_steps,
            "seed": recipe.seed,
            "run": run.folder,
        }
        self.say(_pairs(facts))
        if said := advice(recipe):
            self.say(said)
        self.heads = {domain.name: domain.name for domain in task.domains}
        if task.shared is not None:
            self.heads[task.target.name] += " H-score"
        heads = ["epoch", "loss", *self.heads.values(), recipe.selection.validator.name]
        self.say("  ".join(head.rjust(WIDTH) for head in heads))
        self.progress.reset(self.bar, total=training.total_steps, description=recipe.method.name, unit="steps")

    def step(self, training: Training) -> None:
        """Move the bar."""
        self.progress.update(self.bar, completed=training.step)

    def epoch(self, row: dict[str, Any]) -> None:
        """A row of the table."""
        cells = [str(row["epoch"]), f"{row['train']['loss']:.3f}"]
        measures = main_measures(row)
        cells += [percent(measures[name]).rjust(len(head)) for name, head in self.heads.items()]
        score = "-" if row["score"] is None else f"{row['score']:.3f}"
        self.say("  ".join(cell.rjust(WIDTH) for cell in [*cells, score]))

    def results(self, run: Run) -> None:
        """The table of the last epoch, what adaptation gained, and what to do next."""
        self.progress.stop()
        results = run.results
        last, selected = results["selections"]["last"], results["selections"]["selected"]
        self.show(domains_sheet(last["domains"], f"epoch {last['epoch']} (last)"))
        for line in open_set_lines(last["domains"]):
            self.say(line)
        target = run.recipe.task.target
        reached = _reached(target, selected["domains"][target])
        self.say(f"selected by {selected['validator']} (no target label): epoch {selected['epoch']}, {reached}")
        if oracle := results["selections"]["oracle"]:
            reached = _reached(target, oracle["domains"][target])
            self.say(f"oracle (reads target labels, selects nothing): epoch {oracle['epoch']}, {reached}")
        if "gain" in results["baseline"]:
            for line in [verdict(results, target), *source_cost(results)]:
                self.say(line)
        self.say(f"report: {run.folder / 'report.html'}")
        self.say(f"run: {run.folder}   next: uan-da evaluate {shlex.quote(str(run.folder))}")


def domains_sheet(domains: dict[str, dict[str, Any]], title: str) -> Sheet:
    """Accuracy with its interval, precision, recall and F1 of every domain, in percent."""
    rows = []
    for name, numbers in domains.items():
        interval = numbers["interval"]
        span = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
        figures = [percent(numbers[key]) for key in ("precision", "recall", "f1")]
        rows.append([name, numbers["role"], str(numbers["n"]), percent(numbers["accuracy"]), span, *figures])
    head = ["domain", "role", "n", "accuracy", "95 % interval", "precision", "recall", "F1"]
    return Sheet(title, head, rows, 2)


def open_set_lines(domains: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each domain that has classes which the source lacks."""
    return [
        f"{name}: H-score {percent(own['h_score'])} (shared classes {percent(own['known'])}, unknown "
        f"{percent(own['unknown'])}), AUROC of unknown {percent(own['auroc'])}"
        for name, numbers in domains.items()
        if (own := numbers.get("open_set"))
    ]


def _reached(target: str, numbers: dict[str, Any]) -> str:
    measure, value = headline(numbers)
    if value is None:
        return f"{target} has no labels"
    return f"{target} {'' if measure == 'accuracy' else measure + ' '}{percent(value)}"


def percent(share: float | None) -> str:
    """``0.853`` as ``85.3``; ``-`` where there is no number."""
    return "-" if share is None else f"{100 * share:.1f}"


def _pairs(facts: dict[str, Any]) -> str:
    return "  ".join(f"{key}: {value}" for key, value in facts.items())

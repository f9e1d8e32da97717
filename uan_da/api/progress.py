"""The progress of a training in plain lines, for a terminal, a notebook or a log file."""

from typing import Any

from uan_da.evaluation.open_set import main_measures
from uan_da.training.monitor import Silent
from uan_da.training.run import Run
from uan_da.training.training import Training


class Lines(Silent):
    """Prints what is trained, and one line per epoch: mean loss, and accuracy on each domain in percent, or the H-score
    on a target with unknown classes."""

    def __init__(self) -> None:
        self.epochs = 0

    def start(self, training: Training, run: Run) -> None:
        """Task, method, norm, device and folder."""
        recipe = training.recipe
        self.epochs = -(-training.total_steps // training.steps_per_epoch)
        print(
            f"{recipe.task}  {recipe.method.name}  {recipe.norm.name}  on {training.device}: {run.folder}", flush=True
        )

    def epoch(self, row: dict[str, Any]) -> None:
        """Mean loss and measures of an epoch."""
        shares = {name: "-" if share is None else f"{100 * share:.1f}" for name, share in main_measures(row).items()}
        told = "  ".join(f"{name} {share}" for name, share in shares.items())
        print(f"epoch {row['epoch']}/{self.epochs}  loss {row['train']['loss']:.3f}  {told}", flush=True)

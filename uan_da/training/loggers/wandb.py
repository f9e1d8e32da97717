"""Weights & Biases."""

from typing import Any

from uan_da.errors import UserError
from uan_da.training.loggers import scalars
from uan_da.training.run import Run
from uan_da.training.training import Training


class WandB:
    """A run of the project ``uan-da``; where its data goes is for ``WANDB_MODE`` and W&B's other variables to say."""

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UserError(f"--log wandb: {error}. Install it: pip install 'uan-da[wandb]'") from error
        self.wandb: Any = wandb

    def start(self, training: Training, run: Run) -> None:
        """Open a run with the recipe as its configuration; one that is open, of the training before, ends."""
        self.run = self.wandb.init(
            project="uan-da",
            name=str(run.folder),
            dir=str(run.folder),
            config=training.recipe.to_dict(),
            reinit="finish_previous",
        )

    def step(self, training: Training) -> None:
        """Nothing: an epoch is the grain."""

    def epoch(self, row: dict[str, Any]) -> None:
        """One point of each number."""
        self.run.log(scalars(row), step=row["step"])

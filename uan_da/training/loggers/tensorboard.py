"""TensorBoard."""

from typing import Any

from uan_da.errors import UserError
from uan_da.training.loggers import scalars
from uan_da.training.run import Run
from uan_da.training.training import Training


class TensorBoard:
    """Event files in the run folder's ``tensorboard``, one point an epoch."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise UserError(f"--log tensorboard: {error}. Install it: pip install 'uan-da[tensorboard]'") from error
        self._open: Any = SummaryWriter

    def start(self, training: Training, run: Run) -> None:
        """Open the run's writer; points after a resumed step are dropped, for they are written again."""
        self.writer = self._open(run.folder / "tensorboard", purge_step=training.step + 1)

    def step(self, training: Training) -> None:
        """Nothing: an epoch is the grain."""

    def epoch(self, row: dict[str, Any]) -> None:
        """One point of each number."""
        for name, value in scalars(row).items():
            self.writer.add_scalar(name, value, row["step"])
        self.writer.flush()

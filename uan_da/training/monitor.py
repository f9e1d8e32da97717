"""What a training tells while it runs."""

from typing import Any, Protocol

from uan_da.training.run import Run
from uan_da.training.training import Training


class Monitor(Protocol):
    """Is told of the start, of every step and of every epoch; decides nothing."""

    def start(self, training: Training, run: Run) -> None:
        """Before the first step, or the first after a resume."""

    def step(self, training: Training) -> None:
        """After each step."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch, with its row of ``metrics.jsonl``."""


class Silent:
    """Tells nobody."""

    def start(self, training: Training, run: Run) -> None:
        """Nothing."""

    def step(self, training: Training) -> None:
        """Nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Nothing."""

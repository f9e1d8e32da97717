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


class Several:
    """Tells each of ``monitors`` in turn."""

    def __init__(self, *monitors: Monitor) -> None:
        self.monitors = monitors

    def start(self, training: Training, run: Run) -> None:
        """To each."""
        for monitor in self.monitors:
            monitor.start(training, run)

    def step(self, training: Training) -> None:
        """To each."""
        for monitor in self.monitors:
            monitor.step(training)

    def epoch(self, row: dict[str, Any]) -> None:
        """To each."""
        for monitor in self.monitors:
            monitor.epoch(row)


class Silent:
    """Tells nobody."""

    def start(self, training: Training, run: Run) -> None:
        """Nothing."""

    def step(self, training: Training) -> None:
        """Nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Nothing."""

"""MLflow."""

from collections.abc import Mapping
from typing import Any

from uan_da.errors import UserError
from uan_da.training.loggers import scalars
from uan_da.training.run import Run
from uan_da.training.training import Training


class MLflow:
    """A run of the experiment ``uan-da``, at the place that ``MLFLOW_TRACKING_URI`` says."""

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise UserError(f"--log mlflow: {error}. Install it: pip install 'uan-da[mlflow]'") from error
        self.mlflow: Any = mlflow

    def start(self, training: Training, run: Run) -> None:
        """Open a run with the recipe as its parameters; one that is open, of the training before, ends."""
        self.mlflow.set_experiment("uan-da")
        if self.mlflow.active_run():
            self.mlflow.end_run()
        self.mlflow.start_run(run_name=str(run.folder))
        self.mlflow.log_params(flat(training.recipe.to_dict()))

    def step(self, training: Training) -> None:
        """Nothing: an epoch is the grain."""

    def epoch(self, row: dict[str, Any]) -> None:
        """One point of each number."""
        self.mlflow.log_metrics(scalars(row), step=row["step"])


def flat(block: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as ``a.b.c``."""
    found: dict[str, Any] = {}
    for key, value in block.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found

"""Figures that somebody else published, to stand beside ours."""

from typing import Annotated, Any

from pydantic import Field

from uan_da.recipe.strict import Strict
from uan_da.recipe.task_name import Task


class Published(Strict):
    """A figure that somebody else published, to stand beside ours with its source and its protocol."""

    method: str
    """As its source calls it: it need not be one of ours."""
    norm: str | None = None
    task: Task
    accuracy: Annotated[float, Field(gt=1, le=100)]
    """Of the target's test images, in percent."""
    source: str
    """Where it was read: a paper, a table, a repository."""
    protocol: str
    """What a reader must know to compare: backbone, length, runs."""
    oracle: bool
    """Whether the checkpoint was chosen by target labels."""


def published_rows(value: Any) -> Any:
    """A table ``{source, protocol, oracle, accuracy: {METHOD+NORM: {TASK: figure}}}`` as the rows it stands for."""
    rows: list[Any] = []
    for item in value if isinstance(value, list) else []:
        table = item.get("accuracy") if isinstance(item, dict) else None
        if not isinstance(table, dict):
            rows.append(item)
            continue
        for name, figures in table.items():
            method, _, norm = str(name).partition("+")
            rows += [
                {**item, "method": method, "norm": norm or None, "task": task, "accuracy": figure}
                for task, figure in (figures.items() if isinstance(figures, dict) else [(None, figures)])
            ]
    return rows if isinstance(value, list) else value

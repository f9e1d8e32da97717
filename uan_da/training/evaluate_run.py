"""A finished or interrupted run, evaluated from its folder."""

from collections.abc import Sequence
from typing import Any

from uan_da.data.task import build_task
from uan_da.errors import UserError
from uan_da.evaluation.evaluate import summarize, test_predictions
from uan_da.models.classifier import build_model
from uan_da.names import unknown
from uan_da.training.device import choose_device
from uan_da.training.run import Run


def evaluate_run(run: Run, checkpoint: str, domains: Sequence[str], device_name: str) -> dict[str, Any]:
    """The numbers of a checkpoint on the task's domains (all of them where ``domains`` is empty).

    Returns ``{"checkpoint", "step", "domains"}`` and writes it to ``evaluation/CHECKPOINT.json`` in the run folder.

    Raises:
        UserError: the run lacks the checkpoint, or a domain is not of its task.
    """
    device, recipe = choose_device(device_name), run.recipe
    for name in domains:
        if name not in recipe.task.domains:
            raise UserError(f"{run.folder}: {unknown('domain', name, recipe.task.domains)}")
    task = build_task(recipe, device)
    model = build_model(recipe, len(task.classes)).to(device)
    step = run.load_weights(model, checkpoint, device)
    numbers = summarize(test_predictions(model, task, recipe.evaluation), task)
    chosen = {name: numbers[name] for name in domains} if domains else numbers
    report = {"checkpoint": checkpoint, "step": step, "domains": chosen}
    (run.folder / "evaluation").mkdir(exist_ok=True)
    run.write_json(f"evaluation/{checkpoint}.json", report)
    return report

"""How far the reading of images is, while it goes on."""

from pathlib import Path

import torch

from uan_da.data.check import check_dataset
from uan_da.data.open_dataset import open_dataset
from uan_da.data.task import build_task
from uan_da.recipe import load_recipe


def test_every_image_of_a_task_is_counted_once(plates: Path) -> None:
    recipe = load_recipe("digits", [f"dataset={plates}", "task=scan:photo"])
    seen: list[tuple[int, int | None]] = []
    build_task(recipe, torch.device("cpu"), lambda done, total: seen.append((done, total)))
    assert seen == [(done, 80) for done in range(1, 81)]


def test_check_counts_each_part(plates: Path) -> None:
    seen: dict[str, list[int]] = {}
    report = check_dataset(
        open_dataset(str(plates)), None, lambda name: lambda done, total: seen.setdefault(name, []).append(done)
    )
    assert {name: done[-1] for name, done in seen.items()} == {
        f"{domain} {split}": len(images) for (domain, split), images in report.images.items()
    }

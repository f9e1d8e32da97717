"""The routing table of docs/norms.md, cell by cell: what the output of a sample depends on, beside the sample itself.

A cell names its ingredients. Each ingredient that the norm could use is changed in turn; the output must change where
the cell names it, and must not where it does not.
"""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uan_da.names import NORMS
from uan_da.norms import convert_norm, domain_context
from uan_da.norms.baselines.context import LearnedNorm
from uan_da.norms.baselines.mixture import MixtureNorm
from uan_da.norms.domain import DomainNorm
from uan_da.norms.uan.layer import UAN

SOURCE, TARGET = 0, 1
N = 6
CELLS = {
    "training, joint": [SOURCE, TARGET],
    "training, separate": [SOURCE, TARGET],
    "evaluation, source": [SOURCE],
    "evaluation, target": [TARGET],
}
"""The columns, and the domains of the samples that they speak of."""
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {f"`{name}`": (name, {}) for name in NORMS.targets} | {
    "`uan`": ("uan", {"sharpness": 1.0}),
    "`uan`, learned moments": ("uan", {"sharpness": 1.0, "moments": "learned"}),
    "`gn`": ("gn", {"num_groups": 1}),
    "`in`, running statistics": ("in", {"track_running_stats": True}),
}
"""The rows, and the norm of each."""
INGREDIENTS = {
    "sample": set(),
    "forward": {"own samples", "other samples"},
    "own samples": {"own samples"},
    "running": {"source running", "target running"},
    "own running": {"own running"},
    "other running": {"other running"},
    "source running": {"source running"},
    "target running": {"target running"},
    "clusters": {"source learned", "target learned"},
    "own learned": {"own learned"},
}
"""The words of the table, and what they stand for. In a forward of one domain there are no samples of the other."""


def table() -> dict[tuple[str, str], str]:
    """The cells of the documented table, by row and column."""
    text = Path(__file__).parents[2].joinpath("docs", "norms.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("## Domain routing")[1].split("\n## ")[0].splitlines()
        if line.startswith("|")
    ]
    header = rows[0]
    return {(row[0], header[i]): row[i] for row in rows[2:] for i in range(1, len(header))}


TABLE = table()


def test_the_table_has_every_norm() -> None:
    rows = {row for row, _ in TABLE}
    assert not set(OPTIONS) - rows, "docs/norms.md: the table of 'Domain routing' lacks these rows"
    assert rows == set(OPTIONS)


def layer_of(row: str) -> nn.Module:
    """The row's norm in the middle of a training, the domains' statistics apart."""
    bn = nn.BatchNorm2d(4)
    bn.running_mean.normal_()
    model = nn.Sequential(bn)
    name, options = OPTIONS[row]
    convert_norm(model, name, **options)
    layer = model[0]
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, MixtureNorm):
                module.updates_mixture = False
                module.mean.normal_()
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.normal_()
    return layer


def change_samples(which: slice) -> Callable[[nn.Module, Tensor], None]:
    def change(layer: nn.Module, x: Tensor) -> None:
        x[which] += torch.randn_like(x[which])

    return change


def change_running(domain: int) -> Callable[[nn.Module, Tensor], None]:
    def change(layer: nn.Module, x: Tensor) -> None:
        norm = layer.branches[domain] if isinstance(layer, DomainNorm) else layer
        for module in norm.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean += torch.randn_like(module.running_mean)

    return change


def change_learned(domain: int) -> Callable[[nn.Module, Tensor], None]:
    def change(layer: nn.Module, x: Tensor) -> None:
        norm = layer.branches[domain] if isinstance(layer, DomainNorm) else layer
        if isinstance(norm, UAN | MixtureNorm | LearnedNorm):
            norm.mean += torch.randn_like(norm.mean)

    return change


@torch.no_grad()
def output(layer: nn.Module, x: Tensor, index: Tensor | int) -> Tensor:
    """The first sample's output."""
    with domain_context(layer, index):
        return layer(x)[0].clone()


@pytest.mark.parametrize(
    ("cell", "own"),
    [(cell, domain) for cell, domains in CELLS.items() for domain in domains],
)
@pytest.mark.parametrize("row", sorted({row for row, _ in TABLE}))
def test_cell(row: str, cell: str, own: int) -> None:
    layer = layer_of(row).train(cell.startswith("training"))
    joint = cell == "training, joint"
    x = torch.randn(2 * N if joint else N, 4, 5, 5)
    other = 1 - own
    index = torch.tensor([own] * N + [other] * N) if joint else own
    names = {SOURCE: "source", TARGET: "target"}
    changes = {
        "own samples": change_samples(slice(1, N)),
        "other samples": change_samples(slice(N, None)),
    }
    for domain, name in names.items():
        changes[f"{name} running"] = change_running(domain)
        changes[f"{name} learned"] = change_learned(domain)

    def absolute(ingredient: str) -> str:
        """``own`` and ``other`` as the domain that they mean here; samples are always relative."""
        who, what = ingredient.split()
        return (
            ingredient if what == "samples" else f"{ {'own': names[own], 'other': names[other]}.get(who, who) } {what}"
        )

    words = re.split(r" \+ ", TABLE[row, cell])
    expected = {absolute(ingredient) for word in words for ingredient in INGREDIENTS[word]}
    if not joint:
        expected.discard("other samples")

    before = output(copy.deepcopy(layer), x.clone(), index)
    used = set()
    for ingredient, change in changes.items():
        changed, inputs = copy.deepcopy(layer), x.clone()
        with torch.no_grad():
            change(changed, inputs)
        if not torch.allclose(output(changed, inputs, index), before, atol=1e-6):
            used.add(ingredient)
    assert used == expected

"""What works with BatchNorm works with every norm: the table "What works" of docs/norms.md, a test a row.

``@pytest.mark.works(ROW)`` runs a test with every norm. The table names the norms that a row does not hold for;
there the test must fail.
"""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uan_da.names import NORMS
from uan_da.norms import convert_norm, domain_context

N = 8
INDEX = torch.tensor([0, 1] * (N // 2))
OPTIONS: dict[str, dict[str, Any]] = {"mn": {"fit_every": 3}}
State = dict[str, Tensor]


def table() -> dict[str, str]:
    """The rows of the documented table: what works, and which norms it does not work with."""
    text = Path(__file__).parents[3].joinpath("docs", "norms.md").read_text(encoding="utf-8")
    lines = [line for line in text.split("## What works")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    return {what.strip(): exceptions for what, exceptions in (line.strip("|").split("|") for line in lines[2:])}


TABLE = table()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The marked test over all norms."""
    marker = metafunc.definition.get_closest_marker("works")
    if marker is None:
        return
    (what,) = marker.args
    exceptions = re.findall(r"`(\w+)`", TABLE[what])
    fails = pytest.mark.xfail(strict=True, reason=TABLE[what])
    marks = {name: [fails] if name in exceptions else [] for name in NORMS.targets}
    metafunc.parametrize("norm", [pytest.param(name, marks=marks[name]) for name in NORMS.targets])


def network(norm: str) -> nn.Module:
    """A small network with two norms, equal at every call, that no batch has gone through."""
    torch.manual_seed(0)
    second = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(4))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), second, nn.Conv2d(4, 2, 1))
    convert_norm(model, norm, **OPTIONS.get(norm, {}))
    return model


def images(n: int = N, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 + 3


def forward(model: nn.Module, x: Tensor) -> Tensor:
    with domain_context(model, INDEX[: len(x)]):
        return model(x)


def trained(norm: str, steps: int = 4) -> nn.Module:
    """The network after some steps of training."""
    model = network(norm)
    for seed in range(steps):
        step(model, images(seed=seed))
    return model


def step(model: nn.Module, x: Tensor) -> tuple[Tensor, State]:
    """One step of gradient descent; returns the output and the gradients."""
    model.zero_grad()
    with domain_context(model, INDEX[: len(x)]):
        y = model(x)
        y.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in gradients:
                parameter.sub_(gradients[name], alpha=1e-4)
    return y.detach(), gradients


def state(model: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_twins(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    """That two models do the same from here on, in training and in evaluation."""
    for seed in (10, 11, 12, 13):
        torch.testing.assert_close(step(a, images(seed=seed)), step(b, images(seed=seed)), **tolerance)
    torch.testing.assert_close(state(a), state(b), **tolerance)
    torch.testing.assert_close(forward(a.eval(), images()), forward(b.eval(), images()), **tolerance)


@pytest.fixture
def works() -> SimpleNamespace:
    """The functions above."""
    parts = (network, images, forward, trained, step, state, assert_twins)
    return SimpleNamespace(N=N, INDEX=INDEX, table=TABLE, **{part.__name__: part for part in parts})

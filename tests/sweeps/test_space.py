from pathlib import Path

import pytest

from uan_da.errors import UserError
from uan_da.sweeps.space import Range, Space, read_space


class Lowest:
    """A trial that draws the least, and says how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def suggest_float(self, key: str, low: float, high: float, *, log: bool) -> float:
        self.asked.append(("float", key, low, high, log))
        return low

    def suggest_int(self, key: str, low: int, high: int, *, log: bool) -> int:
        self.asked.append(("int", key, low, high, log))
        return low

    def suggest_categorical(self, key: str, values: list[object]) -> object:
        self.asked.append(("choice", key, *values))
        return values[0]


def test_a_space_is_drawn_as_overrides(tmp_path: Path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}\n"
        "norm.num_clusters: {low: 2, high: 5}\n"
        "method.trade_off: {low: 0, high: 1.5}\n"
        "norm: [bn, uan]\n"
    )
    trial = Lowest()
    assert read_space(file).draw(trial) == [
        "train.optimizer.lr=0.0001",
        "norm.num_clusters=2",
        "method.trade_off=0",
        "norm=bn",
    ]
    assert trial.asked == [
        ("float", "train.optimizer.lr", 1e-4, 1e-2, True),
        ("int", "norm.num_clusters", 2, 5, False),
        ("float", "method.trade_off", 0, 1.5, False),
        ("choice", "norm", "bn", "uan"),
    ]


def test_values_of_optuna_are_within_the_space():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space({"a": Range(low=1e-4, high=1e-2, log=True), "b": Range(low=2, high=3), "c": (1, "x", True)})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [[text.partition("=")[2] for text in space.draw(study.ask())] for _ in range(50)]
    assert all(1e-4 <= float(a) <= 1e-2 for a, _, _ in drawn)
    assert sum(float(a) < 1e-3 for a, _, _ in drawn) in range(15, 36)  # half, as the logarithm is uniform
    assert {b for _, b, _ in drawn} == {"2", "3"}
    assert {c for _, _, c in drawn} == {"1", "x", "True"}


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "a: {low: 2, high: 1}\nb: [1]\nc: {low: 0, high: 1, log: true}\n"
        "d: {lo: 1, high: 2}\ne: 3\nf: {low: x, high: 2}\ng: {name: dann}\n"
    )
    with pytest.raises(UserError) as error:
        read_space(file)
    lines = str(error.value).splitlines()
    for number, key, message in [
        (1, "a", "'low' below 'high'"),
        (2, "b", "at least 2 items"),
        (3, "c", "'low' is above 0"),
        (4, "d", "unknown key 'lo' (did you mean 'low'?)"),
        (4, "d", "'low' is missing"),
        (5, "e", "expected a list of values, or {low, high}"),
        (6, "f", "number"),
        (7, "g", "expected a list of values, or {low, high}"),
    ]:
        assert any(line.startswith(f"{file}:{number}: {key}: ") and message in line for line in lines), (key, lines)

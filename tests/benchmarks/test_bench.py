import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from uan_da.benchmarks.measure import Spread, interleaved, ratios, saved_bytes
from uan_da.cli.bench import app


def test_ratios_are_taken_round_by_round() -> None:
    seconds = {"bn": [1.0, 2.0, 4.0], "uan": [3.0, 2.0, 8.0]}
    assert ratios(seconds, "bn")["uan"] == Spread(median=2.0, low=1.0, high=3.0)


def test_every_round_runs_every_step_once() -> None:
    runs: list[str] = []
    steps = {name: (lambda name=name: runs.append(name)) for name in "abc"}
    seconds = interleaved(steps, torch.device("cpu"), rounds=4)
    rounds = ["".join(runs[i : i + 3]) for i in range(0, len(runs), 3)]
    assert len(rounds) == 3 + 4
    assert {"".join(sorted(names)) for names in rounds} == {"abc"}
    assert len(set(rounds)) > 1  # none always runs behind the same other
    assert [len(values) for values in seconds.values()] == [4, 4, 4]


def test_saved_bytes_of_batch_norm_are_x_and_small_tensors() -> None:
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    small = saved_bytes(nn.BatchNorm2d(3), x) - 4 * x.numel()
    assert 0 < small < 200
    assert saved_bytes(nn.Identity(), x) == 0


def test_bench_norms_prints_json() -> None:
    arguments = ["norms", "--shape", "2,3,4,4", "--clusters", "2", "--rounds", "1", "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert [row["norm"] for row in rows] == [
        "bn",
        "uan sample K=2",
        "uan element K=2",
        "uan sample K=2, reference",
        "uan element K=2, reference",
    ]
    assert rows[0]["time"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert rows[0]["bandwidth"] is None


def test_bench_train_prints_a_table() -> None:
    arguments = ["train", "--network", "wrn28_2", "--batch", "2", "--rounds", "1", "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--norm", "uan", "--norm", "dsbn"])
    assert result.exit_code == 0, result.output
    rows = [line.split()[:2] for line in result.output.splitlines()[2:]]
    assert rows == [["wrn28_2", "bn"], ["wrn28_2", "uan"], ["wrn28_2", "dsbn"]]


no_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="there it is no mistake")


@pytest.mark.parametrize(
    "arguments",
    [
        ["norms", "--shape", "4,4"],
        ["norms", "--clusters", "0"],
        ["norms", "--device", "meta"],
        pytest.param(["norms", "--device", "mps"], marks=no_mps),
        ["train", "--device", "cuda:99"],
        ["norms", "--dtype", "int8"],
        ["norms", "--backend", "best"],
        ["train", "--network", "vgg"],
    ],
)
def test_mistakes_are_named(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert arguments[1] in result.output


def test_bench_recipe_counts_every_image_that_goes_through_the_network() -> None:
    changes = ["norm=bn", "backbone.width=4", "train.batch.source=6", "train.batch.target=4"]
    result = CliRunner().invoke(app, ["recipe", "digits", *changes, "--rounds", "1", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    cost = json.loads(result.output)
    assert cost["images"] == 2 * (6 + 4) + 2 * 6  # AdaMatch's two forwards
    assert cost["share"]["median"] == pytest.approx(cost["whole"] / cost["bare"])


def test_bench_recipe_against_a_bare_loop() -> None:
    changes = [
        "norm=bn",
        "method=mcd",
        "backbone.width=4",
        "train.batch.source=4",
        "train.batch.target=4",
        "--bare-loop",
    ]
    result = CliRunner().invoke(app, ["recipe", "digits", *changes, "--rounds", "1", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    cost = json.loads(result.output)
    assert cost["share"]["median"] == pytest.approx(cost["whole"] / cost["loop"])


def test_the_interval_of_a_median_has_the_values_that_the_binomial_one_says() -> None:
    """Of 100 values the 40th and the 61st: SciPy's binom(100, 1/2) is below 40 in 1.8 % of cases, below 41 in 2.8 %."""
    assert Spread.of_median([float(value) for value in range(100, 0, -1)]) == Spread(50.5, 40.0, 61.0)
    assert Spread.of_median([3.0, 1.0]) == Spread(2.0, 1.0, 3.0)

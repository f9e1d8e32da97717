from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uan_da.data.images import Images
from uan_da.data.task import Domain
from uan_da.evaluation.metrics import domain_metrics
from uan_da.evaluation.predict import Predictions
from uan_da.evaluation.record import predictions_table, save_arrays


def domain(name: str, n: int, side: int = 8) -> Domain:
    pixels = torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1).expand(n, 3, side, side)
    return Domain(
        name,
        "target",
        0,
        Images(pixels, torch.zeros(n, dtype=torch.long)),
        Images(pixels, torch.zeros(n, dtype=torch.long)),
    )


def test_the_numbers_can_be_computed_from_the_table(make, tmp_path: Path) -> None:
    predictions = make(n=50, classes=3)
    table = predictions_table({"a": predictions}, [domain("a", 50)], ["x, y", "b", "c"], "test")
    table.to_csv(tmp_path / "p.csv", index=False)
    read, numbers = pd.read_csv(tmp_path / "p.csv"), domain_metrics(predictions)
    assert (read["label"] == read["predicted"]).mean() == read["correct"].mean() == numbers["accuracy"]
    assert np.isclose(-np.log(read["probability_of_label"]).mean(), numbers["nll"], rtol=1e-3)
    assert set(read["label"]) == {"x, y", "b", "c"}
    assert read.columns.tolist()[:4] == ["domain", "role", "split", "index"]


def test_unknown_labels_are_empty(make) -> None:
    everything = make(n=3, classes=3)
    masked = Predictions(everything.features, everything.logits, torch.tensor([-1, 1, -1]))
    table = predictions_table({"a": masked}, [domain("a", 3)], ["x", "y", "z"], "test")
    assert table["label"].isna().tolist() == [True, False, True]
    assert table["correct"].isna().tolist() == [True, False, True]
    assert table["probability_of_label"].isna().tolist() == [True, False, True]


def test_arrays_hold_features_of_some_images_and_the_ones_shown(make, tmp_path: Path) -> None:
    predictions = make(n=700, features=5)
    shown = [{"domain": "a", "index": 7}, {"domain": "a", "index": 3}]
    save_arrays(tmp_path / "a.npz", {"a": predictions}, [domain("a", 10, side=200)], shown)
    with np.load(tmp_path / "a.npz") as arrays:
        rows = arrays["rows/a"]
        assert len(rows) == len(set(rows.tolist())) == 500
        np.testing.assert_allclose(arrays["features/a"], predictions.features.numpy()[rows], atol=1e-2)
        assert arrays["image/a/7"].shape == (64, 64, 3)
        assert int(arrays["image/a/7"].max()) == int(arrays["image/a/7"].min()) == 7


def test_features_of_a_network_that_diverged_are_kept_as_finite_numbers(make, tmp_path: Path) -> None:
    predictions = make(n=3, features=2)
    wild = torch.tensor([[1e9, 1.0], [-1e9, 2.0], [float("nan"), 3.0]])
    save_arrays(tmp_path / "a.npz", {"a": Predictions(wild, predictions.logits, predictions.labels)}, [], [])
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["features/a"].tolist() == [[65504, 1], [-65504, 2], [0, 3]]

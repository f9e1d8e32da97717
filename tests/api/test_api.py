"""``uan_da.train``, ``uan_da.Run`` and ``uan_da.compare`` as a notebook uses them."""

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import uan_da
from uan_da.data.digits import Digits
from uan_da.errors import UserError

FEW = ["backbone.width=4", "method=source_only", "norm=bn", "train.epochs=1", "train.steps_per_epoch=5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> uan_da.Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return uan_da.train("digits", FEW, out=out, device="cpu", progress=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, examples = tmp_path_factory.mktemp("photos"), Digits().load("optdigits_m", "test")
    for index in range(12):
        examples[index][0].save(folder / f"{index:02d}.png")
    return folder


def test_a_line_an_epoch_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uan_da.train("digits", [*FEW, "train.steps_per_epoch=1"], out=tmp_path / "run", device="cpu")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("optdigits:optdigits_m  source_only  bn  on cpu")
    assert second.startswith("epoch 1/1  loss ")


def test_overrides_belong_to_a_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="load_recipe"):
        uan_da.train(uan_da.load_recipe("digits"), ["norm=bn"], out=tmp_path / "run")


def test_a_run_is_loaded_from_its_folder(run: uan_da.Run, tmp_path: Path) -> None:
    again = uan_da.Run.load(run.folder)
    assert again.recipe == run.recipe
    assert again.classes == tuple("0123456789")
    assert again.done
    pd.testing.assert_frame_equal(again.metrics, run.metrics)
    with pytest.raises(UserError, match="holds no run"):
        uan_da.Run.load(tmp_path)


def test_evaluate_has_a_row_a_domain(run: uan_da.Run) -> None:
    table = run.evaluate(device="cpu")
    known = run.accuracy.query("selection == 'last'").set_index("domain")["accuracy"]
    assert table["accuracy"].to_dict() == pytest.approx(known.to_dict())
    assert {"role", "n", "precision", "nll", "ece"} <= set(table.columns)
    assert list(run.evaluate(["optdigits"], split="train", device="cpu").index) == ["optdigits"]


def test_images_in_every_form_get_the_same_predictions(run: uan_da.Run, photos: Path) -> None:
    pictures = [Digits().load("optdigits_m", "test")[index][0] for index in range(12)]
    arrays = np.stack([np.asarray(picture) for picture in pictures])
    table = run.predict(photos, device="cpu")
    assert list(table.columns) == ["file", "class", "confidence"]
    assert table["file"][3] == str(photos / "03.png")
    pattern = run.predict(str(photos / "*.png"), device="cpu")
    pd.testing.assert_frame_equal(pattern, table)
    for form in (pictures, arrays, torch.from_numpy(arrays).movedim(-1, 1), [photos / "00.png", photos]):
        own = run.predict(form, device="cpu")
        assert own["class"].tolist()[-12:] == table["class"].tolist()
    assert run.features(photos, device="cpu").shape[0] == 12
    for nothing in ([], str(photos / "*.jpg")):
        with pytest.raises(UserError):
            run.predict(nothing, device="cpu")


def test_the_model_has_its_preprocessing(run: uan_da.Run, photos: Path) -> None:
    arrays = np.stack([np.asarray(Digits().load("optdigits_m", "test")[index][0]) for index in range(12)])
    with torch.no_grad():
        logits, probabilities = run.model()(torch.from_numpy(arrays).movedim(-1, 1))
    table = run.predict(photos, device="cpu")
    assert [run.classes[index] for index in logits.argmax(1)] == table["class"].tolist()
    assert probabilities.amax(1).numpy() == pytest.approx(table["confidence"].to_numpy(), abs=1e-5)


def test_adapt_makes_a_run(run: uan_da.Run, photos: Path, tmp_path: Path) -> None:
    adapted = run.adapt(photos, "adabn", out=tmp_path / "adapted", device="cpu")
    assert isinstance(adapted, uan_da.Run)
    assert len(adapted.predict(photos, device="cpu")) == 12
    assert "adapted to images without labels" in adapted._repr_html_()
    with pytest.raises(UserError, match="an adaptation has no results"):
        _ = adapted.results
    written = pd.read_csv(tmp_path / "adapted" / "predictions.csv", dtype={"class": str})
    assert written["class"].tolist() == adapted.predict(photos, device="cpu")["class"].tolist()


def test_a_run_shows_itself(run: uan_da.Run) -> None:
    shown = run._repr_html_()
    assert shown.count("<table") == 2
    assert "optdigits_m" in shown
    assert "source_only" in shown
    assert repr(run) == f"Run({str(run.folder)!r})"


def test_compare_starts_no_process_and_has_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
    grid = ["method=dann", "norm=bn", "seed=0..1", "train.epochs=1", "train.steps_per_epoch=2"]
    found = uan_da.compare("digits", grid, out=tmp_path / "sweep", device="cpu", progress=False)
    assert (found.summary.done, len(found.summary.failed)) == (4, 0)
    last = found.table.query("selection == 'last'").set_index("method")
    by_run = found.results.groupby("method")["target_last"].mean()
    for method in ("dann", "source_only"):
        assert last.loc[method, "target"] == pytest.approx(by_run[method])
    assert last.loc["dann", "gain"] == pytest.approx(by_run["dann"] - by_run["source_only"])
    assert last.loc["dann", "seeds"] == 2
    assert "<table" in found._repr_html_()


def test_a_run_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from uan_da.sweeps.work import TrainingJob

    work = TrainingJob.work

    def sometimes(job, *rest):  # type: ignore[no-untyped-def]
        if job.recipe["method"]["name"] == "dann":
            raise RuntimeError("no luck")
        work(job, *rest)

    monkeypatch.setattr(TrainingJob, "work", sometimes)
    grid = ["method=dann", "norm=bn", "train.epochs=1", "train.steps_per_epoch=1"]
    found = uan_da.compare("digits", grid, out=tmp_path / "sweep", device="cpu")
    assert (found.summary.done, len(found.summary.failed)) == (1, 1)
    assert "RuntimeError: no luck" in found._repr_html_()
    assert "failed: RuntimeError: no luck" in capsys.readouterr().out

"""``uan-da evaluate``, ``validators`` and ``report`` on a short run."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from uan_da.cli.app import app
from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.training.run import Run
from uan_da.training.train import train

SHORT = [
    "backbone.width=4",
    "norm=bn",
    "train.epochs=2",
    "train.steps_per_epoch=2",
    "train.batch.source=8",
    "train.batch.target=8",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(load_recipe("digits", SHORT), tmp_path_factory.mktemp("run") / "run")


def uan_da(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def written(run: Run, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((run.folder / "evaluation" / name).read_text())
    return content


def test_evaluating_a_run_says_again_what_the_training_said(run: Run) -> None:
    output = uan_da("evaluate", run.folder).output
    report = written(run, "last.json")
    assert report["domains"] == run.results["selections"]["last"]["domains"]
    assert report["harmonic_mean"] == run.results["selections"]["last"]["harmonic_mean"]
    assert {"confusion", "a_distance", "class_alignment", "label_shift", "clusters", "mistakes"} <= set(report)
    table = pd.read_csv(run.folder / "evaluation" / "last.csv")
    on_target = table[table["domain"] == "optdigits_m"]
    assert on_target["correct"].mean() == report["domains"]["optdigits_m"]["accuracy"]  # type: ignore[index]
    for word in ("ECE", "AUROC", "NLL", "harmonic mean", "proxy A-distance"):
        assert word in output


def test_evaluating_changes_nothing_that_the_training_wrote(run: Run) -> None:
    files = [path for path in sorted(run.folder.rglob("*")) if path.is_file() and "evaluation" not in path.parts]
    before = [path.read_bytes() for path in files]
    uan_da("evaluate", run.folder, "--checkpoint", "selected")
    assert [path.read_bytes() for path in files] == before


def test_a_domain_that_the_run_never_saw_is_routed_as_target(run: Run) -> None:
    uan_da("evaluate", run.folder)
    uan_da("evaluate", run.folder, "--domain", "digits:optdigits_m")
    seen, unseen = (written(run, name)["domains"] for name in ("last.json", "last-digits_optdigits_m.json"))
    assert unseen["digits:optdigits_m"] == {**seen["optdigits_m"], "role": "unseen"}  # type: ignore[index, call-overload, dict-item]
    assert "clusters" not in written(run, "last-digits_optdigits_m.json")


def test_recalibration_changes_the_target_and_not_the_source(run: Run) -> None:
    uan_da("evaluate", run.folder)
    uan_da("evaluate", run.folder, "--recalibrate", "target")
    plain, recalibrated = (written(run, name)["domains"] for name in ("last.json", "last-recalibrate=target.json"))
    assert recalibrated["optdigits"] == plain["optdigits"]  # type: ignore[index]
    assert recalibrated["optdigits_m"]["nll"] != plain["optdigits_m"]["nll"]  # type: ignore[index]


def test_the_training_split(run: Run) -> None:
    uan_da("evaluate", run.folder, "--split", "train")
    domains = written(run, "last-train.json")["domains"]
    assert [(numbers["split"], numbers["n"]) for numbers in domains.values()] == [("train", 539), ("train", 538)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--domain", "optdigit"], "unknown domain 'optdigit'"),
        (["--domain", "digit:optdigits"], "unknown dataset 'digit'"),
        (["--checkpoint", "oracle"], "there is no such checkpoint"),
    ],
)
def test_what_is_not_there_is_one_message(run: Run, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        uan_da("evaluate", run.folder, *arguments)


def test_validators_of_a_run_and_of_a_sweep(run: Run, tmp_path: Path) -> None:
    output = uan_da("validators", run.folder).output
    assert "2 checkpoints of 1 task(s)" in output
    assert "information_maximization" in output
    assert "reads target labels" in output
    assert "selection.holdout=0.2" in output
    for seed in range(2):
        shutil.copytree(run.folder, tmp_path / "sweep" / str(seed))
    assert "4 checkpoints of 1 task(s)" in uan_da("validators", tmp_path / "sweep").output
    with pytest.raises(UserError, match="holds no run"):
        uan_da("validators", tmp_path / "nothing")
    changed = Run.open(tmp_path / "sweep" / "1").recipe_file
    changed.write_text(changed.read_text().replace("holdout: 0.0", "holdout: 0.1"))
    with pytest.raises(UserError, match=r"1/recipe\.yaml: is damaged"):
        uan_da("validators", tmp_path / "sweep")


def test_report_evaluates_what_it_needs(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("evaluation"))
    assert uan_da("report", folder).output.strip() == str(folder / "report.html")
    assert (folder / "evaluation" / "last.json").is_file()
    assert "confusion-0" in (folder / "report.html").read_text()
    with pytest.raises(UserError, match="holds no run"):
        uan_da("report", tmp_path / "nothing")

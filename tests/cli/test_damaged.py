"""No report shows a damaged number: one error names the file and the way out, or the number is derived anew."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from uan_da.data.digits import Digits
from uan_da.recipe import load_recipe
from uan_da.training.train import train

SHORT = ["backbone.width=4", "norm=uan", "method=source_only", "train.epochs=1", "train.steps_per_epoch=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(load_recipe("digits", SHORT), tmp_path_factory.mktemp("sweep") / "run").folder


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    place = len(content) // 2
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    path.write_bytes({"flipped": flipped, "cut": content[:place], "empty": b""}[kind])


@pytest.mark.parametrize("kind", ["flipped", "cut", "empty"])
@pytest.mark.parametrize("name", ["results.json", "recipe.yaml", "done"])
def test_a_sweep_with_a_damaged_run(uan_da: Any, run: Path, tmp_path: Path, name: str, kind: str) -> None:
    shutil.copytree(run.parent, tmp_path / "sweep", symlinks=True)
    assert uan_da("report", tmp_path / "sweep").returncode == 0
    damage(tmp_path / "sweep" / "run" / name, kind)
    done = uan_da("report", tmp_path / "sweep")
    assert done.returncode == 2
    assert f"{name}: is damaged" in done.stderr or f"{tmp_path / 'sweep' / 'run'}/" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_evaluation_is_derived_anew(uan_da: Any, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    assert uan_da("report", tmp_path / "run").returncode == 0
    files = [tmp_path / "run" / "evaluation" / f"last.{kind}" for kind in ("json", "csv", "npz")]
    whole = [path.read_bytes() for path in files[:2]]
    for path, kind in zip(files, ("flipped", "cut", "empty"), strict=True):
        damage(path, kind)
    assert uan_da("report", tmp_path / "run").returncode == 0
    assert [path.read_bytes() for path in files[:2]] == whole


def test_an_adapted_run(uan_da: Any, run: Path, tmp_path: Path) -> None:
    examples = Digits().load("optdigits_m", "test")
    (tmp_path / "photos").mkdir()
    for index in range(40):
        examples[index][0].save(tmp_path / "photos" / f"{index}.png")
    out = tmp_path / "out"
    assert uan_da("adapt", run, tmp_path / "photos", "--method", "adabn", "--out", out).returncode == 0
    assert uan_da("report", out).returncode == 0
    for name in ("adapt.json", "model.safetensors"):
        for kind in ("flipped", "cut", "empty"):
            whole = (out / name).read_bytes()
            damage(out / name, kind)
            done = uan_da("report", out)
            assert (done.returncode, f"{name}: is damaged" in done.stderr, "adapt anew" in done.stderr) == (
                2,
                True,
                True,
            )
            (out / name).write_bytes(whole)
    assert uan_da("report", out).returncode == 0

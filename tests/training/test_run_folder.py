"""What is in a run's folder, and which folders a training takes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da.errors import UserError
from uan_da.training.interrupt import Interrupted
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training

Make = Callable[..., Any]


def test_a_second_training_in_a_folder_is_refused_also_with_overwrite(
    recipe: Make, stopper: Any, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=stopper(1, signal.SIGINT))
    code = (
        "import sys; from pathlib import Path; from uan_da.training.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "r")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        for how in ("resume", "overwrite"):
            with pytest.raises(UserError, match="another process trains in it"):
                train(recipe(), tmp_path / "r", **{how: True})  # type: ignore[arg-type]
        other.kill()
    assert train(recipe(), tmp_path / "r", resume=True).done


def test_a_folder_in_use_is_refused_and_overwritten_only_when_it_is_a_run(
    recipe: Make, finished: Run, tmp_path: Path
) -> None:
    before = (finished.folder / "results.json").read_bytes()
    with pytest.raises(UserError, match=r"--resume.*--overwrite.*--out"):
        train(recipe(), finished.folder)
    assert (finished.folder / "results.json").read_bytes() == before
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(UserError, match="something else than a run"):
        train(recipe(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "all my work"
    short = recipe("train.steps=1", "method=source_only", "norm=bn")
    train(short, tmp_path / "r")
    (tmp_path / "r" / "stale").touch()
    assert not (train(short, tmp_path / "r", overwrite=True).folder / "stale").exists()


@pytest.mark.parametrize("name", ["file", "file/run", "nowhere/run"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_cannot_be_is_one_message(recipe: Make, tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / "file").write_text("all my work")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is a file, not a folder\. Choose another --out"):
        train(recipe(), tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "all my work"


def test_the_folder_has_what_it_should(recipe: Make, finished: Run) -> None:
    names = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("*") if path.is_file()}
    assert {
        "recipe.yaml", "environment.json", "metrics.jsonl", "results.json", "timing.json", "model.safetensors",
        "checkpoints/last.pt", "checkpoints/selected.pt", "done",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".partial")]
    assert finished.done
    assert finished.recipe == recipe()


def test_environment_is_recorded(finished: Run) -> None:
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert environment["threads"] == torch.get_num_threads()


def test_weights_alone_are_the_last_epochs(recipe: Make, state: Make, finished: Run) -> None:
    model = Training.build(recipe(), torch.device("cpu")).model
    finished.load_model(model)
    for name, value in state(finished)["model"].items():
        assert torch.equal(model.state_dict()[name], value)

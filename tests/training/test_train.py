"""Whole trainings on a few of the digits."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da.data.task import target_index
from uan_da.errors import DataWarning, UserError
from uan_da.recipe import Recipe, load_recipe
from uan_da.training import training as training_module
from uan_da.training.finite import NonFiniteLoss
from uan_da.training.interrupt import Interrupted
from uan_da.training.monitor import Silent
from uan_da.training.run import Run
from uan_da.training.saver import Saver
from uan_da.training.train import train
from uan_da.training.training import Training


def recipe(*overrides: str) -> Recipe:
    short = [
        "backbone.width=4",
        "train.epochs=null",
        "train.steps=5",
        "train.steps_per_epoch=2",
        "train.batch.source=8",
        "train.batch.target=8",
    ]
    return load_recipe("digits", [*short, *overrides])


class Stopper(Silent):
    """Sends a signal to this process after a step."""

    def __init__(self, after: int, number: int) -> None:
        self.after, self.number = after, number

    def step(self, training: Training) -> None:
        if training.step == self.after:
            os.kill(os.getpid(), self.number)


def state(run: Run) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run.checkpoint("last"), weights_only=True)
    return saved


def assert_same(one: Any, two: Any, path: str = "") -> None:
    assert type(one) is type(two), path
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            assert_same(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), path
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{path}.{index}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), path
    else:
        assert one == two, path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe(), tmp_path_factory.mktemp("runs") / "plain")


def test_the_folder_has_what_it_should(finished: Run) -> None:
    names = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("*") if path.is_file()}
    assert {
        "recipe.yaml", "environment.json", "metrics.jsonl", "results.json", "timing.json", "model.safetensors",
        "checkpoints/last.pt", "checkpoints/selected.pt", "done",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".partial")]
    assert finished.done
    assert finished.recipe == recipe()


def test_results_have_the_stable_schema(finished: Run) -> None:
    results = finished.results
    assert results["schema"] == 1
    assert (results["task"], results["method"], results["norm"]) == ("optdigits:optdigits_m", "adamatch", "uan")
    last = results["selections"]["last"]
    assert last["epoch"] == 3
    target = last["domains"]["optdigits_m"]
    assert (target["role"], target["split"], target["n"]) == ("target", "test", 360)
    assert target["interval"][0] < target["accuracy"] < target["interval"][1]
    assert results["baseline"] == {"method": "source_only", "selections": {}}


def test_metrics_have_a_row_an_epoch(finished: Run) -> None:
    rows = finished.metrics()
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4), (3, 5)]
    for row in rows:
        assert row["train"]["loss"] == pytest.approx(row["train"]["source"] + row["train"]["target"], rel=1e-5)


def test_the_same_seed_gives_the_same_results_with_and_without_a_baseline(finished: Run, tmp_path: Path) -> None:
    again = train(recipe(), tmp_path / "again")
    beside = train(recipe(), tmp_path / "beside", with_baseline=True)
    assert (again.folder / "results.json").read_bytes() == (finished.folder / "results.json").read_bytes()
    assert {**beside.results, "baseline": 0} == {**finished.results, "baseline": 0}
    assert beside.results["baseline"]["gain"]["n"] == 360
    assert_same(state(beside), state(finished))
    other = train(recipe("seed=1"), tmp_path / "other")
    assert other.metrics() != finished.metrics()


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train(recipe("train.steps=1", "method=source_only", "norm=bn"), tmp_path / "r")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_an_interrupted_run_goes_on_to_the_same_bits(finished: Run, tmp_path: Path, after: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        train(recipe(), tmp_path / "r", monitor=Stopper(after, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert state(Run(tmp_path / "r"))["step"] == after
    assert signal.getsignal(signal.SIGINT) is before
    run = train(recipe(), tmp_path / "r", resume=True)
    assert_same(state(run), state(finished))
    assert run.metrics() == finished.metrics()
    assert run.results == finished.results


def test_an_interrupted_baseline_goes_on_too(finished: Run, tmp_path: Path) -> None:
    """The signal comes in step 5 + 2: the second of the baseline."""

    class Late(Stopper):
        seen = 0

        def step(self, training: Training) -> None:
            self.seen += 1
            if self.seen == self.after:
                os.kill(os.getpid(), self.number)

    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", with_baseline=True, monitor=Late(7, signal.SIGINT))
    assert not Run(tmp_path / "r").done
    run = train(recipe(), tmp_path / "r", with_baseline=True, resume=True)
    whole = train(recipe(), tmp_path / "whole", with_baseline=True)
    assert run.results == whole.results
    log = (run.folder / "train.log").read_text()
    assert "from step 5 of 5" in log
    assert "done" in log


def test_sigterm_is_143(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        train(recipe(), tmp_path / "r", monitor=Stopper(1, signal.SIGTERM))
    assert caught.value.exit_code == 143


def test_a_crash_after_an_epochs_row_was_written_is_mended_by_resuming(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=Stopper(3, signal.SIGINT))
    run = Run(tmp_path / "r")
    with (run.folder / "metrics.jsonl").open("a") as file:  # epoch 2's row, whose checkpoint was never written
        file.write(json.dumps(finished.metrics()[1]) + "\n")
    assert len(run.metrics()) == 1
    assert train(recipe(), run.folder, resume=True).metrics() == finished.metrics()
    assert (run.folder / "metrics.jsonl").read_bytes() == (finished.folder / "metrics.jsonl").read_bytes()


def test_metrics_that_were_emptied_are_derived_anew(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=Stopper(4, signal.SIGINT))
    run = Run(tmp_path / "r")
    for name in ("metrics.jsonl", "timing.json"):
        (run.folder / name).write_bytes(b"")
    again = train(recipe(), run.folder, resume=True)
    assert (run.folder / "metrics.jsonl").read_bytes() == (finished.folder / "metrics.jsonl").read_bytes()
    assert again.results == finished.results


def test_a_signal_in_the_last_step_is_not_lost_and_the_time_of_both_legs_counts(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", with_baseline=True, monitor=Stopper(5, signal.SIGINT))
    run = Run(tmp_path / "r")
    assert not (run.folder / "baseline").exists()
    before = run.seconds
    assert before > 0
    assert train(recipe(), run.folder, resume=True).results == finished.results
    assert run.seconds >= before


def test_a_run_that_diverges_in_the_last_step_of_an_epoch_says_so(tmp_path: Path) -> None:
    wild = recipe("train.steps=1", "method=source_only", "norm=bn", "train.optimizer={name: sgd, lr: 1e30}")
    with pytest.raises(NonFiniteLoss, match=r"step 1: after it .*predictions on .* are not finite.*last good"):
        train(wild, tmp_path / "r")


def test_without_a_target_image_no_branch_of_the_targets_is_asked(tmp_path: Path) -> None:
    """DSBN's source branch is a BatchNorm, and under source_only all that was trained."""
    own, shared = (train(recipe("method=source_only", f"norm={norm}"), tmp_path / norm) for norm in ("dsbn", "bn"))
    assert own.results["selections"] == shared.results["selections"]


@pytest.mark.parametrize(
    ("changes", "index"),
    [
        (["method=dann"], 1),
        (["method=source_only"], 0),
        (["method=source_only", "norm=transnorm"], 1),
        (["method=source_only", "task=optdigits"], 0),
        (["method=source_only", "task=optdigits+synthetic:optdigits_m"], 1),
        (["method=dann", "task=optdigits+synthetic:optdigits_m"], 2),
    ],
)
def test_the_number_of_the_target(changes: list[str], index: int) -> None:
    assert target_index(recipe(*changes)) == index


def test_a_baseline_may_have_a_protocol_of_its_own(finished: Run, tmp_path: Path) -> None:
    plain = recipe("method=source_only", "train.steps=2", "norm=bn")
    run = train(recipe(), tmp_path / "r", with_baseline=plain)
    assert Run(run.folder / "baseline").recipe == plain
    assert {**run.results, "baseline": 0} == {**finished.results, "baseline": 0}


def test_resuming_another_recipe_lists_what_differs(finished: Run) -> None:
    with pytest.raises(UserError, match=r"seed \(was 0, is 4\)") as caught:
        train(recipe("seed=4", "method.threshold=0.5"), finished.folder, resume=True)
    assert "method.threshold (was 0.9, is 0.5)" in str(caught.value)


def test_resuming_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        train(recipe(), tmp_path / "none", resume=True)
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=Stopper(1, signal.SIGINT))
    for path in (tmp_path / "r" / "checkpoints").glob("*.pt"):
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"damaged.*There is no checkpoint before it"):
        train(recipe(), tmp_path / "r", resume=True)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=Stopper(3, signal.SIGINT))
    run = Run(tmp_path / "r")
    content = bytearray(run.checkpoint("last").read_bytes())
    content[len(content) // 2] ^= 1
    run.checkpoint("last").write_bytes(content)
    with pytest.warns(DataWarning, match=r"step-3.pt: is damaged.*The checkpoint before, of step 2, is used"):
        again = train(recipe(), run.folder, resume=True)
    assert_same(state(again), state(finished))
    assert (again.metrics(), again.results) == (finished.metrics(), finished.results)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        with pytest.raises(Interrupted):
            train(recipe(f"seed={seed}"), tmp_path / str(seed), monitor=Stopper(1, signal.SIGINT))
    shutil.rmtree(tmp_path / "0" / "checkpoints")
    shutil.copytree(tmp_path / "1" / "checkpoints", tmp_path / "0" / "checkpoints")
    with pytest.raises(UserError, match="of another recipe, seed or data"):
        train(recipe(), tmp_path / "0", resume=True)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_from_its_first_step(
    finished: Run, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "lock").touch()
    shutil.copytree(finished.folder, tmp_path / "r", ignore=shutil.ignore_patterns("checkpoints", "done", "r*.json"))
    for name in ("bare", "r"):
        assert train(recipe(), tmp_path / name, resume=True).results == finished.results


def test_a_second_training_in_a_folder_is_refused_also_with_overwrite(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=Stopper(1, signal.SIGINT))
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


def test_a_checkpoint_every_so_often_changes_no_number(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed right after one goes on from it, to the same bits."""
    seen: list[int] = []
    monkeypatch.setattr(
        Saver, "save", lambda self, step, *rest, real=Saver.save: (seen.append(step), real(self, step, *rest))
    )
    often = recipe("train.checkpoint_minutes=1e-9")

    class Dies(Silent):
        def step(self, training: Training) -> None:
            if training.step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(often, tmp_path / "r", monitor=Dies())
    assert seen == [0, 1, 2, 3]
    assert Run(tmp_path / "r").checkpoint("last").name == "step-3.pt"
    run = train(recipe(), tmp_path / "r", resume=True)
    assert_same(state(run), state(finished))
    assert (run.metrics(), run.results) == (finished.metrics(), finished.results)


def test_a_folder_in_use_is_refused_and_overwritten_only_when_it_is_a_run(finished: Run, tmp_path: Path) -> None:
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
def test_a_folder_that_cannot_be_is_one_message(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / "file").write_text("all my work")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is a file, not a folder\. Choose another --out"):
        train(recipe(), tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "all my work"


def test_a_nan_stops_before_the_step_names_it_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training_module.Training.advance

    def poisoned(self: Training) -> Any:
        if self.step == 3:
            with torch.no_grad():
                self.model.head.weight[0, 0] = float("nan")
        return real(self)

    monkeypatch.setattr(training_module.Training, "advance", poisoned)
    with pytest.raises(NonFiniteLoss, match=r"step 4: the loss term 'source' is nan") as caught:
        train(recipe(), tmp_path / "r")
    run = Run(tmp_path / "r")
    assert str(run.checkpoint("last")) in str(caught.value)
    assert state(run)["step"] == 2
    assert all(bool(value.isfinite().all()) for value in state(run)["model"].values())
    assert not run.done


def test_weights_alone_are_the_last_epochs(finished: Run) -> None:
    model = Training.build(recipe(), torch.device("cpu")).model
    finished.load_model(model)
    for name, value in state(finished)["model"].items():
        assert torch.equal(model.state_dict()[name], value)


def test_environment_is_recorded(finished: Run) -> None:
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert environment["threads"] == torch.get_num_threads()


def test_the_selected_checkpoint_is_the_best_by_the_score(finished: Run) -> None:
    best = max(finished.metrics(), key=lambda row: row["score"])
    assert torch.load(finished.checkpoint("selected"), weights_only=True)["step"] == best["step"]
    assert finished.results["selections"]["selected"]["epoch"] == best["epoch"]


def test_a_removed_last_checkpoint_of_a_finished_run_is_told(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "r", symlinks=True)
    (tmp_path / "r" / "checkpoints" / "step-5.json").unlink()
    run, told = Run(tmp_path / "r"), r"step-5\.json: is missing\. The checkpoint before, of step 4, is used"
    with pytest.warns(DataWarning, match=told):
        assert run.load("last", torch.device("cpu"))["step"] == 4
    with pytest.warns(DataWarning, match=told):
        assert run.metrics()[-1]["step"] == 4
    with pytest.warns(DataWarning, match=told):
        assert run.checkpoint("last").name == "step-4.pt"
    with pytest.warns(DataWarning, match=told):
        assert run.seconds > 0

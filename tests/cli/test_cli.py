"""The command line as a user meets it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from uan_da.cli.app import main

SHORT = [
    "backbone.width=4",
    "norm=bn",
    "train.epochs=null",
    "train.steps=2",
    "train.batch.source=8",
    "train.batch.target=8",
]


COMMAND = [sys.executable, "-c", "from uan_da.cli.app import main; main()"]


def in_a_process(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, out = tmp_path_factory.mktemp("cli"), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.chdir(folder):
        patch.setattr(sys, "argv", ["uan-da", "train", "digits", *SHORT, "--with-baseline"])
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
    out.seek(0)
    (folder / "stdout").write_text(out.read())
    return folder


def test_training_prints_header_rows_table_verdict_and_the_next_command(run_folder: Path) -> None:
    lines = (run_folder / "stdout").read_text().splitlines()
    assert "optdigits→optdigits_m" in lines[0]
    assert "method: adamatch" in lines[0]
    assert any("optdigits_m" in line and "target" in line for line in lines)
    assert any(line.startswith("adaptation ") and "source_only" in line for line in lines)
    (folder,) = (run_folder / "runs" / "digits").iterdir()
    assert folder.name.endswith("-seed0")
    relative = folder.relative_to(run_folder)
    assert lines[-1] == f"run: {relative}   next: uan-da evaluate {relative}"


def test_evaluate(uan_da: Any, run_folder: Path) -> None:
    (folder,) = (run_folder / "runs" / "digits").iterdir()
    done = uan_da("evaluate", str(folder))
    assert done.returncode == 0, done.stderr
    assert "optdigits_m" in done.stdout
    for arguments, message in [
        ((str(folder), "--domain", "mnist"), "error: unknown domain 'mnist'"),
        ((str(folder), "--domain", "digits:mnist"), "error: digits: unknown domain 'mnist'"),
        ((str(run_folder),), "holds no run"),
    ]:
        failed = uan_da("evaluate", *arguments)
        assert failed.returncode == 2
        assert message in failed.stderr
        assert "Traceback" not in failed.stderr


def test_a_mistake_ends_the_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = in_a_process("train", "digit", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: unknown recipe 'digit' (did you mean 'digits'?)\n"


def test_a_recipe_with_several_mistakes_gets_one_line_each(uan_da: Any, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "dataset: digits\ntask: 'a:'\nbackbone: small_cn\nnorm: {name: uan, k: 3}\ntrain: {epochs: x}\n"
    )
    for command in (["train", "r.yaml"], ["recipe", "check", "r.yaml"]):
        done = uan_da(*command, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert [line.split(": ")[0] for line in lines] == [f"r.yaml:{n}" for n in (2, 3, 4, 5)]
        assert [line.split(": ")[1] for line in lines] == ["task", "backbone", "norm.k", "train.epochs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digit"], "did you mean 'digits'?"),
        (["train", "digits", "norm=uann"], "command line: norm: unknown norm 'uann' (did you mean 'uan'?)"),
        (["train", "digits", "method=dan_n"], "did you mean 'dann'?"),
        (["train", "digits", "epochs"], "expected KEY=VALUE"),
        (["train", "digits", "train.epoch=3"], "did you mean 'epochs'?"),
        (["train", "digits", "dataset=digit"], "did you mean 'digits'?"),
        (["train", "digits", "task=optdigits:optdigits_n"], "did you mean 'optdigits_m'?"),
        (["train", "digits", "--device", "gpu"], "device 'gpu' cannot be used"),
        (["train", "digits", "--resume"], "--resume needs --out"),
        (["train", "digits", "--resume", "--overwrite", "--out", "x"], "give one of the two"),
        (["train", "digits", "--resume", "--out", "nowhere"], "holds no run"),
        (["train", "digits", "--frobnicate"], "--frobnicate"),
        (["list", "norm"], "norm"),
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_without_a_traceback(
    uan_da: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = uan_da(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_names_both_ways_out(uan_da: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    done = uan_da("train", "digits", *SHORT, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "--resume" in done.stderr
    assert "--overwrite" in done.stderr


def test_recipe_show_copy_check(uan_da: Any, tmp_path: Path) -> None:
    shown = uan_da("recipe", "show", "digits", "norm=bn", "seed=3").stdout
    assert "name: bn" in shown
    assert "seed: 3" in shown
    (tmp_path / "shown.yaml").write_text(shown)
    assert uan_da("recipe", "check", "shown.yaml", cwd=tmp_path).stdout == "shown.yaml: ok\n"
    assert uan_da("recipe", "copy", "digits", "mine.yaml", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mine.yaml").read_text().startswith("# uan-da train digits")
    again = uan_da("recipe", "copy", "digits", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_list_has_everything(uan_da: Any) -> None:
    printed = uan_da("list").stdout
    for name in ("recipes:", "digits", "adamatch", "uan", "small_cnn", "information_maximization"):
        assert name in printed
    only = uan_da("list", "methods").stdout
    assert "dann" in only
    assert "small_cnn" not in only


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_training_leaves_a_usable_folder(
    uan_da: Any, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The signal goes to the process and to all that it may have started, while images stream."""
    endless = ["norm=bn", "train.epochs=null", "train.steps=100000", "train.batch.source=8", "train.batch.target=8"]
    streamed = f"from uan_da.data import storage; storage.MEMORY = 0; {COMMAND[-1]}"
    command = [*COMMAND[:-1], streamed, "train", "digits", *endless, "--out", "r"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes) as process:
        try:
            deadline = time.monotonic() + 300  # a busy machine takes long to import PyTorch
            while not (tmp_path / "r" / "checkpoints" / "last.pt").is_file() and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(1)
            os.killpg(process.pid, number)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert "--out r --resume" in stdout
    evaluated = uan_da("evaluate", "r", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "r" / "evaluation" / "last.json").read_text())["step"] > 0


def test_a_nan_is_exit_code_1_and_names_the_step(uan_da: Any, tmp_path: Path) -> None:
    done = uan_da(
        "train", "digits", *SHORT, "train.steps=30", "train.optimizer=sgd", "train.optimizer.lr=1e30", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "step " in done.stderr
    assert "the loss term 'source' is" in done.stderr
    assert "step-0.pt" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_help(uan_da: Any) -> None:
    assert uan_da("--version").stdout.strip()
    assert "train" in uan_da("--help").stdout
    assert uan_da().returncode in (0, 2)

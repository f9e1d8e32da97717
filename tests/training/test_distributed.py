"""Two processes that share each batch come to what one process comes to."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uan_da.training.run import Run
from uan_da.training.training import Training

SCRIPT = Path(__file__).with_name("two_processes.py")
sys.path.insert(0, str(SCRIPT.parent))
from two_processes import STEPS, build, losses  # noqa: E402

METHODS = ("source_only", "dann", "mcd", "adamatch")
NORMS = ("bn", "dsbn", "uan")
CASES = [f"method={method} norm={norm} norm.sync=true" for method, norm in itertools.product(METHODS, NORMS)]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, str(SCRIPT)]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder / "meet"), str(folder), *CASES], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_come_to_what_one_comes_to(case: str, of_two: Path) -> None:
    """Losses, of which float32 is logged, and all that a training has after ten steps: the two to the bit, and the one
    but for float64's rounding."""
    number, training = CASES.index(case), build(case)
    first, second = (json.loads((of_two / f"{rank}.json").read_text())[number] for rank in range(2))
    assert first == second
    for step, (mine, theirs) in enumerate(zip(losses(training, STEPS), first, strict=True)):
        assert theirs == pytest.approx(mine, rel=1e-6), step
    ends = [torch.load(of_two / f"{number}-end-{rank}.pt", weights_only=True) for rank in range(2)]
    for part in ("model", "method"):
        for name, value in training.state_dict()[part].items():
            mine, others = value, [end[part][name] for end in ends]
            assert torch.equal(*others), name
            torch.testing.assert_close(
                others[0], mine, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )


def test_one_process_goes_on_from_the_state_of_two(of_two: Path) -> None:
    number = CASES.index("method=mcd norm=uan norm.sync=true")
    training: Training = build(CASES[number])
    training.load_state_dict(torch.load(of_two / f"{number}-half-0.pt", weights_only=True))
    rest = json.loads((of_two / "0.json").read_text())[number][STEPS // 2 :]
    for mine, theirs in zip(losses(training, len(rest)), rest, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6)


def uan_da(out: Path, *arguments: str) -> "subprocess.Popen[str]":
    short = ["train.steps_per_epoch=2", "train.batch.source=8", "train.batch.target=8", "--device", "cpu"]
    command = [sys.executable, "-m", "uan_da", "train", "digits", *short, "--out", str(out), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_devices_starts_processes_of_which_one_writes(tmp_path: Path) -> None:
    started = uan_da(tmp_path / "run", "train.epochs=2", "method=dann", "norm.sync=true", "--devices", "2")
    output, error = started.communicate()
    assert (started.returncode, error) == (0, "")
    assert output.count("epoch 2 (last)") == 1
    run = Run.open(tmp_path / "run")
    assert run.done
    assert [row["step"] for row in run.metrics()] == [2, 4]


def test_a_method_that_needs_the_whole_batch_is_refused_once(tmp_path: Path) -> None:
    started = uan_da(tmp_path / "run", "train.epochs=2", "method=dan", "--devices", "2")
    output, error = started.communicate()
    assert started.returncode == 2
    assert output == ""
    assert error.count("method dan: several processes would come to something else than one") == 1
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_all_processes_stop_after_the_same_step_and_one_goes_on(tmp_path: Path) -> None:
    started = uan_da(tmp_path / "run", "train.epochs=500", "method=source_only", "--devices", "2")
    assert started.stdout is not None
    while "information_maximization" not in started.stdout.readline():
        assert started.poll() is None
    started.stdout.readline()
    started.send_signal(signal.SIGTERM)
    assert started.wait(120) == 143
    step = Run.open(tmp_path / "run").load("last", torch.device("cpu"))["step"]
    assert 0 < step < 1000
    again = uan_da(tmp_path / "run", "train.epochs=500", "method=source_only", "--resume")
    assert again.wait(600) == 0
    assert Run.open(tmp_path / "run").metrics()[-1]["step"] == 1000


@pytest.mark.slow
def test_torchrun_starts_processes_too(tmp_path: Path) -> None:
    run = ["train", "digits", "train.epochs=1", "train.steps_per_epoch=2", "norm.sync=true", "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "uan_da"]
    done = subprocess.run([*launcher, *run, "--out", str(tmp_path / "r")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("epoch 1 (last)") == 1
    assert Run.open(tmp_path / "r").done

"""Two processes that share each batch come to what one process comes to."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da import names
from uan_da.cli.app import main
from uan_da.methods.method import Method
from uan_da.sweeps.server import start_server
from uan_da.training import launch
from uan_da.training.distributed import LAUNCHER, agreed
from uan_da.training.run import Run
from uan_da.training.training import SHARE, Training

sys.path.insert(0, str(Path(__file__).parent))
from processes import STEPS, build, losses, predicted, train_together

DOCS = Path(__file__).parents[2] / "docs"
METHODS = ("source_only", "dann", "mcd", "adamatch")
UAN = "uan norm.backend=reference"
"""The formulas: processes that pool their moments run no kernel, and one of float64 takes seconds to compile."""
NORMS = ("bn", "dsbn", UAN)
CASES = [f"method={method} norm={norm} norm.sync=true" for method, norm in itertools.product(METHODS, NORMS)]
RESUMED = f"method=mcd norm={UAN} norm.sync=true"
OWN_STATISTICS = "method=source_only norm=bn"
PREDICTED = (RESUMED, "method=dann norm=dsbn norm.sync=true", OWN_STATISTICS)


Launch = Callable[..., tuple[Any, ...]]


def run_processes(count: int, folder: Path, cases: list[str], steps: int = STEPS) -> Path:
    """``folder``, with what each process found. They are forked from the sweeps' server, which has imported PyTorch."""
    folder.mkdir()
    context = start_server()
    processes = [context.Process(target=train_together, args=(r, count, folder, steps, cases)) for r in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count
    return folder


@pytest.fixture(scope="module")
def of_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of one process after half of the steps."""
    training, path = build(RESUMED), tmp_path_factory.mktemp("one") / "half.pt"
    losses(training, STEPS // 2)
    torch.save(training.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory, of_one: Path) -> Path:
    cases = [f"{case} predicted" if case in PREDICTED else case for case in (*CASES, OWN_STATISTICS)]
    cases.append(f"{RESUMED} state={of_one}")
    return run_processes(2, tmp_path_factory.mktemp("two") / "processes", cases)


def found_by(folder: Path, rank: int, number: int) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads((folder / f"{rank}.json").read_text())[number]
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_processes_come_to_what_one_comes_to(case: str, of_two: Path) -> None:
    """Losses, of which float32 is logged, and all that a training has after some steps: the two to the bit, and the one
    but for float64's rounding."""
    number, training = CASES.index(case), build(case)
    first, second = (found_by(of_two, rank, number) for rank in range(2))
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


def apart(one: list[dict[str, float]], other: list[dict[str, float]]) -> list[float]:
    """The greatest relative difference of a term, at each step."""
    pairs = zip(one, other, strict=True)
    return [max(abs(mine[name] - its[name]) / max(abs(mine[name]), 1e-6) for name in mine) for mine, its in pairs]


def nudged(training: Training) -> Training:
    """Its first weights multiplied by 1 + 1e-15: less than what sums in another order come to."""
    with torch.no_grad():
        next(training.model.parameters()).mul_(1 + 1e-15)
    return training


@pytest.mark.slow
def test_a_hundred_steps_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """Up to the step from which rounding moves the losses of one process too."""
    folder = run_processes(2, tmp_path / "two", CASES, steps=100)
    for number, case in enumerate(CASES):
        one = losses(build(case), 100)
        by_rounding = apart(one, losses(nudged(build(case)), 100))
        steps = next((step for step, value in enumerate(by_rounding) if value > 1e-6), 100)
        worst = max(apart(one, found_by(folder, 0, number))[:steps])
        print(f"{case}: {worst:.1e} in {steps} steps; rounding alone, in 100: {max(by_rounding):.1e}")
        assert steps == 100 or (case == RESUMED and steps >= 50)
        assert worst < 1e-3


@pytest.mark.parametrize("case", PREDICTED)
def test_two_processes_share_an_evaluation_and_predict_as_one(case: str, of_two: Path) -> None:
    """To the bit, with three batches for two processes; also where each has statistics of its own."""
    number, training = [*CASES, OWN_STATISTICS].index(case), build(case)
    training.load_state_dict(torch.load(of_two / f"{number}-end-0.pt", weights_only=True))
    shared = [torch.load(of_two / f"{number}-predictions-{rank}.pt", weights_only=True) for rank in range(2)]
    mine = predicted(training)
    assert len(mine["target labels"]) == 538
    assert mine.keys() == shared[0].keys()
    for name, value in mine.items():
        assert torch.equal(value, shared[0][name]), name
        assert torch.equal(value, shared[1][name]), name


@pytest.fixture(scope="module")
def undisturbed() -> list[dict[str, float]]:
    """The losses of one process from half of the steps on."""
    return losses(build(RESUMED), STEPS + STEPS // 2)[STEPS // 2 :]


def assert_goes_on(found: list[dict[str, float]], undisturbed: list[dict[str, float]]) -> None:
    assert len(found) >= STEPS // 2
    for mine, theirs in zip(undisturbed, found, strict=False):
        assert theirs == pytest.approx(mine, rel=1e-6)


def test_one_process_goes_on_from_the_state_of_two(of_two: Path, undisturbed: list[dict[str, float]]) -> None:
    state = of_two / f"{CASES.index(RESUMED)}-half-0.pt"
    assert_goes_on(losses(build(f"{RESUMED} state={state}"), STEPS // 2), undisturbed)


def test_two_processes_go_on_from_the_state_of_one(of_two: Path, undisturbed: list[dict[str, float]]) -> None:
    assert_goes_on(found_by(of_two, 1, len(CASES) + 1), undisturbed)


def test_three_processes_go_on_from_the_state_of_two(
    of_two: Path, undisturbed: list[dict[str, float]], tmp_path: Path
) -> None:
    state = of_two / f"{CASES.index(RESUMED)}-half-0.pt"
    folder = run_processes(3, tmp_path / "three", [f"{RESUMED} state={state}"], steps=STEPS // 2)
    assert_goes_on(found_by(folder, 2, 0), undisturbed)


SHORT = ["backbone.width=4", "train.steps_per_epoch=2", "train.batch.source=8", "train.batch.target=8"]
SHORT += ["--device", "cpu"]


def uan_da(out: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "uan_da", "train", "digits", *SHORT, "--out", str(out), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def on_two_devices(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Launch:
    """The exit code of a training by two processes that this one starts, and what they print."""

    def run(out: Path, *arguments: str) -> tuple[Any, ...]:
        command = ["uan-da", "train", "digits", *SHORT, "--out", str(out), *arguments, "--devices", "2"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capfd.readouterr()

    return run


def test_devices_starts_processes_of_which_one_writes(on_two_devices: Launch, tmp_path: Path) -> None:
    code, output, error = on_two_devices(tmp_path / "run", "train.epochs=2", "method=dann", "norm.sync=true")
    assert (code, error) == (0, "")
    assert output.count("epoch 2 (last)") == 1
    run = Run.open(tmp_path / "run")
    assert run.done
    assert [row["step"] for row in run.metrics()] == [2, 4]


def test_an_error_names_every_method_that_shares_its_batches() -> None:
    methods = {name: names.METHODS.load(name) for name in names.METHODS.targets}
    sharing = {name for name, method in methods.items() if issubclass(method, Method) and method.parallel}
    assert set(SHARE) == sharing
    row = next(line for line in DOCS.joinpath("training.md").read_text().splitlines() if "as in one process |" in line)
    assert set(row.split("|")[1].strip().split(", ")) == sharing


def test_a_method_that_needs_the_whole_batch_is_refused_once(on_two_devices: Launch, tmp_path: Path) -> None:
    code, output, error = on_two_devices(tmp_path / "run", "train.epochs=2", "method=dan")
    assert (code, output) == (2, "")
    assert error.count("method dan: several processes would not learn what one learns") == 1
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("patience", "said"), [("PATIENCE_AT_START", "nothing was trained"), ("PATIENCE", "--resume")])
def test_a_process_that_the_system_kills_is_named(
    patience: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before all have found each other, and after it: there may then be something to save."""

    def start(arguments: Any, rank: int, count: int, port: int, joined: Path, *_: Any) -> "subprocess.Popen[bytes]":
        if patience == "PATIENCE":
            joined.touch()
        return subprocess.Popen(["sleep", "60"] if rank == 0 else ["sh", "-c", "kill -KILL $$"])

    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, patience, 0.1)
    assert launch.launch([], 2) == 137
    error = capfd.readouterr().err
    assert "process 1 was ended by SIGKILL, as the system does when memory runs out" in error
    assert said in error


def test_processes_stop_when_the_one_that_started_them_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHER, str(os.getppid()))
    assert agreed(None) is None
    monkeypatch.setenv(LAUNCHER, str(os.getpid()))  # not the parent
    assert agreed(None) == signal.SIGHUP
    assert agreed(signal.SIGTERM) == signal.SIGTERM


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

"""Two processes that share each batch come to what one process comes to."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uan_da.training.training import Training

sys.path.insert(0, str(Path(__file__).parent))
from two_processes import STEPS, build, losses


METHODS = ("source_only", "dann", "mcd", "adamatch")
NORMS = ("bn", "dsbn", "uan")
CASES = [f"method={method} norm={norm} norm.sync=true" for method, norm in itertools.product(METHODS, NORMS)]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder / "meet"), str(folder), *CASES], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    return folder


@pytest.mark.parametrize("case", CASES)
def test_the_losses_of_two_processes_are_those_of_one(case: str, of_two: Path) -> None:
    number = CASES.index(case)
    first, second = (json.loads((of_two / f"{rank}.json").read_text())[number] for rank in range(2))
    assert first == second
    for step, (mine, theirs) in enumerate(zip(losses(build(case), STEPS), first, strict=True)):
        print(case, step, max(abs(mine[n]-theirs[n])/max(1e-9,abs(mine[n])) for n in mine))
        assert theirs == pytest.approx(mine, rel=1e-6), step


def test_one_process_goes_on_from_the_state_of_two(of_two: Path) -> None:
    number = CASES.index("method=mcd norm=uan norm.sync=true")
    training: Training = build(CASES[number])
    training.load_state_dict(torch.load(of_two / f"{number}.pt", weights_only=True))
    rest = json.loads((of_two / "0.json").read_text())[number][STEPS // 2 :]
    for mine, theirs in zip(losses(training, len(rest)), rest, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6)

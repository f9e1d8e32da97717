import os
import subprocess
import sys
from pathlib import Path

import torch

from uan_da.norms.distributed import pool, sum_over_processes
from uan_da.norms.uan.mixture import Moments

ROOT = Path(__file__).parents[2]


def test_two_processes_are_one_on_the_whole_batch(tmp_path: Path) -> None:
    """The checks are those of two_processes.py."""
    script = Path(__file__).with_name("two_processes.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting_point")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=90)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)


def test_one_process_sums_over_itself() -> None:
    x = torch.randn(3)
    assert sum_over_processes(x) is x
    moments = Moments(x, x, x, x)
    assert pool(moments) is moments

"""``uan-da compare`` on runs of two steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

SHORT = [
    "norm=bn",
    "train.epochs=null",
    "train.steps=2",
    "train.steps_per_epoch=1",
    "train.batch.source=4",
    "train.batch.target=4",
]
GRID = ["compare", "digits", *SHORT, "backbone.width=4", "--method", "dann", "--device", "cpu", "--out", "out"]


def test_a_grid_from_its_dry_run_to_its_table(uan_da: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, _ = uan_da(*GRID, "--dry-run", cwd=tmp_path)
    assert code == 0
    assert "optdigits:optdigits_m source_only bn seed 0: left" in out
    assert "2 runs: 0 done, 2 left" in out
    assert not (tmp_path / "out").exists()

    code, out, error = uan_da(*GRID, cwd=tmp_path)
    assert (code, error) == (0, "")
    assert "2 runs: 0 done, 2 to do" in out
    assert "optdigits:optdigits_m dann bn seed 0: done   [" in out
    assert "2 done, 0 running, 0 failed, 0 left" in out
    assert "target accuracy, % (last epoch)" in out
    assert "gain over source_only" in out
    assert (tmp_path / "out" / "report.html").is_file()

    code, out, _ = uan_da(*GRID, "--dry-run", cwd=tmp_path)
    assert "2 runs: 2 done, 0 left" in out
    code, out, _ = uan_da(*GRID, "--reference", "dann bn", cwd=tmp_path)
    assert code == 0
    assert "2 runs: 2 done, 0 to do" in out
    assert "target accuracy minus that of dann bn, points" in out


def test_a_run_that_fails_ends_in_exit_code_1(uan_da: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "failing_net.py").write_text("def net(channels):\n    raise RuntimeError('no such luck')\n")
    code, out, _ = uan_da(*GRID[:-7], "backbone=failing_net:net", "--method", "source_only", cwd=tmp_path)
    assert code == 1
    assert (
        "failed: optdigits:optdigits_m source_only bn 0: UserError: backbone 'failing_net:net' cannot be built" in out
    )
    assert "report.html" not in out  # there is none
    code, out, _ = uan_da(*GRID[:-7], "backbone=failing_net:net", "--method", "source_only", "--dry-run", cwd=tmp_path)
    assert "failed, to be tried again: UserError: backbone 'failing_net:net' cannot be built" in out
    assert (tmp_path / "runs" / "digits" / "compare" / "results.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--norm", "bn,batchnorm"], "unknown norm 'batchnorm'"),
        (["--seed", "4..0"], "a range goes up"),
        (["--seed", "0..1000000000"], "a range has at most 10,000 values"),
        (["--out", "photos"], "--out photos: is not empty, and holds something else"),
        (["--out", "streamed"], "--out streamed: holds streams, whose tables would be replaced"),
        (["--reference", "dan uan"], "--reference: unknown row 'dan uan' (did you mean 'dann uan'?)"),
        (["--device", "cpuu"], "device 'cpuu' cannot be used"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used"),
        (["--ray-address", "auto"], "--ray-address goes with --executor ray"),
        (["norm=uan", "--norm", "bn"], "norm is given twice"),
    ],
)
def test_a_mistake_is_one_message(
    uan_da: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: list[str], message: str
) -> None:
    for place in ("photos/ant.jpg", "streamed/cells/1.json", "streamed/locks/1"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    grid = [argument for argument in GRID if argument != "norm=bn"]
    code, _, error = uan_da(*grid, *arguments, cwd=tmp_path)
    assert code == 2
    assert message in error
    assert not (tmp_path / "out" / "runs").exists()

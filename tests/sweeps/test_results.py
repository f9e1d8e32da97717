import json
import multiprocessing
from pathlib import Path

import pytest

from uan_da.errors import UserError
from uan_da.sweeps.grid import build_grid
from uan_da.sweeps.jobs import run_folder
from uan_da.sweeps.results import read_result, write_text
from uan_da.training.run import Run


def test_one_domain_alone_is_its_own_target(recipe: Path, tmp_path: Path) -> None:
    cell = build_grid(recipe, ["method=source_only", "task=optdigits"]).cells[0]
    folder = run_folder(tmp_path, cell.run_id)
    folder.mkdir(parents=True)
    numbers = {"role": "source", "accuracy": 0.9, "confidence": 0.8, "class_shares": [0.1, 0.7, 0.2]}
    chosen = {"epoch": 2, "domains": {"optdigits": numbers}}
    selections = {"last": chosen, "selected": {**chosen, "validator": "snd"}, "oracle": {}}
    (folder / "results.json").write_text(json.dumps({"selections": selections}))
    rows = [{"epoch": epoch, "validators": {"snd": epoch / 10}} for epoch in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "timing.json").write_text('{"train_seconds": 3.5}')
    Run(folder).finish()
    result = read_result(cell, tmp_path)
    assert result.seconds == 3.5
    assert result.target == result.source == {"last": 0.9, "selected": 0.9}
    assert result.validator == "snd"
    assert result.scores["last"] == {"snd": 0.2, "confidence": 0.8, "largest_class": 0.7}
    (folder / "recipe.yaml").write_text("# started with train.epochs=1\n")
    longer = read_result(cell, tmp_path)
    assert (longer.status, longer.target) == ("failed", {})
    assert "continued to more epochs" in longer.error
    (folder / "recipe.yaml").unlink()
    (folder / "results.json").write_text(json.dumps({"selections": selections}).replace("0.9", "0.8"))
    with pytest.raises(UserError, match=r"results\.json: is damaged: .*--resume derives it anew"):
        read_result(cell, tmp_path)


def test_two_processes_write_one_file_in_one_piece(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    processes = [multiprocessing.get_context("fork").Process(target=_write, args=(file, word)) for word in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert file.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [file]


def _write(file: Path, word: str) -> None:
    for _ in range(300):
        write_text(file, word * 1000)

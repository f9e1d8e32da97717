"""Whole sweeps of two steps a run, in processes of their own."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from uan_da.errors import UserError
from uan_da.sweeps.compare import compare
from uan_da.sweeps.jobs import Event
from uan_da.sweeps.local import Local
from uan_da.sweeps.sweep import Sweep
from uan_da.sweeps.table import to_dict
from uan_da.training.run import Run

AXES = ["method=source_only,dann", "seed=0..1"]
CPU = Local(["cpu"], 2, 1)


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.left: Sequence[str] = []
        self.events: list[Event] = []

    def start(self, sweep: Sweep, left: Sequence[str]) -> None:
        self.left = left

    def event(self, event: Event) -> None:
        self.events.append(event)

    def run_ids(self, kind: str) -> list[str]:
        return [event.run_id for event in self.events if event.kind == kind]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Listener]:
    """A recipe and its finished sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    file = folder / "recipe.yaml"
    file.write_text(RECIPE)
    listener = Listener()
    compare(file, AXES, out=folder / "out", executor=CPU, view=listener)
    return file, folder / "out", listener


RECIPE = """
dataset: digits
task: optdigits:optdigits_m
input: {size: 28, channels: 3}
backbone: small_cnn
method: dann
train: {steps: 2, steps_per_epoch: 1, batch: {source: 4, target: 4}}
published:
  - {method: DANN, task: "optdigits:optdigits_m", accuracy: 81.5, source: a paper, protocol: a CNN, oracle: true}
"""


def test_every_run_is_trained_once_in_a_folder_of_its_address(swept):
    _, out, listener = swept
    folders = sorted(path.name for path in (out / "runs").iterdir())
    assert len(folders) == 4
    methods = [Run(out / "runs" / name).recipe.method.name for name in listener.left]
    assert methods == ["dann", "source_only"] * 2  # the short ones of a seed last
    assert sorted(listener.run_ids("started")) == sorted(listener.run_ids("finished")) == folders
    assert all(Run(out / "runs" / name).done for name in folders)


def test_a_run_has_the_numbers_that_train_gives_it(swept, tmp_path):
    from uan_da.training.train import train

    _, out, listener = swept
    run = Run(out / "runs" / listener.left[-1])
    alone = train(run.recipe, tmp_path / "alone", device="cpu")
    assert alone.results == run.results


def test_the_table_is_in_every_form(swept):
    _, out, _ = swept
    table = json.loads((out / "table.json").read_text())
    assert [len(rows) for rows in table["rows"].values()] == [2, 2]
    best = table["rows"]["last"][0]
    assert best["target"]["optdigits:optdigits_m"]["n"] == 2
    shown = f"{100 * best['target']['optdigits:optdigits_m']['mean']:.1f} ± "
    assert shown in (out / "table.md").read_text()
    assert shown.replace("±", r"$\pm$") in (out / "table.tex").read_text()
    assert shown in (out / "report.html").read_text()
    for name in ("table.md", "table.tex", "report.html"):
        assert "81.5" in (out / name).read_text()


def test_results_csv_has_a_row_for_every_run(swept):
    _, out, listener = swept
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["run"] for row in rows) == sorted(listener.left)
    assert [row["method"] for row in rows] == ["source_only", "dann"] * 2
    for row in rows:
        domains = Run(out / "runs" / row["run"]).results["selections"]["last"]["domains"]
        assert float(row["target_last"]) == domains["optdigits_m"]["accuracy"]
        assert float(row["source_last"]) == domains["optdigits"]["accuracy"]
        assert (row["status"], row["target_oracle"]) == ("done", "")


class Refuses:
    """An executor that has nothing to do."""

    threads = 1

    def run(self, jobs: Sequence[Any], tell: Any) -> None:
        assert not jobs


def test_what_is_done_is_not_trained_again(swept):
    file, out, _ = swept
    before = (out / "table.json").read_bytes()
    compare(file, AXES, out=out, executor=Refuses())
    assert (out / "table.json").read_bytes() == before


def test_a_smaller_grid_is_a_part_of_it_and_another_reference_costs_nothing(swept):
    file, out, _ = swept
    table = compare(file, ["seed=1"], out=out, reference="dann bn", executor=Refuses())
    assert (table.done, table.reference) == (2, "dann bn")
    with pytest.raises(UserError, match="--reference: unknown row 'dann gn'"):
        compare(file, AXES, out=out, reference="dann gn", executor=Refuses())


@pytest.mark.parametrize("name", ["file", "file/out"])
def test_a_folder_that_cannot_be_is_told_before_anything_is_trained(swept, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"file is a file, not a folder\. Choose another --out"):
        compare(swept[0], AXES, out=tmp_path / name, executor=Refuses())
    assert (tmp_path / "file").read_text() == "mine"


def test_only_what_is_left_is_trained(swept, tmp_path):
    file, out, _ = swept
    listener = Listener()
    compare(file, [*AXES[:1], "seed=0..2"], out=out, executor=CPU, view=listener)
    assert len(listener.left) == len(listener.run_ids("finished")) == 2


def test_a_table_of_other_runs_is_gone_before_the_first_run(swept, tmp_path):
    (tmp_path / "table.json").write_text("{}")

    class Looks:
        threads = 1

        def run(self, jobs: Sequence[Any], tell: Any) -> None:
            assert jobs
            assert not (tmp_path / "table.json").exists()

    assert compare(swept[0], AXES, out=tmp_path, executor=Looks()).left == 4
    assert (tmp_path / "table.json").is_file()


BAD_BACKBONE = """
import os
from torch import nn
def bad(channels):
    raise RuntimeError("no such luck")
def dying(channels):
    os.kill(os.getpid(), 9)
def good():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    net.num_features = 12
    return net
"""


def test_a_run_that_fails_is_listed_with_its_error_and_stops_no_other(swept, tmp_path, monkeypatch):
    file, _, _ = swept
    (tmp_path / "bad_net.py").write_text(BAD_BACKBONE)
    monkeypatch.chdir(tmp_path)
    names = [f"bad_net:{name}" for name in ("bad", "dying")]
    listener = Listener()
    overrides = ["method=source_only", f"backbone={','.join([*names, 'small_cnn'])}"]
    table = compare(file, overrides, out="out", executor=Local(["cpu"], 1, 1), view=listener)
    assert (table.done, table.left) == (1, 0)
    bad, dying = (result.error for result in table.failed)
    assert bad == "UserError: backbone 'bad_net:bad' cannot be built with no options: no such luck"
    assert dying == "its process was killed by signal 9"
    error = json.loads((tmp_path / "out" / "runs" / table.failed[0].run_id / "error.json").read_text())
    assert "bad_net.py" in error["trace"]
    assert "no such luck" in (tmp_path / "out" / "table.md").read_text()

    (tmp_path / "bad_net.py").write_text(BAD_BACKBONE.replace('raise RuntimeError("no such luck")', "return good()"))
    table = compare(file, overrides, out="out", executor=Local(["cpu"], 1, 1), view=listener)
    assert (table.done, len(table.failed)) == (2, 1)  # a run that failed is tried again


COMPARE = """
import sys
from uan_da.sweeps.compare import compare
from uan_da.sweeps.local import Local
if __name__ == "__main__":
    compare(sys.argv[1], sys.argv[3:], out=sys.argv[2], executor=Local(["cpu"], 2, 1))
"""


def start_compare(folder: Path, file: Path, *overrides: str) -> subprocess.Popen[bytes]:
    script = folder / "sweep.py"
    script.write_text(COMPARE)
    return subprocess.Popen([sys.executable, str(script), str(file), str(folder / "out"), *overrides])


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in found.splitlines()]
    own = [child for child, parent in parents if parent == pid]
    return own + [grandchild for child in own for grandchild in children_of(child)]


def wait_for(what: Any, seconds: float = 300) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LONG = ["train.steps=100000", "train.steps_per_epoch=100000"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes by Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_runs_end_with_the_sweep(swept, tmp_path, number):
    sweep = start_compare(tmp_path, swept[0], *LONG)
    wait_for(lambda: len(list((tmp_path / "out").glob("runs/*/checkpoints/last.pt"))) == 2)
    children = children_of(sweep.pid)
    assert len(children) >= 3  # the server that they are forked from, and two runs
    time.sleep(1)
    sweep.send_signal(number)
    sweep.wait(60)
    wait_for(lambda: not any(map(is_alive, children)))
    logs = [log.read_text() for log in (tmp_path / "out").glob("runs/*/train.log")]
    assert all(("stopped by a signal" in log) == (number == signal.SIGTERM) for log in logs)


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_in_the_same_table(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace("steps: 2, steps_per_epoch: 1", "steps: 60, steps_per_epoch: 10"))
    chance = random.Random(0)
    kills = 0
    while True:
        sweep = start_compare(tmp_path, file, *AXES)
        try:
            sweep.wait(chance.uniform(6, 14) + 2 * kills)  # ever longer, for slow machines get on too
            break
        except subprocess.TimeoutExpired:
            sweep.kill()
            sweep.wait()
            kills += 1
            assert kills < 60
    assert kills >= 2
    whole = compare(file, AXES, out=tmp_path / "whole", executor=CPU)
    again = compare(file, AXES, out=tmp_path / "out", executor=Refuses())
    assert to_dict(again) == to_dict(whole)
    for log in (tmp_path / "out").glob("runs/*/train.log"):
        assert sum(" done, " in line for line in log.read_text().splitlines()) == 1

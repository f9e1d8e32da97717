"""Sweeps on a Ray cluster of this machine."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from uan_da.errors import UserError
from uan_da.sweeps.compare import compare
from uan_da.sweeps.jobs import Event
from uan_da.sweeps.local import Local
from uan_da.sweeps.ray import OnRay, _check_fits, _task, pack, unpack
from uan_da.sweeps.sweep import Sweep
from uan_da.sweeps.table import to_dict
from uan_da.sweeps.work import TrainingJob
from uan_da.training.run import Run

GRID = ["method=dann", "norm=bn", "seed=0..2"]


def test_a_packed_folder_is_the_same_elsewhere_and_done_at_its_end(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "checkpoints").mkdir(parents=True)
    (here / "checkpoints" / "last.pt").write_bytes(b"\0\1")
    (here / "done").write_text('{"results.json": "0"}')
    unpack(pack(here), there)
    assert (there / "checkpoints" / "last.pt").read_bytes() == b"\0\1"
    assert (there / "done").read_text() == '{"results.json": "0"}'


def test_a_run_that_was_stopped_early_comes_back_unfinished(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "metrics.jsonl").touch()
    unpack(pack(tmp_path / "here"), tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["metrics.jsonl"]


def test_a_node_of_its_own_folder_keeps_the_floors(tmp_path, monkeypatch):
    seen: list[TrainingJob] = []

    def keep(job: TrainingJob, *_: object) -> None:
        job.folder.mkdir(parents=True)
        seen.append(job)

    monkeypatch.setattr(TrainingJob, "work", keep)
    job = TrainingJob("a", tmp_path / "elsewhere", {"seed": 0}, {1: 0.5})
    assert _task(job, "cpu", 1, None, "nowhere", {}) is not None
    assert [(one.run_id, one.recipe, one.floors) for one in seen] == [("a", {"seed": 0}, {1: 0.5})]
    assert seen[0].sweep != job.sweep


NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0}},
    {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(("cpus", "gpus", "fits"), [(8, 0, True), (2, 0.5, True), (9, 0, False), (4, 1, False)])
def test_what_no_node_has_is_told_and_not_waited_for(cpus, gpus, fits):
    if fits:
        _check_fits(NODES, cpus, gpus)
        return
    with pytest.raises(UserError, match=rf"{cpus} CPUs.*{gpus} GPUs.*no node .*: 8 and 0, 2 and 1$"):
        _check_fits(NODES, cpus, gpus)


def test_without_ray_the_way_to_it_is_told(monkeypatch, recipe, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'uan-da\[ray\]'"):
        compare(recipe, GRID, out=tmp_path / "out", executor=OnRay())


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.second = made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


class Killer:
    """Kills the second node as soon as runs are under way on both."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.killed = cluster, False
        self.started: list[str] = []
        self.running: set[str] = set()
        self.failed: list[str] = []

    def start(self, sweep: Sweep, left: Sequence[str]) -> None: ...

    def event(self, event: Event) -> None:
        if event.kind == "started":
            self.started.append(event.run_id)
            self.running.add(event.run_id)
        elif event.kind in ("finished", "failed"):
            self.failed += [event.error] if event.error else []
            self.running.discard(event.run_id)
        if len(self.running) == 2 and not self.killed:
            self.killed = True
            self.cluster.remove_node(self.cluster.second, allow_graceful=False)


@pytest.mark.slow
def test_a_node_that_is_killed_costs_no_run(cluster: Any, recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text()
    recipe.write_text(text.replace("steps: 2, steps_per_epoch: 1", "steps: 240, steps_per_epoch: 80"))
    killer = Killer(cluster)
    table = compare(recipe, GRID, out=tmp_path / "ray", executor=OnRay(), view=killer)
    assert killer.killed
    assert not killer.failed
    assert len(killer.started) > len(set(killer.started))  # a run was placed again
    assert (table.done, table.left) == (6, 0)
    local = compare(recipe, GRID, out=tmp_path / "local", executor=Local(["cpu"], 2, 1))
    assert to_dict(table) == to_dict(local)


@pytest.mark.slow
def test_nodes_that_do_not_see_the_folder_send_their_runs(
    cluster: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uan_da.sweeps.ray.MARK", ".another")  # here alone: the nodes look for the usual one
    (tmp_path / "failing_nets.py").write_text("def net(channels):\n    raise RuntimeError('no such luck')\n")
    monkeypatch.chdir(tmp_path)
    table = compare(recipe, ["method=dann", "backbone=small_cnn,failing_nets:net"], out="ray", executor=OnRay())
    assert (table.done, table.left) == (2, 0)
    assert [result.error.endswith("cannot be built with no options: no such luck") for result in table.failed] == [
        True
    ] * 2
    (run, *_) = (path.parent for path in Path("ray/runs").glob("*/done"))
    assert Run(run).results["selections"]["last"]
    assert Run(run).checkpoint("last").is_file()

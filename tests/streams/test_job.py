"""Cells of a stream as an executor's work."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor

from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.models.classifier import build_model
from uan_da.recipe import Block, load_recipe
from uan_da.streams.cells import stream_methods
from uan_da.streams.grid import Network, StreamGrid, results_table
from uan_da.streams.job import StreamJob
from uan_da.streams.method import StreamMethod
from uan_da.sweeps.jobs import Event
from uan_da.sweeps.ray import OnRay, _task, unpack
from uan_da.training.trained import Trained


@pytest.fixture(scope="module")
def grid() -> StreamGrid:
    """Two methods on eight images, under two seeds, with an untrained network."""
    recipe = load_recipe("digits", ["dataset=digits_c", "task=optdigits", "norm=bn", "method=source_only", "seed=5"])
    classes = open_dataset("digits_c").classes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(recipe, len(classes)).eval()
    networks = [Network("runs/a", Trained(recipe, model, tuple(classes), 0, torch.device("cpu")))]
    return StreamGrid(networks, stream_methods(["bn_1"]), ["mixed"], [4], ("fog",), [0, 1], length=8)


def work(job: StreamJob) -> list[Event]:
    heard: list[Event] = []
    threads = torch.get_num_threads()
    job.work("cpu", 1, heard.append)
    torch.set_num_threads(threads)
    return heard


def test_a_job_does_what_is_left_and_tells_how_far_it_is(grid: StreamGrid, tmp_path: Path) -> None:
    job, other = grid.jobs(tmp_path)
    assert job.run_id != other.run_id
    assert job.name == "runs/a  mixed  seed 0"
    heard = work(pickle.loads(pickle.dumps(job)))
    assert [(event.kind, event.step, event.total) for event in heard] == [
        ("started", 0, 3),
        ("step", 1, 3),
        ("step", 2, 3),
    ]
    assert not job.left
    assert not work(job)
    job.cells[1].file(tmp_path).write_text("{ha")  # damaged: done again
    assert [event.total for event in work(job)] == [1]
    table = results_table(tmp_path, [*job.cells, *other.cells])
    assert list(table[table["domain"] == "all"]["method"]) == ["source", "bn_1", "oracle"]
    assert set(table["run"]) == {"runs/a"}


def test_a_node_without_the_folder_sends_the_cells(grid: StreamGrid, tmp_path: Path) -> None:
    job = grid.jobs(tmp_path / "here")[0]
    here = replace(job, sweep=tmp_path / "here")
    work(here)
    elsewhere = replace(job, sweep=tmp_path / "elsewhere")
    mailbox = type("Mailbox", (), {"put": type("Put", (), {"remote": staticmethod(lambda event: None)})})
    packed = _task(elsewhere, "cpu", 1, mailbox, "nowhere", {})
    assert packed is not None
    assert elsewhere.left  # the node worked in a folder of its own
    unpack(packed, elsewhere.folder)
    tables = [results_table(each.sweep, each.cells).drop(columns="ms_per_image") for each in (here, elsewhere)]
    pd.testing.assert_frame_equal(*tables)


class Refusing(StreamMethod):
    updates: ClassVar[str] = "nothing"

    def predict(self, pixels: Tensor) -> Tensor:
        raise UserError("not today")


def test_a_method_that_fails_costs_no_other_cell(grid: StreamGrid, tmp_path: Path) -> None:
    job = grid.jobs(tmp_path)[0]
    refusing: Block[Any] = Block("refusing", Refusing, {})
    job = replace(job, cells=[replace(job.cells[0], method=refusing), *job.cells])
    with pytest.raises(UserError, match=r"^refusing: not today$"):
        work(job)
    assert [cell.method.name for cell in job.left] == ["refusing"]


def test_without_seeds_a_run_has_its_own(grid: StreamGrid) -> None:
    own = replace(grid, seeds=[])
    assert [stream.seed for stream in own.streams(own.networks[0])] == [5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domains": ("foggy",)}, "did you mean 'fog'"),
        ({"dataset": "office31"}, "other classes"),
        ({"domains": ("optdigits",), "dataset": "digits", "settings": ["gradual"]}, "has severities"),
    ],
)
def test_what_is_wrong_is_told_before_any_stream(grid: StreamGrid, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        replace(grid, **change).check()
    grid.check()


@pytest.mark.slow
def test_streams_on_ray_are_those_of_this_machine(grid: StreamGrid, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    heard: list[Event] = []
    jobs, local = grid.jobs(tmp_path / "ray"), grid.jobs(tmp_path / "local")
    try:
        OnRay(jobs=2).run(jobs, heard.append)
    finally:
        ray.shutdown()
    assert sorted(event.run_id for event in heard if event.kind == "finished") == sorted(job.run_id for job in jobs)
    for job in local:
        work(job)
    tables = [
        results_table(each[0].sweep, [cell for job in each for cell in job.cells]).drop(columns="ms_per_image")
        for each in (jobs, local)
    ]
    pd.testing.assert_frame_equal(*tables)

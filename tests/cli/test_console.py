"""What a training tells while its images are decoded."""

from types import SimpleNamespace

import pytest

from uan_da.cli import console
from uan_da.cli.console import Console


def test_without_a_terminal_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Console()
    seconds = iter([told.told + later for later in (4, 11, 15, 22)])
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    for done in range(1, 5):
        told.read(done, 4)
    assert capsys.readouterr().out == "reading: 2 of 4 images\nreading: 4 of 4 images\n"


def test_the_bar_counts_images() -> None:
    told = Console()
    told.read(3, 8)
    (task,) = told.progress.tasks
    assert (task.description, task.completed, task.total) == ("reading", 3, 8)
    assert task.fields["unit"].startswith("images")
    told.read(4, 8)
    assert task.completed == 3  # too soon after the one before
    told.read(8, 8)
    assert task.completed == 8

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from uan_da.cli.app import main
from uan_da.sweeps.here import Here
from uan_da.sweeps.local import Local


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def uan_da(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, which spares each test the seconds that importing torch takes."""

    def run(*arguments: object, cwd: Path | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", ["uan-da", *map(str, arguments)])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a grid are trained one after the other in this process, which has imported torch already."""
    monkeypatch.setattr(Local, "run", lambda self, jobs, tell: Here(self.devices[0]).run(jobs, tell))

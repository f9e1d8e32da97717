import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from uan_da.errors import UserError
from uan_da.training.lock import LOCK, locked

HOLDS = """
import os, sys, time
from pathlib import Path
from uan_da.training.lock import locked
with locked(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "work").touch()
    if not os.fork():  # the worker itself tells that it runs: it has let go of the lock by then
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    """Not even through a worker that outlives it."""
    folder = tmp_path / "r"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        worker = int(other.stdout.readline())
        with pytest.raises(UserError, match="another process trains in it"), locked(folder):
            pass
        other.kill()
        other.wait()
        try:
            with locked(folder):
                assert (folder / "work").exists()
        finally:
            os.kill(worker, signal.SIGKILL)


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with locked(tmp_path / "r"), pytest.raises(UserError, match="another process"), locked(tmp_path / "r"):
        pass


def test_a_folder_that_was_not_used_is_gone(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b" / "c"):
        pass
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "file").touch()
    assert (tmp_path / "a" / "file").exists()


def test_a_fifo_is_not_waited_for_and_a_file_in_the_way_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    os.mkfifo(tmp_path / "r" / LOCK)
    with locked(tmp_path / "r"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: Not a directory"), locked(tmp_path / "file" / "r"):
        pass

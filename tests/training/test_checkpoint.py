"""Checkpoints and their manifests, without a training."""

import errno
import os
import random
import stat
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da import files
from uan_da.errors import DataWarning, UserError
from uan_da.training.checkpoint import Checkpoints, Manifest

CPU = torch.device("cpu")
RUN = "the run"


def write(checkpoints: Checkpoints, steps: list[int], selected: int = 0) -> Manifest:
    """Checkpoints after ``steps``; that after ``selected`` stays the selected one."""
    manifest = Manifest(RUN)
    for step in steps:
        saved = checkpoints.write_state(step, {"step": step, "model": {"w": torch.full((100,), float(step))}})
        names = ["last", "selected"] if step <= selected else ["last"]
        known = {**manifest.files, **dict.fromkeys(names, saved)}
        manifest = Manifest(RUN, step, float(step), [{"epoch": s, "loss": 0.1 * s} for s in range(step)], known)
        checkpoints.publish(manifest)
    return manifest


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = write(Checkpoints(tmp_path), [1, 2], selected=1)
    assert Checkpoints(tmp_path).find(RUN) == Checkpoints(tmp_path).newest()
    found = Manifest.read(tmp_path / "step-2.json")
    assert (found.step, found.seconds, found.files, list(found.metrics)) == (
        2, 2.0, manifest.files, list(manifest.metrics)
    )  # fmt: skip


def test_what_no_manifest_needs_is_removed(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path), [1, 2, 3, 4, 5], selected=2)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["last.pt", "selected.pt", "step-2.pt", "step-4.json", "step-4.pt", "step-5.json", "step-5.pt"]
    assert (os.readlink(tmp_path / "last.pt"), os.readlink(tmp_path / "selected.pt")) == ("step-5.pt", "step-2.pt")


def test_two_states_that_are_one_are_written_once(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path), [1, 2], selected=2)
    assert os.readlink(tmp_path / "selected.pt") == "step-2.pt"


DAMAGES: dict[str, Any] = {
    "empty": lambda content, rng: b"",
    "cut": lambda content, rng: content[: rng.randrange(1, len(content))],
    "flipped": lambda content, rng: flipped(content, rng),
    "other": lambda content, rng: rng.randbytes(len(content)),
    "longer": lambda content, rng: content + b"\0",
}


def flipped(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["step-2.pt", "step-2.json"])
def test_a_damaged_checkpoint_is_found_and_the_one_before_is_used(tmp_path: Path, damage: str, name: str) -> None:
    checkpoints, rng = Checkpoints(tmp_path), random.Random(0)
    write(checkpoints, [1, 2])
    whole = (tmp_path / name).read_bytes()
    for _ in range(25 if damage in ("cut", "flipped") else 1):
        (tmp_path / name).write_bytes(DAMAGES[damage](whole, rng))
        with pytest.warns(DataWarning, match="damaged"):
            manifest = checkpoints.find(RUN, "last")
        assert manifest is not None
        assert manifest.step == 1
        assert float(checkpoints.load(manifest.files["last"], CPU)["model"]["w"][0]) == 1
    (tmp_path / name).write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.find(RUN) is not None


def test_a_damaged_selected_state_leaves_the_last_one_to_be_asked_for(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, [1, 2, 3], selected=1)
    (tmp_path / "step-1.pt").write_bytes(b"")
    last = checkpoints.find(RUN, "last")
    assert last is not None
    assert last.step == 3
    for name in ("selected", None):
        with pytest.raises(UserError, match=r"step-1.pt: is damaged"):
            checkpoints.find(RUN, name)


@pytest.mark.parametrize("name", ["step-2.pt", "step-2.json"])
def test_a_fifo_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    write(Checkpoints(tmp_path), [1, 2])
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.warns(DataWarning):
        manifest = Checkpoints(tmp_path).find(RUN)
    assert manifest is not None
    assert manifest.step == 1


def test_of_another_run(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path), [1, 2])
    with pytest.raises(UserError, match="of another recipe, seed or data"):
        Checkpoints(tmp_path).find("another")


class Malice:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved = Checkpoints(tmp_path).write_state(1, {"step": 1, "model": Malice()})
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        Checkpoints(tmp_path).load(saved, CPU)
    assert not (tmp_path / "ran").exists()


class Full:
    """A disk that is full after so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open(self, number: int, mode: str) -> Any:
        file = os.fdopen(number, mode, buffering=0)
        disk = self

        class Limited:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: Any) -> int:
                disk.room -= len(data)
                if disk.room < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return len(data)

            def flush(self) -> None: ...

            def fileno(self) -> int:
                return file.fileno()

        return Limited()


@pytest.mark.parametrize("room", [0, 100, 1000])
def test_a_full_disk_says_so_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    write(Checkpoints(tmp_path), [1])
    before = sorted(path.name for path in tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", Full(room).open, raising=False)
        with pytest.raises(OSError, match="No space left on device"):
            Checkpoints(tmp_path).write_state(2, {"step": 2, "model": {"w": torch.zeros(1000)}})
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Checkpoints(tmp_path).find(RUN) is not None


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_follows_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_kill_at_every_write_leaves_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever write or rename is the last, the manifest that is found is whole, and is the last published one."""
    calls = ["replace", "unlink", "symlink_to", "mkdir"]

    class Killed(BaseException):
        pass

    def until(count: int) -> tuple[int, bool]:
        """The step published before the kill, and whether the kill came."""
        left = [count]

        def dying(real: Any) -> Any:
            def call(self: Path, *args: Any, **options: Any) -> Any:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return real(self, *args, **options)

            return call

        folder = tmp_path / str(count)
        folder.mkdir()
        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(Path, name, dying(getattr(Path, name)))
            patch.setattr(files, "open", dying_open(left, Killed), raising=False)
            try:
                write(Checkpoints(folder), [1, 2, 3], selected=2)
            except Killed:
                return count, True
        return count, False

    def dying_open(left: list[int], kind: type[BaseException]) -> Any:
        def call(number: int, mode: str) -> Any:
            if left[0] == 0:
                os.close(number)
                raise kind
            left[0] -= 1
            return os.fdopen(number, mode)

        return call

    seen = set()
    for count in range(200):
        _, killed = until(count)
        manifest = Checkpoints(tmp_path / str(count)).find(RUN)
        step = 0 if manifest is None else manifest.step
        seen.add(step)
        if manifest is not None:
            assert len(manifest.metrics) == step
            assert manifest.files["selected"].step == min(step, 2)
            for saved in manifest.files.values():
                assert float(Checkpoints(tmp_path / str(count)).load(saved, CPU)["model"]["w"][0]) == saved.step
        if not killed:
            break
    assert not killed
    assert seen == {0, 1, 2, 3}

"""Images in memory, mapped from the cache, and streamed: the same pixels and labels, whichever way."""

import errno
import multiprocessing
import os
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from uan_da.data.adapters.folder import Folder
from uan_da.data.decode_cache import allocate, cached
from uan_da.data.domain_loader import DomainLoader
from uan_da.data.holdout import Part
from uan_da.data.image_files import ImageFiles
from uan_da.data.images import ImageSet, decode
from uan_da.data.storage import store
from uan_da.data.streamed import Streamed
from uan_da.errors import DataWarning, UserError
from uan_da.recipe.network import Input

LAYOUT = Input(size=10)
CPU = torch.device("cpu")


@pytest.fixture
def files(plates: Path) -> ImageFiles:
    return Folder(plates, ("ant", "bee"), split="both").load("scan", "train")


def streamed(files: ImageFiles, threads: int) -> Streamed:
    return Streamed(files, LAYOUT, torch.tensor(files.labels), threads)


WAYS: dict[str, Callable[[ImageFiles], ImageSet | None]] = {
    "memory": lambda files: decode(files, LAYOUT),
    "cache": lambda files: cached(files, LAYOUT),
    "a thread": lambda files: streamed(files, 1),
    "threads": lambda files: streamed(files, 3),
}


@pytest.mark.parametrize("way", WAYS)
def test_pixels_and_labels_by_places(files: ImageFiles, way: str) -> None:
    images = WAYS[way](files)
    assert images is not None
    whole = torch.stack([F.resize(F.pil_to_tensor(files[i][0]), [10, 10], antialias=True) for i in range(len(files))])
    indices = [torch.tensor([3, 30, 3]), torch.tensor([0])]
    for chosen, found in zip(indices, images.stream(indices), strict=True):
        assert torch.equal(found.pixels, whole[chosen])
        assert found.labels.tolist() == [files.labels[i] for i in chosen]
    batches = list(images.batches(16))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), whole)
    part = Part(images, torch.tensor([5, 39]))
    assert torch.equal(next(iter(part.batches(9))).pixels, whole[[5, 39]])
    assert (images.unlabelled().labels == -1).all()
    assert set(next(iter(images.unlabelled().batches(7))).labels.tolist()) == {-1}


@pytest.mark.parametrize("balance", ["none", "class"])
def test_streamed_batches_are_those_from_memory_and_any_step_can_be_the_first(files: ImageFiles, balance) -> None:
    sets = [decode(files, LAYOUT), streamed(files, 1)]
    memory, stream = (DomainLoader("scan", 0, images, 12, 0, balance) for images in sets)
    for step in (0, 1, 2, 3, 7, 8, 2):
        one, other = memory.batch(step), stream.batch(step)
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.labels, other.labels)


def test_streaming_leaves_the_trainings_random_numbers_alone(files: ImageFiles) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(islice(streamed(files, 1).batches(8), 2))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_damaged_file_is_named_by_the_stream(files: ImageFiles, threads: int) -> None:
    files.paths[7].write_bytes(b"broken")
    with pytest.raises(UserError, match=r"007\.jpg: not an image"):
        list(streamed(files, threads).batches(10))


def test_a_stream_that_is_left_ends_its_threads(files: ImageFiles) -> None:
    before = threading.active_count()
    endless = streamed(files, 3).stream(iter(lambda: torch.arange(8), None))
    next(endless)
    assert threading.active_count() > before
    endless.close()
    assert threading.active_count() == before


def test_streaming_takes_no_shared_memory_and_no_process(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with the usual 64 MB of shared memory has enough, and a signal to the group meets one process."""
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    monkeypatch.setattr(os, "fork", None)
    images = streamed(files, 3).stream(torch.split(torch.arange(40), 8))
    assert len(next(images)) == 8
    assert multiprocessing.active_children() == []
    assert not before or set(os.listdir("/dev/shm")) <= before


def test_the_cache_is_keyed_by_content_and_size(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached(files, LAYOUT)
    monkeypatch.setattr("uan_da.data.decode_cache.decode_into", None)  # from here on nothing may be decoded
    again = cached(files, LAYOUT)
    assert first is not None
    assert again is not None
    assert torch.equal(first.pixels, again.pixels)
    with pytest.raises(TypeError):
        cached(files, Input(size=11))
    content = files.paths[0].read_bytes()
    stamp = files.paths[0].stat()
    Image.new("RGB", (12, 12)).save(files.paths[0])
    os.utime(files.paths[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(TypeError):
        cached(files, LAYOUT)
    files.paths[0].write_bytes(content)
    assert cached(files, LAYOUT) is not None


def test_writing_to_a_mapped_tensor_does_not_reach_the_cache(files: ImageFiles) -> None:
    first = cached(files, LAYOUT)
    assert first is not None
    before = first.pixels.clone()
    first.pixels.zero_()
    again = cached(files, LAYOUT)
    assert again is not None
    assert torch.equal(again.pixels, before)


def test_no_cache_where_none_is_wanted_or_possible(files: ImageFiles, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("UAN_DA_CACHE", "off")
    assert cached(files, LAYOUT) is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(DataWarning, match=r"not kept in .*below \(Not a directory\)"):
        assert cached(files, LAYOUT) is None
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    with pytest.warns(DataWarning, match=r"they would take 0\.0 of its disk's 0\.0 GB.*UAN_DA_CACHE"):
        assert cached(files, LAYOUT) is None


def test_a_full_disk_is_met_before_the_file_is_mapped(files: ImageFiles, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "cache"))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("uan_da.data.decode_cache.allocate", full)
    monkeypatch.setattr(np, "memmap", None)
    with pytest.warns(DataWarning, match=r"not kept in .*cache \(No space left on device\).*make room"):
        assert cached(files, LAYOUT) is None
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(store([files], LAYOUT, CPU)[0]) == 40  # decoded again, into memory


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_allocated_files_have_their_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr("sys.platform", platform)
    with (tmp_path / "x").open("wb") as file:
        allocate(file, 100_000)
    assert (tmp_path / "x").stat().st_size == 100_000
    assert (tmp_path / "x").stat().st_blocks * 512 >= 100_000


def test_a_broken_decode_leaves_no_file(files: ImageFiles, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "cache"))
    files.paths[7].write_bytes(b"broken")
    with pytest.raises(UserError, match="not an image"):
        cached(files, LAYOUT)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_does_not_fit_in_memory_streams(files: ImageFiles, monkeypatch) -> None:
    size = 2 * len(files) * 3 * 10 * 10
    (mapped, _) = store([files, files], LAYOUT, CPU, memory=size - 1)
    monkeypatch.setenv("UAN_DA_CACHE", "off")
    held, _ = store([files, files], LAYOUT, CPU, memory=size)
    stream, _ = store([files, files], LAYOUT, CPU, memory=size - 1)
    assert isinstance(stream, Streamed)
    assert not isinstance(mapped, Streamed)
    assert not isinstance(held, Streamed)
    assert np.array_equal(next(iter(stream.batches(40))).pixels, next(iter(held.batches(40))).pixels)

"""Images a second into a training, beside the pipeline that most code has.

Both sides run in turn, round after round, on the same threads, so that whatever else the machine does concerns both.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from uan_da.data.adapters.folder import Folder
from uan_da.data.augment import Augmentation, Crop, RandAugment
from uan_da.data.check import inspect
from uan_da.data.decode_cache import VARIABLE, cached
from uan_da.data.domain_batch import DomainBatch
from uan_da.data.domain_loader import DomainLoader
from uan_da.data.image_files import ImageFiles
from uan_da.data.images import Images, decode
from uan_da.data.task import Domain, Role, Task
from uan_da.recipe.network import Input

WORKERS = 2


@dataclass(frozen=True)
class Throughput:
    """Medians over the rounds: images a second here and with the ordinary pipeline, and their ratio."""

    name: str
    here: float
    ordinary: float
    ratio: float
    least: float
    greatest: float


def compare(name: str, here: Callable[[], float], ordinary: Callable[[], float], rounds: int) -> Throughput:
    """Run both in turn; each returns its images a second."""
    pairs = [(here(), ordinary()) for _ in range(rounds)]
    ratios = [ours / theirs for ours, theirs in pairs]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Throughput(name, ours, theirs, statistics.median(ratios), min(ratios), max(ratios))


def measure_augmentation(images: int, batch: int, rounds: int) -> Throughput:
    """32×32 images of two domains, random crop with padding 4 and RandAugment of two operations: a task's batches as a
    training gets them, against PIL images in worker processes."""
    pixels = torch.from_numpy(_pictures(images, 32)).permute(0, 3, 1, 2).contiguous()
    steps = (Crop(padding=4), RandAugment(num_ops=2, magnitude=0.5))
    task = _task(Images(pixels, torch.zeros(images, dtype=torch.int64)), batch, Input(size=32), steps)
    changed = (transforms.RandomCrop(32, padding=4), transforms.RandAugment(num_ops=2, magnitude=9))
    return _against("32×32 crop + RandAugment", task, _Transformed(pixels, _as_input(*changed)), rounds)


def measure_files(images: int, rounds: int, batch: int = 32) -> Throughput:
    """JPEGs of 300×300 pixels at 224×224, from the second epoch on: the mapped cache against an ``ImageFolder``."""
    with tempfile.TemporaryDirectory() as name, _environment(VARIABLE, str(Path(name) / "cache")):
        folder = Path(name) / "images"
        (folder / "domain" / "class").mkdir(parents=True)
        for number, picture in enumerate(_pictures(images, 300)):
            Image.fromarray(picture).save(folder / "domain" / "class" / f"{number}.jpg", quality=90)
        files = Folder(folder, ("class",), split="both").load("domain", "train")
        input = Input(size=224)
        mapped = cached(files, input)  # the first epoch's work
        assert mapped is not None
        plain = ImageFolder(str(folder / "domain"), _as_input(transforms.Resize((224, 224))))
        return _against("300×300 JPEG files", _task(mapped, batch, input, ()), plain, rounds)


def measure_photos(photos: int, threads: int, rounds: int) -> list[Throughput]:
    """JPEGs of 12 megapixels, opened to be checked, and decoded once to 224×224; plain Pillow decodes and resizes them
    on as many threads."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{number}.jpg" for number in range(photos)]
        for path in paths[:4]:
            _photo(seed=int(path.stem)).save(path, quality=90)
        for number, path in enumerate(paths[4:]):
            shutil.copy(paths[number % 4], path)
        files, input = ImageFiles(paths, [0] * photos), Input(size=224)

        def plain(path: Path) -> None:
            with Image.open(path) as image:
                image.convert("RGB").resize((input.size, input.size), Image.Resampling.BILINEAR)

        def ordinary() -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(plain, paths))

        return [
            compare(
                "12-megapixel photos, checked",
                _rate_of(lambda: inspect(files, "train"), photos),
                _rate_of(ordinary, photos),
                rounds,
            ),
            compare(
                "12-megapixel photos, decoded",
                _rate_of(lambda: decode(files, input), photos),
                _rate_of(ordinary, photos),
                rounds,
            ),
        ]


def _rate_of(work: Callable[[], object], images: int) -> Callable[[], float]:
    def once() -> float:
        started = time.perf_counter()
        work()
        return images / (time.perf_counter() - started)

    return once


def _photo(seed: int) -> Image.Image:
    """A smooth picture of 4000×3000 pixels with the grain of a sensor."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = random.integers(-6, 7, (3000, 4000, 1), dtype=np.int16)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def _task(images: Images, batch: int, input: Input, augmentations: Sequence[Augmentation]) -> Task:
    """Two domains of the same images."""
    roles: Sequence[tuple[int, Role]] = ((0, "source"), (1, "target"))
    domains = [Domain(role, role, index, images, images) for index, role in roles]
    loaders = [DomainLoader(domain.name, domain.index, images, batch, seed=0) for domain in domains]
    return Task(domains, ("picture",), input, {"weak": augmentations}, loaders, seed=0)


def _as_input(*changed: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Tensor]:
    """What ends in the same numbers as a task's images."""
    steps = (*changed, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3))
    made: Callable[[Image.Image], Tensor] = transforms.Compose(steps)
    return made


def _against(name: str, task: Task, plain: Dataset[Any], rounds: int) -> Throughput:
    """An epoch of the task, both domains, in turn with one of the ordinary pipeline."""
    batch = task.loaders[0].batch_size

    def epoch() -> Iterator[DomainBatch]:
        return (task.batch(step, ["weak"]) for step in range(task.steps_per_epoch))

    ordinary = DataLoader(
        plain, batch, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True, prefetch_factor=4
    )
    return compare(name, lambda: rate(epoch(), 2 * batch), lambda: rate(ordinary, batch), rounds)


def rate(steps: Iterable[object], images: int) -> float:
    """Images a second, of steps of so many ``images``; the first step, with which workers start, is not timed."""
    iterator = iter(steps)
    next(iterator)
    started = time.perf_counter()
    count = images * sum(1 for _ in iterator)
    return count / (time.perf_counter() - started)


class _Transformed(Dataset[Any]):
    """PIL images with a transform, as torchvision's data sets are."""

    def __init__(self, pixels: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), 0


def _pictures(count: int, side: int) -> Any:
    """Smooth random pictures ``(count, side, side, 3)``: noise compresses and decodes unlike any photograph."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in coarse]
    grain = random.integers(0, 24, (side, side, 3), dtype=np.uint8)
    return np.stack(large) // 2 + grain


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

"""What is wrong with a data set, found before any training."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations
from os import cpu_count
from pathlib import Path
from typing import Literal

from PIL import Image

from uan_da.data.adapter import UNKNOWN, Adapter, Examples, Split
from uan_da.data.card_dataset import CardDataset
from uan_da.data.image_files import DamagedImage, ImageFiles, read_image
from uan_da.data.progress import Progress, Start, counted, silent, unseen
from uan_da.data.split import SMALL
from uan_da.data.unused import listed, unused_files
from uan_da.data.upright import UnusablePixels, upright
from uan_da.errors import UserError
from uan_da.recipe.task_name import TaskName

SIDE = 128
"""A JPEG is decoded to no less than that, times :data:`uan_da.data.image_files.SPARE`."""
SPLITS: Sequence[Split] = ("train", "test")


@dataclass(frozen=True)
class Finding:
    """A finding: training refuses (or should refuse) a ``defect``; a ``note`` is harmless."""

    severity: Literal["defect", "warning", "note"]
    domain: str
    message: str


@dataclass(frozen=True)
class Inspected:
    """One image that was opened; ``problem`` says why it could not be."""

    name: str
    label: int
    mode: str = ""
    digest: bytes = b""
    path: Path | None = None
    problem: str = ""


@dataclass
class Report:
    """Every image of a data set that was opened, ``(domain, split) → images``, and what was found."""

    images: dict[tuple[str, Split], list[Inspected]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def defects(self) -> int:
        """Findings that a training refuses, or should."""
        return sum(finding.severity == "defect" for finding in self.findings)


def check_dataset(adapter: Adapter, task: TaskName | None = None, start: Start = unseen) -> Report:
    """Open every image of every domain (of ``task``, where one is given) and say all that is wrong.

    ``start`` is called with the name of each part, and returns what shows its progress.
    """
    report = Report()
    domains = task.domains if task else tuple(adapter.domains)
    for domain in domains:
        for split in SPLITS:
            try:
                report.images[domain, split] = inspect(adapter.load(domain, split), split, start(f"{domain} {split}"))
            except UserError as error:
                report.findings.append(Finding("defect", domain, f"{split}: {error}"))
    loaded = [domain for domain in domains if all((domain, split) in report.images for split in SPLITS)]
    for domain in loaded:
        report.findings += _of_domain(report, domain)
        report.findings += _of_counts(report, domain, adapter)
    report.findings += _of_classes(report, loaded, adapter.classes, task)
    report.findings += _of_duplicates(report, loaded, task)
    report.findings += _of_unused(report, loaded, adapter)
    return report


def inspect(examples: Examples, split: Split, progress: Progress = silent) -> list[Inspected]:
    """Open all examples, on all cores; of a large JPEG no more is decoded than tells that it is whole."""

    def one(index: int) -> Inspected:
        try:
            if isinstance(examples, ImageFiles):
                return _inspect_file(examples.paths[index], examples.labels[index])
            image, label = examples[index]
            return Inspected(f"{split} image {index}", label, image.mode, _digest(upright(image)))
        except UserError as error:
            return Inspected(f"{split} image {index}", UNKNOWN, problem=str(error))

    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(counted(pool.map(one, range(len(examples))), len(examples), progress))


def _inspect_file(path: Path, label: int) -> Inspected:
    try:
        image = read_image(path, SIDE)
        return Inspected(str(path), label, image.mode, _digest(upright(image)), path)
    except DamagedImage as error:
        return Inspected(str(path), label, problem=str(error), path=path)
    except UnusablePixels as error:
        return Inspected(str(path), label, problem=f"{path}: {error}", path=path)


def _digest(image: Image.Image) -> bytes:
    head = f"{image.mode} {image.size}".encode()
    return hashlib.blake2b(head + image.tobytes(), digest_size=16).digest()


def _of_domain(report: Report, domain: str) -> Iterator[Finding]:
    """Empty splits, images that cannot be read or have no known label, and modes that are mixed."""
    unique = {image.name: image for split in SPLITS for image in report.images[domain, split]}
    for split in SPLITS:
        if not report.images[domain, split]:
            hint = f": {SMALL}" if any(report.images[domain, other] for other in SPLITS) else ""
            yield Finding("defect", domain, f"the {split} split has no images{hint}")
    for image in unique.values():
        if image.problem:
            yield Finding("defect", domain, image.problem)
    modes = Counter(image.mode for image in unique.values() if image.mode)
    for mode, count in modes.most_common()[1:]:
        usual, _ = modes.most_common(1)[0]
        names = listed([image.name for image in unique.values() if image.mode == mode])
        yield Finding("warning", domain, f"{count} image(s) of mode {mode} among {usual}, converted: {names}")


def _of_counts(report: Report, domain: str, adapter: Adapter) -> Iterator[Finding]:
    """Numbers that are not the card's."""
    if not isinstance(adapter, CardDataset):
        return
    for split in SPLITS:
        expected, found = getattr(adapter.card.domains[domain], split), len(report.images[domain, split])
        if expected is not None and expected != found:
            yield Finding("warning", domain, f"{split}: {found} images, the card says {expected}")


def _of_classes(
    report: Report, domains: Sequence[str], classes: Sequence[str], task: TaskName | None
) -> Iterator[Finding]:
    """Classes without images: of a domain, or of them all (a gap in the labels)."""
    found = {domain: {image.label for image in report.images[domain, "train"]} - {UNKNOWN} for domain in domains}
    tested = {domain: {image.label for image in report.images[domain, "test"]} - {UNKNOWN} for domain in domains}
    labelled = [domain for domain in domains if found[domain] | tested[domain]]
    for label, name in enumerate(classes):
        if labelled and not any(label in found[domain] | tested[domain] for domain in labelled):
            yield Finding("defect", "all", f"no image of the class {name!r} (label {label})")
            continue
        for domain in labelled:
            if label in found[domain]:
                continue
            also = "; its test split has some" if label in tested[domain] else ""
            text = f"no training image of the class {name!r}{also}"
            if task and domain in task.sources and not any(label in found[source] for source in task.sources):
                yield Finding("defect", domain, f"{text}: a source needs every class")
            elif task is None or domain == task.target:
                yield Finding(
                    "warning", domain, text + ("" if task else ": it can be a target, but not a source alone")
                )


def _of_duplicates(report: Report, domains: Sequence[str], task: TaskName | None) -> Iterator[Finding]:
    """Images that are trained on and tested on."""
    pairs = [(source, task.target) for source in task.sources] if task else list(permutations(domains, 2))
    for source, target in pairs:
        if source in domains and target in domains:
            same = _same(report.images[source, "train"], report.images[target, "test"])
            if same:
                text = f"{len(same)} test image(s) equal training images of {source!r}: {listed(same)}"
                yield Finding("defect", target, text)
    for domain in domains:
        train, test = report.images[domain, "train"], report.images[domain, "test"]
        same = _same(train, test)
        if same and {image.digest for image in train} != {image.digest for image in test}:  # the same: all are both
            yield Finding("warning", domain, f"{len(same)} test image(s) equal training images: {listed(same)}")


def _same(train: Sequence[Inspected], test: Sequence[Inspected]) -> list[str]:
    seen = {image.digest: image.name for image in train if image.digest}
    return [f"{image.name} = {seen[image.digest]}" for image in test if image.digest in seen]


def _of_unused(report: Report, domains: Sequence[str], adapter: Adapter) -> Iterator[Finding]:
    """Files in the data set's folder that are none of its images."""
    images = [image for (domain, _), found in report.images.items() if domain in domains for image in found]
    used = [image.path for image in images if image.path is not None]
    if isinstance(adapter, CardDataset) and used:
        for unused in unused_files(adapter, used, domains):
            yield Finding("warning" if unused.images else "note", "all", str(unused))

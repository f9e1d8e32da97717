"""What a run was trained on, as a record small enough for its folder, and what has changed since.

A record is plain JSON::

    {"schema": 1, "dataset": "./plates", "input": {"size": 32, …}, "classes": ["ant", "bee"],
     "domains": {"scan": {"train": {"images": 32, "digest": "8f…", "classes": {"ant": [16, "c0…"], "bee": [16, "1d…"]},
                                    "unlabelled": [0, "00…"]},
                          "test": {…}}, …}}

``digest`` is of the images and labels in their order. The digest of a class is the sum of its images' digests, so that
it tells of no order, and the sums of train and test add up: an image that moved from one to the other is found.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from uan_da.data.adapter import UNKNOWN, Adapter, Examples, labels_of
from uan_da.data.digest import SPLITS, digest, image_digests
from uan_da.data.file_digests import SIZE
from uan_da.data.label_space import dataset_of
from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.recipe import Recipe
from uan_da.recipe.network import Input

Fingerprint = Mapping[str, Any]
"""The record, as :mod:`json` reads it."""
Hexadecimal = Annotated[str, Field(pattern="^[0-9a-f]+$")]
Written = tuple[Annotated[int, Field(ge=0)], Hexadecimal]
MODULUS = 256**SIZE
Count = tuple[int, int]
"""Images, and the sum of their digests."""


class SplitRecord(BaseModel):
    """What :func:`differences` reads of a split."""

    digest: Hexadecimal
    classes: dict[str, Written]
    unlabelled: Written


class DomainRecord(BaseModel):
    """What it reads of a domain."""

    train: SplitRecord
    test: SplitRecord


class DataRecord(BaseModel):
    """What it reads of a record; refuses what is none."""

    input: dict[str, Any]
    classes: list[str]
    domains: dict[str, DomainRecord]


def fingerprint(recipe: Recipe) -> dict[str, Any]:
    """The record of the data that a recipe reads: its classes, its input, and the content of the task's domains.

    Every image file is read once in a process, at the disk's speed; none is decoded.

    Raises:
        UserError: the data set, or a domain of the task, does not exist or cannot be read.
    """
    adapter = dataset_of(recipe)
    for name in recipe.task.domains:
        if name not in adapter.domains:
            raise UserError(f"task {recipe.task}: {unknown('domain', name, adapter.domains)}")
    return {
        "schema": 1,
        "dataset": recipe.dataset,
        "input": recipe.input.model_dump(mode="json"),
        "classes": list(adapter.classes),
        "domains": {name: _domain(adapter, name) for name in dict.fromkeys(recipe.task.domains)},
    }


def _domain(adapter: Adapter, name: str) -> dict[str, Any]:
    return {split: _split(adapter.load(name, split), adapter.classes) for split in SPLITS}


def _split(examples: Examples, classes: Sequence[str]) -> dict[str, Any]:
    labels, digests = labels_of(examples), image_digests(examples)
    counts = {label: [0, 0] for label in range(UNKNOWN, len(classes))}
    for label, found in zip(labels.tolist(), digests, strict=True):
        counts[label][0] += 1
        counts[label][1] = (counts[label][1] + int.from_bytes(found)) % MODULUS
    written = {label: [count, f"{total:0{2 * SIZE}x}"] for label, (count, total) in counts.items()}
    return {
        "images": len(examples),
        "digest": digest([labels.numpy().tobytes(), *digests]),
        "classes": {name: written[label] for label, name in enumerate(classes)},
        "unlabelled": written[UNKNOWN],
    }


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """What has changed from one record to another, a sentence each; none where a run would read the same.

    The name and place of the data set do not count: the same images elsewhere are the same data.
    """
    return [*_of_input(before["input"], now["input"]), *_of_classes(before, now), *_of_domains(before, now)]


def _of_input(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before = Input().model_dump(mode="json") | dict(before)  # of a record that is older than a key
    for key in now:
        if before[key] != now[key]:
            yield f"input.{key} was {before[key]}, and is {now[key]}"


def _of_classes(before: Fingerprint, now: Fingerprint) -> Iterator[str]:
    old, new, renamed = before["classes"], now["classes"], _renamed(before, now)
    for name in old:
        if name in renamed:
            yield f"the class {name!r} is now called {renamed[name]!r}"
        elif name not in new:
            yield f"the class {name!r} is gone"
    for name in new:
        if name not in old and name not in renamed.values():
            yield f"the class {name!r} was added"
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield f"the classes have another order: it was {', '.join(old)}, and is {', '.join(new)}"


def _renamed(before: Fingerprint, now: Fingerprint) -> dict[str, str]:
    """The classes whose images, in all domains, are now those of a class of another name."""
    gone = [name for name in before["classes"] if name not in now["classes"]]
    added = [name for name in now["classes"] if name not in before["classes"]]
    by_images = {_images(now, name): name for name in added}
    pairs = ((name, by_images.get(_images(before, name))) for name in gone)
    return {old: new for old, new in pairs if new is not None and any(count for count, _ in _images(now, new))}


def _images(record: Fingerprint, name: str) -> tuple[Count, ...]:
    """Images of a class and the sum of their digests, domain by domain."""
    return tuple(_both(domain, name) for domain in record["domains"].values())


def _both(domain: Mapping[str, Any], name: str | None) -> Count:
    """A class of train and test together; None: what is unlabelled."""
    parts = [_count(domain[split], name) for split in SPLITS]
    return sum(count for count, _ in parts), sum(total for _, total in parts) % MODULUS


def _count(split: Mapping[str, Any], name: str | None) -> Count:
    count, total = split["unlabelled"] if name is None else split["classes"].get(name, (0, "0"))
    return int(count), int(total, 16)


def _of_domains(before: Fingerprint, now: Fingerprint) -> Iterator[str]:
    old, new, renamed = before["domains"], now["domains"], _renamed(before, now)
    yield from (f"the domain {name!r} is gone" for name in old if name not in new)
    yield from (f"the domain {name!r} was added" for name in new if name not in old)
    pairs: list[tuple[str | None, str | None]] = [(name, renamed.get(name, name)) for name in before["classes"]]
    for domain in (name for name in old if name in new):
        texts = [
            f"domain {domain!r}: {text}"
            for one, other in [*pairs, (None, None)]
            for text in _of_images(old[domain], new[domain], one, other)
        ]
        yield from texts
        if (
            not texts
            and not renamed
            and any(old[domain][part]["digest"] != new[domain][part]["digest"] for part in SPLITS)
        ):
            yield f"domain {domain!r}: the same images have other labels or another order"


def _of_images(old: Mapping[str, Any], new: Mapping[str, Any], before: str | None, now: str | None) -> Iterator[str]:
    """How the images of one class, called so ``before`` and ``now``, differ."""
    (was, was_sum), (count, total) = _both(old, before), _both(new, now)
    what = "unlabelled" if now is None else f"class {now!r}"
    if was != count:
        changed = f"{count - was} image(s) added" if count > was else f"{was - count} image(s) removed"
        yield f"{what}: {changed}, {was} before and {count} now"
    elif was_sum != total:
        yield f"{what}: of {count} image(s), some are others"
    elif before == now and _count(old["train"], before) != _count(new["train"], now):
        yield f"{what}: images moved between train and test"

"""What a data set holds, as a digest: another image, label or class gives another one."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from uan_da.data import file_digests
from uan_da.data.adapter import Arrays, Examples, Split, labels_of
from uan_da.data.file_digests import SIZE
from uan_da.data.image_files import READING, ImageFiles
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.trust import NOTHING, Trust

SPLITS: Sequence[Split] = ("train", "test")


def data_digest(dataset: str, domain: str, trust: Trust = NOTHING) -> str:
    """A digest of one domain: the classes, and every image and label of its two splits, in their order.

    Image files count by their content, not by their folder: two machines agree on the same data.

    Raises:
        UserError: there is no such data set or domain, or its data cannot be read.
    """
    adapter = open_dataset(dataset, trust)
    if domain not in adapter.domains:
        raise UserError(f"dataset {dataset}: {unknown('domain', domain, adapter.domains)}")
    parts = [repr(tuple(adapter.classes)).encode()]
    for split in SPLITS:
        examples = adapter.load(domain, split)
        parts += [split.encode(), labels_of(examples).numpy().tobytes(), *_content(examples)]
    return digest(parts)


def file_digest(path: Path) -> str:
    """Of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    return digest([file_digests.file_digest(path)])


def digest(parts: Iterable[bytes]) -> str:
    """Of all ``parts``, each by its own length, so that no two lists of parts read alike."""
    key = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        key.update(len(part).to_bytes(8))
        key.update(part)
    return key.hexdigest()


def image_digests(examples: Examples) -> list[bytes]:
    """A digest of each image, in their order: of a file's content, or of the pixels."""
    if isinstance(examples, ImageFiles):
        return file_digests.file_digests(examples.paths)
    if isinstance(examples, Arrays):
        head = repr(examples.images.shape[1:]).encode()
        return [hashlib.blake2b(head + image.tobytes(), digest_size=SIZE).digest() for image in examples.images]
    parts = (_pixels(examples, index) for index in range(len(examples)))
    return [bytes.fromhex(digest(part)) for part in parts]


def _content(examples: Examples) -> Iterator[bytes]:
    """What :func:`data_digest` reads of the images; images of files are other ones when the reading is another."""
    if isinstance(examples, Arrays):
        yield from (repr(examples.images.shape).encode(), examples.images.tobytes())
    elif isinstance(examples, ImageFiles):
        yield from (READING.encode(), *file_digests.file_digests(examples.paths))
    else:
        for index in range(len(examples)):
            yield from _pixels(examples, index)


def _pixels(examples: Examples, index: int) -> tuple[bytes, bytes, bytes]:
    image = examples[index][0]
    pixels = image.tobytes()  # which also reads a file's palette
    return f"{image.mode} {image.size}".encode(), pixels, bytes(image.getpalette() or ())

"""What a data set holds, as a digest: another image, label or class gives another one."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from uan_da.data.adapter import Examples, Split, labels_of
from uan_da.data.arrays import Arrays
from uan_da.data.image_files import ImageFiles
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.names import unknown

SPLITS: Sequence[Split] = ("train", "test")
SIZE = 16
"""Bytes of a digest."""


def data_digest(dataset: str, domain: str) -> str:
    """A digest of one domain: the classes, and every image and label of its two splits, in their order.

    Image files count by their content, not by their folder: two machines agree on the same data.

    Raises:
        UserError: there is no such data set or domain, or its data cannot be read.
    """
    adapter = open_dataset(dataset)
    if domain not in adapter.domains:
        raise UserError(f"dataset {dataset}: {unknown('domain', domain, adapter.domains)}")
    parts = [repr(tuple(adapter.classes)).encode()]
    for split in SPLITS:
        examples = adapter.load(domain, split)
        parts += [split.encode(), labels_of(examples).numpy().tobytes(), *_images(examples)]
    return digest(parts)


def file_digest(path: Path) -> str:
    """Of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    return digest([_file(path)])


def digest(parts: Iterable[bytes]) -> str:
    """Of all ``parts``, each by its own length, so that no two lists of parts read alike."""
    key = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        key.update(len(part).to_bytes(8))
        key.update(part)
    return key.hexdigest()


def _images(examples: Examples) -> Iterator[bytes]:
    if isinstance(examples, Arrays):
        yield from (repr(examples.images.shape).encode(), examples.images.tobytes())
    elif isinstance(examples, ImageFiles):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(_file, examples.paths)
    else:
        for index in range(len(examples)):
            image = examples[index][0]
            pixels = image.tobytes()  # which also reads a file's palette
            yield from (f"{image.mode} {image.size}".encode(), pixels, bytes(image.getpalette() or ()))


def _file(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=SIZE).digest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None

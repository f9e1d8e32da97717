"""A trained network's predictions on any number of image files, a batch in memory at a time."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from os import cpu_count
from pathlib import Path

import torch
from torch import Tensor

from uan_da.data.adapter import UNKNOWN
from uan_da.data.image_files import DamagedImage, open_image
from uan_da.data.images import Images, to_pixels
from uan_da.errors import UserError
from uan_da.evaluation.clusters import Activations
from uan_da.evaluation.predict import BATCH, NonFinitePredictions, predict
from uan_da.norms.uan.layer import UAN
from uan_da.recipe.network import Input
from uan_da.training.trained import Trained

Decoded = tuple[Path, Tensor | DamagedImage]
AHEAD = 2
"""Batches that are decoded or waiting while the network predicts another."""


@dataclass(frozen=True)
class Prediction:
    """Of one file: probabilities ``(classes,)``, features ``(F,)``, and the most responsible cluster of each UAN layer,
    where it was asked for."""

    file: Path
    probabilities: Tensor
    features: Tensor
    clusters: dict[str, int]


def predict_files(
    trained: Trained, files: Iterable[Path], *, clusters: bool = False
) -> Iterator[Prediction | DamagedImage]:
    """The prediction on each file, in their order; in the place of one that cannot be read stands the reason.

    ``files`` is read as predictions are taken, so that it may be endless.

    Raises:
        UserError: ``clusters`` of a network without UAN.
        NonFinitePredictions: a prediction is not finite; names the file.
    """
    if clusters and not _uan_layers(trained):
        raise UserError("the network has no UAN layer, and so no clusters")
    for batch in _decoded(files, trained.recipe.input):
        read = [(path, found) for path, found in batch if isinstance(found, Tensor)]
        told = iter(_batch(trained, read, clusters) if read else ())
        for _, found in batch:
            yield found if isinstance(found, DamagedImage) else next(told)


def _batch(trained: Trained, read: list[tuple[Path, Tensor]], clusters: bool) -> list[Prediction]:
    """The predictions on pixels ``(C, size, size)`` each."""
    images = Images(torch.stack([pixels for _, pixels in read]), torch.full((len(read),), UNKNOWN))
    seen = {name: Activations() for name in _uan_layers(trained)} if clusters else {}
    with ExitStack() as watching:
        for name, noted in seen.items():
            hook = trained.model.get_submodule(name).register_forward_pre_hook(noted.note)
            watching.callback(hook.remove)
        try:
            found = predict(trained.model, images, trained.recipe.input, trained.domain)
        except NonFinitePredictions as error:
            raise error.about(str(read[error.first][0])) from None
    chosen = {name: torch.cat(noted.tau).argmax(1).tolist() for name, noted in seen.items()}
    return [
        Prediction(
            path, found.probabilities[row], found.features[row], {name: own[row] for name, own in chosen.items()}
        )
        for row, (path, _) in enumerate(read)
    ]


def _uan_layers(trained: Trained) -> list[str]:
    return [name for name, module in trained.model.named_modules() if isinstance(module, UAN)]


def _decoded(files: Iterable[Path], input: Input) -> Iterator[list[Decoded]]:
    """Batches of files, decoded on all cores, a few of them ahead."""

    def decode(path: Path) -> Decoded:
        try:
            return path, to_pixels(open_image(path, input.size), input)
        except DamagedImage as error:
            return path, error

    rest, under_way = iter(files), deque[list[Future[Decoded]]]()
    pool = ThreadPoolExecutor(cpu_count())
    try:
        while chosen := list(islice(rest, BATCH)):
            under_way.append([pool.submit(decode, path) for path in chosen])
            if len(under_way) > AHEAD:
                yield [each.result() for each in under_way.popleft()]
        while under_way:
            yield [each.result() for each in under_way.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

"""The domains of a stream, from a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uan_da.data.adapter import Adapter, Split, labels_of
from uan_da.data.adapters.corrupted import ConditionedArrays
from uan_da.data.card_dataset import CardDataset
from uan_da.data.holdout import Part
from uan_da.data.storage import store
from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.recipe.block import Block
from uan_da.recipe.network import Input
from uan_da.seeding import fold
from uan_da.streams.evaluator import StreamDomain
from uan_da.streams.setting import GRADUAL, Setting


@dataclass(frozen=True)
class Images:
    """The images that a stream takes from a domain: ``length`` of them, drawn at random by ``seed``, or all."""

    length: int | None = None
    seed: int = 0

    def of(self, count: int, number: int) -> NDArray[np.int64]:
        """Indices of the taken images in domain ``number``, which has ``count`` images."""
        random = np.random.default_rng(fold(self.seed, "stream", "images", number))
        return np.arange(count) if self.length is None else random.permutation(count)[: self.length]


ALL = Images()


def load_domains(
    dataset: Adapter,
    names: Sequence[str],
    setting: Setting,
    split: Split,
    input: Input,
    device: torch.device,
    images: Images = ALL,
) -> list[StreamDomain]:
    """``images`` of the domains called ``names``, in this order; under ``gradual`` each at every severity in turn.

    Raises:
        UserError: an unknown domain, missing data, or ``gradual`` of a data set without severities.
    """
    found = found_domains(dataset, names, setting)
    return [_load(*each, split, input, device, images, number) for number, each in enumerate(found)]


def found_domains(dataset: Adapter, names: Sequence[str], setting: Setting) -> list[tuple[Adapter, str]]:
    """The domains of a stream in their order, each with the data set that has it.

    Raises:
        UserError: an unknown domain, or ``gradual`` of a data set without severities.
    """
    for name in names:
        if name not in dataset.domains:
            raise UserError(unknown("domain", name, dataset.domains))
    if setting != "gradual":
        return [(dataset, name) for name in names]
    at = {severity: at_severity(dataset, severity) for severity in set(GRADUAL)}
    return [(at[severity], name) for name in names for severity in GRADUAL]


def _load(
    dataset: Adapter, name: str, split: Split, input: Input, device: torch.device, images: Images, number: int
) -> StreamDomain:
    examples = dataset.load(name, split)
    indices = images.of(len(examples), number)
    if isinstance(examples, ConditionedArrays):
        some = examples.part(indices)
        (stored,) = store([some], input, device)
        names = some.names if len(some.names) > 1 else (name,)
        return StreamDomain(stored.unlabelled(), some.labels, some.conditions, names)
    (stored,) = store([examples], input, device)
    labels = labels_of(examples).numpy()[indices]
    part = Part(stored.unlabelled(), torch.from_numpy(indices))
    return StreamDomain(part, labels, np.zeros(len(labels), dtype=np.int64), (name,))


def at_severity(dataset: Adapter, severity: int) -> Adapter:
    """The same data set with the option ``severity`` of its adapters set.

    Raises:
        UserError: no adapter of the data set has severities.
    """
    if isinstance(dataset, CardDataset):
        card = dataset.card
        own = {
            name: domain.model_copy(update={"adapter": _set(domain.adapter, severity)})
            for name, domain in card.domains.items()
        }
        changed = card.model_copy(update={"adapter": _set(card.adapter, severity), "domains": own})
        if changed != card or "severity" in (card.adapter.options if card.adapter else {}):
            return CardDataset(dataset.name, changed, dataset.folder)
    raise UserError("the setting gradual needs a data set whose adapter has severities: corrupted or cifar_c")


def _set(block: Block[Any] | None, severity: int) -> Block[Any] | None:
    if block is None or "severity" not in block.options:
        return block
    return replace(block, options={**block.options, "severity": severity})

"""What a recipe's ``dataset`` names."""

import inspect
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from uan_da.data.adapter import Adapter
from uan_da.data.card import Card, load_card, read_card
from uan_da.data.card_dataset import CardDataset
from uan_da.data.checked import CheckedAdapter, said
from uan_da.data.folder_card import card_of_folder
from uan_da.errors import UserError
from uan_da.folders import data_root, expanded, shipped
from uan_da.names import ADAPTERS, unknown
from uan_da.trust import FILES, NOTHING, Trust

GROUP = "uan_da.datasets"
"""The entry points by which an installed package brings data sets: a card's path, a :class:`Card`, or an adapter."""


def open_dataset(spec: str, trust: Trust = NOTHING) -> Adapter:
    """The data set that ``spec`` names.

    One of: a shipped card or an entry point; ``./plates.yaml``, a card; ``/data/plates``, a folder of images;
    ``my_pkg.data:Plates``, a class with the adapter protocol.

    Args:
        spec: the caller's own words; so is the class that they name.
        trust: whether code that a card names is run.

    Raises:
        UserError: it does not exist, is not what it should be, or names code that is not trusted.
    """
    if spec in shipped("datasets"):
        return CardDataset(spec, load_card(spec), data_root() / spec)
    path = expanded(Path(spec))
    if path.suffix in {".yaml", ".yml"}:
        return _of_card_file(spec, path, trust)
    if path.is_dir():
        return CardDataset(spec, card_of_folder(path), path)
    if os.sep in spec:
        raise UserError(f"dataset {spec!r}: no such folder")
    if ":" in spec:
        return as_adapter(spec, ADAPTERS.load(spec))
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if spec not in installed:
        raise UserError(unknown("dataset", spec, [*shipped("datasets"), *installed]))
    return _of_entry_point(installed[spec])


def as_adapter(spec: str, found: Any) -> Adapter:
    """``found`` as an adapter: an adapter, or a class or function that makes one without arguments.

    Raises:
        UserError: it cannot be made, or lacks a part of the protocol.
    """
    if inspect.isclass(found) and not callable(getattr(found, "load", None)):
        raise UserError(f"dataset {spec!r}: an adapter has domains, classes and load(domain, split); missing: load")
    if inspect.isclass(found) or inspect.isfunction(found):
        try:
            found = found()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"dataset {spec!r}: cannot be made without arguments: {said(error)}") from error
    return CheckedAdapter(spec, found)


def _of_card_file(spec: str, path: Path, trust: Trust) -> CardDataset:
    card = read_card(path, trust)
    folder = data_root() / path.stem if card.folder is None else path.parent / expanded(Path(card.folder))
    return CardDataset(spec, card, folder)


def _of_entry_point(entry: EntryPoint) -> Adapter:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"dataset {entry.name!r} of the entry point {entry.value!r} cannot be imported: {error}"
        ) from None
    if isinstance(found, str | Path):
        return _of_card_file(entry.name, Path(found), FILES)
    if isinstance(found, Card):
        return CardDataset(entry.name, found, data_root() / entry.name)
    return as_adapter(entry.name, found)

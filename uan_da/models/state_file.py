"""Files of weights, whoever wrote them, as one mapping from names to tensors."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from uan_da.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts put the state dict that they save."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file, or in one of ``torch.save``, whose code is never executed.

    Raises:
        UserError: the file cannot be read, or holds no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of zipfile, pickle, safetensors, the file system, …: it is not such a file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a state dict: {reason}") from error
    return _unwrapped(saved, path)


def _unwrapped(saved: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(saved, Mapping):
        inner = next((saved[key] for key in WRAPPERS if isinstance(saved.get(key), Mapping)), None)
        if inner is None:
            break
        saved = inner
    expected = f"{path}: expected a state dict, a mapping from names to tensors"
    if not isinstance(saved, Mapping):
        raise UserError(f"{expected}, but got {type(saved).__name__}")
    tensors = {str(name): value for name, value in saved.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(repr(key) for key in list(saved)[:5])
        raise UserError(f"{expected}; its keys are {keys or 'none'}")
    return tensors


def without_prefix(state: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """The part of ``state`` that has ``names``, under whatever prefix most of them are found: ``module.``,
    ``backbone.``, ``module.encoder.``, … What stands elsewhere is not part of the network, and left out.

    Raises:
        UserError: two prefixes are equally good, as in a file with a student and its teacher.
    """
    found = Counter(key.removesuffix(name) for key in state for name in _endings(key) if name in names)
    prefixes = [prefix for prefix, count in found.items() if count == max(found.values())] or [""]
    if len(prefixes) > 1:
        raise UserError(
            f"the state dict has the backbone more than once, under {' and '.join(map(repr, prefixes))}: "
            f"save the one that is meant alone"
        )
    return {key.removeprefix(prefixes[0]): value for key, value in state.items() if key.startswith(prefixes[0])}


def _endings(key: str) -> list[str]:
    """``a.b.c``, ``b.c`` and ``c`` of ``a.b.c``."""
    parts = key.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]

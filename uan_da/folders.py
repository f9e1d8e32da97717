"""Folders: the recipes and cards that come with the package, the user's data and cache."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Literal

Kind = Literal["recipes", "datasets"]
DATA_VARIABLE = "UAN_DA_DATA"
"""The environment variable that names the folder of the data sets."""


def shipped(kind: Kind) -> dict[str, Path]:
    """All shipped YAML files of a kind, ``name → path``; a file in a folder is named ``folder/name``."""
    folder = _folder(kind)
    found = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def data_root() -> Path:
    """The folder that holds a folder for each data set: ``UAN_DA_DATA``, or ``data`` in the user's cache of
    uan-da; without a home, in the working directory."""
    given, cache = os.environ.get(DATA_VARIABLE), user_cache()
    return expanded(Path(given)) if given else (cache or Path()) / "data"


def user_cache() -> Path | None:
    """``$XDG_CACHE_HOME/uan-da``, or ``~/.cache/uan-da``; None of a user without a home, as in some containers."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or expanded(Path("~/.cache")))
    return None if str(cache).startswith("~") else cache / "uan-da"


def expanded(path: Path) -> Path:
    """``path`` with ``~`` or ``~name`` as that user's home; as it is where there is no such user or home."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _folder(kind: Kind) -> Path:
    package = Path(str(files("uan_da")))
    installed = package / "_shipped" / kind
    if installed.is_dir():
        return installed
    # An editable install has no copy: the folders stand beside the package, as long as this really is the checkout.
    assert (package.parent / "pyproject.toml").is_file(), f"neither {installed} nor a checkout around {package}"
    return package.parent / kind

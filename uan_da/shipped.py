"""The recipes and cards that come with the package, installed or in a checkout."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

Kind = Literal["recipes", "datasets"]


def shipped(kind: Kind) -> dict[str, Path]:
    """All shipped YAML files of a kind, ``name → path``; a file in a folder is named ``folder/name``."""
    folder = _folder(kind)
    found = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def _folder(kind: Kind) -> Path:
    package = Path(str(files("uan_da")))
    installed = package / "_shipped" / kind
    if installed.is_dir():
        return installed
    # An editable install has no copy: the folders stand beside the package, as long as this really is the checkout.
    assert (package.parent / "pyproject.toml").is_file(), f"neither {installed} nor a checkout around {package}"
    return package.parent / kind

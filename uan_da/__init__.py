"""uan-da: unsupervised domain adaptation whose normalisation layer adapts too.

Public names are imported at their first use, so that ``import uan_da`` does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uan_da.api.compare import Comparison as Comparison
    from uan_da.api.compare import compare as compare
    from uan_da.api.run import Run as Run
    from uan_da.api.train import train as train
    from uan_da.estimator.classifier import DomainAdaptationClassifier as DomainAdaptationClassifier
    from uan_da.recipe import load_recipe as load_recipe

_PUBLIC = {
    "train": "uan_da.api.train",
    "compare": "uan_da.api.compare",
    "Comparison": "uan_da.api.compare",
    "Run": "uan_da.api.run",
    "DomainAdaptationClassifier": "uan_da.estimator.classifier",
    "load_recipe": "uan_da.recipe",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from uan_da.version import version

        return version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'uan_da' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, "__version__"])

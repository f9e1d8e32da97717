"""Which classes the domains of a task have images of."""

import warnings
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from uan_da.data.split import SMALL
from uan_da.errors import DataWarning, UserError

NOWHERE = "no domain of the task has any"
PRIVATE = "the recipe's 'classes' says which classes a domain has for itself"


def check_classes(
    classes: Sequence[str],
    source: Sequence[Tensor],
    target: Sequence[Tensor],
    tested: Sequence[Tensor] = (),
    *,
    not_in_source: Collection[str] = (),
    not_in_target: Collection[str] = (),
) -> None:
    """Compare the labels ``(N,)`` of the sources' training images with those of the target's, train and test.

    ``tested`` are those of the sources' test images: a class that only they have was lost where the images were split.

    ``not_in_source`` and ``not_in_target`` are the classes that the recipe says a side lacks. Any other that only the
    source has cannot be refused, for a target is not expected to have labels: it is warned of.

    Raises:
        UserError: the source has no image of a class.
    """
    in_source, in_target = _present(source), _present(target)
    lacking = [name for label, name in enumerate(classes) if label not in in_source and name not in not_in_source]
    if lacking:
        private = [name for label, name in enumerate(classes) if label in in_target and name in lacking]
        where = f"the target has images of it, which no model could learn: {PRIVATE}" if private else NOWHERE
        in_tests = [name for label, name in enumerate(classes) if label in _present(tested) and name in lacking]
        if in_tests:
            where = f"its test part has some of {_listed(in_tests)}: {SMALL}"
        raise UserError(f"the source has no training image of {_listed(lacking)}; {where}")
    missing = [name for label, name in enumerate(classes) if label not in in_target and name not in not_in_target]
    if in_target and missing:
        warnings.warn(f"the target has no image of {_listed(missing)}", DataWarning, stacklevel=2)


def _present(labels: Sequence[Tensor]) -> set[int]:
    return {int(label) for part in labels for label in torch.unique(part) if label >= 0}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"the class{'es' if len(names) > 1 else ''} {shown}"

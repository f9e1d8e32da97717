import warnings

import pytest
import torch

from uan_da.data.classes import check_classes
from uan_da.errors import DataWarning, UserError

CLASSES = ("ant", "bee", "cat")


def labels(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_equal_classes_say_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_classes(CLASSES, [labels(0, 1), labels(2, 0)], [labels(2, 1, 0), labels(-1)])
        check_classes(CLASSES, [labels(0, 1, 2)], [labels(-1, -1)])  # an unlabelled target lacks nothing that is known


def test_a_class_that_the_source_lacks() -> None:
    with pytest.raises(UserError, match="source has no training image of the class 'cat'; the target has images of it"):
        check_classes(CLASSES, [labels(0, 1)], [labels(0, 1, 2)])
    with pytest.raises(UserError, match="the classes 'bee', 'cat'; no domain of the task has any"):
        check_classes(CLASSES, [labels(0)], [labels(0), labels(-1)])


def test_a_class_that_the_target_lacks() -> None:
    with pytest.warns(DataWarning, match="target has no image of the class 'bee'"):
        check_classes(CLASSES, [labels(0, 1, 2)], [labels(0), labels(2)])

import pytest

from uan_da.errors import UserError
from uan_da.training.device import choose_device


def test_auto_and_by_name() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_what_cannot_be_used_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' cannot be used"):
        choose_device(name)

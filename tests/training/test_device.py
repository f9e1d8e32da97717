import pytest
import torch

from uan_da.errors import UserError
from uan_da.training.device import choose_device, ran_out_of_memory


def test_auto_and_by_name() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "meta"])
def test_what_cannot_be_used_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' cannot be used"):
        choose_device(name)


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 55)
    for error in (real.value, MemoryError(), torch.OutOfMemoryError("CUDA")):
        assert ran_out_of_memory(error)
    for other in (RuntimeError("shapes"), ValueError("DefaultCPUAllocator"), OSError()):
        assert not ran_out_of_memory(other)

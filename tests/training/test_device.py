import resource
import sys

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    choose_device("cpu")

    def page_faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(9 << 20)  # 36 MiB, 9216 pages, which malloc by default maps anew each time
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min(page_faults() for _ in range(12)) < 1000


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 55)
    for error in (real.value, MemoryError(), torch.OutOfMemoryError("CUDA")):
        assert ran_out_of_memory(error)
    for other in (RuntimeError("shapes"), ValueError("DefaultCPUAllocator"), OSError()):
        assert not ran_out_of_memory(other)

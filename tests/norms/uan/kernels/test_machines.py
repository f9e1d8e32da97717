"""The kernels where a machine is unkind: after a fork, and where nothing can be kept on disk."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch
from numba.core import registry

from uan_da.norms import UAN2d
from uan_da.norms.uan.kernels import compiler, parallel, serving, training_cpu


def step(assignment: str, backend: str = "auto", compiles: bool = False) -> torch.Tensor:
    """The gradient of x in one step of training."""
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    layer: torch.nn.Module = UAN2d(3, assignment=assignment, backend=backend)  # type: ignore[arg-type]
    if compiles:
        layer = torch.compile(layer, backend="eager", fullgraph=True)  # type: ignore[assignment]
    layer(x).square().sum().backward()
    assert x.grad is not None
    return x.grad


def test_one_thread_where_no_library_of_openmp_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows does not take None for what the process has loaded."""

    def refuse(path: str | None) -> None:
        raise TypeError(f"bad argument type {path}") if path is None else OSError(path)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    start, number = parallel._openmp()
    seen: list[int] = []
    start(parallel._WORKER(lambda data: seen.append(number())), None, 4, 0)
    assert seen == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("assignment", ["sample", "element"])
def test_a_forked_child_trains(assignment: str) -> None:
    """OpenMP's threads are not in the child, which would wait for them for ever."""
    before, expected = torch.get_num_threads(), step(assignment)
    torch.set_num_threads(2)
    try:
        assert torch.equal(step(assignment), expected)  # sums are in the same order, whatever the threads
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(step(assignment), expected) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)


NOWHERE = """
import warnings
import torch
from numba.core.caching import CacheImpl
from uan_da.norms import UAN2d

CacheImpl._locator_classes = []  # as where no folder can be written
x = torch.randn(4, 3, 5, 5, requires_grad=True)
gradients = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", RuntimeWarning)
    for backend in ("auto", "auto", "reference"):
        x.grad = None
        UAN2d(3, backend=backend)(x).square().sum().backward()
        gradients.append(x.grad)
assert torch.equal(gradients[0], gradients[2])
print(*(warning.message for warning in caught if warning.category is RuntimeWarning), sep="\\n")
"""


def test_where_no_folder_can_be_written_one_warning_says_so_and_the_reference_serves() -> None:
    found = subprocess.run([sys.executable, "-c", NOWHERE], capture_output=True, text=True, check=True).stdout
    (line,) = found.splitlines()
    assert line.startswith("UAN runs without its kernels, which is slower (cannot cache function")


def test_where_a_kernel_does_not_compile_one_warning_says_so_and_the_reference_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel that the step needs, not a small one that is tried in its place."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such instruction\nat line 3")

    expected = step("sample", "reference")
    monkeypatch.setattr(training_cpu, "kernels", fail)
    for cached in (serving._compiled, serving._warn):
        cached.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r"is slower \(no such instruction\)$") as caught:
            found = [step("sample", compiles=compiles) for compiles in (False, False, True)]
        assert len(caught) == 1
        assert all(torch.equal(gradient, expected) for gradient in found)
    finally:
        for cached in (serving._compiled, serving._warn):
            cached.cache_clear()


def test_a_kernel_is_compiled_anew_when_a_file_has_changed_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba looks at the file of the function alone."""
    cache, codegen = compiler.Cache(step, ("float32",)), registry.cpu_target.target_context.codegen()
    before = cache._index_key((), codegen)
    assert cache._index_key((), codegen) == before
    monkeypatch.setattr(compiler, "_SOURCES", "of another release")
    assert cache._index_key((), codegen) != before


def test_there_are_kernels_here() -> None:
    """Or every comparison with the reference compares it with itself."""
    assert serving.kernels_on("cpu") is not None
    for assignment in ("sample", "element"):
        assert serving.serves(torch.zeros(2, 3, 4), torch.float32, assignment, 2)

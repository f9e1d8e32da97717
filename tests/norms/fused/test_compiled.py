"""The compiled passes against the plain layer, and what happens without a compiler."""

import shutil
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit

from uan_da.norms import UAN, UAN2d
from uan_da.norms.fused import backend, element_blocks, element_passes, sample_passes
from uan_da.norms.fused.compiled import Compiler

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("layout", "dtype"), [(torch.contiguous_format, torch.float32), (torch.channels_last, torch.bfloat16)]
)
@pytest.mark.parametrize("options", [{}, {"assignment": "element", "num_clusters": 3}], ids=str)
def test_compiled_is_the_reference(
    options: dict[str, Any],
    layout: torch.memory_format,
    dtype: torch.dtype,
    trained: Callable[..., UAN],
    assert_equal: Callable[..., None],
) -> None:
    torch.manual_seed(0)
    for shape in ((5, 6, 3, 7), (4, 16, 8, 8)):
        layer = trained(UAN2d(shape[1], temperature=5.0, eps=1e-3, **options), *shape)
        x = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
        tolerance = 1e-5 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # that it fell back
            assert_equal(layer, x, torch.randn_like(x), tolerance, "fused")


def test_without_a_compiler_the_fallback_serves_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            raise RuntimeError("no compiler\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    compiler = Compiler()
    moments = compiler(sample_passes.PLAIN.moments, sample_passes.BLOCKED.moments)
    mix = compiler(element_passes.PLAIN.mix, element_blocks.BLOCKED.mix)
    x, small = torch.randn(3, 4, 5), torch.ones(2, 4)
    clusters = element_passes.Coefficients(small, small, small)
    with pytest.warns(RuntimeWarning, match=r"slower \(no compiler\)"):
        mean, _ = moments(x, torch.zeros(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y: Tensor = mix(x, clusters, small, small)
    torch.testing.assert_close(mean, x.mean(2))
    torch.testing.assert_close(y, x)


def test_one_shape_too_many_is_no_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            raise FailOnRecompileLimitHit("too many")

        return call

    monkeypatch.setattr(torch, "compile", limited)
    compiler = Compiler()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiler(torch.neg, torch.abs)(torch.tensor(-1.0)) == 1
    assert compiler.works


@pytest.mark.parametrize("assignment", ["sample", "element"])
def test_auto_compiles_in_a_training_that_earns_it_back(assignment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a count in the layer's state, so that a resumed training does what it would have done."""
    monkeypatch.setitem(backend.COMPILE_AFTER, assignment, 3)
    choose, chosen = getattr(backend, f"{assignment}_passes"), []

    def passes(x: Tensor, compiled: bool) -> Any:
        chosen.append(compiled)
        return choose(x, False)

    monkeypatch.setattr(f"uan_da.norms.uan.{assignment}_passes", passes)
    x = torch.randn(3, 2, 4, 4)
    layer = UAN2d(2, assignment=assignment)
    for _ in range(5):
        layer(x)
    resumed = UAN2d(2, assignment=assignment)
    resumed.load_state_dict(layer.state_dict())
    resumed(x)
    layer.eval()(x)
    UAN2d(2, assignment=assignment, track_running_stats=False)(x)
    UAN2d(2, assignment=assignment, backend="fused").eval()(x)
    assert chosen == [False, False, False, True, True, True, False, False, True]

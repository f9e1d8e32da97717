"""Types, layouts and ugly values of the images, and the running statistics of PyTorch's own averaging."""

import copy
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import update_bn

from uan_da.norms import domain_context, recalibrate


@pytest.mark.works("autocast to bfloat16")
def test_autocast(works: Any, norm: str) -> None:
    model = works.trained(norm)
    twin = copy.deepcopy(model)
    for mode in (True, False):
        exact = works.forward(twin.train(mode), works.images(seed=7))
        with torch.autocast("cpu", torch.bfloat16):
            y = works.forward(model.train(mode), works.images(seed=7))
        assert y.dtype == torch.bfloat16
        assert (y - exact).norm() < 0.05 * exact.norm()
    y.sum().backward()
    assert all(value.isfinite().all() for value in works.state(model).values())
    assert not any(value.dtype == torch.bfloat16 for value in works.state(model).values())


@pytest.mark.works("`half()`, `bfloat16()`, `double()`")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(works: Any, norm: str, dtype: torch.dtype) -> None:
    model = works.trained(norm)
    twin = copy.deepcopy(model).to(dtype)
    for mode in (True, False):
        exact, y = (
            works.forward(model.train(mode), works.images(seed=7)),
            works.forward(twin.train(mode), works.images(seed=7).to(dtype)),
        )
        assert y.dtype == dtype
        assert (y - exact).norm() < (1e-5 if dtype == torch.float64 else 0.05) * exact.norm()
    y.sum().backward()
    assert {value.dtype for value in works.state(twin).values() if value.is_floating_point()} == {dtype}
    recalibrate(twin, [works.images(seed=seed).to(dtype) for seed in range(3)], domain=1)
    assert all(value.isfinite().all() for value in works.state(twin).values())


@pytest.mark.works("channels last")
def test_channels_last(works: Any, norm: str) -> None:
    model = works.trained(norm)
    x = works.images(seed=7)
    for mode in (True, False):
        expected = works.forward(copy.deepcopy(model).train(mode), x)
        y = works.forward(copy.deepcopy(model).train(mode), x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.works("an empty batch")
@pytest.mark.parametrize("steps", [0, 3])
def test_an_empty_batch(works: Any, norm: str, steps: int) -> None:
    model, twin = works.trained(norm, steps), works.trained(norm, steps)
    for _ in range(3):
        with domain_context(model, 1):
            y = model(works.images(0))
            y.sum().backward()
        assert y.shape == (0, 2, 4, 4)
    for seed in range(3):
        torch.testing.assert_close(
            works.forward(model, works.images(seed=seed)), works.forward(twin, works.images(seed=seed))
        )
    with domain_context(model.eval(), 1):
        assert model(works.images(0)).shape == (0, 2, 4, 4)
        recalibrate(model, [works.images(0), works.images(), works.images(0)], domain=1)
    assert all(value.isfinite().all() for value in works.state(model).values())


@pytest.mark.works("training on a batch with NaN or infinity: the next batch is normalised as usual")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_batch_with_nan(works: Any, norm: str, value: float, steps: int) -> None:
    model = works.trained(norm, steps)
    bad = works.images()
    bad[0, 0, 0, 0] = value
    with torch.no_grad():
        works.forward(model, bad)
        for domain in (0, 1):
            with domain_context(model, domain):
                for seed in range(3):
                    assert model(works.images(seed=seed)).isfinite().all()
    recalibrate(model, [works.images(seed=seed) for seed in range(3)], domain=1)
    with domain_context(model.eval(), 1):
        assert model(works.images()).isfinite().all()


@pytest.mark.works("`torch.optim.swa_utils.update_bn`")
def test_update_bn(works: Any, norm: str) -> None:
    model = works.trained(norm)
    twin = copy.deepcopy(model)
    batches = [works.images(seed=seed) for seed in range(3)]
    with domain_context(model, 1):
        update_bn(batches, model)
    recalibrate(twin, batches, domain=1)
    torch.testing.assert_close(works.state(model), works.state(twin))

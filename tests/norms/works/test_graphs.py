"""Models with a norm as graphs: compiled, traced, exported, quantized."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torchvision.models.feature_extraction import create_feature_extractor

from uan_da.norms import domain_context


@pytest.mark.works("`torch.compile`, training")
def test_compile(works: Any, norm: str) -> None:
    torch.compiler.reset()
    model, twin = works.network(norm), works.network(norm)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=norm != "mn")
    for seed in range(3):
        results = []
        for one, call in ((model, compiled), (twin, twin)):
            one.zero_grad()
            with domain_context(one, 1):
                y = call(works.images(seed=seed))
                y.square().sum().backward()
            results.append((y.detach(), [parameter.grad for parameter in one.parameters()]))
        torch.testing.assert_close(*results)
    torch.testing.assert_close(works.state(model), works.state(twin))


@pytest.mark.works("`torch.fx`: torchvision's feature extractors")
def test_feature_extractor(works: Any, norm: str) -> None:
    model = works.trained(norm)
    twin = copy.deepcopy(model)
    extractor = create_feature_extractor(model, {"1": "normalised", "3": "logits"})
    x = works.images(seed=7)
    for mode in (True, False):
        twin.train(mode)
        with domain_context(extractor.train(mode), works.INDEX):
            found = extractor(x)
        torch.testing.assert_close(found["logits"], works.forward(twin, x))
        assert found["normalised"].shape == (works.N, 4, 4, 4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit.trace:FutureWarning")
@pytest.mark.works("`torch.jit.trace`, evaluation")
def test_jit_trace(works: Any, norm: str) -> None:
    model = works.trained(norm).eval()
    with domain_context(model, 1):
        traced = torch.jit.trace(model, works.images())
        torch.testing.assert_close(traced(works.images(5, seed=7)), model(works.images(5, seed=7)))


@pytest.mark.works("`torch.export`, evaluation, any batch size")
def test_export(works: Any, norm: str) -> None:
    model = works.trained(norm).eval()
    with domain_context(model, 1):
        program = torch.export.export(model, (works.images(),), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
        torch.testing.assert_close(program.module()(works.images(5, seed=7)), model(works.images(5, seed=7)))


@pytest.mark.works("`quantize_dynamic` of the linear layers")
def test_quantize_dynamic(works: Any, norm: str) -> None:
    model = nn.Sequential(works.trained(norm), nn.Flatten(), nn.Linear(32, 5)).eval()
    quantized = quantize_dynamic(model, {nn.Linear})
    with torch.no_grad():
        exact = works.forward(model, works.images())
        assert (works.forward(quantized, works.images()) - exact).norm() < 0.05 * exact.norm()

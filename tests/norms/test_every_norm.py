"""What works with BatchNorm works with every norm: the table "What works" of docs/norms.md, a test a row.

The table names the norms that a row does not hold for; there the test must fail.
"""

import copy
import io
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.ao.quantization import quantize_dynamic
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint
from torchvision.models.feature_extraction import create_feature_extractor

from uan_da.names import NORMS
from uan_da.norms import convert_norm, domain_context, recalibrate

N = 8
INDEX = torch.tensor([0, 1] * (N // 2))
OPTIONS: dict[str, dict[str, Any]] = {"mn": {"fit_every": 3}}
State = dict[str, Tensor]


def table() -> dict[str, str]:
    """The rows of the documented table: what works, and which norms it does not work with."""
    text = Path(__file__).parents[2].joinpath("docs", "norms.md").read_text(encoding="utf-8")
    lines = [line for line in text.split("## What works")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    return {what.strip(): exceptions for what, exceptions in (line.strip("|").split("|") for line in lines[2:])}


TABLE = table()
TESTED: set[str] = set()


def row(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of a row of the table, over all norms."""
    TESTED.add(what)
    exceptions = re.findall(r"`(\w+)`", TABLE[what])
    fails = pytest.mark.xfail(strict=True, reason=TABLE[what])
    marks = {name: [fails] if name in exceptions else [] for name in NORMS.targets}
    return pytest.mark.parametrize("norm", [pytest.param(name, marks=marks[name]) for name in NORMS.targets])


def test_the_table_has_the_rows_that_are_tested() -> None:
    assert set(TABLE) == TESTED


def network(norm: str) -> nn.Module:
    """A small network, equal at every call, that no batch has gone through."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    convert_norm(model, norm, **OPTIONS.get(norm, {}))
    return model


def images(n: int = N, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 + 3


def forward(model: nn.Module, x: Tensor) -> Tensor:
    with domain_context(model, INDEX[: len(x)]):
        return model(x)


def trained(norm: str, steps: int = 4) -> nn.Module:
    """The network after some steps of training."""
    model = network(norm)
    for seed in range(steps):
        step(model, images(seed=seed))
    return model


def step(model: nn.Module, x: Tensor) -> tuple[Tensor, State]:
    """One step of gradient descent; returns the output and the gradients."""
    model.zero_grad()
    with domain_context(model, INDEX[: len(x)]):
        y = model(x)
        y.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in gradients:
                parameter.sub_(gradients[name], alpha=1e-4)
    return y.detach(), gradients


def state(model: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_twins(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    """That two models do the same from here on, in training and in evaluation."""
    for seed in (10, 11, 12, 13):
        torch.testing.assert_close(step(a, images(seed=seed)), step(b, images(seed=seed)), **tolerance)
    torch.testing.assert_close(state(a), state(b), **tolerance)
    torch.testing.assert_close(forward(a.eval(), images()), forward(b.eval(), images()), **tolerance)


@row("`copy.deepcopy`")
def test_deepcopy(norm: str) -> None:
    model = trained(norm)
    before = state(model)
    step(copy.deepcopy(model), images(seed=9))
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    assert_twins(copy.deepcopy(model), model)


@row("`pickle`, `torch.save`")
def test_pickle(norm: str) -> None:
    model = trained(norm)
    assert_twins(pickle.loads(pickle.dumps(model)), copy.deepcopy(model))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert_twins(torch.load(file, weights_only=False), model)


@row("`state_dict`")
def test_state_dict(norm: str) -> None:
    model, other = trained(norm), network(norm)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert_twins(other, model)


@row("tensors copied in place, as into a teacher")
def test_tensors_copied_in_place(norm: str) -> None:
    model, teacher = trained(norm), network(norm)
    with torch.no_grad():
        for mine, theirs in zip(teacher.state_dict().values(), model.state_dict().values(), strict=True):
            mine.copy_(theirs)
    assert_twins(teacher, model)


@row("`AveragedModel`, with and without buffers")
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averaged_model(norm: str, use_buffers: bool) -> None:
    model = network(norm)
    average = AveragedModel(model, use_buffers=use_buffers)  # before any training
    step(model, images())
    average.update_parameters(model)
    first = state(model)
    if use_buffers:
        torch.testing.assert_close(state(average.module), first)
    step(model, images(seed=1))
    average.update_parameters(model)
    names = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    if not use_buffers:
        names &= {name for name, _ in model.named_parameters()}
    second, mean = state(model), state(average.module)
    torch.testing.assert_close(
        {name: mean[name] for name in names}, {name: (first[name] + second[name]) / 2 for name in names}
    )
    assert forward(average.module, images()).isfinite().all()
    assert forward(average.eval().module, images()).isfinite().all()


@row("`functional_call`")
def test_functional_call(norm: str) -> None:
    model, other = trained(norm), network(norm)
    given, before, x = state(model), state(other), images(seed=7)
    for name, _ in other.named_parameters():
        given[name].requires_grad_()  # else they are frozen
    with domain_context(other, INDEX):
        y = functional_call(other, given, (x,))
    torch.testing.assert_close(y, forward(model, x))
    torch.testing.assert_close(given, state(model))
    torch.testing.assert_close(state(other), before, rtol=0, atol=0)


@row("`DataParallel`, on its first device")
def test_data_parallel(norm: str) -> None:
    """A replica has the tensors of the first device, but not the attributes of the model."""
    model, twin = network(norm), network(norm)
    for seed in range(4):
        x = images(seed=seed)
        replica = replicate(model)
        torch.testing.assert_close(forward(replica, x), forward(twin, x))
    torch.testing.assert_close(state(model), state(twin))
    assert_twins(model, twin)


def replicate(module: nn.Module) -> nn.Module:
    """As ``torch.nn.parallel.replicate`` does for the first device."""
    replica = module._replicate_for_data_parallel()
    for name, child in module.named_children():
        replica._modules[name] = replicate(child)
        setattr(replica, name, replica._modules[name])
    for name, parameter in module._parameters.items():
        vars(replica)[name] = parameter
    return replica


@row("activation checkpointing, both kinds")
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing(norm: str, use_reentrant: bool) -> None:
    plain, kept = network(norm), network(norm)
    for seed in range(5):
        kept.load_state_dict(plain.state_dict())  # running statistics of a BatchNorm move twice under checkpointing
        gradients = []
        for model, call in ((plain, plain), (kept, lambda x: checkpoint(kept, x, use_reentrant=use_reentrant))):
            model.zero_grad()
            x = images(seed=seed).requires_grad_()
            with domain_context(model, INDEX):
                call(x).square().sum().backward()
            gradients.append([x.grad, *(parameter.grad for parameter in model.parameters())])
        torch.testing.assert_close(*gradients)


@row("two forwards, then a backward")
def test_two_forwards_then_a_backward(norm: str) -> None:
    model = network(norm)
    forward(model, images())
    x = images(seed=1).requires_grad_()
    alone = torch.autograd.grad(forward(copy.deepcopy(model), x).square().sum(), x)[0]
    y = forward(model, x)
    for seed in (2, 3, 4):
        forward(model, images(seed=seed))
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], alone)


@row("`torch.compile`, training")
def test_compile(norm: str) -> None:
    torch.compiler.reset()
    model, twin = network(norm), network(norm)
    compiled = torch.compile(model, backend="aot_eager")
    for seed in range(3):
        results = []
        for one, call in ((model, compiled), (twin, twin)):
            one.zero_grad()
            with domain_context(one, 1):
                y = call(images(seed=seed))
                y.square().sum().backward()
            results.append((y.detach(), [parameter.grad for parameter in one.parameters()]))
        torch.testing.assert_close(*results)
    torch.testing.assert_close(state(model), state(twin))


@row("`torch.fx`: torchvision's feature extractors")
def test_feature_extractor(norm: str) -> None:
    model = trained(norm)
    twin = copy.deepcopy(model)
    extractor = create_feature_extractor(model, {"1": "normalised", "3": "logits"})
    x = images(seed=7)
    for mode in (True, False):
        twin.train(mode)
        with domain_context(extractor.train(mode), INDEX):
            found = extractor(x)
        torch.testing.assert_close(found["logits"], forward(twin, x))
        assert found["normalised"].shape == (N, 4, 4, 4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit.trace:FutureWarning")
@row("`torch.jit.trace`, evaluation")
def test_jit_trace(norm: str) -> None:
    model = trained(norm).eval()
    with domain_context(model, 1):
        traced = torch.jit.trace(model, images())
        torch.testing.assert_close(traced(images(5, seed=7)), model(images(5, seed=7)))


@row("`torch.export`, evaluation, any batch size")
def test_export(norm: str) -> None:
    model = trained(norm).eval()
    with domain_context(model, 1):
        program = torch.export.export(model, (images(),), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
        torch.testing.assert_close(program.module()(images(5, seed=7)), model(images(5, seed=7)))


@row("frozen: `requires_grad_(False)` and `eval()`")
def test_frozen(norm: str) -> None:
    model = trained(norm).requires_grad_(False)
    parameters = {name: value.clone() for name, value in model.named_parameters()}
    for seed in range(4):
        forward(model, images(seed=seed))
    torch.testing.assert_close(dict(model.named_parameters()), parameters, rtol=0, atol=0)
    before = state(model.eval())
    for seed in range(4):
        forward(model, images(seed=seed))
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


@row("`reset_parameters()`, for the next fold")
def test_reset_parameters(norm: str) -> None:
    model, fresh = trained(norm), network(norm)
    reset(model)
    for mine, theirs in zip(model.modules(), fresh.modules(), strict=True):
        if isinstance(mine, nn.Conv2d):
            mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(state(model), state(fresh), rtol=0, atol=0)
    assert_twins(model, fresh)


def reset(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@row("device `meta`, then `to_empty`")
def test_meta(norm: str) -> None:
    fresh = network(norm)
    with torch.device("meta"):
        model = network(norm)
    assert all(value.is_meta for value in model.state_dict().values())
    with domain_context(model, 1):
        assert model(torch.empty(N, 3, 4, 4, device="meta")).shape == (N, 2, 4, 4)
        assert model.eval()(torch.empty(N, 3, 4, 4, device="meta")).shape == (N, 2, 4, 4)
    model = model.train().to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(7)  # what an allocation may hold
    reset(model)
    model[0].load_state_dict(fresh[0].state_dict())
    model[3].load_state_dict(fresh[3].state_dict())
    assert_twins(model, fresh)


@row("autocast to bfloat16")
def test_autocast(norm: str) -> None:
    model = trained(norm)
    twin = copy.deepcopy(model)
    for mode in (True, False):
        exact = forward(twin.train(mode), images(seed=7))
        with torch.autocast("cpu", torch.bfloat16):
            y = forward(model.train(mode), images(seed=7))
        assert y.dtype == torch.bfloat16
        assert (y - exact).norm() < 0.05 * exact.norm()
    y.sum().backward()
    assert all(value.isfinite().all() for value in state(model).values())
    assert not any(value.dtype == torch.bfloat16 for value in state(model).values())


@row("`half()`, `bfloat16()`, `double()`")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(norm: str, dtype: torch.dtype) -> None:
    model = trained(norm)
    twin = copy.deepcopy(model).to(dtype)
    for mode in (True, False):
        exact, y = forward(model.train(mode), images(seed=7)), forward(twin.train(mode), images(seed=7).to(dtype))
        assert y.dtype == dtype
        assert (y - exact).norm() < (1e-5 if dtype == torch.float64 else 0.05) * exact.norm()
    y.sum().backward()
    assert {value.dtype for value in state(twin).values() if value.is_floating_point()} == {dtype}
    recalibrate(twin, [images(seed=seed).to(dtype) for seed in range(3)], domain=1)
    assert all(value.isfinite().all() for value in state(twin).values())


@row("channels last")
def test_channels_last(norm: str) -> None:
    model = trained(norm)
    x = images(seed=7)
    for mode in (True, False):
        expected = forward(copy.deepcopy(model).train(mode), x)
        y = forward(copy.deepcopy(model).train(mode), x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(y, expected)
        assert y.is_contiguous(memory_format=torch.channels_last)


@row("an empty batch")
@pytest.mark.parametrize("steps", [0, 3])
def test_an_empty_batch(norm: str, steps: int) -> None:
    model, twin = trained(norm, steps), trained(norm, steps)
    for _ in range(3):
        with domain_context(model, 1):
            y = model(images(0))
            y.sum().backward()
        assert y.shape == (0, 2, 4, 4)
    for seed in range(3):
        torch.testing.assert_close(forward(model, images(seed=seed)), forward(twin, images(seed=seed)))
    with domain_context(model.eval(), 1):
        assert model(images(0)).shape == (0, 2, 4, 4)
        recalibrate(model, [images(0), images(), images(0)], domain=1)
    assert all(value.isfinite().all() for value in state(model).values())


@row("a batch with NaN or infinity: the next is normalised")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_batch_with_nan(norm: str, value: float, steps: int) -> None:
    model = trained(norm, steps)
    bad = images()
    bad[0, 0, 0, 0] = value
    with torch.no_grad():
        forward(model, bad)
        for domain in (0, 1):
            with domain_context(model, domain):
                for seed in range(3):
                    assert model(images(seed=seed)).isfinite().all()
    recalibrate(model, [images(seed=seed) for seed in range(3)], domain=1)
    with domain_context(model.eval(), 1):
        assert model(images()).isfinite().all()


@row("pruning")
def test_pruning(norm: str) -> None:
    model = trained(norm)
    twin = copy.deepcopy(model)
    pairs = [
        (layer, other)
        for layer, other in zip(model[1].modules(), twin[1].modules(), strict=True)
        if getattr(layer, "weight", None) is not None
    ]
    assert pairs
    for layer, other in pairs:
        prune.random_unstructured(layer, "weight", 2)
        with torch.no_grad():
            other.weight.mul_(layer.weight_mask)
    for mode in (True, False):
        torch.testing.assert_close(forward(model.train(mode), images()), forward(twin.train(mode), images()))
    forward(model, images()).sum().backward()
    assert all(layer.weight_orig.grad is not None for layer, _ in pairs)


@row("`quantize_dynamic` of the linear layers")
def test_quantize_dynamic(norm: str) -> None:
    model = nn.Sequential(trained(norm), nn.Flatten(), nn.Linear(32, 5)).eval()
    quantized = quantize_dynamic(model, {nn.Linear})
    with torch.no_grad():
        exact = forward(model, images())
        assert (forward(quantized, images()) - exact).norm() < 0.05 * exact.norm()


@row("`DistributedDataParallel`")
def test_distributed_data_parallel(norm: str) -> None:
    model, twin = network(norm), network(norm)
    with one_process():
        parallel = DistributedDataParallel(model)
        for seed in range(4):
            results = []
            for one, call in ((model, parallel), (twin, twin)):
                one.zero_grad()
                with domain_context(one, INDEX):
                    y = call(images(seed=seed))
                    y.square().sum().backward()
                results.append((y.detach(), [parameter.grad for parameter in one.parameters()]))
            torch.testing.assert_close(*results)
    assert_twins(model, twin)


@contextmanager
def one_process() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@row("`SyncBatchNorm.convert_sync_batchnorm`")
def test_convert_sync_batchnorm(norm: str) -> None:
    model = trained(norm).eval()
    before = forward(model, images())
    torch.testing.assert_close(forward(nn.SyncBatchNorm.convert_sync_batchnorm(model), images()), before)


@row("`torch.optim.swa_utils.update_bn`")
def test_update_bn(norm: str) -> None:
    model = trained(norm)
    twin = copy.deepcopy(model)
    batches = [images(seed=seed) for seed in range(3)]
    with domain_context(model, 1):
        update_bn(batches, model)
    recalibrate(twin, batches, domain=1)
    torch.testing.assert_close(state(model), state(twin))

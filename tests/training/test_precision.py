"""Half precision, gradients of parts, and their length."""

import functools
import math

import pytest
import torch
from torch import nn

from uan_da.errors import UserError
from uan_da.methods.method import Loss
from uan_da.recipe import load_recipe
from uan_da.training.finite import FiniteCheck, NonFiniteLoss
from uan_da.training.optimizer import sgd
from uan_da.training.optimizer_step import OptimizerStep, guarded_step
from uan_da.training.precision import LossScaler, tensor_float32
from uan_da.training.training import Training

CPU = torch.device("cpu")
SHORT = ["train.epochs=3", "train.steps_per_epoch=10", "train.batch.source=16", "train.batch.target=16"]


def training(*keys: str) -> Training:
    return Training.build(load_recipe("digits", ["method=source_only", "norm=bn", *SHORT, *keys]), CPU)


def loss_of(run: Training, steps: int) -> float:
    for _ in range(steps):
        run.advance()
    return run.take_averages()["loss"]


def test_bfloat16_learns_what_float32_learns() -> None:
    run = training("train.precision=bf16")
    types: list[torch.dtype] = []
    run.model.backbone.register_forward_hook(lambda *call: types.append(call[2].dtype))
    first, second = loss_of(run, 10), loss_of(run, 10)
    assert second < 0.8 * first
    exact = training()
    assert second == pytest.approx([loss_of(exact, 10), loss_of(exact, 10)][1], rel=0.1)
    assert set(types) == {torch.bfloat16}
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    output = run.model(torch.zeros(2, *run.task.batch(0, ("weak",)).source.weak.shape[1:]))
    assert {output.features.dtype, output.logits.dtype} == {torch.float32}


def test_evaluation_is_float32() -> None:
    half, exact = training("train.precision=bf16"), training()
    images = half.task.batch(0, ("weak",)).source.weak
    assert torch.equal(half.model.eval()(images).logits, exact.model.eval()(images).logits)


@pytest.mark.parametrize("method", ["mcd", "dann"])
def test_float16_moves_its_scale_once_a_batch(method: str) -> None:
    run = training("train.precision=fp16", f"method={method}")
    scaler = run.optimizer_step.scaler
    assert scaler is not None
    run.advance()
    seen = float(scaler.good), float(scaler.scale)
    assert seen in ((1.0, 2.0**16), (0.0, 2.0**15))
    state = run.state_dict()["scaler"]
    other = training("train.precision=fp16", f"method={method}")
    other.load_state_dict(run.state_dict())
    assert other.optimizer_step.scaler is not None
    assert other.optimizer_step.scaler.state_dict() == state


def test_an_overflow_moves_nothing_and_halves_the_scale_once() -> None:
    layer = nn.Linear(3, 2)
    optimizer = sgd([layer], lr=0.1, momentum=0.9)
    scaler, before = LossScaler(CPU), layer.weight.detach().clone()
    for times in (1.0, math.inf, math.nan, 1.0):  # four optimizer steps on one batch
        layer.zero_grad()
        scaler.scaled(layer(torch.ones(1, 3)).sum()).backward()
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        layer.weight.grad[0, 0] *= times
        found = scaler.unscale([layer.weight.grad, layer.bias.grad])
        assert float(found) == float(not math.isfinite(times))
        assert torch.equal(layer.bias.grad, torch.ones(2))
        guarded_step(optimizer, found)
    velocity = 0.9 * 1.0 + 1.0  # of the first step, and of the fourth; Nesterov adds momentum × velocity
    torch.testing.assert_close(layer.weight.detach(), before - 0.1 * (1.9 + 1.0 + 0.9 * velocity))
    scaler.update()
    assert (float(scaler.scale), float(scaler.good)) == (2.0**15, 0.0)


def test_the_scale_doubles_after_2000_batches() -> None:
    scaler = LossScaler(CPU)
    for _ in range(1999):
        scaler.update()
    assert float(scaler.scale) == 2.0**16
    scaler.update()
    assert (float(scaler.scale), float(scaler.good)) == (2.0**17, 0.0)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clip_bounds_the_gradient_of_all_parameters(precision: str) -> None:
    recipe = load_recipe("digits", [*SHORT, "train.clip=0.5", f"train.precision={precision}"])
    layers = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    optimizer = sgd([layers], lr=1.0, momentum=0.0)
    step, before = OptimizerStep(optimizer, recipe.train, CPU), [p.detach().clone() for p in layers.parameters()]
    x = torch.ones(4, 3)
    step.backward((layers[0](x) + 2 * layers[1](x)).sum(), [])
    step.step(torch.zeros(()))
    moved = torch.cat([(old - new).detach().flatten() for old, new in zip(before, layers.parameters(), strict=True)])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)
    assert float(moved[-1] / moved[0]) == pytest.approx(2.0, rel=1e-4)


def test_parts_of_a_batch_have_the_gradient_of_the_whole() -> None:
    runs = [training("norm=gn", f"train.accumulate={parts}") for parts in (1, 4)]
    losses = [loss_of(run, 3) for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    whole, parts = (torch.cat([p.detach().flatten() for p in run.model.parameters()]) for run in runs)
    torch.testing.assert_close(whole, parts, atol=2e-4, rtol=1e-3)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.accumulate=3 in 1 processes: domain 'optdigits' has 16 images"):
        training("train.accumulate=3")


def test_on_a_device_a_look_finds_the_step_and_the_term() -> None:
    check = FiniteCheck(CPU)
    check.stop = torch.zeros(())  # as on a device
    for step, value in enumerate((1.0, 2.0, math.nan, 3.0), 1):
        check.note(step, Loss({"source": torch.tensor(1.0), "domain": torch.tensor(value)}))
        assert check.stop is not None
        assert bool(check.stop) == (step >= 3)
    with pytest.raises(NonFiniteLoss, match="step 3: the loss term 'domain' is nan"):
        check.look()


def test_what_stops_a_step_leaves_weights_and_state() -> None:
    run = training()
    run.advance()
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    run.finite.stop = torch.ones(())
    run.advance()
    assert all(torch.equal(value, before[name]) for name, value in run.model.named_parameters())
    assert {float(state["step"]) for state in run.optimizer.state.values()} == {1.0}


def test_matrix_products_of_a_gpu_may_be_tensor_float32_within_a_step_alone() -> None:
    before = torch.get_float32_matmul_precision()
    with tensor_float32(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with tensor_float32(CPU):
        assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("norm", ["bn", "uan"])
def test_a_compiled_backbone_learns_what_the_plain_one_does(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and run by PyTorch's own operations: the machine need not have a C++ compiler."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    plain = training(f"norm={norm}")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compiled = training(f"norm={norm}", "train.compile=true")
    assert loss_of(compiled, 3) == pytest.approx(loss_of(plain, 3), rel=1e-5)
    assert graphs
    assert compiled.state_dict()["model"].keys() == plain.state_dict()["model"].keys()

"""State moves at the right time: recomputation, replicas, copies in place, bad and empty batches, frozen clusters."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from uan_da.norms import UAN2d, recalibrate
from uan_da.norms.uan import clusters

KINDS: list[dict[str, Any]] = [
    {},
    {"assignment": "element", "num_clusters": 3},
    {"shrink": 0.3},
    {"moments": "learned"},
    {"num_clusters": 1},
    {"backend": "reference"},
    {"backend": "reference", "assignment": "element"},
]
kinds = pytest.mark.parametrize("options", KINDS, ids=str)


def images(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, 3, 8, 8, generator=generator) + 3 * torch.randn(16, 1, 1, 1, generator=generator)


def state(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in layer.state_dict().items()}


@kinds
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_changes_no_gradient_and_no_state(options: dict[str, Any], reentrant: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 6, 3), UAN2d(6, **options), nn.ReLU(), nn.Conv2d(6, 4, 3))
    kept = copy.deepcopy(plain)
    for step in range(4):
        plain.zero_grad()
        kept.zero_grad()
        a, b = images(step).requires_grad_(), images(step).requires_grad_()
        plain(a).square().sum().backward()
        checkpoint(kept, b, use_reentrant=reentrant).square().sum().backward()
        assert torch.equal(a.grad, b.grad)
        for one, other in zip(plain.parameters(), kept.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
        assert all(torch.equal(value, kept.state_dict()[name]) for name, value in plain.state_dict().items())


@kinds
def test_a_teacher_whose_tensors_are_copied_in_place_is_the_student(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    student = UAN2d(3, **options)
    teacher = copy.deepcopy(student)
    for step in range(5):
        student(images(step))
    with torch.no_grad():
        for mine, theirs in zip(
            itertools.chain(teacher.parameters(), teacher.buffers()),
            itertools.chain(student.parameters(), student.buffers()),
            strict=True,
        ):
            mine.copy_(theirs)
    for step in range(5, 8):
        assert torch.equal(student(images(step)), teacher(images(step)))
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in student.state_dict().items())


@kinds
def test_a_replica_of_data_parallel_moves_the_layer(options: dict[str, Any]) -> None:
    """A replica shares the tensors of the first device, and no attribute."""
    torch.manual_seed(0)
    layer = UAN2d(3, **options)
    twin = copy.deepcopy(layer)
    for step in range(4):
        replica = layer._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        for name, parameter in layer._parameters.items():
            replica.__dict__[name] = parameter
        assert torch.equal(replica(images(step)), twin(images(step)))
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in layer.state_dict().items())


@kinds
def test_functional_call_starts_the_clusters_that_it_is_given(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = UAN2d(3, **options)
    untouched, given = state(layer), {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    given = {
        name: value.detach().clone().requires_grad_() if name in dict(layer.named_parameters()) else value.clone()
        for name, value in given.items()
    }
    torch.func.functional_call(layer, given, (images(0),))
    assert given["initialized"]
    assert given["mean"].any()
    assert all(torch.equal(value, untouched[name]) for name, value in layer.state_dict().items())


@kinds
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("first", [True, False])
def test_one_bad_batch_poisons_nothing(options: dict[str, Any], bad: float, first: bool) -> None:
    torch.manual_seed(0)
    layer = UAN2d(3, **options)
    twin = copy.deepcopy(layer)
    for step in range(0 if first else 3):
        layer(images(step))
        twin(images(step))
    x = images(9)
    x[:, :, 0, 0] = bad
    layer(x)
    layer.eval()
    assert layer(images(5)).isfinite().all()
    layer.train()
    for step in range(3, 8):
        assert layer(images(step)).isfinite().all()
        twin(images(step))
    assert all(value.isfinite().all() for value in layer.state_dict().values())
    torch.testing.assert_close(layer.mean, twin.mean, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(layer.running_var, twin.running_var)


@kinds
@pytest.mark.parametrize("first", [True, False])
def test_an_empty_batch_changes_nothing(options: dict[str, Any], first: bool) -> None:
    torch.manual_seed(0)
    layer = UAN2d(3, **options)
    for step in range(0 if first else 3):
        layer(images(step))
    before = state(layer)
    for _ in range(3):
        assert layer(images(0)[:0]).shape == (0, 3, 8, 8)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@kinds
@pytest.mark.parametrize("first", [True, False])
def test_frozen_clusters_do_not_move(options: dict[str, Any], first: bool) -> None:
    torch.manual_seed(0)
    layer = UAN2d(3, **options)
    for step in range(0 if first else 3):
        layer(images(step))
    layer.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    for step in range(3, 6):
        layer(images(step))
    assert all(torch.equal(parameter, before[name]) for name, parameter in layer.named_parameters())


@pytest.mark.parametrize("assignment", ["sample", "element"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_starved_cluster_keeps_its_learned_moments_in_recalibration(assignment: Any, backend: Any) -> None:
    layer = UAN2d(3, num_clusters=2, assignment=assignment, backend=backend)
    layer.start_mixture(torch.zeros(3), torch.ones(3))
    with torch.no_grad():
        layer.mean.copy_(torch.tensor([0.0, 100.0])[:, None].expand(2, 3))
        layer.log_var[1] = 0.5
    batches = [torch.randn(8, 3, 4, 4) for _ in range(3)]
    assert recalibrate(nn.Sequential(layer), batches) == 1
    assert layer.running_mean is not None
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_mean[0], torch.stack(batches).mean((0, 1, 3, 4)))
    torch.testing.assert_close(layer.running_mean[1], layer.mean[1].detach())
    torch.testing.assert_close(layer.running_var[1], layer.log_var[1].detach().exp() * 1.0)
    assert layer.eval()(torch.randn(8, 3, 4, 4)).isfinite().all()
    far: Tensor = layer(torch.randn(8, 3, 4, 4) + 100)
    assert far.abs().max() < 10


@kinds
def test_the_state_of_older_checkpoints_is_read(options: dict[str, Any]) -> None:
    """They took EM's step at once: none is left to take."""
    layer = UAN2d(3, **options)
    layer(images(0))
    old = layer.state_dict()
    old._metadata[""]["version"] = 1  # type: ignore[attr-defined]
    for name in ("step_mean", "step_var", "step_prior"):
        del old[name]
    loaded = UAN2d(3, **options)
    loaded.load_state_dict(old)
    assert not loaded.step_mean.any()
    assert torch.equal(loaded.mean, layer.mean)


@pytest.mark.parametrize("assignment", ["sample", "element"])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_bad_value_reaches_what_it_reaches_in_the_reference(assignment: Any, bad: float) -> None:
    """A sum that is NaN is no sign of a starved cluster."""
    found = []
    for backend in ("fused", "reference"):
        layer, x = UAN2d(3, assignment=assignment, backend=backend), images(0)
        layer(images(1))
        x[1, 2, 3, 3] = bad
        y = layer(x.requires_grad_())
        found.append((y, *torch.autograd.grad(y.sum(), x), *layer.state_dict().values()))
    torch.testing.assert_close(*found, equal_nan=True)


def test_a_layer_whose_count_is_of_another_type_counts() -> None:
    """``Module.type`` casts counts as well; a kernel would add its 1 to the bits of a float."""
    layer, same = (UAN2d(3, backend=backend).type(torch.float64) for backend in ("auto", "reference"))
    for step in range(3):
        torch.testing.assert_close(layer(images(step).double()), same(images(step).double()))
    assert layer.num_batches_tracked == 3.0
    torch.testing.assert_close(layer.state_dict(), same.state_dict())


@kinds
def test_a_step_that_was_left_is_taken_once_without_em(options: dict[str, Any]) -> None:
    trained, layer = UAN2d(3, **options), UAN2d(3, em_rate=0.0, **options)
    trained(images(0))
    layer.load_state_dict(trained.state_dict())
    for step in range(3):
        layer(images(step))
    torch.testing.assert_close(layer.mean, trained.mean + trained.step_mean)


@pytest.mark.parametrize("assignment", ["sample", "element"])
def test_a_weight_of_one_number_is_that_of_all_channels(assignment: Any) -> None:
    """A kernel would read on behind it."""
    layer = UAN2d(3, assignment=assignment, dtype=torch.float64)
    same = copy.deepcopy(layer)
    layer.weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    same.get_parameter("weight").data.fill_(2.0)
    torch.testing.assert_close(layer(images(0).double()), same(images(0).double()))


def test_a_statistic_of_too_few_channels_is_an_error() -> None:
    """A kernel would write on behind it."""
    layer = UAN2d(3)
    layer(images(0))
    layer.running_mean = torch.zeros(8, 2)
    with pytest.raises(RuntimeError, match="must match"):
        layer(images(1))


def test_a_layer_without_values_does_not_change_others() -> None:
    """Nor does a real layer change one of a ``FakeTensorMode``: the start is the same for all, and is kept."""
    clusters._drawn.cache_clear()
    for _ in range(2):
        with FakeTensorMode():
            UAN2d(3)(torch.randn(4, 3, 5, 5))
        assert UAN2d(3)(torch.randn(4, 3, 5, 5)).isfinite().all()


def test_the_default_device_and_type_do_not_change_the_start() -> None:
    layer, same, x, before = UAN2d(3), UAN2d(3), images(0), torch.get_default_dtype()
    same(x)
    clusters._drawn.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            layer(x)
    finally:
        torch.set_default_dtype(before)
    torch.testing.assert_close(layer.mean, same.mean)


@pytest.mark.parametrize("assignment", ["sample", "element"])
def test_forward_mode_gradients(assignment: Any) -> None:
    layer, x, tangent = UAN2d(3, assignment=assignment), images(0), images(1)
    layer(x)
    layer.updates_statistics = False
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    torch.testing.assert_close(found, torch.func.jvp(layer, (x,), (tangent,))[1])

"""SWD: the discrepancy against optimal assignments, each phase against its formula, and what each moves."""

import copy
import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.swd import SWD, sliced_wasserstein
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier

PROGRESS = Progress(1, 10)


def loss_of(method: SWD, model: Classifier, batch: DomainBatch, phase: int, seed: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return method.phases(model)[phase].loss(model, batch, PROGRESS).terms


def naive_discrepancy(p: Tensor, q: Tensor, projections: int, seed: int) -> Tensor:
    """The mean over directions of the cheapest assignment, found without sorting; samples count 1/n."""
    torch.manual_seed(seed)
    directions = torch.randn(p.shape[1], projections, dtype=p.dtype)
    total = torch.zeros((), dtype=p.dtype)
    for theta in directions.T:
        a, b = (sum(x[:, k] * theta[k] for k in range(len(theta))) / math.sqrt(float(theta @ theta)) for x in (p, q))
        rows, columns = linear_sum_assignment((a[:, None] - b[None]).square().detach().numpy())
        total = total + sum((a[i] - b[j]) ** 2 for i, j in zip(rows, columns, strict=True)) / len(p)
    return total / projections


def naive_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -sum(p[i, y].log() for i, y in enumerate(labels.tolist())) / len(labels)


def test_discrepancy_and_its_gradient_are_those_of_the_optimal_assignment() -> None:
    torch.manual_seed(0)
    p, q = (torch.randn(6, 4, dtype=torch.float64).softmax(1).requires_grad_() for _ in range(2))
    torch.manual_seed(3)
    found = sliced_wasserstein(p, q, 5)
    expected = naive_discrepancy(p, q, 5, seed=3)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, [p, q]), torch.autograd.grad(expected, [p, q]))


def test_discrepancy_of_equal_sets_is_zero_whatever_their_order() -> None:
    torch.manual_seed(0)
    p = torch.rand(8, 3)
    assert float(sliced_wasserstein(p, p, 16)) == 0
    assert float(sliced_wasserstein(p, p.flip(0), 16)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "classes"), [(1, 4), (6, 1), (1, 1)])
def test_one_sample_and_one_class_are_finite(n: int, classes: int) -> None:
    p, q = (torch.randn(n, classes).softmax(1).requires_grad_() for _ in range(2))
    found = sliced_wasserstein(p, q, 8)
    assert found.isfinite()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(found, [p, q]))


def test_under_autocast_the_discrepancy_is_that_of_float32() -> None:
    p, q = torch.rand(8, 3), torch.rand(8, 3)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = sliced_wasserstein(p, q, 16)
    torch.manual_seed(0)
    torch.testing.assert_close(inside, sliced_wasserstein(p, q, 16))


def test_phases_equal_their_formulas(model: Classifier, batch: DomainBatch) -> None:
    method = SWD(model, 3, projections=3).double()
    source, target = model(batch.source.weak), model(batch.target.weak)
    heads = model.head, method.second_head
    on_source = sum(naive_cross_entropy(head(source.features), batch.source.labels) for head in heads)
    p, q = (head(target.features).softmax(1) for head in heads)
    discrepancy = naive_discrepancy(p, q, 3, seed=3)
    assert float(discrepancy.detach()) > 1e-4
    expected = [
        {"source": on_source},
        {"source": on_source, "discrepancy": -discrepancy},
        {"discrepancy": discrepancy},
    ]
    for phase, terms in enumerate(expected):
        torch.testing.assert_close(loss_of(method, model, batch, phase), terms)


def test_each_phase_moves_its_modules(model: Classifier) -> None:
    model.bottleneck = nn.Linear(6, 6)
    method = SWD(model, 3)
    phases = method.phases(model)
    features = {*model.parameters()} - {*model.head.parameters()}
    heads = {*model.head.parameters(), *method.parameters()}
    moved = [{p for module in phase.modules for p in module.parameters()} for phase in phases]
    assert moved == [features | heads, heads, features]
    assert [phase.times for phase in phases] == [1, 1, 1]
    assert len({phase.name for phase in phases}) == 3


@pytest.mark.parametrize(("phase", "grows"), [(1, True), (2, False)])
def test_heads_disagree_and_features_make_them_agree(
    model: Classifier, batch: DomainBatch, phase: int, grows: bool
) -> None:
    method = SWD(model, 3).double()
    moved = [p for module in method.phases(model)[phase].modules for p in module.parameters()]
    term = loss_of(method, model, batch, phase)["discrepancy"]
    before = abs(float(term.detach()))
    grads = torch.autograd.grad(term, moved, allow_unused=True)
    with torch.no_grad():
        for p, grad in zip(moved, grads, strict=True):
            p -= 0.1 * grad
    after = abs(float(loss_of(method, model, batch, phase)["discrepancy"].detach()))
    assert (after > before) == grows


def test_the_second_head_is_its_own_and_is_kept(model: Classifier) -> None:
    method = SWD(model, 3)
    assert set(method.state_dict()) == {"second_head.weight", "second_head.bias"}
    assert not torch.equal(method.second_head.weight, model.head.weight)
    assert method.second_head.weight.shape == model.head.weight.shape


def test_equal_heads_have_no_discrepancy(model: Classifier, batch: DomainBatch) -> None:
    method = SWD(model, 3)
    method.second_head = copy.deepcopy(model.head)
    assert float(loss_of(method, model, batch, 2)["discrepancy"].detach()) == 0


def test_directions_are_drawn_anew_and_from_the_global_generator(model: Classifier, batch: DomainBatch) -> None:
    method = SWD(model, 3, projections=2).double()
    same = [float(loss_of(method, model, batch, 2, seed=3)["discrepancy"].detach()) for _ in range(2)]
    other = float(loss_of(method, model, batch, 2, seed=4)["discrepancy"].detach())
    assert same[0] == same[1] != other


@pytest.mark.parametrize(("routing", "batches"), [("joint", (1, 1, 1)), ("separate", (1, 2, 1))])
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_routing_decides_which_statistics_are_shared(
    batch: DomainBatch, routing: str, batches: tuple[int, int, int], phase: int
) -> None:
    norms = nn.BatchNorm2d(3), nn.BatchNorm1d(12), nn.BatchNorm1d(12)
    model = Classifier(nn.Sequential(norms[0], nn.Flatten()), 12, 3)
    method = SWD(model, 3, routing=routing)  # type: ignore[arg-type]
    for head, norm in ((model, norms[1]), (method, norms[2])):
        name = "head" if head is model else "second_head"
        setattr(head, name, nn.Sequential(norm, nn.Linear(12, 3)))
    loss_of(method.double(), model.double(), batch, phase)
    assert [int(norm.num_batches_tracked) for norm in norms] == [batches[phase]] * 3

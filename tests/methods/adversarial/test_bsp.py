import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.bsp import BSP, spectral_energy
from uan_da.methods.adversarial.cdan import CDAN
from uan_da.methods.adversarial.dann import DANN
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier, Output

HALF = Progress(1, 2)


def test_energy_is_the_largest_eigenvalue_of_the_gram_matrix() -> None:
    torch.manual_seed(0)
    for shape in ((4, 7), (7, 4), (1, 5), (5, 1)):
        x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        energy = spectral_energy(x)
        values, vectors = torch.linalg.eigh(x.detach().T @ x.detach())
        assert float(energy.detach()) == pytest.approx(float(values[-1]))
        (gradient,) = torch.autograd.grad(energy, x)  # of ‖x v‖², v the top eigenvector
        torch.testing.assert_close(gradient, 2 * x.detach() @ torch.outer(vectors[:, -1], vectors[:, -1]))


def test_ugly_features_have_a_finite_energy_and_gradient() -> None:
    for x in (torch.zeros(3, 4), torch.ones(3, 4), torch.eye(4), torch.full((3, 4), 1e-20), torch.full((1, 4), 1e6)):
        energy = spectral_energy(x.requires_grad_())
        (gradient,) = torch.autograd.grad(energy, x)
        assert energy.isfinite()
        assert gradient.isfinite().all()
    assert spectral_energy(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(("name", "kind"), [("dann", DANN), ("cdan", CDAN)])
def test_the_adversary_is_tllibs_and_the_penalty_comes_on_top(
    model: Classifier, batch: DomainBatch, name: str, kind: type[nn.Module]
) -> None:
    method = BSP(model, 3, trade_off=0.1, adversary=name).double()  # type: ignore[arg-type]
    source, target = model(batch.source.weak), model(batch.target.weak)
    loss = method.transfer(source, target, batch.source.labels, HALF)
    assert isinstance(method.adversary, kind)
    assert [type(layer).__name__ for layer in method.adversary.discriminator][:3] == ["Linear", "BatchNorm1d", "ReLU"]
    assert method.adversary.discriminator[0].out_features == 1024
    alone = method.adversary.transfer(source, target, batch.source.labels, HALF)
    torch.testing.assert_close(loss.terms["domain"], alone.terms["domain"])
    assert "domain_accuracy" in loss.metrics
    expected = sum(float(torch.linalg.matrix_norm(o.features.detach(), 2)) ** 2 for o in (source, target))
    assert float(loss.terms["spectral"].detach()) == pytest.approx(0.1 * expected)
    grown = method.adversary.transfer(source, target, batch.source.labels, Progress(3000, 100_000))
    assert float(grown.metrics["reversal"]) == pytest.approx(0.905, abs=1e-3)  # λ at 3 · 1000 steps


def test_the_penalty_can_be_had_alone(model: Classifier, batch: DomainBatch) -> None:
    method = BSP(model, 3, adversary="none").double()
    source, target = model(batch.source.weak), model(batch.target.weak)
    loss = method.transfer(source, target, batch.source.labels, HALF)
    assert loss.terms.keys() == {"spectral"}
    assert not list(method.parameters())
    (gradient,) = torch.autograd.grad(loss.total, model.backbone[1].weight)
    assert gradient.abs().sum() > 0


def test_it_takes_energy_from_the_strongest_direction_alone() -> None:
    x = torch.diag(torch.tensor([3.0, 1.0, 0.5])).requires_grad_()
    (gradient,) = torch.autograd.grad(spectral_energy(x), x)
    torch.testing.assert_close(gradient, torch.diag(torch.tensor([6.0, 0.0, 0.0])))


def test_the_discriminator_learns_features_that_are_told_apart() -> None:
    torch.manual_seed(0)
    method = BSP(Classifier(nn.Identity(), 6, 3), 3)
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    for step in range(15):
        source, target = (Output(torch.randn(16, 6) + shift, torch.zeros(16, 3)) for shift in (1.0, -1.0))
        loss = method.transfer(source, target, torch.zeros(16).long(), Progress(step, 15))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert float(loss.metrics["domain_accuracy"]) > 0.9

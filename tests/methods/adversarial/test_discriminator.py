import math

import pytest
import torch
from torch import nn

from uan_da.methods.adversarial.discriminator import discriminator, domain_accuracy, domain_loss, fixed, judge


def layers(network: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in network.children()]


def test_layers_are_those_asked_for() -> None:
    assert layers(discriminator(7, (5,))) == ["Linear", "ReLU", "Linear"]
    assert layers(discriminator(7, (5, 4), True)) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    widths = [(layer.in_features, layer.out_features) for layer in discriminator(7, (5, 4)) if hasattr(layer, "bias")]
    assert widths == [(7, 5), (5, 4), (4, 1)]


def test_loss_and_accuracy_equal_the_formula() -> None:
    torch.manual_seed(0)
    d_s, d_t = torch.randn(4, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    w_s, w_t = torch.rand(4, dtype=torch.float64), torch.rand(7, dtype=torch.float64)

    def p(logit: torch.Tensor) -> float:
        return 1 / (1 + math.exp(-float(logit)))

    on_source = sum(-float(w) * math.log(p(d)) for w, d in zip(w_s, d_s, strict=True)) / 4
    on_target = sum(-float(w) * math.log(1 - p(d)) for w, d in zip(w_t, d_t, strict=True)) / 7
    assert float(domain_loss(d_s, d_t, w_s, w_t)) == pytest.approx(0.5 * (on_source + on_target))
    right = sum(p(d) > 0.5 for d in d_s) / 4 / 2 + sum(p(d) < 0.5 for d in d_t) / 7 / 2
    assert float(domain_accuracy(d_s, d_t)) == pytest.approx(right)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_labels_are_those_of_binary_cross_entropy(smoothing: float) -> None:
    torch.manual_seed(0)
    d_s, d_t, w_s, w_t = (torch.rand(n, dtype=torch.float64) for n in (4, 7, 4, 7))

    def entropy(logits: torch.Tensor, weights: torch.Tensor, label: float) -> float:
        p = [1 / (1 + math.exp(-logit)) for logit in logits.tolist()]
        terms = [-label * math.log(q) - (1 - label) * math.log(1 - q) for q in p]
        return sum(w * term for w, term in zip(weights.tolist(), terms, strict=True)) / len(p)

    expected = 0.5 * (entropy(d_s, w_s, 1 - smoothing) + entropy(d_t, w_t, smoothing))
    assert float(domain_loss(d_s, d_t, w_s, w_t, smoothing=smoothing)) == pytest.approx(expected, rel=1e-12)


def test_negated_logits_exchange_the_labels() -> None:
    d_s, d_t = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(domain_loss(-d_s, -d_t), domain_loss(d_t, d_s))


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_certain_predictions_have_a_finite_loss_and_gradient(logit: float) -> None:
    d = torch.full((2,), logit, requires_grad=True)
    loss = domain_loss(d, d)
    (gradient,) = torch.autograd.grad(loss, d)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert float(gradient.detach().abs().sum()) == pytest.approx(0.5)  # wrong about one of the domains


@pytest.mark.parametrize("sizes", [(1, 1), (3, 8)])
def test_batch_statistics_are_those_of_both_domains(sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = discriminator(5, (6, 4), True)
    source, target = torch.randn(sizes[0], 5), torch.randn(sizes[1], 5) + 3
    on_source, on_target = judge(network, source, target)
    together = network(torch.cat([source, target])).squeeze(1)
    assert (on_source.shape, on_target.shape) == ((sizes[0],), (sizes[1],))
    torch.testing.assert_close(torch.cat([on_source, on_target]), together)


@pytest.mark.parametrize("norm", [False, True])
def test_it_learns_to_tell_domains_that_differ_in_their_mean_alone(norm: bool) -> None:
    torch.manual_seed(0)
    network = discriminator(5, (16, 16), norm)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        on_source, on_target = judge(network, torch.randn(32, 5), torch.randn(32, 5) + 2)
        loss = domain_loss(on_source, on_target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(domain_accuracy(on_source, on_target)) > 0.95
    assert float(loss.detach()) < 0.2


def test_fixed_predicts_the_same_and_only_its_input_has_a_gradient() -> None:
    network = discriminator(5, (6,))
    x = torch.randn(4, 5, requires_grad=True)
    torch.testing.assert_close(fixed(network)(x), network(x))
    fixed(network)(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())

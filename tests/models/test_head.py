from pathlib import Path

import pytest
import torch
from torch import nn

from uan_da.errors import UserError
from uan_da.models.head import CosineLinear, NormKeepingDropout, SourceHeads, make_bottleneck, make_head
from uan_da.recipe import load_recipe
from uan_da.recipe.network import Bottleneck, Head


def test_the_heads_of_several_sources_predict_by_their_weighted_probabilities() -> None:
    heads, x = SourceHeads([nn.Linear(2, 3) for _ in range(3)]), torch.randn(4, 2)
    p = [head(x).softmax(1) for head in heads.heads]
    torch.testing.assert_close(heads(x).softmax(1), (p[0] + p[1] + p[2]) / 3)
    heads.weights.copy_(torch.tensor([0.25, 0.0, 0.75]))
    torch.testing.assert_close(heads(x).exp(), 0.25 * p[0] + 0.75 * p[2])
    heads.weights.copy_(torch.tensor([1.0, 0.0, 0.0]))
    logits = heads.heads[0](x) * 1e4  # certain of a class, and of no other
    heads.heads[0].weight.data *= 1e4
    heads.heads[0].bias.data *= 1e4
    torch.testing.assert_close(heads(x), logits.log_softmax(1))


def layout(module: nn.Module) -> str:
    names = {
        nn.Linear: "linear",
        nn.BatchNorm1d: "norm",
        nn.ReLU: "relu",
        nn.Dropout: "dropout",
        NormKeepingDropout: "keeping",
    }
    layers = list(module) if isinstance(module, nn.Sequential) else [module]
    return " ".join(names[type(layer)] + str(getattr(layer, "out_features", "")) for layer in layers)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "linear256 norm relu"),  # DANN, CDAN, ADDA, BSP
        ({"norm": False, "dropout": 0.5}, "linear256 relu dropout"),  # DAN
        ({"dropout": 0.5}, "linear256 norm relu dropout"),  # JAN
        ({"features": 1024, "dropout": 0.5}, "linear1024 norm relu dropout"),  # MDD
        ({"activation": "none"}, "linear256 norm"),  # SHOT
        ({"features": 1000, "dropout": 0.5, "dropout_keeps": "norm"}, "linear1000 norm relu keeping"),  # AFN
    ],
)
def test_bottlenecks_of_the_published_protocols(options: dict, expected: str) -> None:
    bottleneck = make_bottleneck(7, Bottleneck(**options))
    assert layout(bottleneck) == expected
    assert bottleneck(torch.randn(4, 7)).shape == (4, bottleneck[0].out_features)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "linear3"),
        ({"hidden": (1024,), "dropout": 0.5}, "linear1024 relu dropout linear3"),  # MDD
        (
            {"hidden": (1024, 1024), "norm": True, "dropout": (0.5, 0.5, 0.0)},
            "dropout linear1024 norm relu dropout linear1024 norm relu linear3",
        ),  # MCD
        ({"hidden": (5, 6)}, "linear5 relu linear6 relu linear3"),
        ({"dropout": (0.5,)}, "dropout linear3"),
    ],
)
def test_heads_of_the_published_protocols(options: dict, expected: str) -> None:
    head = make_head(7, 3, Head(**options))
    assert layout(head) == expected
    assert head(torch.randn(4, 7)).shape == (4, 3)


def test_initial_scale() -> None:
    for layer in (make_bottleneck(2048, Bottleneck(init_std=0.005))[0], make_head(2048, 1024, Head(init_std=0.005))):
        assert layer.weight.std().item() == pytest.approx(0.005, rel=0.02)
        assert not layer.bias.any()
    plain = make_bottleneck(2048, Bottleneck())[0]
    assert plain.weight.abs().max().item() == pytest.approx(2048**-0.5, rel=0.01)  # uniform, as PyTorch starts


def test_a_dropout_keeps_the_mean_or_the_norm() -> None:
    torch.manual_seed(0)
    x = torch.rand(200, 500) + 0.5
    plain, keeping = (
        make_bottleneck(500, Bottleneck(dropout=0.75, dropout_keeps=keeps))[-1] for keeps in ("mean", "norm")
    )
    assert float(plain(x).mean() / x.mean()) == pytest.approx(1, rel=0.02)
    assert float(keeping(x).norm(dim=1).mean() / x.norm(dim=1).mean()) == pytest.approx(1, rel=0.02)
    kept = keeping(x)
    torch.testing.assert_close(kept[kept != 0], 2 * x[kept != 0])  # 1/√¼
    assert torch.equal(keeping.eval()(x), x)


def test_logits_may_be_normed() -> None:
    head = make_head(7, 3, Head(logits_norm=True))
    logits = head(5 + torch.randn(50, 7))
    torch.testing.assert_close(logits.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(logits.var(0, correction=0), torch.ones(3), rtol=1e-3, atol=0)


def test_a_head_reads_what_a_bottleneck_gives_without_changing_it() -> None:
    features = make_bottleneck(7, Bottleneck(activation="none", norm=False))(torch.randn(4, 7))
    before = features.clone()
    make_head(256, 3, Head(hidden=(5,)))(features)
    assert torch.equal(features, before)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.dropout=0.5", "head: 'dropout' applies between layers"),
        ("head={hidden: [5], dropout: [0.1]}", "one for each of the 2 linear layers"),
        ("head={hidden: [5], dropout: 1}", "head.dropout: input should be less than 1"),
        ("head={hidden: [0]}", "head.hidden.0: input should be greater than 0"),
        ("bottleneck={featurs: 5}", "did you mean 'features'?"),
        ("bottleneck.features=0", "bottleneck.features: input should be greater than 0"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("digits", [override])
    assert message in str(caught.value)
    assert "tuple[" not in str(caught.value)


def test_the_keys_come_back_from_a_resolved_recipe(tmp_path: Path) -> None:
    from uan_da.recipe.source import dump_yaml

    recipe = load_recipe("digits", ["bottleneck={dropout: 0.5}", "head={hidden: [8, 9], dropout: [0.1, 0, 0.2]}"])
    (tmp_path / "r.yaml").write_text(dump_yaml(recipe.to_dict()))
    again = load_recipe(tmp_path / "r.yaml")
    assert again == recipe
    assert again.bottleneck == Bottleneck(dropout=0.5)
    assert again.head.dropouts == (0.1, 0.0, 0.2)
    assert load_recipe(tmp_path / "r.yaml", ["bottleneck=null"]).bottleneck is None


def test_a_cosine_head_is_the_cosine_over_its_temperature():
    head = make_head(5, 3, Head(cosine=0.05)).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    expected = torch.stack([torch.nn.functional.cosine_similarity(x, w[None]) for w in head.weight], 1) / 0.05
    torch.testing.assert_close(head(x), expected)
    torch.testing.assert_close(head(3 * x), expected)
    assert head.bias is None
    assert head(torch.zeros(1, 5, dtype=torch.float64)).tolist() == [[0, 0, 0]]
    assert isinstance(make_head(5, 3, Head(hidden=(4,), cosine=1.0))[-1], CosineLinear)

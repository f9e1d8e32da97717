"""``mnist-svhn-vada``: the authors' network from the image to the logits, by hand."""

import torch
from torch import nn

from uan_da.models.classifier import build_model
from uan_da.recipe import load_recipe


def test_the_logits_are_normed_and_the_input_is_by_instance() -> None:
    model = build_model(load_recipe("mnist-svhn-vada"), 10)
    assert isinstance(model.input_norm, nn.InstanceNorm2d)
    logits = model.train()(torch.rand(16, 3, 32, 32)).logits
    torch.testing.assert_close(logits.mean(0), torch.zeros(10), rtol=0, atol=1e-4)
    torch.testing.assert_close(logits.var(0, correction=0), torch.ones(10), rtol=0.05, atol=0)


def test_dirt_t_has_the_same_network() -> None:
    names = [
        set(build_model(load_recipe("mnist-svhn-vada", words), 10).state_dict()) for words in ([], ["method=dirt_t"])
    ]
    assert names[0] == names[1]

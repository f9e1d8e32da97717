import torch
from torch import nn

from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier


def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten()), 12, 2).double().train()


def test_joint_shares_batch_statistics_and_separate_does_not() -> None:
    a, b = torch.randn(4, 3, 2, 2).double(), torch.randn(6, 3, 2, 2).double() + 5
    domains = [torch.zeros(4).long(), torch.ones(6).long()]
    net = model()
    joint = forward(net, [a, b], domains, "joint")
    whole = net(torch.cat([a, b]))
    torch.testing.assert_close(torch.cat([output.logits for output in joint]), whole.logits)
    assert [len(output.features) for output in joint] == [4, 6]
    separate = forward(net, [a, b], domains, "separate")
    torch.testing.assert_close(separate[0].features, net(a).features)
    torch.testing.assert_close(separate[1].features, net(b).features)
    assert float(separate[1].features.mean().abs()) < 1e-6 < float(joint[1].features.mean())

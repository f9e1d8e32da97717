import torch
from torch import nn

from uan_da.methods.bounds.joint import Joint
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier, Output


def test_no_term_of_its_own_and_nothing_to_train() -> None:
    model = Classifier(nn.Flatten(), 5, 4)
    method = Joint(model, 4)
    output = Output(torch.randn(2, 5), torch.randn(2, 4))
    loss = method.transfer(output, output, torch.zeros(2).long(), Progress(0, 1))
    assert (loss.terms, loss.metrics) == ({}, {})
    assert method.state_dict() == {}
    assert method.routing == "joint"

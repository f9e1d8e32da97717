"""A synchronised BatchNorm; that two processes are one is shown in two_processes.py of the trainings."""

import pytest
import torch
from torch import nn

from uan_da.norms import convert_norm
from uan_da.norms.synchronized import SynchronizedBatchNorm, batch_norm, synchronize


@pytest.mark.parametrize("training", [True, False])
def test_in_one_process_it_is_batch_norm_to_the_bit(training: bool) -> None:
    plain = nn.BatchNorm2d(3)
    plain(torch.randn(4, 3, 5, 5))
    twin = nn.BatchNorm2d(3)
    twin.load_state_dict(plain.state_dict())
    layer = SynchronizedBatchNorm.of(twin.train(training))
    x = torch.randn(4, 3, 5, 5)
    assert torch.equal(layer(x), plain.train(training)(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(layer.state_dict()[name], value)
    assert layer.weight is twin.weight


def test_only_plain_batch_norms_take_part() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3)), nn.LayerNorm(3))
    names = list(model.state_dict())
    synchronize(model)
    synchronize(model)
    assert [type(layer) for layer in (model[1], model[2][0], model[3])] == [
        SynchronizedBatchNorm,
        SynchronizedBatchNorm,
        nn.LayerNorm,
    ]
    assert list(model.state_dict()) == names


def test_the_option_sync() -> None:
    bn = nn.BatchNorm2d(3)
    assert batch_norm(bn) is bn
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    convert_norm(model, "dsbn", sync=True)
    assert {type(branch) for branch in model[1].branches} == {SynchronizedBatchNorm}
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    convert_norm(model, "bn", sync=True)
    assert type(model[1]) is SynchronizedBatchNorm

"""Replicas, and several processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from uan_da.norms import domain_context


@pytest.mark.works("`DataParallel`, on its first device")
def test_data_parallel(works: Any, norm: str) -> None:
    """A replica has the tensors of the first device, but not the attributes of the model."""
    model, twin = works.network(norm), works.network(norm)
    for seed in range(4):
        x = works.images(seed=seed)
        replica = replicate(model)
        torch.testing.assert_close(works.forward(replica, x), works.forward(twin, x))
    torch.testing.assert_close(works.state(model), works.state(twin))
    works.assert_twins(model, twin)


def replicate(module: nn.Module) -> nn.Module:
    """As ``torch.nn.parallel.replicate`` does for the first device."""
    replica = module._replicate_for_data_parallel()
    for name, child in module.named_children():
        replica._modules[name] = replicate(child)
        setattr(replica, name, replica._modules[name])
    for name, parameter in module._parameters.items():
        vars(replica)[name] = parameter
    return replica


@pytest.mark.works("`DistributedDataParallel`")
def test_distributed_data_parallel(works: Any, norm: str) -> None:
    model, twin = works.network(norm), works.network(norm)
    with one_process():
        parallel = DistributedDataParallel(model)
        for seed in range(4):
            results = []
            for one, call in ((model, parallel), (twin, twin)):
                one.zero_grad()
                with domain_context(one, works.INDEX):
                    y = call(works.images(seed=seed))
                    y.square().sum().backward()
                results.append((y.detach(), [parameter.grad for parameter in one.parameters()]))
            torch.testing.assert_close(*results)
    works.assert_twins(model, twin)


@contextmanager
def one_process() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@pytest.mark.works("`SyncBatchNorm.convert_sync_batchnorm`")
def test_convert_sync_batchnorm(works: Any, norm: str) -> None:
    model = works.trained(norm).eval()
    before = works.forward(model, works.images())
    torch.testing.assert_close(works.forward(nn.SyncBatchNorm.convert_sync_batchnorm(model), works.images()), before)

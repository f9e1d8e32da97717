"""One of the two processes of test_distributed.py: ``python two_processes.py RANK MEETING_POINT``.

What one process computes on whole batches comes first, before the processes know of each other: by the formulas, for
kernels take seconds to compile, and processes that pool their moments run none.
"""

import copy
import sys
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from uan_da.norms import UAN1d, convert_norm, recalibrate

SPLITS = [slice(0, 5), slice(5, 8)]
"""Unequal parts of a batch of eight."""
OPTIONS: list[dict[str, Any]] = [
    {"num_clusters": 1},
    {"num_clusters": 2, "sharpness": 2.0},
    {"num_clusters": 3, "sharpness": 2.0, "shrink": 0.4, "shrink_groups": 2},
    {"num_clusters": 1, "assignment": "element"},
    {"num_clusters": 2, "assignment": "element", "scale": "prior"},
    {"num_clusters": 2, "assignment": "element", "moments": "learned"},
]


def batches() -> list[tuple[Tensor, Tensor]]:
    """Three batches, and the weights of their losses."""
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(2, 8, 4, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    return [(x * 2 + 5, weight) for x, weight in draw]


Steps = tuple[list[Tensor], list[Tensor], dict[str, Tensor], dict[str, Tensor]]


def train(layer: nn.Module, part: slice) -> Steps:
    """Outputs, gradients of the inputs, gradients of the parameters and the state, after three batches."""
    outputs, gradients = [], []
    for whole, weight in batches():
        x = whole[part].clone().requires_grad_()
        y = layer(x)
        (y * weight[part]).sum().backward()
        outputs.append(y.detach())
        gradients.append(x.grad)
    return outputs, gradients, {name: p.grad for name, p in layer.named_parameters()}, layer.state_dict()


def layers(**given: Any) -> list[UAN1d]:
    return [UAN1d(4, dtype=torch.float64, **options, **given) for options in OPTIONS]


def check_synchronised(rank: int, expected: list[Steps]) -> None:
    """Outputs, gradients and state are those of one process on whole batches."""
    part = SPLITS[rank]
    for layer, (outputs, gradients, parameters, state) in zip(layers(sync=True), expected, strict=True):
        mine = train(layer, part)
        torch.testing.assert_close(mine[0], [y[part] for y in outputs])
        torch.testing.assert_close(mine[1], [gradient[part] for gradient in gradients])
        for gradient in mine[2].values():
            distributed.all_reduce(gradient)
        torch.testing.assert_close(mine[2], parameters)
        torch.testing.assert_close(mine[3], state)


def check_not_synchronised(rank: int, expected: list[Steps]) -> None:
    """The clusters are those of one process all the same; outputs are each process's own."""
    part = SPLITS[rank]
    for layer, (outputs, _, _, state) in zip(layers(sync=False), expected, strict=True):
        mine = train(layer, part)
        clusters = {name: mine[3][name] for name in ("mean", "log_var", "prior_logits")}
        torch.testing.assert_close(clusters, {name: state[name] for name in clusters})
        assert layer.options.moments == "learned" or not torch.allclose(mine[0][0], outputs[0][part])


def small_model(backend: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(4, 6, 2), nn.BatchNorm1d(6), nn.Flatten(), nn.Linear(12, 2)).double()
    convert_norm(model, "uan", sync=True, sharpness=2.0, backend=backend)
    return model


def fit(model: nn.Module, part: slice) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for whole, _ in batches():
        optimizer.zero_grad()
        model(whole[part]).square().mean().backward()
        optimizer.step()


def check_data_parallel(rank: int, expected: dict[str, Tensor]) -> None:
    """DistributedDataParallel around a model trains it as one process does."""
    model = small_model("auto")
    fit(DistributedDataParallel(model), (slice(0, 4), slice(4, 8))[rank])
    torch.testing.assert_close(model.state_dict(), expected)


def check_alone(rank: int) -> None:
    """Evaluation and recalibration of a layer that is not synchronised wait for nobody."""
    if rank == 0:
        layer = UAN1d(4, dtype=torch.float64)
        layer.eval()(batches()[0][0])
        recalibrate(nn.Sequential(layer), [x for x, _ in batches()])


def main(rank: int, meeting_point: str) -> None:
    torch.set_num_threads(1)
    expected = [train(layer, slice(None)) for layer in layers(backend="reference")]
    model = small_model("reference")
    fit(model, slice(None))
    distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    check_synchronised(rank, copy.deepcopy(expected))
    check_not_synchronised(rank, expected)
    check_data_parallel(rank, model.state_dict())
    check_alone(rank)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

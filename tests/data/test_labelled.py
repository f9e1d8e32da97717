"""The images of a target whose labels are given: who they are, and that no other label is read."""

import pytest
import torch

from uan_da.data.holdout import Part, draw_labelled
from uan_da.data.images import Images
from uan_da.data.task import build_task
from uan_da.errors import UserError
from uan_da.names import METHODS
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

CPU = torch.device("cpu")
SMALL = ["backbone.width=4", "input.size=16", "train.batch.source=16", "train.batch.target=16"]


def images(*labels: int) -> Images:
    return Images(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))


def test_the_seed_draws_as_many_of_each_class() -> None:
    whole = images(*[0, 1, 2, -1] * 10)
    rest, drawn = draw_labelled(whole, 3, 0, "t")
    assert sorted(drawn.labels.tolist()) == [0] * 3 + [1] * 3 + [2] * 3
    assert sorted([*rest.indices.tolist(), *drawn.indices.tolist()]) == list(range(40))
    assert torch.equal(draw_labelled(whole, 3, 0, "t")[1].indices, drawn.indices)
    assert not torch.equal(draw_labelled(whole, 3, 1, "t")[1].indices, drawn.indices)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 0, 1], "has 1 images of a class"), ([0, 0, 1, 1], "leaves one part empty"), ([-1, -1], "one part empty")],
)
def test_too_few_images_are_told(labels: list[int], message: str) -> None:
    with pytest.raises(UserError, match=f"target.labelled=2.*{message}"):
        draw_labelled(images(*labels), 2, 0, "t")


def test_a_batch_has_them_beside_the_masked_target() -> None:
    task = build_task(load_recipe("digits-semi", SMALL), CPU)
    batch, target = task.batch(0, ("weak",)), task.target
    assert target.labelled is not None
    assert batch.labelled is not None
    assert (len(target.labelled), len(target.train)) == (30, 508)
    assert torch.equal(batch.labelled.labels, target.labelled.labels[batch.labelled.index])
    assert (batch.labelled.domain == 1).all()
    assert (batch.target.labels == -1).all()
    assert (len(batch.source.labels), len(batch.labelled.labels), len(batch.target.labels)) == (16, 16, 16)
    whole = batch.source.labels.new_empty(0).set_(batch.target.labels.untyped_storage())
    assert (whole >= 0).sum() <= 32  # no label of the rest is in the batch's memory
    closed = build_task(load_recipe("digits", SMALL), CPU).batch(0, ("weak",))
    assert closed.labelled is None


@pytest.mark.parametrize("method", [n for n in METHODS.targets if "semi_supervised" in METHODS.load(n).settings])
def test_no_label_is_read_but_those_that_are_given(method: str) -> None:
    def trained(garbled: bool) -> Training:
        training = Training.build(load_recipe("digits-semi", [f"method={method}", *SMALL]), CPU)
        rest = training.task.target.train
        if garbled:
            assert isinstance(rest, Part)
            rest.whole.labels[rest.indices] = 3
        for _ in range(3):
            training.advance()
        return training

    honest, garbled = trained(False), trained(True)
    assert not torch.equal(honest.task.target.train.labels, garbled.task.target.train.labels)
    for name, value in honest.model.state_dict().items():
        assert torch.equal(value, garbled.model.state_dict()[name]), name

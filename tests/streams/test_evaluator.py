from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.names import STREAM_METHODS
from uan_da.streams.evaluator import StreamDomain, predict_stream
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.setting import Segment, segments


class Spy(StreamMethod):
    """Predicts the mean of the first image's pixels as class 0, and keeps what it was shown."""

    updates: ClassVar[str] = "nothing"
    made: ClassVar[list["Spy"]] = []

    def __init__(self, model: Classifier, num_classes: int, surroundings: Surroundings) -> None:
        super().__init__(model, num_classes, surroundings)
        self.shown: list[Tensor] = []
        self.made.append(self)

    def predict(self, pixels: Tensor) -> Tensor:
        self.shown.append(pixels.clone())
        return torch.zeros(len(pixels), self.num_classes)

    def kept(self) -> Sequence[Tensor]:
        return self.shown


def test_a_method_sees_each_image_once_in_order_and_anew_after_a_reset(
    network: Classifier, surroundings: Surroundings, domains: list[StreamDomain]
) -> None:
    Spy.made.clear()
    stream = segments([domain.labels for domain in domains], "single", 0)
    predictions = predict_stream(lambda: Spy(network, 3, surroundings), domains, stream, 6)
    assert [len(spy.shown) for spy in Spy.made] == [4, 3]
    shown = torch.cat([torch.cat(spy.shown) for spy in Spy.made])
    expected = [domains[d].images.pixels[i] for d, i in zip(predictions.domain, predictions.index, strict=True)]  # type: ignore[attr-defined]
    assert torch.equal(shown, torch.stack(expected))
    assert predictions.stored_bytes == 20 * 3 * 8 * 8
    np.testing.assert_allclose(predictions.probabilities, 1 / 3)


def test_no_label_is_in_what_a_method_is_given(domains: list[StreamDomain]) -> None:
    for domain in domains:
        (some,) = domain.images.stream([torch.arange(3)])
        assert set(some.labels.tolist()) == {-1}


@pytest.mark.parametrize("name", STREAM_METHODS.targets)
@pytest.mark.parametrize("batch", [6, 1])
def test_later_images_do_not_change_a_prediction(
    network: Classifier,
    surroundings: Surroundings,
    domains: list[StreamDomain],
    name: str,
    batch: int,
    images: Callable[..., Tensor],
) -> None:
    """Two streams that part after twelve images are predicted alike until then, and need not be afterwards."""
    import copy
    from dataclasses import replace

    method, around = STREAM_METHODS.load(name), replace(surroundings, batch=batch)
    found = []
    for order in (np.arange(20), np.concatenate([np.arange(12), np.arange(19, 11, -1)])):
        stream = [Segment(np.zeros(20, dtype=int), order, reset=False)]
        torch.manual_seed(0)
        made = method(copy.deepcopy(network), 3, around)
        found.append(predict_stream(lambda made=made: made, domains[:1], stream, batch).probabilities)  # type: ignore[misc]
    np.testing.assert_array_equal(found[0][:12], found[1][:12])
    np.testing.assert_allclose(found[0].sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in STREAM_METHODS.targets if n not in ("source", "lame", "iabn")])
def test_a_method_learns_from_a_stream(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], name: str
) -> None:
    """Its predictions of the same images differ after a stream of others, or from the source's."""
    import copy

    quick = {"rotta": {"capacity": 6, "alpha": 0.5}, "note": {"capacity": 6, "k": 0.1}, "memo": {"lr": 0.5}}
    method = STREAM_METHODS.load(name)(copy.deepcopy(network), 3, surroundings, **quick.get(name, {}))
    asked = images(6, 50, 0, 120)
    with torch.no_grad():
        source = network(surroundings.seen(asked)).logits
        for seed in range(4):
            method.predict(images(6, seed, 0, 120))
        after = method.predict(asked)
    assert not torch.allclose(source.softmax(1), after.float().softmax(1), atol=1e-4)
    assert method.updates != "nothing"


def test_predictions_that_are_not_finite_are_refused(
    network: Classifier, surroundings: Surroundings, domains: list[StreamDomain]
) -> None:
    class Broken(Spy):
        def predict(self, pixels: Tensor) -> Tensor:
            return torch.full((len(pixels), 3), torch.nan)

    stream = segments([domain.labels for domain in domains], "mixed", 0)
    with pytest.raises(UserError, match="not finite"):
        predict_stream(lambda: Broken(network, 3, surroundings), domains, stream, 6)

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from uan_da.data.open_dataset import open_dataset
from uan_da.data.synthetic import Synthetic


def pixels(examples, count: int) -> np.ndarray:
    return np.stack([np.asarray(examples[index][0]) for index in range(count)])


def test_an_image_is_a_function_of_seed_split_and_place() -> None:
    train = Synthetic().load("synthetic", "train")
    first = pixels(train, 12)
    again = np.asarray(Synthetic().load("synthetic", "train")[11][0])
    assert np.array_equal(first[11], again)
    assert not np.array_equal(first, pixels(Synthetic(seed=1).load("synthetic", "train"), 12))
    assert not np.array_equal(first, pixels(Synthetic().load("synthetic", "test"), 12))
    assert first.shape == (12, 32, 32, 3)
    assert [train[index][1] for index in range(12)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_sizes_and_the_end() -> None:
    train = Synthetic(train=3, test=2).load("synthetic", "train")
    assert len(train) == 3
    with pytest.raises(IndexError):
        train[3]


def test_distractors_stand_at_the_sides() -> None:
    """Something is drawn at the border of most images, left and right of the digit; of the digit alone, of few."""
    images = pixels(Synthetic().load("synthetic", "train"), 200).astype(float).mean(3)
    detail = np.abs(np.diff(images, axis=1)).mean(axis=(0, 1))  # strokes are where neighbouring rows differ
    sides = np.concatenate([detail[:5], detail[-5:]]).mean()
    top = np.abs(np.diff(images[:, :3], axis=2)).mean()
    assert sides > 1.3 * top


def test_the_digit_can_be_learned_from_its_image() -> None:
    """A linear model on oriented edges is far above chance, and the labels' order carries nothing."""
    train, test = (Synthetic(train=800, test=300).load("synthetic", split) for split in ("train", "test"))

    def edges(examples, count: int) -> np.ndarray:
        grey = pixels(examples, count).astype(float).mean(3)
        y, x = np.gradient(grey, axis=(1, 2))
        maps = np.stack([np.abs(y), np.abs(x), np.abs(x + y), np.abs(x - y)], 1)
        pooled = maps.reshape(count, 4, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(count, -1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    model = LogisticRegression(C=100, max_iter=300).fit(edges(train, 800), train.labels)
    assert model.score(edges(test, 300), test.labels) > 0.3


@pytest.mark.parametrize("name", ["digits", "digits_five"])
def test_the_cards_have_it(name: str) -> None:
    card = open_dataset(name)
    found = {split: len(card.load("synthetic", split)) for split in ("train", "test")}
    described = card.card.domains["synthetic"]
    assert found == {"train": described.train, "test": described.test}

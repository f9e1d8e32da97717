from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from uan_da.data.adapter import Arrays, MissingData
from uan_da.data.adapters.corrupted import ConditionedArrays, Corrupted
from uan_da.data.corruptions.draws import Draws
from uan_da.data.corruptions.published import FIFTEEN
from uan_da.data.digits import Digits
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.seeding import fold

DIGITS = "uan_da.data.digits:Digits"


@pytest.fixture(scope="module")
def digits() -> Arrays:
    found = Digits().load("optdigits_rest", "test")
    assert isinstance(found, Arrays)
    return found


def test_a_domain_is_a_corruption_of_every_image(digits: Arrays) -> None:
    found = Corrupted(dataset=DIGITS, domain="optdigits_rest", severity=3, seed=2).load("contrast", "test")
    assert found.labels.tolist() == digits.labels.tolist()
    assert found.images.shape == (360, 28, 28, 3)
    mean = digits.images[7].mean()
    expected = ((digits.images[7] - mean) * 0.4 + mean)[..., None]
    np.testing.assert_allclose(found.images[7], np.repeat(expected, 3, -1), atol=1)
    assert set(found.conditions) == {0}
    assert found.names == ("contrast",)


def test_mixed_draws_one_condition_an_image_by_a_hash(digits: Arrays) -> None:
    adapter = Corrupted(dataset=DIGITS, domain="optdigits_rest", seed=4)
    found = adapter.load("mixed", "test")
    assert found.names == tuple(FIFTEEN)
    assert found.conditions.tolist() == [fold(4, "mixed", "test", index) % 15 for index in range(360)]
    assert np.bincount(found.conditions).min() > 10
    index = int(np.flatnonzero(found.conditions == found.names.index("gaussian_noise"))[1])
    alone = FIFTEEN["gaussian_noise"](digits.images[index][None], Draws.of([index], 4, "gaussian_noise", "test"), 5)
    np.testing.assert_array_equal(found.images[index], alone[0])
    whole = adapter.load("gaussian_noise", "test")
    np.testing.assert_array_equal(whole.images[index], found.images[index])


def test_the_seed_and_the_split_change_the_draws() -> None:
    first, again, other = (
        Corrupted(dataset=DIGITS, domain="optdigits_rest", conditions="eight", seed=seed).load("mixed", "test")
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.conditions != other.conditions).mean() > 0.5
    train = Corrupted(dataset=DIGITS, domain="optdigits_rest", conditions="eight").load("mixed", "train")
    assert (train.conditions[:360] != first.conditions).mean() > 0.5


def test_the_eight_conditions(digits: Arrays) -> None:
    adapter = Corrupted(dataset=DIGITS, domain="optdigits_rest", conditions="eight")
    grey = digits.images[0].astype(int)
    shown = {name: adapter.load(name, "test").images[0].astype(int) for name in ("clean", "negative", "dark", "bright")}
    np.testing.assert_array_equal(shown["clean"][..., 1], grey)
    np.testing.assert_array_equal(shown["negative"][..., 1], 255 - grey)
    np.testing.assert_array_equal(shown["dark"][..., 1], grey // 4)
    np.testing.assert_array_equal(shown["bright"][..., 1], grey // 2 + 127)
    tinted = adapter.load("tinted", "test").images[0]
    np.testing.assert_array_equal(tinted[0, 0], [0, 60, 90])


def test_halves_of_the_training_images_share_none() -> None:
    halves = [Corrupted(dataset=DIGITS, domain="optdigits", train_part=part) for part in ("first_half", "second_half")]
    first, second = (half.load("clean", "train") for half in halves)
    whole = Digits().load("optdigits", "train")
    assert isinstance(whole, Arrays)
    np.testing.assert_array_equal(np.concatenate([first.images, second.images])[..., 0], whole.images)
    assert len(halves[0].load("clean", "test")) == len(halves[1].load("clean", "test")) == 360
    few = Corrupted(dataset=DIGITS, domain="optdigits", train_part="second_half", limit=7)
    np.testing.assert_array_equal(few.load("clean", "train").images, second.images[:7])
    assert [len(few.load("clean", "test")), len(halves[1].load("clean", "test"))] == [7, 360]


def test_image_files_of_one_size(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "plates", {"scan": ("ant", "bee")}, 3)
    found = Corrupted(dataset=str(folder), domain="scan").load("brightness", "train")
    assert found.images.shape[1:] == (12, 12, 3)
    from PIL import Image

    Image.new("RGB", (5, 7)).save(folder / "scan" / "ant" / "small.png")
    card = tmp_path / "card.yaml"
    card.write_text(
        f"classes: [ant, bee]\nadapter: {{name: folder, split: both}}\nfolder: {folder}\ndomains: {{scan: {{}}}}"
    )
    with pytest.raises(UserError, match="images of one size"):
        Corrupted(dataset=str(card), domain="scan").load("fog", "train")


def test_unknown_corruptions_and_missing_images() -> None:
    with pytest.raises(UserError, match="did you mean 'fog'"):
        Corrupted(dataset=DIGITS, domain="optdigits").load("fogg", "test")
    with pytest.raises(MissingData) as said:
        open_dataset("fashion_mnist_c").load("fog", "test")
    assert "fetch fashion_mnist\n" in str(said.value)
    assert "fashion_mnist_c" not in str(said.value)


@pytest.mark.parametrize("name", ["digits_c", "digits_conditions"])
def test_the_cards_count_what_is_served(name: str) -> None:
    card = open_dataset(name)
    for domain in ("optdigits", "mixed", list(card.domains)[-1]):
        for split in ("train", "test"):
            assert len(card.load(domain, split)) == getattr(card.card.domains[domain], split)


def test_a_part_is_made_alone_and_as_in_the_whole() -> None:
    made: list[int] = []

    def make(indices: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        made.extend(indices.tolist())
        return np.zeros((len(indices), 2, 2, 3), dtype=np.uint8)

    part = ConditionedArrays(np.arange(9), np.arange(9) % 2, ("a", "b"), make).part(np.array([7, 2]))
    assert part.images.shape == (2, 2, 2, 3)
    assert made == [7, 2]
    assert (part.labels.tolist(), part.conditions.tolist(), len(part)) == ([7, 2], [1, 0], 2)
    whole = Corrupted(dataset=DIGITS, domain="optdigits_rest").load("mixed", "test")
    chosen = np.array([31, 4, 200])
    np.testing.assert_array_equal(whole.part(chosen).images, whole.images[chosen])

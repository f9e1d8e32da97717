import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split

from uan_da.data import bundled
from uan_da.data.blend import TRAIN_WIDTH
from uan_da.data.card import load_card
from uan_da.data.digits import PARTS, SIZE, Digits, parts
from uan_da.data.open_dataset import open_dataset
from uan_da.names import ADAPTERS


def test_what_is_read_is_what_scikit_learn_loads() -> None:
    images, labels = bundled.digits()
    np.testing.assert_array_equal(images, load_digits().images)
    np.testing.assert_array_equal(labels, load_digits().target)
    for mine, theirs in zip(bundled.photos(), load_sample_images().images, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("seed", [0, 1])
def test_parts_are_drawn_one_from_what_the_others_left(seed: int) -> None:
    labels, left = load_digits().target, np.arange(1797)
    for domain, split, size in PARTS[:-1]:
        left, chosen = train_test_split(left, test_size=size, stratify=labels[left], random_state=seed)
        np.testing.assert_array_equal(parts(seed)[domain, split], chosen)
    np.testing.assert_array_equal(parts(seed)["optdigits_m", "train"], left)


@pytest.mark.parametrize("seed", [0, 1])
def test_parts_are_disjoint_and_use_every_digit(seed: int) -> None:
    assert sorted(np.concatenate(list(parts(seed).values()))) == list(range(1797))
    assert {part: len(chosen) for part, chosen in parts(seed).items()} == {(d, s): n for d, s, n in PARTS}


def test_every_part_has_the_classes_in_proportion() -> None:
    labels = load_digits().target
    for chosen in parts(0).values():
        shares = np.bincount(labels[chosen], minlength=10) / len(chosen)
        np.testing.assert_allclose(shares, np.bincount(labels) / len(labels), atol=0.01)


def test_the_card_counts_what_the_adapter_serves() -> None:
    card, adapter = load_card("digits"), open_dataset("digits")
    assert set(Digits.domains) < set(card.domains)
    assert Digits.classes == tuple(card.classes)
    for name, domain in card.domains.items():
        assert (len(adapter.load(name, "train")), len(adapter.load(name, "test"))) == (domain.train, domain.test)


@pytest.mark.parametrize("split", ["train", "test"])
def test_blending_is_the_recipe_of_mnist_m(split: str) -> None:
    """|photo − digit| for a crop of the photograph's part that belongs to the split, found by search."""
    adapter = Digits()
    blended = np.asarray(adapter.load("optdigits_m", split)[0][0]).astype(int)
    digit = np.asarray(adapter.load("optdigits_rest", split)[0][0]).astype(int)
    flat = digit == 0  # there |photo − digit| is the photo itself
    assert flat.sum() > 50
    for photo in load_sample_images().images:
        border = round(photo.shape[1] * TRAIN_WIDTH)
        region = photo[:, :border] if split == "train" else photo[:, border:]
        windows = np.lib.stride_tricks.sliding_window_view(region, (SIZE, SIZE), axis=(0, 1))
        same = (windows[:, :, :, flat] == blended[flat].T).all(axis=(2, 3))
        for top, left in np.argwhere(same):
            crop = region[top : top + SIZE, left : left + SIZE].astype(int)
            if (np.abs(crop - digit[..., None]) == blended).all():
                return
    pytest.fail("no crop of the split's region gives this image")


def test_the_seed_is_the_datas_own() -> None:
    first, again, other = (np.asarray(Digits(seed=s).load("optdigits_m", "test")[5][0]) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_images_and_labels() -> None:
    source, target = (Digits().load(domain, "train") for domain in ("optdigits", "optdigits_m"))
    image, label = source[3]
    assert (image.mode, image.size) == ("L", (SIZE, SIZE))
    assert label in range(10)
    image, label = target[3]
    assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))


def test_the_adapter_is_found_by_name() -> None:
    assert ADAPTERS.load("digits") is Digits

"""Every shipped card, found by looking, so that none is forgotten."""

import re

import pytest

from uan_da.data.card import Card, load_card
from uan_da.data.open_dataset import open_dataset
from uan_da.folders import shipped

CARDS = shipped("datasets")
EMBEDDED = {"digits", "digits_c", "digits_conditions"}


def test_the_cards_that_are_promised() -> None:
    promised = {"digits", "digits_five", "office31", "office_home", "visda2017", "domainnet", "cifar10", "cifar100"}
    promised |= {"cifar10_c", "cifar100_c", "imagenet_c", "fashion_mnist"}
    promised |= {"digits_c", "digits_conditions", "fashion_mnist_c", "fashion_conditions", "mnist_conditions"}
    assert promised <= set(CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_a_user_must_know(name: str) -> None:
    first = f"# uan-da datasets show {name}"
    assert CARDS[name].read_text(encoding="utf-8").partition("\n")[0] == first, f"{name}.yaml begins with: {first}"
    card = load_card(name)
    assert card.description
    assert card.citation != "unknown", f"{name}.yaml: add the key citation"
    for domain, facts in card.domains.items():
        lacking = [
            key for key in ("train", "test", "image_size", "source") if getattr(facts, key) in (None, 0, "unknown")
        ]
        assert not lacking, f"{name}.yaml: domains.{domain}: add {lacking}"
    opened = open_dataset(name)
    assert tuple(opened.domains) == tuple(card.domains)


@pytest.mark.parametrize("name", CARDS)
def test_data_can_be_had(name: str) -> None:
    """Embedded or rendered, downloaded, or by hand; downloads go to places of their own, within the folder."""
    card = load_card(name)
    assert name in EMBEDDED or card.downloads or card.manual, (
        f"{name}.yaml: add `downloads`, or `manual`: how to get the data by hand. Or EMBEDDED here, if made by code"
    )
    places = [item.to for item in card.downloads]
    assert len(set(places)) == len(places)
    for item in card.downloads:
        assert re.match(r"https?://", item.url)
        assert not item.to.startswith(("/", ".."))


def test_numbers_of_classes() -> None:
    counted = {name: len(load_card(name).classes) for name in CARDS}
    expected = {
        "office31": 31,
        "office_home": 65,
        "visda2017": 12,
        "domainnet": 345,
        "cifar100": 100,
        "cifar10_c": 10,
        "imagenet_c": 1000,
    }
    assert {name: counted[name] for name in expected} == expected


def test_digests_are_checked() -> None:
    card = {"adapter": "idx", "classes": ["a"], "domains": {}}
    download = {"url": "https://x", "to": "x", "sha256": "abc"}
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Card.model_validate(card | {"downloads": [download]})

"""What a run was trained on, and what has changed since, in words."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from uan_da.data.file_digests import file_digest
from uan_da.data.fingerprint import differences, fingerprint
from uan_da.errors import UserError
from uan_da.recipe import load_recipe


def of(dataset: Path | str, *changes: str) -> dict[str, object]:
    changed = load_recipe("digits", [f"dataset={dataset}", "task=scan:photo", *changes])
    return json.loads(json.dumps(fingerprint(changed)))


@pytest.fixture
def card(plates: Path) -> Path:
    """All images are train and test, so that a name that changes moves none."""
    card = plates.with_name("plates.yaml")
    card.write_text(
        "adapter: {name: folder, split: both}\nclasses: [ant, bee]\nfolder: plates\ndomains: {scan: {}, photo: {}}\n"
    )
    return card


def test_the_record(plates: Path) -> None:
    record = of(plates)
    assert record["classes"] == ["ant", "bee"]
    assert list(record["domains"]) == ["scan", "photo"]
    scan = record["domains"]["scan"]
    assert scan["train"]["images"] + scan["test"]["images"] == 40
    assert sum(scan[split]["classes"]["ant"][0] for split in ("train", "test")) == 20
    assert scan["train"]["unlabelled"] == [0, "0" * 32]
    assert record["input"]["size"] == 28


def test_the_same_data_elsewhere_are_the_same(plates: Path) -> None:
    before = of(plates)
    shutil.copytree(plates, plates.with_name("elsewhere"))
    assert differences(before, of(plates.with_name("elsewhere"))) == []


def test_the_shipped_digits_are_those_of_their_record() -> None:
    digits = load_recipe("digits")
    record = fingerprint(digits)
    assert [record["domains"]["optdigits"][split]["images"] for split in ("train", "test")] == [539, 360]
    assert differences(record, fingerprint(digits)) == []


def test_classes_renamed_added_and_gone(plates: Path) -> None:
    before = of(plates)
    for domain in ("scan", "photo"):
        (plates / domain / "bee").rename(plates / domain / "wasp")  # which also moves images between train and test
    assert differences(before, of(plates)) == ["the class 'bee' is now called 'wasp'"]
    Image.new("RGB", (5, 5)).save(plates / "scan" / "wasp" / "020.jpg")
    assert differences(before, of(plates)) == ["the class 'bee' is gone", "the class 'wasp' was added"] + [
        f"domain {name!r}: class 'bee': 20 image(s) removed, 20 before and 0 now" for name in ("scan", "photo")
    ]


def test_images_added_removed_and_changed(plates: Path) -> None:
    before = of(plates)
    Image.new("RGB", (5, 5)).save(plates / "scan" / "ant" / "020.jpg")
    (plates / "photo" / "ant" / "000.jpg").unlink()
    Image.new("RGB", (12, 12)).save(plates / "photo" / "bee" / "000.jpg")
    assert differences(before, of(plates)) == [
        "domain 'scan': class 'ant': 1 image(s) added, 20 before and 21 now",
        "domain 'photo': class 'ant': 1 image(s) removed, 20 before and 19 now",
        "domain 'photo': class 'bee': of 20 image(s), some are others",
    ]


def test_images_that_move(plates: Path, card: Path) -> None:
    before, both = of(plates), of(card)
    one, other = plates / "scan" / "ant" / "000.jpg", plates / "scan" / "ant" / "001.jpg"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert differences(both, of(card)) == ["domain 'scan': the same images have other labels or another order"]
    for number in range(20):
        (plates / "scan" / "ant" / f"{number:03d}.jpg").rename(plates / "scan" / "ant" / f"z{number:03d}.jpg")
    assert differences(before, of(plates)) == ["domain 'scan': class 'ant': images moved between train and test"]


def test_the_input_and_the_order_of_the_classes(plates: Path, card: Path) -> None:
    before = of(card)
    assert differences(before, of(card, "input.channels=1")) == ["input.channels was 3, and is 1"]
    older = {**before, "input": {key: value for key, value in before["input"].items() if key != "resize"}}
    assert differences(older, before) == []
    assert differences(older, of(card, "input.resize=short")) == ["input.resize was square, and is short"]
    card.write_text(card.read_text().replace("[ant, bee]", "[bee, ant]"))
    assert differences(before, of(card))[0] == "the classes have another order: it was ant, bee, and is bee, ant"


def test_a_domain_that_does_not_exist(plates: Path) -> None:
    with pytest.raises(UserError, match=r"unknown domain 'scann' \(did you mean 'scan'\?\)"):
        of(plates, "task=scann:photo")


def test_a_file_is_read_once_unless_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"one")
    monkeypatch.setattr("uan_da.data.file_digests.SETTLED", -1e9)
    first = file_digest(file)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda path: b"not read")
        assert file_digest(file) == first
    file.write_bytes(b"three")
    assert file_digest(file) != first
    with pytest.raises(UserError, match="gone: cannot be read"):
        file_digest(tmp_path / "gone")

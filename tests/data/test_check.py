from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uan_da.data.check import Finding, check_dataset
from uan_da.data.open_dataset import open_dataset
from uan_da.recipe.task_name import parse_task


def findings(spec: Path, task: str | None = None) -> list[Finding]:
    return check_dataset(open_dataset(str(spec)), parse_task(task) if task else None).findings


def test_nothing_is_wrong(plates: Path) -> None:
    report = check_dataset(open_dataset(str(plates)))
    assert report.findings == []
    assert sum(len(images) for images in report.images.values()) == 80


def spoil(plates: Path) -> None:
    """One truncated JPEG, a text named .jpg, a class that the target lacks, a CMYK and a 16-bit image."""
    scan = plates / "scan"
    content = (scan / "ant" / "001.jpg").read_bytes()
    (scan / "ant" / "001.jpg").write_bytes(content[: len(content) // 2])
    (scan / "bee" / "002.jpg").write_text("not a picture")
    Image.new("CMYK", (12, 12), (10, 20, 30, 0)).save(scan / "bee" / "003.jpg")
    Image.fromarray(np.full((12, 12), 30_000, dtype=np.uint16)).save(scan / "bee" / "004.png")
    for number in range(20):
        path = scan / "cat" / f"{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 12), (number, 0, 0)).save(path)


def test_everything_is_reported(plates: Path) -> None:
    spoil(plates)
    found = findings(plates, "scan:photo")
    texts = sorted((finding.severity, finding.domain, finding.message) for finding in found)
    assert len(texts) == 5
    defects = [text for text in texts if text[0] == "defect"]
    assert [(domain, Path(message.partition(":")[0]).name) for _, domain, message in defects] == [
        ("scan", "001.jpg"),
        ("scan", "002.jpg"),
    ]
    assert "damaged image" in defects[0][2]
    assert "not an image" in defects[1][2]
    warnings = " | ".join(f"{domain}: {message}" for severity, domain, message in texts if severity == "warning")
    assert "photo: no training image of the class 'cat'" in warnings
    assert "scan: 1 image(s) of mode CMYK among RGB, converted: " in warnings
    assert "scan: 1 image(s) of mode I;16 among RGB, converted: " in warnings
    assert "003.jpg" in warnings
    assert "004.png" in warnings


def test_the_other_way_round_the_missing_class_is_a_defect(make: Callable[..., Path], tmp_path: Path) -> None:
    plates = make(tmp_path / "p", {"scan": ("ant", "bee", "cat"), "photo": ("ant", "bee")})
    (finding,) = findings(plates, "photo:scan")
    assert (finding.severity, finding.domain) == ("defect", "photo")
    assert "'cat': a source needs every class" in finding.message
    (finding,) = findings(plates)
    assert (finding.severity, finding.domain) == ("warning", "photo")


def test_duplicates_across_source_train_and_target_test(plates: Path) -> None:
    opened: Any = open_dataset(str(plates))
    train, test = opened.load("scan", "train").paths[0], opened.load("photo", "test").paths[0]
    test.write_bytes(train.read_bytes())
    (finding,) = findings(plates, "scan:photo")
    assert (finding.severity, finding.domain) == ("defect", "photo")
    assert finding.message == f"1 test image(s) equal training images of 'scan': {test} = {train}"
    assert findings(plates, "photo:scan") == []


def test_duplicates_within_a_domain(plates: Path) -> None:
    opened: Any = open_dataset(str(plates))
    train, test = (opened.load("scan", split).paths[0] for split in ("train", "test"))
    test.write_bytes(train.read_bytes())
    (finding,) = findings(plates, "scan:photo")
    assert (finding.severity, finding.domain) == ("warning", "scan")


def test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "check_module.py").write_text(
        "import numpy as np\n"
        "from PIL import Image\n"
        "class Gaps:\n"
        "    domains, classes = ('scan', 'photo'), ('a', 'b', 'c')\n"
        "    def load(self, domain, split):\n"
        "        start = 40 * (domain == 'scan') + 20 * (split == 'test')\n"
        "        labels = [0, 2, 3 if start == 40 else 0]\n"
        "        return [(Image.new('L', (4, 4), start + i), label) for i, label in enumerate(labels)]\n"
        "class Empty(Gaps):\n"
        "    def load(self, domain, split):\n"
        "        return []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = {f"{f.severity} {f.domain}: {f.message}" for f in findings(Path("check_module:Gaps"))}
    assert found == {
        "defect all: no image of the class 'b' (label 1)",
        "defect scan: dataset 'check_module:Gaps', domain 'scan', train: image 2: label 3 is not one of 3 classes "
        "(0 to 2; -1 is unknown)",
    }
    assert {f.message for f in findings(Path("check_module:Empty"))} == {
        "the train split has no images",
        "the test split has no images",
    }


def test_the_cards_counts_and_missing_data(plates: Path, tmp_path: Path) -> None:
    card = tmp_path / "mine.yaml"
    card.write_text(
        "adapter: {name: folder, split: both}\nclasses: [ant, bee]\nfolder: plates\n"
        "domains: {scan: {train: 40, test: 41}, gone: {}}\n"
    )
    found = {f"{f.severity} {f.domain}: {f.message.splitlines()[0]}" for f in findings(card)}
    assert "warning scan: test: 40 images, the card says 41" in found
    assert any(text.startswith("defect gone: train: domain 'gone' is not here") for text in found)

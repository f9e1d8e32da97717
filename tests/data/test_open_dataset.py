from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from uan_da.data.adapter import MissingData
from uan_da.data.card import load_card
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError

CARD = "adapter: {name: folder}\nclasses: [ant, bee]\ndomains: {scan: {}, photo: {description: hand-held}}\n"


def counts(spec: str) -> dict[str, tuple[int, int]]:
    opened = open_dataset(spec)
    return {name: (len(opened.load(name, "train")), len(opened.load(name, "test"))) for name in opened.domains}


def test_a_folder(plates: Path) -> None:
    opened = open_dataset(str(plates))
    assert tuple(opened.domains) == ("photo", "scan")
    assert tuple(opened.classes) == ("ant", "bee")
    assert all(train + test == 40 and test for train, test in counts(str(plates)).values())


def test_a_card_of_the_users_own(plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(CARD + "folder: plates\n")
    assert counts(str(tmp_path / "mine.yaml")) == counts(str(plates))  # relative to the card's file
    (tmp_path / "plates.yaml").write_text(CARD)
    monkeypatch.setenv("UAN_DA_DATA", str(tmp_path))
    assert counts(str(tmp_path / "plates.yaml")) == counts(str(plates))  # or in the data root


def test_a_card_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("adapter: {name: foldr}\nclasses: [a, a]\ndomain: {}\n")
    with pytest.raises(UserError) as error:
        open_dataset(str(path))
    for text in ("mine.yaml:1: adapter: unknown adapter 'foldr' (did you mean 'folder'?)", "domains: is missing"):
        assert text in str(error.value)
    path.write_text("adapter: {name: folder, layot: x}\nclasses: [a]\ndomains: {}\n")
    with pytest.raises(UserError, match=r"mine.yaml:1: .*unknown key 'layot' \(did you mean 'layout'\?\)"):
        open_dataset(str(path))
    path.write_text("classes: [a]\ndomains: {x: {}}\n")
    with pytest.raises(UserError, match="no adapter for the domain 'x'"):
        open_dataset(str(path))
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset(str(tmp_path / "none.yaml"))


def test_data_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(MissingData) as error:
        open_dataset("office31").load("amazon", "train")
    for text in ("'amazon' is not here", "amazon/images", "Google Drive", "--data-root", "UAN_DA_DATA"):
        assert text in str(error.value)
    with pytest.raises(MissingData, match="uan-da datasets fetch cifar10"):
        open_dataset("cifar10").load("cifar10", "train")


ADAPTER = """
from PIL import Image

class Plates:
    domains, classes = ("scan", "photo"), ("ant", "bee")

    def load(self, domain, split):
        return [(Image.new("L", (9, 7)), 0)] * 3

class Bare:
    domains = ()

class Demanding:
    def __init__(self, path): ...
    def load(self, domain, split): ...

def build():
    return Plates()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "open_dataset_module.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(tmp_path)
    return "open_dataset_module"


@pytest.mark.parametrize("name", ["Plates", "build"])
def test_a_class_or_function_of_the_users_own(module: str, name: str) -> None:
    assert counts(f"{module}:{name}") == {"scan": (3, 3), "photo": (3, 3)}


def test_what_is_no_adapter(module: str) -> None:
    with pytest.raises(UserError, match="missing: load"):
        open_dataset(f"{module}:Bare")
    with pytest.raises(UserError, match="path"):
        open_dataset(f"{module}:Demanding")


def test_entry_points(module: str, plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "card.yaml").write_text(CARD + f"folder: {plates}\n")
    entries = [
        EntryPoint("plates", f"{module}:Plates", "uan_da.datasets"),
        EntryPoint("broken", f"{module}:Nothing", "uan_da.datasets"),
    ]
    monkeypatch.setattr("uan_da.data.open_dataset.entry_points", lambda group: entries)
    assert counts("plates") == {"scan": (3, 3), "photo": (3, 3)}
    with pytest.raises(UserError, match=r"'broken'.*cannot be imported"):
        open_dataset("broken")
    with pytest.raises(UserError, match=r"unknown dataset 'plate' \(did you mean 'plates'\?\)"):
        open_dataset("plate")
    import open_dataset_module  # type: ignore[import-not-found]

    open_dataset_module.CARD = str(tmp_path / "card.yaml")
    open_dataset_module.READ = load_card("digits")
    entries += [EntryPoint(name.lower(), f"{module}:{name}", "uan_da.datasets") for name in ("CARD", "READ")]
    assert counts("card") == counts(str(plates))
    assert counts("read")["optdigits"] == (539, 360)


@pytest.mark.parametrize("spec", ["/no/such/folder", "./none"])
def test_a_folder_that_is_not_there(spec: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(spec)

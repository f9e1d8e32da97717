from pathlib import Path

import pytest
from PIL import Image

from uan_da.data.folder_card import card_of_folder, write_card
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)


def test_every_layout_is_found(tmp_path: Path) -> None:
    put(tmp_path, "plain/ant/1.jpg", "plain/bee/1.jpg", "amazon/images/ant/1.jpg", "wild/1.jpg", "wild/2.PNG")
    put(tmp_path, "split/train/ant/1.jpg", "split/test/cat/1.jpg", ".git/x/1.jpg")
    (tmp_path / "empty").mkdir()
    card = card_of_folder(tmp_path)
    assert card.classes == ("ant", "bee", "cat")
    layouts = {name: (domain.adapter or card.adapter).options["layout"] for name, domain in card.domains.items()}
    assert layouts == {
        "amazon": "{domain}/images/{class}",
        "plain": "{domain}/{class}",
        "split": "{domain}/{split}/{class}",
        "wild": "{domain}",
    }


@pytest.mark.parametrize("names", [(), ("a.jpg",), ("ant/1.jpg", "bee/1.jpg")])
def test_folders_without_labelled_domains(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(tmp_path, *names)
    with pytest.raises(UserError, match="expected <domain>/<class>/"):
        card_of_folder(tmp_path)


def test_the_written_card_serves_the_same(tmp_path: Path) -> None:
    put(tmp_path / "data", "plain/ant/1.jpg", "plain/bee/1.jpg", "wild/1.jpg", *(f"wild/{i}.jpg" for i in range(9)))
    write_card(tmp_path / "data", tmp_path / "mine.yaml")
    assert "licence: unknown" in (tmp_path / "mine.yaml").read_text()
    found, written = open_dataset(str(tmp_path / "data")), open_dataset(str(tmp_path / "mine.yaml"))
    for domain in ("plain", "wild"):
        for split in ("train", "test"):
            assert found.load(domain, split).paths == written.load(domain, split).paths  # type: ignore[arg-type, attr-defined]

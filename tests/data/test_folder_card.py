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
    write_card(card_of_folder(tmp_path / "data"), tmp_path / "data", tmp_path / "mine.yaml")
    assert "licence: unknown" in (tmp_path / "mine.yaml").read_text()
    found, written = open_dataset(str(tmp_path / "data")), open_dataset(str(tmp_path / "mine.yaml"))
    for domain in ("plain", "wild"):
        for split in ("train", "test"):
            assert found.load(domain, split).paths == written.load(domain, split).paths  # type: ignore[arg-type, attr-defined]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("train", "val"), {}),
        (("train", "val", "test"), {}),
        (("training", "validation"), {}),
        (("train", "test", "masks"), {}),
    ],
)
def test_the_usual_names_of_splits(tmp_path: Path, parts: tuple[str, ...], expected: object) -> None:
    for part in parts:
        put(tmp_path, *(f"scan/{part}/{name}/{part}{number}.jpg" for name in ("ant", "bee") for number in range(2)))
    opened = open_dataset(str(tmp_path))
    assert tuple(opened.classes) == ("ant", "bee")
    train, test = (opened.load("scan", split) for split in ("train", "test"))
    assert {path.parts[-3] for path in train.paths} == {
        parts[0],
        *({"val"} if "test" in parts and "val" in parts else ()),
    }
    assert {path.parts[-3] for path in test.paths} == {"test" if "test" in parts else parts[1]}
    assert len(train) == 4 * (1 + (len(parts) == 3 and "val" in parts))


def test_splits_of_a_domain_without_labels(tmp_path: Path) -> None:
    put(tmp_path, "scan/ant/1.jpg", "wild/train/1.jpg", "wild/train/2.jpg", "wild/test/3.jpg")
    opened = open_dataset(str(tmp_path))
    assert [len(opened.load("wild", split)) for split in ("train", "test")] == [2, 1]
    assert tuple(opened.classes) == ("ant",)


def test_splits_in_the_place_of_domains(tmp_path: Path) -> None:
    put(tmp_path, "train/ant/1.jpg", "test/ant/2.jpg")
    with pytest.raises(UserError, match=r"its folders test, train are parts of one domain; .*<domain>/train/<class>"):
        card_of_folder(tmp_path)


def test_one_class_in_two_forms_of_unicode(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    put(tmp_path, f"scan/{composed}/1.jpg", f"photo/{decomposed}/1.jpg", f"photo/{decomposed}/2.jpg")
    opened = open_dataset(str(tmp_path))
    assert tuple(opened.classes) == (composed,)
    assert sum(len(opened.load("photo", split)) for split in ("train", "test")) == 2
    put(tmp_path, f"photo/{composed}/1.jpg")
    with pytest.raises(UserError, match=r"photo: .*look the same: 'cafe?\\"):
        open_dataset(str(tmp_path))


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    import os

    put(tmp_path, "scan/ant/1.jpg")
    os.mkdir(os.fsencode(tmp_path) + b"/scan/caf\xe9")
    put(tmp_path, f"scan/ant/{os.fsdecode(b'caf')}.jpg")
    with pytest.raises(UserError, match=r"caf\\udce9': the folder's name is not UTF-8"):
        card_of_folder(tmp_path)


def serves(folder: Path) -> dict[str, list[tuple[str, int]]]:
    opened = open_dataset(str(folder))
    parts = {name: [opened.load(name, split) for split in ("train", "test")] for name in opened.domains}
    return {
        name: sorted((path.name, label) for part in both for path, label in zip(part.paths, part.labels, strict=True))
        for name, both in parts.items()
    }


def test_a_flat_folder_with_a_table_of_labels_and_domains(tmp_path: Path) -> None:
    put(tmp_path, *(f"pictures/{number}.jpg" for number in range(4)))
    (tmp_path / "labels.csv").write_text(
        "Filename;Class;Domain\n0.jpg;red mug;studio\n1.jpg;杯子;studio\n2.jpg;;phone\n3.jpg;red mug;phone\n"
    )
    assert tuple(open_dataset(str(tmp_path)).classes) == ("red mug", "杯子")
    assert serves(tmp_path) == {"phone": [("2.jpg", -1), ("3.jpg", 0)], "studio": [("0.jpg", 0), ("1.jpg", 1)]}


def test_a_table_whose_paths_tell_the_domains_beside_an_unlabelled_one(tmp_path: Path) -> None:
    put(tmp_path, "studio/0.jpg", "studio/1.jpg", "phone/2.jpg", "phone/3.jpg")
    (tmp_path / "all.csv").write_text("image,label\nstudio/0.jpg,10\nstudio/1.jpg,2\n")
    opened = open_dataset(str(tmp_path))
    assert tuple(opened.classes) == ("2", "10")
    assert serves(tmp_path) == {"phone": [("2.jpg", -1), ("3.jpg", -1)], "studio": [("0.jpg", 1), ("1.jpg", 0)]}


def test_a_table_in_each_domain(tmp_path: Path) -> None:
    put(tmp_path, "studio/0.jpg", "studio/1.jpg", "phone/img/2.jpg", "wild/3.jpg")
    (tmp_path / "studio" / "labels.csv").write_text("image,label,split\n0.jpg,mug,train\n1.jpg,cup,test\n")
    (tmp_path / "phone" / "mine.csv").write_text("path,category\n2.jpg,mug\n")
    assert serves(tmp_path) == {
        "phone": [("2.jpg", 1)],
        "studio": [("0.jpg", 1), ("1.jpg", 0)],
        "wild": [("3.jpg", -1)],
    }
    write_card(card_of_folder(tmp_path), tmp_path, tmp_path / "mine.yaml")
    assert serves(tmp_path / "mine.yaml") == serves(tmp_path)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"a.csv": "image,label\nx/9.jpg,mug\n"}, "none of its images is there, such as .*9.jpg"),
        ({"a.csv": "image,label\n0.jpg,mug\n", "b.csv": "image,label\n0.jpg,mug\n"}, "more than one table"),
        ({"a.csv": "image,label\n0.jpg,mug\n"}, "tells no domains"),
        ({"a.csv": "image,label,domain\n0.jpg,,studio\n"}, "no domain has labels"),
        ({"a.csv": "image,label\n0.jpg\n"}, "a.csv:2: 1 cells"),
        ({"a.csv": "sum,of\n1,2\n"}, "no domain has labels"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, tables: dict[str, str], message: str) -> None:
    put(tmp_path, "studio/0.jpg")
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        card_of_folder(tmp_path)


def test_a_hash_split_that_leaves_a_part_or_a_class_empty_says_so(tmp_path: Path) -> None:
    import torch

    from uan_da.data.split import in_split
    from uan_da.data.task import build_task
    from uan_da.recipe import load_recipe

    names = {
        part: [f"{i}.jpg" for i in range(60) if in_split(f"bee/{i}.jpg", part, "hash")] for part in ("train", "test")
    }
    put(tmp_path, *(f"{domain}/ant/{i}.jpg" for domain in ("scan", "photo") for i in range(20)))
    put(tmp_path, *(f"scan/bee/{name}" for name in names["test"][:2]), *(f"photo/bee/{i}.jpg" for i in range(20)))
    recipe = load_recipe("digits", [f"dataset={tmp_path}", "task=scan:photo"])
    with pytest.raises(UserError, match=r"no training image of the class 'bee'; its test part has some .*split: both"):
        build_task(recipe, torch.device("cpu"))
    put(tmp_path, "tiny/ant/1.jpg")
    recipe = load_recipe("digits", [f"dataset={tmp_path}", "task=photo:tiny"])
    with pytest.raises(UserError, match=r"'tiny': the (train|test) split has no images: .*hash.*split: both"):
        build_task(recipe, torch.device("cpu"))

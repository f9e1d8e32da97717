from pathlib import Path

import pytest

from uan_da.data.adapters.csv_table import CsvTable
from uan_da.errors import UserError

CLASSES = ("ant", "bee")


def test_columns_for_everything(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(
        "file,kind,place,part\n1.jpg,bee,scan,train\n2.jpg,ant,scan,test\n3.jpg,1,photo,train\n4.jpg,,scan,train\n"
    )
    adapter = CsvTable(tmp_path, CLASSES, file="all.csv", image="file", label="kind", domain="place", split="part")
    train = adapter.load("scan", "train")
    assert ([path.name for path in train.paths], train.labels) == (["1.jpg", "4.jpg"], [1, -1])
    assert adapter.load("scan", "test").labels == [0]
    assert adapter.load("photo", "train").labels == [1]


def test_a_table_a_domain_split_by_hash_and_without_labels(tmp_path: Path) -> None:
    (tmp_path / "scan.csv").write_text("image\n" + "".join(f"{i}.png\n" for i in range(100)))
    adapter = CsvTable(tmp_path, CLASSES, label=None, images="pictures")
    train, test = adapter.load("scan", "train"), adapter.load("scan", "test")
    assert len(train) + len(test) == 100
    assert len(test)
    assert set(train.labels) == {-1}
    assert train.paths[0].parent == tmp_path / "pictures"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\n1.jpg,ant\n", "unknown column 'label' .did you mean 'labels'"),
        ("image,label\n1.jpg,bea\n", "unknown class 'bea' .did you mean 'bee'"),
        ("image,label\n1.jpg,2\n", "unknown class '2'"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "scan.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        CsvTable(tmp_path, CLASSES, split_rule="both").load("scan", "train")

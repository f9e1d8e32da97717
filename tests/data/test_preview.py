from pathlib import Path

import numpy as np
from PIL import Image

from uan_da.data.adapters.folder import Folder
from uan_da.data.open_dataset import open_dataset
from uan_da.data.preview import sample, write_previews


def test_a_grid_for_each_domain_and_view(plates: Path, tmp_path: Path) -> None:
    written = write_previews(open_dataset(str(plates)), ("scan",), tmp_path / "out", 20)
    assert [path.name for path in written] == ["scan.png", "scan-weak.png", "scan-strong.png"]
    grids = [np.asarray(Image.open(path)) for path in written]
    assert {grid.shape for grid in grids} == {(6 * 22 + 2, 2 * 22 + 2, 3)}
    assert not np.array_equal(grids[0], grids[1])
    assert not np.array_equal(grids[1], grids[2])


def test_a_column_holds_one_class(tmp_path: Path) -> None:
    for label, name in enumerate(("ant", "bee", "cat")):
        for number in range(20):
            path = tmp_path / "scan" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 100 * label).save(path)
    images, columns = sample(open_dataset(str(tmp_path)), "scan", 4, 0)
    assert columns == 3
    values = (images[:, 0, 0, 0] * 255).round().view(6, 3)
    assert values.tolist() == [[0, 100, 200]] * 6


def test_an_unlabelled_domain(plates: Path) -> None:
    for path in (plates / "photo").rglob("*.jpg"):
        path.rename(plates / "photo" / f"{path.parent.name}{path.name}")
    for folder in ("ant", "bee"):
        (plates / "photo" / folder).rmdir()
    opened = open_dataset(str(plates))
    images, columns = sample(opened, "photo", 8, 0)
    flat = Folder(plates, (), layout="{domain}").load("photo", "train")
    assert images.shape == (min(60, len(flat)), 3, 8, 8)
    assert columns == 10

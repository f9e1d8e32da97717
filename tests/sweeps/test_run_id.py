import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.data.digest import data_digest
from uan_da.recipe import load_recipe
from uan_da.sweeps.grid import build_grid
from uan_da.sweeps.run_id import run_id


def test_what_changes_no_number_changes_no_address(recipe):
    plain = load_recipe(recipe)
    other = plain.model_copy(update={"description": "other words", "published": None})
    assert run_id(plain, ["a"]) == run_id(other, ["a"])


def test_releases_whose_numbers_may_differ_have_addresses_of_their_own(recipe, monkeypatch):
    def of(release: str) -> str:
        monkeypatch.setattr("uan_da.sweeps.run_id.version", lambda: release)
        return run_id(load_recipe(recipe), ["a"])

    assert of("0.1.0") == of("0.1.7") == of("0.1.2.dev3") != of("0.2.0")
    assert len({of("0.1.0"), of("0.2.0"), of("0.10.0"), of("1.0.0"), of("1.4.2"), of("2.0")}) == 5


@pytest.mark.parametrize("override", ["seed=1", "norm=bn", "train.optimizer.lr=0.5", "method.trade_off=0.6"])
def test_what_may_change_a_number_changes_the_address(recipe, override):
    assert run_id(load_recipe(recipe), ["a"]) != run_id(load_recipe(recipe, [override]), ["a"])


def test_a_value_that_is_written_out_is_the_default(recipe):
    assert run_id(load_recipe(recipe), []) == run_id(load_recipe(recipe, ["evaluation.recalibrate=none"]), [])


def test_the_order_of_keys_is_nothing(recipe):
    text = recipe.read_text().strip().splitlines()
    before = run_id(load_recipe(recipe), [])
    recipe.write_text("\n".join([text[3], text[0], text[2], text[1], *text[4:]]))
    assert run_id(load_recipe(recipe), []) == before


def test_the_data_are_part_of_it(recipe):
    plain = load_recipe(recipe)
    assert len({run_id(plain, data) for data in (["a", "b"], ["b", "a"], ["ab"], ["a", "c"])}) == 4


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for domain in ("scan", "photo"):
        for label in ("ant", "bee"):
            for index in range(12):
                file = tmp_path / "plates" / domain / label / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file)
    return tmp_path / "plates"


def test_the_folder_of_the_data_is_nothing_and_a_changed_image_is(plates):
    before = data_digest(str(plates), "scan")
    moved = plates.with_name("elsewhere")
    shutil.copytree(plates, moved)
    assert data_digest(str(moved), "scan") == before
    assert data_digest(str(moved), "photo") != before
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(moved / "scan" / "ant" / "0.png")
    assert data_digest(str(moved), "scan") != before
    assert data_digest(str(moved), "photo") == data_digest(str(plates), "photo")


def test_any_data_set_has_a_digest(tmp_path, monkeypatch):
    (tmp_path / "odd_data.py").write_text(
        "from PIL import Image\n"
        "class Odd:\n"
        "    domains, classes, shade, label = ('a', 'b'), ('x', 'y'), 9, 1\n"
        "    def load(self, domain, split):\n"
        "        return [(Image.new('L', (4, 4), 7), 0), (Image.new('L', (4, 4), self.shade), self.label)]\n"
        "class Shade(Odd):\n    shade = 8\n"
        "class Label(Odd):\n    label = 0\n"
        "class Classes(Odd):\n    classes = ('y', 'x')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = [data_digest(f"odd_data:{name}", "a") for name in ("Odd", "Shade", "Label", "Classes")]
    assert len(set(found)) == 4


def test_a_palette_is_part_of_an_image(tmp_path, monkeypatch):
    (tmp_path / "indexed_data.py").write_text(
        "from PIL import Image\n"
        "class Red:\n"
        "    domains, classes, colour = ('a',), ('x',), [255, 0, 0]\n"
        "    def load(self, domain, split):\n"
        "        image = Image.new('P', (4, 4), 0)\n"
        "        image.putpalette(self.colour)\n"
        "        return [(image, 0)]\n"
        "class Blue(Red):\n    colour = [0, 0, 255]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert data_digest("indexed_data:Red", "a") != data_digest("indexed_data:Blue", "a")


@pytest.mark.parametrize("suffix", ["bmp", "tiff", "png", "gif"])
def test_a_palette_that_is_still_in_its_file(tmp_path, monkeypatch, suffix):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0])
    image.save(tmp_path / f"red.{suffix}")
    (tmp_path / f"opened_{suffix}.py").write_text(
        "from PIL import Image\n"
        "class Opened:\n"
        "    domains, classes = ('a',), ('x',)\n"
        "    def load(self, domain, split):\n"
        f"        return [(Image.open({str(tmp_path / f'red.{suffix}')!r}), 0)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert data_digest(f"opened_{suffix}:Opened", "a")


def test_the_weights_that_a_run_starts_from_are_part_of_it(recipe, tmp_path):
    checkpoint = tmp_path / "before" / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    found = []
    for value in (0.0, 0.0, 1.0):
        torch.save({"model": torch.full((3,), value)}, checkpoint)
        found.append(build_grid(recipe, [f"init={tmp_path / 'before'}"]).cells[-1].run_id)
    assert found[0] == found[1] != found[2]


NETWORK = """
from torch import nn
def net(channels, *, weights="none"):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network.num_features = 12
    return network
"""


def test_weights_that_are_an_option_of_the_backbone_are_part_of_it_too(recipe, tmp_path, monkeypatch):
    (tmp_path / "own_weights_net.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    file, found = tmp_path / "weights.pt", []
    for content in (b"1", b"1", b"2"):
        file.write_bytes(content)
        block = f"backbone={{name: 'own_weights_net:net', weights: '{file}'}}"
        found.append(build_grid(recipe, [block]).cells[0].run_id)
    assert found[0] == found[1] != found[2]
    assert build_grid(recipe, ["backbone=own_weights_net:net"]).cells[0].run_id not in found

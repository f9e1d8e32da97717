import pytest
import torch

from uan_da.data.images import Images
from uan_da.data.open_dataset import open_dataset
from uan_da.data.streamed import Streamed
from uan_da.data.task import batch_sizes, build_task
from uan_da.errors import DataWarning, UserError
from uan_da.recipe import load_recipe
from uan_da.recipe.schema import Batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task():
    return build_task(load_recipe("digits", ["train.batch.source=8", "train.batch.target=5"]), CPU)


def test_batches_have_the_views_that_were_asked_for(task) -> None:
    batch = task.batch(0, ("weak", "strong"))
    assert batch.source.weak.shape == batch.source.strong.shape == (8, 3, 28, 28)
    assert batch.target.weak.shape == (5, 3, 28, 28)
    assert not torch.equal(batch.target.weak, batch.target.strong)
    assert set(task.batch(0, ("weak",)).source.views) == {"weak"}


def test_target_labels_are_masked_and_source_labels_are_not(task) -> None:
    for step in range(5):
        batch = task.batch(step, ("weak",))
        assert (batch.target.labels == -1).all()
        assert (batch.source.labels >= 0).all()
    assert (task.unlabelled(task.target).labels == -1).all()


@pytest.mark.parametrize("with_target", [True, False])
def test_no_tensor_of_a_batch_has_the_targets_labels_in_its_memory(task, with_target) -> None:
    batch = task.batch(0, ("weak",), with_target=with_target)
    for labels in (batch.source.labels, batch.target.labels):
        whole = labels.new_empty(0).set_(labels.untyped_storage())
        assert (whole >= 0).sum() <= 8


def test_domain_indices(task) -> None:
    batch = task.batch(0, ("weak",))
    assert (batch.source.domain == 0).all()
    assert (batch.target.domain == 1).all()


def test_a_batch_is_a_function_of_the_step(task) -> None:
    one, again, other = (task.batch(step, ("weak", "strong")) for step in (3, 3, 4))
    assert torch.equal(one.target.strong, again.target.strong)
    assert not torch.equal(one.target.strong, other.target.strong)


def test_epoch_is_one_pass_over_the_source(task) -> None:
    assert task.steps_per_epoch == 539 // 8


def test_unknown_domains_and_data_sets_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown domain 'optdigit' \(did you mean 'optdigits'\?\)"):
        build_task(load_recipe("digits", ["task=optdigit:optdigits_m"]), CPU)
    with pytest.raises(UserError, match=r"unknown dataset 'digit' \(did you mean 'digits'\?\)"):
        open_dataset("digit")


def test_a_users_own_adapter(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_data.py").write_text(
        "from PIL import Image\n"
        "class Plates:\n"
        "    domains, classes = ('scan', 'photo'), ('a', 'b')\n"
        "    def load(self, domain, split):\n"
        "        return [(Image.new('L', (9, 7), 10 * i), i % 2) for i in range(6)]\n"
    )
    monkeypatch.chdir(tmp_path)
    task = build_task(load_recipe("digits", ["dataset=my_data:Plates", "task=scan:photo", "train.batch.source=4"]), CPU)
    assert task.batch(0, ("weak",)).source.weak.shape == (4, 3, 28, 28)


def test_a_users_own_augmentation_is_given_floats(tmp_path, monkeypatch) -> None:
    (tmp_path / "half_views.py").write_text(
        "class Half:\n"
        "    def __call__(self, images, generator):\n"
        "        assert images.dtype.is_floating_point and images.max() <= 1\n"
        "        return images * 0.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    standard = ["input.mean=0", "input.std=1", "train.batch.source=8", "train.batch.target=5"]
    weak = "augment.weak=[{name: crop, padding: 2}, {name: half_views:Half}]"
    images = build_task(load_recipe("digits", [*standard, weak]), CPU).batch(0, ("weak",)).target.weak
    assert 0.25 < images.max() <= 0.5


def test_a_source_without_labels_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "bare_data.py").write_text(
        "from PIL import Image\n"
        "class Bare:\n"
        "    domains, classes = ('scan', 'photo'), ('a', 'b')\n"
        "    def load(self, domain, split):\n"
        "        return [(Image.new('L', (9, 7)), -1)] * 3\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"'scan'.*label"):
        build_task(load_recipe("digits", ["dataset=bare_data:Bare", "task=scan:photo"]), CPU)


def test_images_move_together() -> None:
    images = Images(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2))
    assert images.to(CPU).pixels.device == images.to(CPU).labels.device == CPU


def test_several_sources_share_a_batch_by_their_sizes() -> None:
    assert batch_sizes([100, 300], Batch(source=10)) == [10, 10]
    proportional = Batch(source=10, sources="proportional")
    assert batch_sizes([100, 300], proportional) == [5, 15]
    assert batch_sizes([1, 1, 1], Batch(source=1, sources="proportional")) == [1, 1, 1]
    assert batch_sizes([1, 10_000], proportional) == [1, 19]  # none goes without
    assert sum(batch_sizes([7, 11, 13], proportional)) == 30


def test_balanced_classes_of_the_source(tmp_path, monkeypatch) -> None:
    (tmp_path / "uneven_data.py").write_text(
        "from PIL import Image\n"
        "class Uneven:\n"
        "    domains, classes = ('scan', 'photo'), ('a', 'b')\n"
        "    def load(self, domain, split):\n"
        "        return [(Image.new('L', (8, 8)), 0)] * 30 + [(Image.new('L', (8, 8)), 1)] * 2\n"
    )
    monkeypatch.chdir(tmp_path)
    changes = ["dataset=uneven_data:Uneven", "task=scan:photo", "train.batch.balance=class", "train.batch.source=64"]
    task = build_task(load_recipe("digits", changes), CPU)
    for step in range(3):
        assert task.batch(step, ("weak",)).source.labels.bincount().tolist() == [32, 32]


def test_a_damaged_image_is_one_clear_error(plates) -> None:
    (plates / "scan" / "ant" / "003.jpg").write_bytes(b"broken")
    with pytest.raises(
        UserError, match=r"003\.jpg: not an image\nrepair it, .* All that is wrong .*uan-da datasets check"
    ):
        build_task(load_recipe("digits", [f"dataset={plates}", "task=scan:photo"]), CPU)


def test_a_split_without_images_is_refused(plates) -> None:
    for path in (plates / "photo" / "ant").iterdir():
        path.unlink()
    for path in sorted((plates / "photo" / "bee").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match=r"domain 'photo': the (train|test) split has no images"):
        build_task(load_recipe("digits", [f"dataset={plates}", "task=scan:photo"]), CPU)


def test_classes_that_one_side_lacks(make, tmp_path) -> None:
    plates = make(tmp_path / "p", {"scan": ("ant", "bee", "cat"), "photo": ("ant", "bee")})
    with pytest.warns(DataWarning, match="target has no image of the class 'cat'"):
        build_task(load_recipe("digits", [f"dataset={plates}", "task=scan:photo"]), CPU)
    with pytest.raises(UserError, match="source has no training image of the class 'cat'"):
        build_task(load_recipe("digits", [f"dataset={plates}", "task=photo:scan"]), CPU)


def test_streaming_gives_the_batches_that_memory_gives(plates, monkeypatch) -> None:
    changes = [f"dataset={plates}", "task=scan:photo", "train.batch.source=8", "train.batch.target=12"]
    held = build_task(load_recipe("digits", changes), CPU)
    monkeypatch.setattr("uan_da.data.storage.MEMORY", 1)
    monkeypatch.setenv("UAN_DA_CACHE", "off")
    streamed = build_task(load_recipe("digits", changes), CPU)
    assert isinstance(streamed.target.train, Streamed)
    assert (held.is_decoded, streamed.is_decoded) == (True, False)
    for step in (0, 1, 5):
        one, other = (task.batch(step, ("weak", "strong")) for task in (held, streamed))
        for side in ("source", "target"):
            assert torch.equal(getattr(one, side).strong, getattr(other, side).strong)
            assert torch.equal(getattr(one, side).labels, getattr(other, side).labels)


def test_a_batch_is_the_same_with_any_number_of_threads(task) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = task.batch(3, ["weak", "strong"])
        torch.set_num_threads(2)
        together = task.batch(3, ["weak", "strong"])
    finally:
        torch.set_num_threads(before)
    for one, other in ((alone.source, together.source), (alone.target, together.target)):
        assert torch.equal(one.weak, other.weak)
        assert torch.equal(one.strong, other.strong)

import pytest
import torch

from uan_da.data.images import Images
from uan_da.data.task import Task, build_task
from uan_da.errors import UserError
from uan_da.evaluation.evidence import Evidence, all_scores, reads, subset, subset_indices
from uan_da.evaluation.predict import Predictions
from uan_da.models.classifier import Classifier, build_model
from uan_da.names import VALIDATORS
from uan_da.recipe import load_recipe


def evidence(*overrides: str) -> Evidence:
    recipe = load_recipe("digits", ["norm=bn", *overrides])
    return Evidence(build_model(recipe, 10), build_task(recipe, torch.device("cpu")))


def test_target_labels_are_masked():
    assert evidence().target.labels.unique().tolist() == [-1]


def test_without_a_holdout_the_source_is_judged_on_what_it_trains_on():
    found = evidence()
    assert found.source_validation is found.source_train
    assert len(found.importance) == len(found.source_train) == 539


def test_with_a_holdout_the_source_is_judged_on_images_apart():
    found = evidence("selection.holdout=0.2")
    assert len(found.source_validation) + len(found.source_train) == 539
    assert len(found.source_validation) == len(found.importance) == pytest.approx(108, abs=5)
    assert found.task.loaders[0].images is found.task.sources[0].train


def test_test_images_are_never_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = evidence("selection.holdout=0.2")

    def refuse(self: object) -> None:
        raise AssertionError("test images were read")

    for domain in found.task.domains:
        monkeypatch.setattr(type(domain), "test", property(refuse), raising=False)
    chosen = load_recipe("digits", ["selection.validator=mixval"]).selection.validator
    scores = all_scores(found.computed(chosen), chosen)
    assert scores.keys() == VALIDATORS.targets.keys()
    assert None not in scores.values()


def test_what_takes_forwards_of_its_own_is_scored_only_where_it_selects():
    found, chosen = evidence(), load_recipe("digits").selection.validator
    scores = all_scores(found.computed(chosen), chosen)
    assert VALIDATORS.targets.keys() - scores.keys() == {"mixval"}
    assert "mixtures" not in vars(found)


def test_the_recipes_options_reach_its_validator():
    found, chosen = evidence(), load_recipe("digits", ["selection.validator={name: mano, order: 1.0}"]).selection
    assert all_scores(found, chosen.validator)["mano"] == pytest.approx(0.1)  # the mean of ten probabilities
    assert found.score(VALIDATORS.load("mano")) > 0.1


def test_a_score_that_is_no_number_is_none():
    found = evidence()
    assert found.score(lambda target: float("nan")) is None
    assert found.score(lambda target, source_train: len(target) - len(source_train)) == -1.0


def test_a_validator_that_reads_what_is_not_there_is_refused():
    def peeking(target_labels: Predictions) -> float:
        return 0.0

    with pytest.raises(UserError, match=r"validator 'peeking': unknown parameter 'target_labels'"):
        reads(peeking)


def test_large_sets_are_sampled_alike_at_every_epoch():
    images = Images(torch.arange(5000).view(-1, 1, 1, 1), torch.arange(5000))
    chosen = subset(images, "a").labels
    assert len(chosen) == 2048
    assert chosen.tolist() == sorted(set(chosen.tolist())) == subset_indices(5000, "a").tolist()
    assert subset(images, "b").labels.tolist() != chosen.tolist()


def test_scoring_leaves_the_model_and_random_numbers_alone():
    found = evidence()
    assert isinstance(found.task, Task)
    model: Classifier = found.model.train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.random.get_rng_state()
    all_scores(found, load_recipe("digits").selection.validator)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)

"""``DomainAdaptationClassifier`` as scikit-learn and skada use estimators."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import uan_da
from uan_da import DomainAdaptationClassifier
from uan_da.data.digits import Digits

FEW = ("train.epochs=null", "train.steps=30", "train.batch.source=32", "train.batch.target=32")
SMALL = (*FEW, "backbone.hidden=[32]", "train.optimizer={name: adam, lr: 1e-2}", "train.schedule=constant")
EXCEPTIONS = {"check_classifiers_classes": "it has a class of the label -1, which masks target rows here"}


def small(**options: Any) -> DomainAdaptationClassifier:
    return DomainAdaptationClassifier(overrides=SMALL, random_state=0, device="cpu", **options)


@pytest.fixture(scope="module")
def shifted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes of three features; the target, the second half, is moved."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 160)
    X = rng.normal(size=(160, 3)) + 3 * y[:, None]
    domain = np.where(np.arange(160) < 80, 1, -2)
    X[domain < 0] += [2.0, -1.0, 0.0]
    return X, y, domain


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source and target, the training images of both, labels masked."""
    parts = [Digits().load(domain, "train") for domain in ("optdigits", "optdigits_m")]
    pictures = [np.stack([np.asarray(image.convert("RGB")) for image, _ in part]) for part in parts]
    labels = [np.array([label for _, label in parts[0]]), np.full(len(parts[1]), -1)]
    domains = np.repeat([1, -2], [len(part) for part in parts])
    return np.concatenate(pictures), np.concatenate(labels), domains


def test_scikit_learns_own_checks() -> None:
    done = check_estimator(
        DomainAdaptationClassifier(overrides=SMALL, device="cpu"), on_fail=None, on_skip=None,
        expected_failed_checks=EXCEPTIONS,
    )  # fmt: skip
    assert len(done) > 40
    assert [(each["check_name"], str(each["exception"])) for each in done if each["status"] == "failed"] == []
    assert {each["check_name"] for each in done if each["status"] == "xfail"} == set(EXCEPTIONS)


def test_target_labels_are_never_read(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, domain = shifted
    masked = np.where(domain > 0, y, -1)
    predictions = [
        small().fit(X, labels, sample_domain=domain).predict_proba(X)
        for labels in (masked, y, np.where(domain > 0, y, 7))
    ]
    assert np.array_equal(predictions[0], predictions[1])
    assert np.array_equal(predictions[0], predictions[2])


def test_masked_rows_are_the_target_where_no_domain_is_given(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, domain = shifted
    masked = np.where(domain > 0, y, -1)
    told, found = small().fit(X, masked, sample_domain=domain), small().fit(X, masked)
    assert np.array_equal(told.predict_proba(X), found.predict_proba(X))
    assert found.recipe_.method.name == "dann"
    assert found.classes_.tolist() == [0, 1]


def test_without_a_target_the_method_is_source_only(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, _ = shifted
    model = small().fit(X, np.where(y == 1, "bee", "ant"))
    assert model.recipe_.method.name == "source_only"
    assert model.classes_.tolist() == ["ant", "bee"]
    assert set(model.predict(X)) <= {"ant", "bee"}


def test_domain_norms_predict_by_the_domain(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, domain = shifted
    model = small(norm="dsbn").fit(X, y, sample_domain=domain)
    as_target, as_source = model.predict_proba(X), model.predict_proba(X, sample_domain=np.ones(len(X), dtype=int))
    assert not np.allclose(as_target, as_source)
    assert np.array_equal(as_target, model.predict_proba(X, sample_domain=np.full(len(X), -9)))
    mixed = model.predict_proba(X, sample_domain=domain)
    np.testing.assert_allclose(mixed[domain > 0], as_source[domain > 0], atol=1e-6)


def test_several_sources(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, domain = shifted
    domain = np.where(np.arange(len(X)) < 40, 3, domain)
    model = small(method={"name": "dann", "trade_off": 0.1}).fit(X, y, sample_domain=domain)
    assert str(model.recipe_.task) == "source1+source3:target"
    assert model.recipe_.method.options["trade_off"] == 0.1


def test_pipeline_clone_pickle_and_cross_validation(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, domain = shifted
    pipeline = make_pipeline(StandardScaler(), small())
    pipeline.fit(X, y, domainadaptationclassifier__sample_domain=domain)
    again = clone(pipeline).fit(X, y, domainadaptationclassifier__sample_domain=domain)
    assert np.array_equal(pipeline.predict(X), again.predict(X))
    assert np.array_equal(pickle.loads(pickle.dumps(pipeline)).predict(X), pipeline.predict(X))
    scores = cross_val_score(small(), X, y, cv=3, params={"sample_domain": domain})
    assert scores.shape == (3,)
    assert scores.mean() > 0.6


def test_skadas_scorers_and_splitters(shifted: tuple[np.ndarray, ...]) -> None:
    pytest.importorskip("skada")
    from skada.metrics import PredictionEntropyScorer
    from skada.model_selection import SourceTargetShuffleSplit
    from sklearn import config_context

    X, y, domain = shifted
    with config_context(enable_metadata_routing=True):
        found = cross_validate(
            small(),
            X,
            np.where(domain > 0, y, -1),
            cv=SourceTargetShuffleSplit(n_splits=1, test_size=0.3, random_state=0),
            scoring=PredictionEntropyScorer(),
            params={"sample_domain": domain},
        )
    assert np.isfinite(found["test_score"]).all()


def test_mistakes_are_value_errors(shifted: tuple[np.ndarray, ...]) -> None:
    X, y, domain = shifted
    for options, arguments, words in (
        ({}, {"sample_domain": -np.abs(domain)}, "no source"),
        ({}, {"sample_domain": np.zeros(len(X), dtype=int)}, "positive for a source"),
        ({"method": "dan_n"}, {"sample_domain": domain}, "did you mean"),
        ({"method": "adamatch"}, {"sample_domain": domain}, "X holds features"),
    ):
        with pytest.raises(ValueError, match=words):
            small(**options).fit(X, y, **arguments)
    with pytest.raises(ValueError, match="images"):
        small().fit(np.zeros((6, 2, 2, 2, 2)), np.arange(6))


@pytest.mark.parametrize(("method", "norm"), [("adamatch", "uan"), ("source_only", "bn")])
def test_on_digits_it_learns_what_train_learns_to_the_bit(
    digits: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Any, method: str, norm: str
) -> None:
    """With the domains' names and the seed of the recipe, which the order of the images is drawn by."""
    X, y, domain = digits
    few = ["train.epochs=1", "train.steps_per_epoch=5", "seed=3"]
    model = DomainAdaptationClassifier(
        method, norm, overrides=["task=optdigits:optdigits_m", *few], device="cpu"
    ).fit(X, y, sample_domain=domain)  # fmt: skip
    changes = [f"method={method}", f"norm={norm}", *few]
    run = uan_da.train("digits", changes, out=tmp_path / "run", device="cpu", progress=False)
    trained = run.model().network.state_dict()
    for name, weights in model.model_.state_dict().items():
        assert torch.equal(weights, trained[name]), name
    test = Digits().load("optdigits_m", "test")
    pictures = np.stack([np.asarray(image.convert("RGB")) for image, _ in test])
    accuracy = run.accuracy.query("selection == 'last'").set_index("domain")["accuracy"]["optdigits_m"]
    assert model.score(pictures, np.array([label for _, label in test])) == pytest.approx(accuracy)


def test_floats_in_0_1_are_the_bytes(digits: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    X, y, domain = digits
    model = DomainAdaptationClassifier(overrides=("train.epochs=null", "train.steps=2"), random_state=0, device="cpu")
    model.fit(X[::8], y[::8], sample_domain=domain[::8])
    assert np.array_equal(model.predict_proba(X[:9]), model.predict_proba(X[:9] / 255))
    with pytest.raises(Exception, match="floats in"):
        model.predict(X[:9] * 1.0)

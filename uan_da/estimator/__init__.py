"""Domain adaptation as an estimator of scikit-learn."""

from uan_da.estimator.classifier import DomainAdaptationClassifier

__all__ = ["DomainAdaptationClassifier"]

"""Validators that ask whether the target's predictions hold: taught back to the source, and between two images."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from uan_da.evaluation.mixtures import Mixtures
from uan_da.evaluation.predict import Predictions

ITERATIONS = 200


def circular(target: Predictions, source_validation: Predictions) -> float:
    r"""Circular validation (Bruzzone & Marconcini, TPAMI 2010): the target's predictions teach, the source tests.

    .. math:: \frac1C \sum_c P(h(g_S) = c \mid y_S = c), \quad h \text{ fitted to } (g_T, \hat y_T)

    with the features g, the predictions ŷ and the labels y; the classes are those of the source. Also called reverse
    validation (Zhong et al., ECML 2010). The paper trains the whole adaptation anew with the domains exchanged; here
    the features stay, and h is a logistic regression on them, which takes a second and not a training. The balanced
    accuracy is skada's (``CircularValidation``). Where the target is given one class, h predicts it for all.
    """
    predictions, labels = target.classes.numpy(), source_validation.labels.numpy()
    if len(np.unique(predictions)) == 1:
        taught = np.full(len(labels), predictions[0])
    else:
        h = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
        taught = h.fit(target.features.numpy(), predictions).predict(source_validation.features.numpy())
    return float(np.mean([(taught[labels == c] == c).mean() for c in np.unique(labels)]))


def mixval(mixtures: Mixtures) -> float:
    r"""MixVal: the predictions on mixed target images are those of their greater part (Hu et al., NeurIPS 2023).

    .. math:: ½ \sum_{\text{kind}} E\,1[\hat y(λ x_i + (1 − λ) x_j) = \hat y(x_i)], \quad λ = 0.55

    over pairs that are given the same class, which probes the density of classes, and pairs that are given different
    ones, which probes the boundaries (:class:`~uan_da.evaluation.mixtures.Mixtures`). The authors report the two apart;
    their mean is skada's (``MixValScorer``). A kind without pairs counts 0, so that a collapsed model has ½ at most.
    """
    return (_agreement(mixtures.within) + _agreement(mixtures.between)) / 2


def _agreement(mixed: Predictions) -> float:
    return float((mixed.classes == mixed.labels).double().mean()) if len(mixed) else 0.0

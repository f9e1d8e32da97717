"""How much more likely a feature is on the target than on the source.

scikit-learn is imported when it is used: a training takes its first step before that.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths C of the discriminator's L2 penalty, chosen among by its likelihood on every fifth image."""


def importance_weights(source: Tensor, target: Tensor, at: Tensor) -> Tensor:
    """w = p_target(x)/p_source(x) at the features ``at`` ``(N, F)``, float64 ``(N,)``.

    A logistic discriminator d of target against source features gives w = d/(1 − d) · n_source/n_target (Bickel,
    Brückner & Scheffer, ICML 2007). DEV's authors train a two-layer network in its place and choose its penalty in the
    same way; a linear one is exact for Gaussians of one covariance, has no randomness, and takes milliseconds.
    """
    features = torch.cat([source, target]).numpy()
    is_target = torch.cat([torch.zeros(len(source)), torch.ones(len(target))]).numpy()
    judged = torch.arange(len(features)).remainder(5).eq(4).numpy()

    def likelihood(penalty: float) -> float:
        log_odds = (
            _discriminator(penalty).fit(features[~judged], is_target[~judged]).decision_function(features[judged])
        )
        return -float(np.logaddexp(0.0, np.where(is_target[judged], -log_odds, log_odds)).mean())

    enough = judged.any() and 0 < is_target[~judged].mean() < 1
    penalty = max(PENALTIES, key=likelihood) if enough else PENALTIES[0]
    d = _discriminator(penalty).fit(features, is_target)
    log_odds = torch.as_tensor(d.decision_function(at.numpy()), dtype=torch.float64)
    return log_odds.clamp(-30.0, 30.0).exp() * (len(source) / len(target))


def _discriminator(penalty: float) -> "Pipeline":
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=200))

"""A method of your own, trained beside a shipped one.

    python own_method.py

A recipe names it as ``method=own_method:MomentGap``: this file, and the class in it.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

import uan_da
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output

SHORT = ["norm=bn", "train.epochs=1", "train.steps_per_epoch=15"]  # a first look


class MomentGap(TransferMethod):
    """The squared distances of the domains' mean features and of their variances."""

    def __init__(self, model: Classifier, num_classes: int, *, weight: Annotated[float, Field(ge=0)] = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """Terms that are added to the cross-entropy of the source."""
        mean = source.features.mean(0) - target.features.mean(0)
        var = source.features.var(0) - target.features.var(0)
        gap = mean.square().mean() + var.square().mean()
        return Loss({"gap": self.weight * gap}, {"mean_gap": mean.abs().mean()})


def main() -> None:
    """Train both, and print their accuracy."""
    for name in ("own_method:MomentGap", "deep_coral"):
        out = f"runs/{name.replace(':', '_')}"
        run = uan_da.train("digits", [f"method={name}", *SHORT], out=out, overwrite=True, progress=False)
        last = run.accuracy.query("selection == 'last'")
        print(name, dict(zip(last["domain"], last["accuracy"].round(3), strict=True)))


if __name__ == "__main__":
    main()

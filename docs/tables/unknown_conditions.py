"""The table of docs/adapt.md: a network trained on clean images, adapted to a target of unknown conditions.

    python docs/tables/unknown_conditions.py digits-conditions OUT --seeds 0 1 2 3 4

Trains OUT/RECIPE-SEED where it is not there yet, and adds a row a seed to OUT/RECIPE.csv: the run's id, and accuracies
in percent on test images. On those of the domain `mixed`: the network as it was trained (source), after adabn, and
after uan, with K chosen without labels and each K. The oracle knows the condition of each of these images, and adapts
to the images of each by adabn. All but the oracle's are the numbers of `uan-da train`, `uan-da adapt RUN domain:mixed
--method M` and `uan-da evaluate RUN --domain mixed`.
"""

import argparse
import copy
import csv
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from uan_da.data.adapters.corrupted import ConditionedArrays
from uan_da.data.images import Images
from uan_da.data.open_dataset import open_dataset
from uan_da.data.storage import store
from uan_da.evaluation.predict import predict
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.recipe import load_recipe
from uan_da.seeding import fold
from uan_da.sweeps.run_id import RunIds
from uan_da.training.adapt import source_free_method
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.trained import Trained

CLUSTERS = [2, 4, 8, 16, 32]


class Mixed:
    """The images of the domain `mixed`, and what becomes of a network on them."""

    def __init__(self, trained: Trained) -> None:
        dataset = open_dataset(trained.recipe.dataset)
        parts = [dataset.load("mixed", split) for split in ("train", "test")]
        self.trained, self.input = trained, trained.recipe.input
        self.train, self.test = (cast(Images, part) for part in store(parts, self.input, trained.device))
        self.conditions = [torch.from_numpy(cast(ConditionedArrays, part).conditions) for part in parts]

    def right(self, model: Classifier, test: Images) -> Tensor:
        """100 for each image whose class is predicted, else 0."""
        found = predict(model, test, self.input, self.trained.domain)
        return 100 * (found.logits.argmax(1) == found.labels).double()

    def accuracy(self, model: Classifier) -> float:
        """On the test images, in percent."""
        return float(self.right(model, self.test).mean())

    def adapted(self, images: Images, name: str, *options: str) -> tuple[Classifier, int]:
        """The network that is adapted to ``images``, and how many clusters it has."""
        trained, recipe = self.trained, self.trained.recipe
        target = Target(images.unlabelled(), self.input, trained.domain, [], recipe.seed, trained.device)
        model = copy.deepcopy(trained.model)
        with torch.random.fork_rng():
            torch.manual_seed(fold(recipe.seed, "adapt"))
            method = source_free_method(name, options)(model, len(trained.classes))
            method.adapt(model, target)
        return model, 0 if method.norm is None else int(method.norm["num_clusters"])

    def oracle(self) -> float:
        """The accuracy where adabn adapts to the images of each condition by itself."""
        train, test = self.conditions
        right = []
        for condition in test.unique():
            model, _ = self.adapted(self.train.take((train == condition).nonzero()[:, 0]), "adabn")
            right.append(self.right(model, self.test.take((test == condition).nonzero()[:, 0])))
        return float(torch.cat(right).mean())


def row(recipe: str, folder: Path, seed: int, each: list[int]) -> dict[str, str | float]:
    """All numbers of one seed; ``each`` is the K that are measured beside the chosen one."""
    resolved, run = load_recipe(recipe, [f"seed={seed}"]), folder / f"{recipe}-{seed}"
    if not (run / "results.json").is_file():
        train(resolved, run, overwrite=True)
    trained = Trained.load(Run.open(run), "last", torch.device("cpu"))
    mixed = Mixed(trained)
    found: dict[str, str | float] = {"run": RunIds().of(resolved), "seed": seed}
    found["source"] = mixed.accuracy(trained.model)
    found["adabn"] = mixed.accuracy(mixed.adapted(mixed.train, "adabn")[0])
    model, chosen = mixed.adapted(mixed.train, "uan")
    found["uan"], found["chosen_K"] = mixed.accuracy(model), chosen
    for clusters in each:
        if clusters != chosen:
            model, _ = mixed.adapted(mixed.train, "uan", f"method.clusters={clusters}")
        found[f"uan_K{clusters}"] = found["uan"] if clusters == chosen else mixed.accuracy(model)
    return found | {"oracle": mixed.oracle()}


def main() -> None:
    """Write a row as soon as a seed is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clusters", type=int, nargs="*", default=CLUSTERS, help="each K that is measured")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with (asked.out / f"{asked.recipe}.csv").open("a", newline="") as file:
        for seed in asked.seeds:
            found = row(asked.recipe, asked.out, seed, asked.clusters)
            writer = csv.DictWriter(file, list(found))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(
                {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}
            )
            file.flush()


if __name__ == "__main__":
    main()

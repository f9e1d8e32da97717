"""The table of docs/adapt.md: a network trained on clean images, adapted to a target of unknown conditions.

    python docs/tables/unknown_conditions.py digits-conditions OUT --seeds 0 1 2 3 4

Trains OUT/RECIPE-SEED where it is not there yet, and adds a row a seed to OUT/RECIPE.csv: the run's id, and accuracies
in percent on test images. On those of the domain `mixed`: the network as it was trained (source), after adabn, and
after uan, with K chosen without labels and each K. The oracle is adabn on each condition by itself, averaged over the
conditions' own test images. The numbers are those of `uan-da train`, `uan-da adapt RUN domain:D --method M` and
`uan-da evaluate RUN --domain D`.
"""

import argparse
import copy
import csv
from pathlib import Path

import torch

from uan_da.data.images import ImageSet
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

CONDITIONS = ("clean", "negative", "blended", "noisy", "dark", "bright", "blurred", "tinted")
CLUSTERS = [2, 4, 8, 16, 32]


class Domain:
    """The images of a domain, and what becomes of a network on them."""

    def __init__(self, trained: Trained, name: str) -> None:
        dataset = open_dataset(trained.recipe.dataset)
        parts = [dataset.load(name, split) for split in ("train", "test")]
        self.trained, self.input = trained, trained.recipe.input
        self.train, self.test = store(parts, self.input, trained.device)

    def accuracy(self, model: Classifier) -> float:
        """On the test images, in percent."""
        predictions = predict(model, self.test, self.input, self.trained.domain)
        return 100 * float((predictions.logits.argmax(1) == predictions.labels).double().mean())

    def adapted(self, name: str, *options: str) -> tuple[float, int | None]:
        """The accuracy of the network that is adapted to the training images, and how many clusters it has."""
        trained, recipe = self.trained, self.trained.recipe
        images: ImageSet = self.train.unlabelled()
        target = Target(images, self.input, trained.domain, [], recipe.seed, trained.device)
        model = copy.deepcopy(trained.model)
        with torch.random.fork_rng():
            torch.manual_seed(fold(recipe.seed, "adapt"))
            method = source_free_method(name, options)(model, len(trained.classes))
            method.adapt(model, target)
        return self.accuracy(model), None if method.norm is None else int(method.norm["num_clusters"])


def row(recipe: str, folder: Path, seed: int, each: list[int]) -> dict[str, str | float]:
    """All numbers of one seed; ``each`` is the K that are measured beside the chosen one."""
    resolved, run = load_recipe(recipe, [f"seed={seed}"]), folder / f"{recipe}-{seed}"
    if not (run / "results.json").is_file():
        train(resolved, run, overwrite=True)
    trained = Trained.load(Run.open(run), "last", torch.device("cpu"))
    mixed = Domain(trained, "mixed")
    found: dict[str, str | float] = {"run": RunIds().of(resolved), "seed": seed}
    found["source"], found["adabn"] = mixed.accuracy(trained.model), mixed.adapted("adabn")[0]
    found["uan"], chosen = mixed.adapted("uan")
    found["chosen_K"] = chosen or 0
    for clusters in each:
        same = clusters == chosen
        accuracy = found["uan"] if same else mixed.adapted("uan", f"method.clusters={clusters}")[0]
        found[f"uan_K{clusters}"] = accuracy
    oracle = [Domain(trained, condition).adapted("adabn")[0] for condition in CONDITIONS]
    return found | {"oracle": sum(oracle) / len(oracle)}


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

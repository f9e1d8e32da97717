"""The table of docs/adapt.md: a network trained on clean images, adapted to a target of unknown conditions.

    python docs/tables/unknown_conditions.py digits-conditions OUT --seeds 0 1 2 3 4

Writes a row a seed to OUT/RECIPE.csv. All numbers are accuracies in percent on test images. On those of the domain
`mixed`: the network as it was trained (source), after adabn, and after uan, with K chosen without labels and each K.
The oracle is adabn on each condition by itself, averaged over the conditions' own test images. The numbers are those of
`uan-da train`, `uan-da adapt RUN domain:D --method M` and `uan-da evaluate RUN --domain D`.
"""

import argparse
import csv
import json
from pathlib import Path

from uan_da.recipe import load_recipe
from uan_da.training.adapt import adapt_run, source_free_method
from uan_da.training.evaluate_run import evaluate_run
from uan_da.training.run import Run
from uan_da.training.train import train

CONDITIONS = ("clean", "negative", "blended", "noisy", "dark", "bright", "blurred", "tinted")
CLUSTERS = (2, 4, 8, 16, 32)


def accuracy(run: Path, domain: str) -> float:
    """Of a run, on a domain's test images, in percent."""
    return 100 * float(evaluate_run(Run.open(run), domains=[domain])["domains"][domain]["accuracy"])


def adapted(run: Path, domain: str, method: str, *options: str) -> Path:
    """A run that is adapted to a domain's training images."""
    out = run.with_name("-".join([run.name, domain, method, *options]).replace("method.", "").replace("=", ""))
    adapt_run(Run.open(run), f"domain:{domain}", source_free_method(method, options), out, overwrite=True)
    return out


def row(recipe: str, folder: Path, seed: int) -> dict[str, float]:
    """All numbers of one seed."""
    run = train(load_recipe(recipe, [f"seed={seed}"]), folder / f"{recipe}-{seed}", overwrite=True).folder
    chosen = adapted(run, "mixed", "uan")
    found: dict[str, float] = {"seed": seed, "source": accuracy(run, "mixed")}
    found["adabn"] = accuracy(adapted(run, "mixed", "adabn"), "mixed")
    found["uan"] = accuracy(chosen, "mixed")
    scores = json.loads((chosen / "adapt.json").read_text())["scores"]
    found["chosen_K"] = int(max(scores, key=lambda clusters: scores[clusters]))
    for clusters in CLUSTERS:
        found[f"uan_K{clusters}"] = accuracy(adapted(run, "mixed", "uan", f"method.clusters={clusters}"), "mixed")
    oracle = [accuracy(adapted(run, condition, "adabn"), condition) for condition in CONDITIONS]
    return found | {"oracle": sum(oracle) / len(oracle)}


def main() -> None:
    """Write a row as soon as a seed is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with (asked.out / f"{asked.recipe}.csv").open("w", newline="") as file:
        for seed in asked.seeds:
            found = row(asked.recipe, asked.out, seed)
            writer = csv.DictWriter(file, list(found))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({name: round(value, 2) for name, value in found.items()})
            file.flush()


if __name__ == "__main__":
    main()

"""What clusters learn: the table and the figure of docs/adapt.md.

    python docs/tables/clusters.py digits-conditions OUT RUN ...

Each RUN is one that `uan-da adapt … domain:mixed --method uan` wrote. Of every norm layer: the normalised mutual
information between the clusters of the test images of `mixed` and their conditions, and their classes, as the layers
assign together (together), as each layer would by itself (alone), and as k-means on the moments of each image in front
of the layer does, with as many clusters (kmeans). Writes OUT/RECIPE-clusters.csv, a row a run, layer and way, and
OUT/RECIPE-clusters.png, the means over the runs.
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from matplotlib import pyplot
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from uan_da.data.adapters.corrupted import ConditionedArrays
from uan_da.data.images import decode
from uan_da.data.open_dataset import open_dataset
from uan_da.data.views import standardize
from uan_da.norms import UAN
from uan_da.norms.diagnostics import normalized_mutual_information
from uan_da.norms.uan.mixture import sample_statistics
from uan_da.training.run import Run
from uan_da.training.trained import Trained

matplotlib.use("Agg")

IMAGES = 2000
"""Test images that are looked at."""


def assigned(trained: Trained, images: Tensor) -> dict[int, dict[str, Tensor]]:
    """The clusters ``(N,)`` of the images in each norm layer of the backbone, counted from 1, in each way."""
    found: dict[int, dict[str, Tensor]] = {}

    def look(layer: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, UAN)
        found[len(found) + 1] = {
            "together": layer.responsibilities(inputs[0]).argmax(1),
            "alone": alone(layer, inputs[0]),
            "kmeans": k_means(inputs[0], layer.num_clusters),
        }

    layers = [layer for layer in trained.model.backbone.modules() if isinstance(layer, UAN)]
    watches = [layer.register_forward_pre_hook(look) for layer in layers]
    with torch.no_grad():
        trained.model.eval()(images)
    for watch in watches:
        watch.remove()
    return found


def alone(layer: UAN, x: Tensor) -> Tensor:
    """The clusters ``(N,)`` of the images as ``layer`` would choose by itself."""
    place, layer.place = layer.place, None
    chosen = layer.responsibilities(x).argmax(1)
    layer.place = place
    return chosen


def k_means(x: Tensor, clusters: int) -> Tensor:
    """The clusters ``(N,)`` of k-means on the mean and log variance of each image's channels, standardised."""
    mean_nc, var_nc = sample_statistics(x)
    style = StandardScaler().fit_transform(torch.cat([mean_nc, (var_nc + 1e-5).log()], 1).numpy())
    return torch.from_numpy(KMeans(clusters, n_init=4, random_state=0).fit_predict(style)).long()


def rows(folder: Path) -> list[dict[str, object]]:
    """All numbers of one run."""
    run = Run.open(folder)
    trained = Trained.load(run, "last", torch.device("cpu"))
    found = open_dataset(run.recipe.dataset).load("mixed", "test")
    assert isinstance(found, ConditionedArrays)
    images = decode(found, run.recipe.input)
    conditions = torch.from_numpy(found.conditions)[:IMAGES]
    rows: list[dict[str, object]] = []
    for layer, ways in assigned(trained, standardize(images.pixels[:IMAGES], run.recipe.input)).items():
        for way, clusters in ways.items():
            of_condition = normalized_mutual_information(clusters, conditions)
            of_class = normalized_mutual_information(clusters, images.labels[:IMAGES])
            row = {"run": folder.name, "layer": layer, "way": way}
            rows.append(row | {"condition": round(of_condition, 4), "class": round(of_class, 4)})
    return rows


def draw(table: pd.DataFrame, file: Path) -> None:
    """Means over the runs: one panel for conditions, one for classes."""
    figure, panels = pyplot.subplots(1, 2, figsize=(7, 2.8), sharey=True, layout="constrained")
    for panel, what in zip(panels, ("condition", "class"), strict=True):
        for way, label in {"together": "UAN", "alone": "UAN, each layer alone", "kmeans": "k-means"}.items():
            mean = table[table["way"] == way].groupby("layer")[what].mean()
            panel.plot(mean.index, mean.values, marker="o", label=label)
        panel.set(title=f"clusters and {what}", xlabel="norm layer", ylim=(0, 1), xticks=sorted(set(table["layer"])))
    panels[0].set_ylabel("NMI")
    panels[1].legend(frameon=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([row for run in asked.runs for row in rows(run)])
    table.to_csv(asked.out / f"{asked.recipe}-clusters.csv", index=False)
    draw(table, asked.out / f"{asked.recipe}-clusters.png")
    print(table.groupby(["way", "layer"])[["condition", "class"]].agg(["mean", "std"]).round(3))


if __name__ == "__main__":
    main()

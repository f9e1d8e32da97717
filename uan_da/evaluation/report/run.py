"""The report of one run."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from uan_da.evaluation.metrics import paired_gain
from uan_da.evaluation.open_set import main_measures
from uan_da.evaluation.ranking import Rank, Scored, rank_validators
from uan_da.evaluation.report import figures
from uan_da.evaluation.report.files import MetricsOf, RunFiles
from uan_da.evaluation.report.page import picture, write_page
from uan_da.evaluation.report.svg import sparkline
from uan_da.evaluation.verdict import points, source_cost, verdict

SELECTIONS = {
    "last": "the last epoch's",
    "selected": "the best by a validator, without target labels",
    "oracle": "the best by target labels: an upper bound, not a way to select",
}


def run_report(folder: Path, metrics_of: MetricsOf) -> Path:
    """Write ``report.html`` from the files of a finished run; figures without data are left out.

    Raises:
        UserError: the run is not finished.
    """
    files = RunFiles(folder, metrics_of)
    content = {
        "files": files,
        "recipe_path": _recipe_path(folder),
        "results": files.results,
        "selections": {name: files.results["selections"].get(name) for name in SELECTIONS},
        "meaning": SELECTIONS,
        "verdict": _verdict(files),
        "progress": _progress(files),
        "confusions": _confusions(files),
        "embedding": _embedding(files),
        "collapsed": _collapsed(files),
        "shift": _shift(files),
        "layers": _layers(files),
        "validators": _validators(files),
        "mistakes": _mistakes(files),
    }
    return write_page(folder / "report.html", "run.html", **content)


def _recipe_path(folder: Path) -> str:
    """As the command that wrote the report named it; of an absolute path, the end: a page says nothing of a machine."""
    known = Path(folder.name) if folder.is_absolute() else folder
    return shlex.quote(str(known / "recipe.yaml"))


def _verdict(files: RunFiles) -> dict[str, Any]:
    """Whether adaptation helped, and which classes it helped and hurt."""
    if "gain" not in files.results["baseline"]:
        return {"lines": [], "classes": [], "figure": ""}
    lines = [verdict(files.results, files.target), *source_cost(files.results)]
    classes = _class_gains(files)
    return {"lines": lines, "classes": classes, "figure": _class_figure(files)}


def _class_gains(files: RunFiles) -> list[dict[str, Any]]:
    """The classes of the target whose accuracy changed clearly: the paired 95 % interval excludes 0."""
    plain = files.baseline.predictions if files.baseline else None
    if files.predictions is None or plain is None:
        return []
    on_target = [
        table[(table["domain"] == files.target) & table["label"].notna()] for table in (files.predictions, plain)
    ]
    gains = []
    for label, adapted in on_target[0].groupby("label"):
        before = on_target[1].loc[adapted.index, "correct"].astype(bool).to_numpy()
        gain = paired_gain(adapted["correct"].astype(bool).to_numpy(), before)
        if gain["interval"][0] > 0 or gain["interval"][1] < 0:
            gains.append({"label": label, "gain": gain["gain"], "n": gain["n"], "text": points(gain)})
    return sorted(gains, key=lambda gain: -float(gain["gain"]))


def _class_figure(files: RunFiles) -> str:
    classes = files.evaluation.get("classes")
    if not classes:
        return ""
    of = {"source_only": files.results["baseline"], files.results["method"]: files.results}
    series = {name: each["selections"]["last"]["domains"][files.target]["per_class"] for name, each in of.items()}
    described = f"Accuracy of each class on {files.target}, without and with adaptation"
    if any(values is None for values in series.values()):  # a target without labels
        return ""
    return figures.bars("classes", described, classes, series, "accuracy, %")


def _progress(files: RunFiles) -> list[dict[str, str]]:
    if not files.metrics:
        return []
    rows = [main_measures(row) for row in files.metrics]
    series = {name: [row.get(name) for row in rows] for name in rows[0]}
    if files.baseline and files.baseline.metrics:
        series[f"{files.target}, source_only"] = [
            main_measures(row).get(files.target) for row in files.baseline.metrics
        ]
    caption = "Accuracy on the test images of each domain."
    if "h_score" in files.metrics[0]:
        caption = f"Accuracy on the test images of the source, and the H-score on those of {files.target}."
    marks = {name: chosen["epoch"] for name, chosen in files.results["selections"].items() if chosen and name != "last"}
    return [
        {"svg": figures.accuracy_by_epoch(series, marks), "caption": caption},
        {
            "svg": figures.losses_by_epoch([row["train"] for row in files.metrics]),
            "caption": "The loss, its terms, and what the method measures of itself.",
        },
    ]


def _confusions(files: RunFiles) -> list[dict[str, str]]:
    found = files.evaluation.get("confusion", {})
    return [
        {
            "svg": figures.confusion(counts, files.evaluation["classes"], domain, f"confusion-{i}"),
            "caption": f"{domain}: labels against predictions, last epoch. Blue is right, orange wrong.",
        }
        for i, (domain, counts) in enumerate(found.items())
        if np.any(counts)  # without labels there is nothing to confuse
    ]


def _collapsed(files: RunFiles) -> bool:
    features = list(files.features.values())
    return bool(features) and figures.have_collapsed(np.concatenate(features))


def _embedding(files: RunFiles) -> list[dict[str, str]]:
    if not files.features or files.predictions is None:
        return []
    embedded = figures.embed(list(files.features.values()))
    if not embedded:
        return []
    xy = dict(zip(files.features, embedded, strict=True))
    labels = {}
    for name, of_domain in xy.items():
        rows = files.arrays[f"rows/{name}"]
        rows = rows[np.linspace(0, len(rows) - 1, len(of_domain)).astype(int)]
        table = files.predictions[files.predictions["domain"] == name].set_index("index")
        labels[name] = table.loc[rows, "label"].fillna("?").astype(str).tolist()
    by_domain = "Where source and target lie on top of each other, features are shared."
    marks = figures.class_marks(label for own in labels.values() for label in own)
    key = ", ".join(f"{mark} {label}" for label, mark in marks.items() if mark != label)
    by_class = "Each image is written as its class; a class of both domains that lies in one place is aligned."
    by_class += f" Classes: {key}." if key else ""
    return [
        {"svg": figures.tsne_by_domain(xy), "caption": f"t-SNE of test features by domain. {by_domain}"},
        {"svg": figures.tsne_by_class(xy, labels, files.target), "caption": f"The same by class. {by_class}"},
    ]


def _shift(files: RunFiles) -> dict[str, Any]:
    """Distances of the domains, with those of the baseline beside them."""
    report = files.evaluation
    if "a_distance" not in report:
        return {}
    shares = report["label_shift"]
    series = {"source": shares["source"], "target, estimated": shares["estimated"]}
    if shares["true"] is not None:
        series["target, true"] = shares["true"]
    svg = figures.bars("shares", "Share of each class", report["classes"], series, "share of images, %")
    aligned = [ratio < 1 for ratio in report["class_alignment"] if ratio is not None]
    apart = [
        label
        for label, ratio in zip(report["classes"], report["class_alignment"], strict=True)
        if ratio is not None and ratio >= 1
    ]
    plain = files.baseline.evaluation.get("a_distance") if files.baseline else None
    return {
        "a_distance": report["a_distance"],
        "plain_a_distance": plain,
        "aligned": sum(aligned),
        "compared": len(aligned),
        "apart": apart,
        "total_variation": shares["total_variation"],
        "svg": svg,
    }


def _layers(files: RunFiles) -> list[dict[str, Any]]:
    layers = []
    for i, layer in enumerate(files.evaluation.get("clusters", [])):
        groups = [f"cluster {k}" for k in range(layer["num_clusters"])]
        described = f"Use of the clusters of {layer['layer']} by domain"
        examples = [
            [(uri, e["domain"]) for e in own if (uri := picture(files.arrays, e["domain"], e["index"]))]
            for own in layer["examples"]
        ]
        svg = figures.bars(f"clusters-{i}", described, groups, layer["usage"], "mean responsibility, %")
        layers.append({**layer, "svg": svg, "pictures": examples})
    return layers


def _validators(files: RunFiles) -> list[dict[str, Any]]:
    """Each validator's course over the epochs, and how it agrees with the target's accuracy or H-score."""
    rows = [row for row in files.metrics if "validators" in row]
    measured = [(row["validators"], main_measures(row).get(files.target)) for row in rows]
    ranks = rank_validators({"": [Scored(scores, value) for scores, value in measured if value is not None]})
    of: dict[str, Rank] = {rank.validator: rank for rank in ranks}
    chosen = files.recipe["selection"]["validator"]["name"]
    names = list(rows[-1]["validators"]) if rows else []
    order = {rank.validator: index for index, rank in enumerate(ranks)}
    return [
        {
            "name": name,
            "chosen": name == chosen,
            "spark": sparkline([row["validators"].get(name) for row in rows]),
            "last": rows[-1]["validators"][name],
            "rank": of.get(name),
        }
        for name in sorted(names, key=lambda name: order.get(name, len(order)))
    ]


def _mistakes(files: RunFiles) -> list[dict[str, Any]]:
    classes = files.evaluation.get("classes", [])
    return [
        {**mistake, "uri": uri, "label": classes[mistake["label"]], "predicted": classes[mistake["predicted"]]}
        for mistake in files.evaluation.get("mistakes", [])
        if (uri := picture(files.arrays, mistake["domain"], mistake["index"]))
    ]

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from uan_da.cli.report import write_report
from uan_da.errors import UserError
from uan_da.evaluation.report import run_report, sweep_report
from uan_da.evaluation.report.files import RunFiles
from uan_da.evaluation.report.sweep import group_runs
from uan_da.recipe.source import dump_yaml, read_yaml
from uan_da.training.run import Run, metrics_of

FIGURES = ["accuracy", "losses", "classes", "confusion-0", "confusion-1", "tsne-domain", "tsne-class", "shares"]
VOID = {"meta", "link", "img", "br", "path", "use", "polyline"}


class Page(HTMLParser):
    """What a page consists of, and whether its tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.ids += [value or ""] if name == "id" else []
            self.addresses += [value or ""] if name in {"src", "href", "xlink:href", "srcset", "action"} else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def text_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_whole_small_and_asks_for_nothing(reported_run: Path) -> None:
    text, page = text_of(reported_run), Page(text_of(reported_run))
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert len(text.encode()) < 3_000_000
    assert "script" not in page.tags
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "@import" not in text
    assert not [url for url in re.findall(r"url\(([^)]*)\)", text) if not url.startswith("#")]
    assert str(reported_run.parent) not in text


def test_every_figure_and_table_is_there(reported_run: Path) -> None:
    text, page = text_of(reported_run), Page(text_of(reported_run))
    layers = json.loads((reported_run / "evaluation" / "last.json").read_text())["clusters"]
    assert len(layers) == 3
    assert set(page.ids) >= {*FIGURES, "clusters-0", "clusters-1", "clusters-2"}
    for name in (
        "information_maximization (selects)",
        "adaptation ",
        "oracle: the best by target labels",
        "num_clusters",
    ):
        assert name in text
    assert text.count("<img") > 24
    assert "prefers-color-scheme: dark" in text


def test_a_report_of_the_same_files_is_the_same(reported_run: Path) -> None:
    before = text_of(reported_run)
    run_report(reported_run, metrics_of)
    assert text_of(reported_run) == before


def test_names_from_data_and_recipes_are_escaped(reported_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(reported_run, folder, ignore=shutil.ignore_patterns("*.npz"))  # t-SNE takes a while
    recipe = folder / "recipe.yaml"
    recipe.write_text(re.sub(r"^description:.*$", "description: '<script>x</script>'", recipe.read_text(), flags=re.M))
    evaluation = folder / "evaluation" / "last.json"
    content = json.loads(evaluation.read_text())
    content["classes"] = ['<img src="x">', *content["classes"][1:]]
    evaluation.write_text(json.dumps(content))
    run_report(folder, metrics_of)
    page = Page(text_of(folder))
    assert "script" not in page.tags
    assert all(address.startswith(("#", "data:")) for address in page.addresses)


def test_a_run_without_evaluation_or_baseline_has_a_shorter_report(reported_run: Path, tmp_path: Path) -> None:
    shutil.copytree(reported_run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation", "baseline"))
    results = tmp_path / "run" / "results.json"
    content = json.loads(results.read_text())
    results.write_text(json.dumps(content | {"baseline": {"method": "source_only", "selections": {}}}))
    run_report(tmp_path / "run", metrics_of)
    page = Page(text_of(tmp_path / "run"))
    assert {"accuracy", "losses"} <= set(page.ids)
    assert "train with --with-baseline" in text_of(tmp_path / "run")


def test_a_target_without_labels_has_a_report(reported_run: Path, tmp_path: Path) -> None:
    shutil.copytree(reported_run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation", "baseline"))
    results = tmp_path / "run" / "results.json"
    content = json.loads(results.read_text())
    content["baseline"] = {"method": "source_only", "selections": {}}
    for chosen in content["selections"].values():
        nothing = dict.fromkeys(chosen["domains"]["optdigits_m"])
        chosen["domains"]["optdigits_m"] = nothing | {"role": "target", "split": "test", "n": 0}
        chosen["harmonic_mean"] = None
    results.write_text(json.dumps(content))
    rows = [row | {"domains": row["domains"] | {"optdigits_m": None}} for row in metrics_of(reported_run)]
    run_report(tmp_path / "run", lambda folder: rows)
    assert "optdigits_m" in text_of(tmp_path / "run")


def test_a_run_whose_checkpoints_were_removed_has_its_epochs(reported_run: Path, tmp_path: Path) -> None:
    shutil.copytree(reported_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "baseline"))
    assert metrics_of(tmp_path / "run") == metrics_of(reported_run) != []
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 9}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: is damaged"):
        metrics_of(tmp_path / "run")


def test_an_unfinished_run_is_refused(reported_run: Path, tmp_path: Path) -> None:
    shutil.copytree(reported_run, tmp_path / "run", ignore=shutil.ignore_patterns("results.json", "done"))
    with pytest.raises(UserError, match="the run is not finished"):
        run_report(tmp_path / "run", metrics_of)


@pytest.fixture
def sweep(reported_run: Path, tmp_path: Path) -> Path:
    """Two seeds of the method and two of source_only, with accuracies that were made up."""
    for method, accuracies in {"adamatch": (0.30, 0.40), "source_only": (0.50, 0.54)}.items():
        for seed, accuracy in enumerate(accuracies):
            run = tmp_path / "sweep" / "runs" / f"{method}{seed}"
            shutil.copytree(reported_run, run)
            results = json.loads((run / "results.json").read_text()) | {"method": method, "seed": seed}
            results["selections"]["last"]["domains"]["optdigits_m"]["accuracy"] = accuracy
            (run / "results.json").write_text(json.dumps(results))
            Run(run).finish()
    return tmp_path / "sweep"


def test_a_sweep_has_means_over_seeds_and_says_what_hurts(sweep: Path) -> None:
    assert write_report(sweep, "cpu") == sweep / "report.html"
    text, page = text_of(sweep), Page(text_of(sweep))
    assert not page.open
    assert "35.0 ± 7.1" in text
    assert "52.0 ± 2.8" in text
    assert "adamatch with uan on optdigits:optdigits_m is 17.0 points below source_only" in text
    assert "task-0" in page.ids
    assert "rank correlation" in text
    assert "95 % interval over seeds" in text
    links = [address for address in page.addresses if not address.startswith(("#", "data:"))]
    assert links == [f"runs/{name}{seed}/report.html" for name in ("source_only", "adamatch") for seed in (1, 0)]
    assert all((sweep / link).is_file() for link in links)


def test_runs_of_several_recipes_are_not_seeds_of_one(reported_run: Path, tmp_path: Path) -> None:
    """Two learning rates: each method stands against source_only of its own, over the seeds that both have."""
    runs = [  # method, learning rate, seed, accuracy
        *[("source_only", 0.1, 0, 0.50), ("source_only", 0.1, 1, 0.70), ("source_only", 0.2, 0, 0.20)],
        *[("adamatch", 0.1, 1, 0.60), ("adamatch", 0.1, 2, 0.10), ("adamatch", 0.2, 0, 0.30)],
    ]
    for i, (method, lr, seed, accuracy) in enumerate(runs):
        run = tmp_path / "runs" / str(i)
        shutil.copytree(reported_run, run, ignore=shutil.ignore_patterns("evaluation", "baseline", "checkpoints"))
        recipe = read_yaml(run / "recipe.yaml").data
        recipe["train"]["optimizer"]["lr"], recipe["seed"], recipe["method"] = lr, seed, {"name": method}
        (run / "recipe.yaml").write_text(dump_yaml(recipe))
        results = json.loads((run / "results.json").read_text()) | {"method": method, "seed": seed}
        results["selections"]["last"]["domains"]["optdigits_m"]["accuracy"] = accuracy
        (run / "results.json").write_text(json.dumps(results))
        Run(run).finish()
    groups = group_runs([RunFiles(tmp_path / "runs" / str(i), metrics_of) for i in range(len(runs))])
    assert [(g.method, g.settings, len(g.seeds), g.cell("last")) for g in groups] == [
        ("source_only", "train.optimizer.lr=0.1", 2, "60.0 ± 14.1"),
        ("adamatch", "train.optimizer.lr=0.1", 2, "35.0 ± 35.4"),
        ("adamatch", "train.optimizer.lr=0.2", 1, "30.0"),
        ("source_only", "train.optimizer.lr=0.2", 1, "20.0"),
    ]
    write_report(tmp_path, "cpu")
    said = re.findall("negative transfer: (.*)</p>", text_of(tmp_path))
    where = "on optdigits:optdigits_m"
    assert said == [f"adamatch with uan train.optimizer.lr=0.1 {where} is 10.0 points below source_only (one seed)"]


def test_unfinished_runs_of_a_sweep_are_counted(sweep: Path) -> None:
    runs = sorted((sweep / "runs").iterdir())
    (runs[0] / "results.json").unlink()
    sweep_report(sweep, runs, metrics_of)
    assert "1 more are not finished" in text_of(sweep)
    with pytest.raises(UserError, match="none of its 1 runs is finished"):
        sweep_report(sweep, runs[:1], metrics_of)

"""``uan-da bench``: what the norms cost on this machine, as ratios to BatchNorm, and how fast images come."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from uan_da.cli.options import DataRoot

if TYPE_CHECKING:
    from uan_da.benchmarks.measure import Spread

app = typer.Typer(help="Measure norms, trainings and the data pipeline on this machine.", no_args_is_help=True)

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Activations in channels-last memory format.")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds, each of which runs every norm once.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads on a CPU.  [default: PyTorch's]")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line instead of a table.")]


@app.command()
def norms(
    shape: Annotated[
        list[str] | None,
        typer.Option(help="N,C,H,W; may be repeated.  [default: 64,64,16,16 64,32,32,32; on a GPU 256,256,56,56]"),
    ] = None,
    clusters: Annotated[list[int] | None, typer.Option(min=1, help="K; may be repeated.  [default: 2 3]")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16")] = "float32",
    backend: Annotated[str, typer.Option(help="UAN's backend: auto, reference or fused.")] = "auto",
    device: Device = "auto",
    channels_last: ChannelsLast = False,
    rounds: Rounds = 20,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Forward and backward of one layer, by shape and number of clusters."""
    import torch

    from uan_da.benchmarks.norms import measure_norms

    where = _device(device, threads)
    default = ["256,256,56,56"] if where.type == "cuda" else ["64,64,16,16", "64,32,32,32"]
    shapes = [_shape(text) for text in shape or default]
    if backend not in ("auto", "reference", "fused"):
        raise typer.BadParameter(f"{backend!r} is not one of auto, reference, fused", param_hint="--backend")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise typer.BadParameter(f"{dtype!r} is not one of float32, bfloat16, float16", param_hint="--dtype")
    options: dict[str, Any] = {"channels_last": channels_last, "backend": backend, "rounds": rounds}
    show = _Rows(where, json, ("shape", "norm", "ms", "time", "saved", "peak", "copy bandwidth"))
    for cost in measure_norms(shapes, clusters or [2, 3], where, getattr(torch, dtype), **options):
        size = ",".join(map(str, cost.shape))
        bandwidth = "not measured" if cost.bandwidth is None else f"{cost.bandwidth:.0%}"
        saved = f"{cost.saved:.2f}×"
        show(cost, size, cost.norm, f"{cost.milliseconds:.2f}", _ratio(cost.time), saved, _peak(cost.peak), bandwidth)


@app.command()
def train(
    network: Annotated[
        list[str] | None, typer.Option(help="resnet18, resnet50, wrn28_2; may be repeated.  [default: all]")
    ] = None,
    norm: Annotated[list[str] | None, typer.Option(help="As in recipes; may be repeated.  [default: uan]")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Images in a step.")] = 32,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Under autocast.")] = False,
    device: Device = "auto",
    channels_last: ChannelsLast = False,
    rounds: Rounds = 10,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """One training step of whole networks, with BatchNorm and with other norms instead."""
    from uan_da.benchmarks.train import NETWORKS, measure_training
    from uan_da.names import NORMS

    where = _device(device, threads)
    for name in network or []:
        if name not in NETWORKS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(NETWORKS)}", param_hint="--network")
    chosen = norm or ["uan"]
    for name in chosen:
        NORMS.load(name)
    options: dict[str, Any] = {"batch": batch, "channels_last": channels_last, "bfloat16": bfloat16, "rounds": rounds}
    show = _Rows(where, json, ("network", "norm", "ms", "time", "peak"))
    for cost in measure_training(network or list(NETWORKS), chosen, where, **options):
        show(cost, cost.network, cost.norm, f"{cost.milliseconds:.1f}", _ratio(cost.time), _peak(cost.peak))


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes: norm=bn train.batch.source=32")] = None,
    bare_loop: Annotated[
        bool, typer.Option("--bare-loop", help="Compare with a plain loop with the same losses, on batches in memory.")
    ] = False,
    device: Device = "auto",
    rounds: Rounds = 10,
    threads: Threads = None,
    data_root: DataRoot = None,
    json: Json = False,
) -> None:
    """Time of a training step, compared with the bare network's forward and backward on the same images."""
    import dataclasses
    from json import dumps

    from uan_da.benchmarks.measure import device_name
    from uan_da.benchmarks.recipe import measure_bare_loop, measure_recipe
    from uan_da.recipe import load_recipe
    from uan_da.trust import TELLING

    where = _device(device, threads)
    loaded = load_recipe(name, overrides or [], TELLING)
    if bare_loop:
        loop = measure_bare_loop(loaded, where, rounds)
        interval = f"95 % interval of the median: {loop.share.low:.3f}–{loop.share.high:.3f}"
        share = f"{loop.share.median:.3f} ({interval})"
        row = f"steps/s: training {loop.whole:.3g}, bare loop {loop.loop:.3g}, share {share}"
        found = {"device": device_name(where), **dataclasses.asdict(loop)}
        typer.echo(dumps(found) if json else f"{device_name(where)}\n{row}")
        return
    cost = measure_recipe(loaded, where, rounds)
    if json:
        typer.echo(dumps({"device": device_name(where), **dataclasses.asdict(cost)}))
        return
    share = f"{cost.share.median:.2f} ({cost.share.low:.2f}–{cost.share.high:.2f})"
    typer.echo(f"{device_name(where)}; {cost.images} images a step go through the network")
    typer.echo(f"steps/s: training {cost.whole:.3g}, bare forward and backward {cost.bare:.3g}, share {share}")


@app.command()
def data(
    images: Annotated[int, typer.Option(min=512, help="Number of 32×32 images; an eighth as many JPEG files.")] = 8192,
    batch: Annotated[
        int, typer.Option(min=1, help="Number of 32×32 images per domain and step; 32 for the files.")
    ] = 256,
    photos: Annotated[int, typer.Option(min=1, help="JPEG files of 12 megapixels; most are copies.")] = 100,
    rounds: Rounds = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads; torchvision's pipeline has two workers.")] = 2,
    json: Json = False,
) -> None:
    """Images per second: augmented batches, cached files and large photos, compared with torchvision and Pillow."""
    import dataclasses
    import os
    from json import dumps

    import torch

    from uan_da.benchmarks.data import WORKERS, measure_augmentation, measure_files, measure_photos

    torch.set_num_threads(threads)
    measured = (
        measure_augmentation(images, min(batch, images // 2), rounds),
        measure_files(images // 8, rounds),
        *measure_photos(photos, os.cpu_count() or 1, rounds),
    )
    if not json:
        typer.echo(f"images/s, medians of {rounds} rounds; here: {threads} threads, ordinary: {WORKERS} workers")
    for found in measured:
        spread = f"{found.ratio:.1f}× ({found.least:.1f} to {found.greatest:.1f})"
        row = f"{found.name:<30}here {found.here:>9,.0f}   ordinary {found.ordinary:>8,.0f}   {spread}"
        typer.echo(dumps(dataclasses.asdict(found)) if json else row)


class _Rows:
    """Prints a row as soon as it is measured."""

    def __init__(self, device: Any, json: bool, columns: tuple[str, ...]) -> None:
        from uan_da.benchmarks.measure import device_name

        self.device, self.json = device_name(device), json
        if not json:
            typer.echo(f"{self.device}; ratios to BatchNorm: median (least–greatest of the rounds)")
            typer.echo(self._line(columns))

    def __call__(self, cost: Any, *cells: str) -> None:
        import dataclasses
        import json

        if self.json:
            typer.echo(json.dumps({"device": self.device, **dataclasses.asdict(cost)}))
        else:
            typer.echo(self._line(cells))

    @staticmethod
    def _line(cells: tuple[str, ...]) -> str:
        widths = (16, 18, 10, 20, 14, 14, 14)
        return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()


def _ratio(spread: "Spread") -> str:
    return f"{spread.median:.2f}× ({spread.low:.2f}–{spread.high:.2f})"


def _peak(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.2f}×"


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if len(sizes) != 4 or not all(size.strip().isdigit() and int(size) > 0 for size in sizes):
        raise typer.BadParameter(f"expected N,C,H,W, such as 64,64,16,16, but got {text!r}", param_hint="--shape")
    return tuple(int(size) for size in sizes)


def _device(name: str, threads: int | None) -> Any:
    import torch

    from uan_da.errors import UserError
    from uan_da.training.device import choose_device

    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return choose_device(name)
    except UserError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from None

"""A deployed network meets new images in the order in which they come, and adapts as it answers.

    python adapt_online.py

The stream is a folder; here embedded digits in photographs stand for it. The network never sees a label.
"""

from pathlib import Path

import uan_da
from uan_da.data.digits import Digits

SHORT = ["norm=bn", "method=source_only", "train.epochs=1", "train.steps_per_epoch=25"]  # a first look


def write_stream(folder: Path) -> None:
    """Digits in photographs, in the order in which they come."""
    folder.mkdir(exist_ok=True)
    examples = Digits().load("optdigits_m", "test")
    for number in range(192):
        examples[number][0].save(folder / f"{number:04d}.png")


def main() -> None:
    """Train on clean digits, then meet the stream, 32 images at a time."""
    run = uan_da.train("digits", SHORT, out="runs/deployed", overwrite=True, progress=False)
    stream = Path("stream")
    write_stream(stream)
    adapted = run.adapt(stream, "uan", out="runs/deployed-online", online=True, batch=32, overwrite=True)

    truth = [label for _, label in (Digits().load("optdigits_m", "test")[index] for index in range(192))]
    for name, own in (("as deployed", run), ("after the stream", adapted)):
        found = [run.classes.index(answer) for answer in own.predict(stream)["class"]]
        right = [answer == label for answer, label in zip(found, truth, strict=True)]
        print(f"{name}: {100 * sum(right) / len(right):.1f} % of {len(right)} images")
    print(f"answers on the way: {adapted.folder / 'predictions.csv'}")


if __name__ == "__main__":
    main()

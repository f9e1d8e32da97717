"""A deployed network meets new images in the order in which they come, and adapts as it predicts.

    python adapt_online.py

The stream is a folder; here bundled digits stand for it: dark, bright, blurred, negative, … The network sees no label.
"""

from pathlib import Path

import uan_da
from uan_da.data.open_dataset import open_dataset

SHORT = ["norm=bn", "method=source_only", "train.epochs=1", "train.steps_per_epoch=25"]  # a first look


def write_stream(folder: Path) -> list[str]:
    """192 digits under eight conditions, in the order in which they come; returns their classes, to measure."""
    folder.mkdir(exist_ok=True)
    digits = open_dataset("digits_conditions")
    images, labels = zip(*(digits.load("mixed", "test")[number] for number in range(192)), strict=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number:04d}.png")
    return [digits.classes[label] for label in labels]


def main() -> None:
    """Train on clean digits, then meet the stream, 32 images at a time."""
    run = uan_da.train("digits", SHORT, out="runs/deployed", overwrite=True, progress=False)
    stream = Path("stream")
    truth = write_stream(stream)
    adapted = run.adapt(stream, "uan", out="runs/deployed-online", online=True, batch=32, overwrite=True)

    for name, own in (("as deployed", run), ("after the stream", adapted)):
        right = [predicted == label for predicted, label in zip(own.predict(stream)["class"], truth, strict=True)]
        print(f"{name}: {100 * sum(right) / len(right):.1f} % of {len(right)} images")
    print(f"predictions on the way: {adapted.folder / 'predictions.csv'}")


if __name__ == "__main__":
    main()

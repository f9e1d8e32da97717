"""From a folder of your own images to an ONNX file that NumPy calls.

    python own_images_to_onnx.py [FOLDER [SOURCE:TARGET]]

FOLDER holds FOLDER/<domain>/<class>/*.png. Without one, bundled digits are written to ./plates and stand for it.
Needs: pip install "uan-da[export]"
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import uan_da
from uan_da.data.digits import Digits

SHORT = ["train.epochs=1", "train.steps_per_epoch=15"]  # a first look; leave it out to train the recipe's own length


def write_digits(folder: Path) -> None:
    """Scanned digits, and digits in photographs, 20 images a class and domain at most."""
    digits = Digits()
    for domain, name in (("optdigits", "scan"), ("optdigits_m", "photo")):
        examples = digits.load(domain, "train")
        for number in range(200):
            image, label = examples[number]
            path = folder / name / digits.classes[label] / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


def main() -> None:
    """Train, export, and classify one image without PyTorch."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "plates")
    task = sys.argv[2] if len(sys.argv) > 2 else "scan:photo"
    if not folder.exists():
        write_digits(folder)
    changes = [f"dataset={folder.resolve()}", f"task={task}", *SHORT]
    run = uan_da.train("digits", changes, out="runs/plates", overwrite=True)
    written = run.export("model.onnx", overwrite=True)
    print(f"{written.file}: differs from PyTorch by at most {written.difference:.1e} on {written.images} images")

    picture = next((folder / task.split(":")[1]).rglob("*.png"))
    pixels = np.asarray(Image.open(picture).convert("RGB").resize((28, 28)), np.float32) / 255
    session = onnxruntime.InferenceSession("model.onnx")
    probabilities = session.run(["probabilities"], {"images": pixels.transpose(2, 0, 1)[None]})[0][0]
    labels = written.labels.read_text().splitlines()
    print(f"{picture}: {labels[probabilities.argmax()]} ({probabilities.max():.2f})")


if __name__ == "__main__":
    main()

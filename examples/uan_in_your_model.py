"""UAN in a torchvision model of your own, in your own loop, with automatic mixed precision.

    python uan_in_your_model.py

Source: labelled digits. Target: digits in photographs; its labels are read only to measure. The clusters see unlabelled
target images in every step, beside the source.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.digits import Digits
from uan_da.norms import convert_norm, recalibrate

STEPS, BATCH = 12, 32


def load(domain: str, split: str, count: int) -> tuple[Tensor, Tensor]:
    """Images ``(N, 3, 28, 28)`` in [-1, 1], and labels ``(N,)``."""
    examples = Digits().load(domain, split)  # type: ignore[arg-type]
    pairs = [examples[index] for index in range(count)]
    pixels = np.stack([np.asarray(image.convert("RGB")) for image, _ in pairs])
    images = torch.from_numpy(pixels).movedim(-1, 1).float() / 127.5 - 1
    return images, torch.tensor([label for _, label in pairs])


def main() -> None:
    """Train, recalibrate on unlabelled target images, and measure before and after."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = torch.float16 if device == "cuda" else torch.bfloat16
    source, labels = (x.to(device) for x in load("optdigits", "train", 400))
    target, _ = (x.to(device) for x in load("optdigits_m", "train", 400))
    test, truth = (x.to(device) for x in load("optdigits_m", "test", 200))

    model = torchvision.models.resnet18(num_classes=10).to(device)
    print(convert_norm(model, "uan"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device, enabled=half == torch.float16)
    for step in range(STEPS):
        own, other = torch.randint(0, len(source), (2, BATCH), device=device)
        with torch.autocast(device, half):  # statistics and responsibilities stay float32
            logits = model(torch.cat([source[own], target[other]]))[:BATCH]
            loss = F.cross_entropy(logits, labels[own])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if step % 4 == 3:
            print(f"step {step + 1}: loss {loss.item():.3f}")

    for name in ("as trained", "recalibrated"):
        if name == "recalibrated":
            recalibrate(model, target.split(BATCH))
        model.eval()
        with torch.no_grad():
            accuracy = (model(test).argmax(1) == truth).float().mean()
        print(f"{name}: {100 * accuracy:.1f} % of {len(test)} target images")


if __name__ == "__main__":
    main()

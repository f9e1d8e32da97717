"""The views that test-time methods take of an image."""

from collections.abc import Sequence

from uan_da.data.augment import Affine, Augmentation, Blur, ColorJitter


def jittered_views(channels: int, *, blur: bool = True) -> Sequence[Augmentation]:
    """Those of CoTTA, RoTTA and ROID: jitter, rotation by ±15°, shifts by 1/16, scaling by 0.9 to 1.1, a slight blur.

    The authors also flip, change γ and add noise of 0.005; flipping changes the class of digits and letters.
    """
    colour = {"saturation": 0.5, "hue": 0.06} if channels == 3 else {}
    views: list[Augmentation] = [
        ColorJitter(brightness=0.4, contrast=0.3, **colour),
        Affine(degrees=15, translate=1 / 16, scale=(0.9, 1.1)),
    ]
    return [*views, Blur(sigma=(0.001, 0.5), p=1.0)] if blur else views

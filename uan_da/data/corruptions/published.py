"""The corruptions of ImageNet-C and CIFAR-10-C, in the authors' order and by the names of their files."""

from collections.abc import Mapping

from uan_da.data.corruptions import blur, digital, noise, weather
from uan_da.data.corruptions.corruption import Corruption
from uan_da.data.corruptions.spatter import SPATTER

FIFTEEN: Mapping[str, Corruption] = {
    "gaussian_noise": noise.GAUSSIAN_NOISE,
    "shot_noise": noise.SHOT_NOISE,
    "impulse_noise": noise.IMPULSE_NOISE,
    "defocus_blur": blur.DEFOCUS_BLUR,
    "glass_blur": blur.GLASS_BLUR,
    "motion_blur": blur.MOTION_BLUR,
    "zoom_blur": blur.ZOOM_BLUR,
    "snow": weather.SNOW,
    "frost": weather.FROST,
    "fog": weather.FOG,
    "brightness": digital.BRIGHTNESS,
    "contrast": digital.CONTRAST,
    "elastic_transform": digital.ELASTIC_TRANSFORM,
    "pixelate": digital.PIXELATE,
    "jpeg_compression": digital.JPEG_COMPRESSION,
}

EXTRA: Mapping[str, Corruption] = {
    "speckle_noise": noise.SPECKLE_NOISE,
    "gaussian_blur": blur.GAUSSIAN_BLUR,
    "spatter": SPATTER,
    "saturate": digital.SATURATE,
}
"""The authors' validation corruptions; they are in no average."""

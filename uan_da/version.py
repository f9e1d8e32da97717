"""The version of uan-da that is installed."""

from importlib import metadata

from uan_da.errors import UserError


def version() -> str:
    """Such as ``0.1.0``.

    Raises:
        UserError: Python found uan-da in a folder, and nobody installed it.
    """
    try:
        return metadata.version("uan-da")
    except metadata.PackageNotFoundError:
        raise UserError(
            "uan-da has no version, for it is not installed: run 'pip install -e .' in its folder"
        ) from None

"""The kinds of files that a network is exported to: how one is made, and how one is run."""

import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from uan_da.errors import UserError
from uan_da.evaluation.deployed import Deployed

OUTPUTS = ("logits", "probabilities")
METADATA = "metadata.json"
"""The extra file of a pt2 archive."""

Outputs = tuple[Tensor, Tensor]
"""Logits and probabilities, ``(N, classes)`` each."""


class Format(ABC):
    """A kind of file."""

    suffix: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Packages of the extra ``export`` without which there is no such file."""

    def check(self) -> None:
        """UserError where a package is missing."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            raise UserError(f"{self.suffix} needs {', '.join(missing)}: pip install 'uan-da[export]'")

    @abstractmethod
    def make(self, network: Deployed, metadata: Mapping[str, Any]) -> bytes:
        """The content of the file: ``network`` on batches of any size, and ``metadata`` in it."""

    @abstractmethod
    def run(self, content: bytes, images: Tensor) -> Outputs:
        """What the file says of ``images``, as a program that has nothing else would hear it."""


class Onnx(Format):
    """ONNX, run by onnxruntime and others; each key of the metadata is a text, those that are no text as JSON."""

    suffix = ".onnx"
    needs = ("onnx", "onnxscript", "onnxruntime")

    def make(self, network: Deployed, metadata: Mapping[str, Any]) -> bytes:
        """By the exporter of ``torch.export``."""
        with _quiet():
            program = torch.onnx.export(
                network,
                (_example(network),),
                dynamo=True,
                input_names=["images"],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        assert program is not None
        for key, value in metadata.items():
            program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
        content: bytes = program.model_proto.SerializeToString()
        return content

    def run(self, content: bytes, images: Tensor) -> Outputs:
        """By onnxruntime, on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        logits, probabilities = session.run(list(OUTPUTS), {"images": images.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(probabilities)


class Pt2(Format):
    """A program of ``torch.export``, run by PyTorch alone; the metadata are its extra file ``metadata.json``."""

    suffix = ".pt2"

    def make(self, network: Deployed, metadata: Mapping[str, Any]) -> bytes:
        """By ``torch.export``."""
        buffer = io.BytesIO()
        with _quiet():
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(network, (_example(network),), dynamic_shapes=shapes)
            torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata)})
        return buffer.getvalue()

    def run(self, content: bytes, images: Tensor) -> Outputs:
        """By the program that was read back."""
        with _quiet(), torch.no_grad():
            logits, probabilities = torch.export.load(io.BytesIO(content)).module()(images)
        return logits, probabilities


FORMATS: dict[str, Format] = {"onnx": Onnx(), "pt2": Pt2()}


def format_of(name: str | None, file: Path) -> Format:
    """The format of that name, or the one that ``file`` ends like.

    Raises:
        UserError: the file does not end like it.
    """
    fitting = [form for key, form in FORMATS.items() if name in (None, key) and form.suffix == file.suffix]
    if not fitting:
        expected = " or ".join(form.suffix for key, form in FORMATS.items() if name in (None, key))
        raise UserError(f"{file}: the name of the file must end in {expected}")
    return fitting[0]


def _example(network: Deployed) -> Tensor:
    """Two images: of one alone the exporter would take the size for a constant."""
    return torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on themselves; what matters is compared afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

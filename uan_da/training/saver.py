"""Saves a training while it goes on."""

import copy
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from uan_da.training.checkpoint import Manifest
from uan_da.training.run import Run


class Saver:
    """Writes checkpoints in a thread, one at a time; ``with`` waits for the last one, and tells how it went.

    The state is copied first, so that the training may move on.
    """

    def __init__(self, run: Run, manifest: Manifest) -> None:
        self.run, self.manifest = run, manifest
        self.metrics: list[Mapping[str, Any]] = list(manifest.metrics)
        """A row an epoch; the next checkpoint has them all."""
        self.started = self.saved = time.perf_counter()
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except OSError:
            if error is None:  # else it is told already, or less than what came first
                raise
        finally:
            self.thread.shutdown()

    @property
    def seconds_since(self) -> float:
        """Since the last checkpoint."""
        return time.perf_counter() - self.saved

    def save(self, step: int, state: Mapping[str, Any], names: Sequence[str] = ()) -> None:
        """Save the ``state`` after ``step`` as ``last``, and as what else ``names`` has: ``selected``, ``oracle``.

        Raises:
            OSError: the checkpoint before this one could not be written.
        """
        self.wait()
        self.saved = time.perf_counter()
        spent = self.manifest.seconds + self.saved - self.started
        self.started = self.saved
        manifest = replace(self.manifest, step=step, seconds=spent, metrics=tuple(self.metrics))
        self.pending = self.thread.submit(self._write, manifest, snapshot(state), ("last", *names))

    def wait(self) -> None:
        """Until all that was given is on the disk."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()

    def check(self) -> None:
        """Tell at once, and not at the next checkpoint, where one could not be written."""
        if self.pending is not None and self.pending.done():
            self.wait()

    def _write(self, manifest: Manifest, state: Mapping[str, Any], names: Sequence[str]) -> None:
        saved = self.run.checkpoints.write_state(manifest.step, state)
        self.manifest = replace(manifest, files={**manifest.files, **dict.fromkeys(names, saved)})
        self.run.publish(self.manifest)


def snapshot(value: Any) -> Any:
    """A copy of a state that shares no memory with it, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copied = copy.copy(value)  # a module's state is a dict that has versions beside its items
        copied.update((key, snapshot(item)) for key, item in value.items())
        return copied
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value

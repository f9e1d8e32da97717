"""Runs in this process, one after the other: no process is started."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from uan_da.sweeps.jobs import Event, Job, Tell, failure
from uan_da.training.device import choose_device
from uan_da.training.interrupt import Interrupted


@dataclass(frozen=True)
class Here:
    """Trains with the threads that this process has.

    Args:
        device: ``auto``, or a name of PyTorch's.
        prints: a line for each run that ended.
    """

    device: str = "auto"
    prints: bool = False

    @property
    def threads(self) -> int:
        """Of each run."""
        return torch.get_num_threads()

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """See :class:`uan_da.sweeps.jobs.Executor`."""
        device = str(choose_device(self.device))
        for number, job in enumerate(jobs, 1):
            event = self._train(job, device, tell)
            tell(event)
            if self.prints:
                print(f"{number}/{len(jobs)}  {job.name}  {event.kind}{event.error and ': ' + event.error}", flush=True)

    def _train(self, job: Job, device: str, tell: Tell) -> Event:
        try:
            job.work(device, self.threads, tell)
        except (Interrupted, KeyboardInterrupt):
            raise
        except Exception as error:
            return failure(job, error)
        return Event("finished", job.run_id)

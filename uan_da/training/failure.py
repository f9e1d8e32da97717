"""What the machine did to a training, in one message."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from uan_da.errors import Failure, UserError
from uan_da.norms.distributed import is_distributed
from uan_da.training.device import ran_out_of_memory
from uan_da.training.run import Run

_PEER = re.compile("closed by peer|reset by peer|gloo|NCCL", re.IGNORECASE)
"""What PyTorch says when another process is gone."""

NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def told(run: Run) -> Iterator[None]:
    """Turns an error of the disk or of memory into one message that names the way out.

    Raises:
        Failure: the machine failed; the last good checkpoint is intact, and is named.
        UserError: the run folder, or a file, may not be written or read.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or run.folder
        if error.errno in NO_PERMISSION:
            way_out = f"; {kept(run)}" if run.checkpoints.newest() else ""
            raise UserError(f"{place}: {error.strerror}{way_out}") from error
        raise Failure(f"{place}: {error.strerror or error}; {kept(run)}") from error
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            what = " ".join(str(error).split()[:30])
            raise Failure(
                f"out of memory: {what}. Take smaller batches (train.batch) or images (input.size); {kept(run)}"
            ) from error
        if is_distributed() and _PEER.search(str(error)):
            raise Failure(f"another process of this training has ended; {kept(run)}") from error
        raise


def kept(run: Run) -> str:
    """Where the run stands, and how to go on with it."""
    way_on = "; go on from it with --resume" if run.checkpoints.newest() else ""
    return last_good(run) + way_on


def last_good(run: Run) -> str:
    """Where the run stands."""
    if run.checkpoints.newest() is None:
        return "there is no checkpoint yet"
    return f"the last good checkpoint is {run.checkpoint('last')}"

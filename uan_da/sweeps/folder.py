"""The folder of a comparison, a search or of streams: what may be there before."""

from pathlib import Path

from uan_da.errors import UserError
from uan_da.training.lock import is_empty
from uan_da.training.run import check_folder

OF_RUNS, OF_STREAMS = {"runs", "table.json", "trials.md"}, {"cells"}
OF_BOTH = {"locks"}


def check_grid_folder(folder: Path, *, streams: bool = False) -> None:
    """Refuse a folder of something else: the files of a grid would lie among it.

    Raises:
        UserError: the folder is a file, or has files, and none of a grid of this kind; or it has those of the other
            kind, whose tables and report would be replaced.
    """
    check_folder(folder)
    if not folder.is_dir() or is_empty(folder):
        return
    there = {path.name for path in folder.iterdir()}
    own, other, others = (OF_STREAMS, OF_RUNS, "runs") if streams else (OF_RUNS, OF_STREAMS, "streams")
    if there & other and not there & own:
        raise UserError(f"--out {folder}: holds {others}, whose tables would be replaced. Choose another folder")
    if not there & (own | OF_BOTH):
        raise UserError(f"--out {folder}: is not empty, and holds something else. Choose another folder")

"""What is said where the machine failed, and not the user: the file, what happened to it, and the way out."""

import errno

OUT_OF_MEMORY = "out of memory: give smaller batches (train.batch.source, train.batch.target) or images (input.size)"

OF_THE_USER = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
"""What another path does not meet: the machine has not failed."""

WAYS_OUT = {
    errno.ENOSPC: "free some space, and run the same command again",
    errno.EDQUOT: "free some space, and run the same command again",
    errno.EROFS: "name a place that can be written; copy a run there to go on with it",
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
    errno.ENOENT: "make its folder first, or name another place",
    errno.EEXIST: "name another place",
    errno.ENOTDIR: "name another place",
    errno.EISDIR: "name another place",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENOMEM: "free some memory",
    errno.EIO: "the disk or the network file system fails: look at the system's log",
    errno.ESTALE: "the network file system fails: look at the system's log",
}


def what_failed(error: OSError) -> str:
    """One line of an operating system's error: ``runs/a: read-only file system: name a place that …``."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = (error.strerror or str(error) or type(error).__name__).strip()
    way_out = WAYS_OUT.get(error.errno or 0)
    return ": ".join([*names[:1], what[:1].lower() + what[1:], *([way_out] if way_out else [])])

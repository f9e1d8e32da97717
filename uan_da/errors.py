"""What a user did wrong, said once and clearly."""


class UserError(Exception):
    """Wrong usage, recipe or data: the command line prints the message, without a traceback, and exits with 2."""


class DataWarning(UserWarning):
    """What a user should know of the data, and a training goes on with."""


class Failure(Exception):
    """The machine or the training failed: the command line prints the message, without a traceback, and exits with
    1."""

"""Errors: `UserError` for the caller, `UnsupportedError` for one cell."""


class UserError(Exception):
    """A caller's mistake or a machine's limit, in one line; the command line turns it into exit code 2.

    The message names the file or option, the field and what was expected.
    """


class InputError(UserError, ValueError):
    """An array that does not fit the network that it is given to; a `ValueError` as well."""


class WriteError(UserError):
    """A file that cannot be written: the next one could not be written either."""


class TaskError(UserError):
    """A user's task that fails, or returns what cannot be used: the next network would meet it as well."""


class NotFiniteError(TaskError):
    """A user's task that returns NaN or an infinity, for which its arguments may be to blame."""


class NoFloat64Error(Exception):
    """A network that cannot be run in float64; the message is why."""


class UnsupportedError(Exception):
    """A case that a pruner, format or engine cannot handle; the cell becomes a row whose `reason` is this message."""


class NotMadeError(UnsupportedError):
    """A network that is not on disk, and must not be made."""

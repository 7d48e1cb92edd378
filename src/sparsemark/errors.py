"""The two ways in which sparsemark says no: to a caller, and for one cell."""


class UserError(Exception):
    """A caller's mistake or a machine's limit, said in one line; the command line turns it into exit code 2.

    The message names the file or option, the field and what was expected.
    """


class UnsupportedError(Exception):
    """What a pruner, format or engine cannot handle; the cell becomes a row whose `reason` is this message."""

"""The mistakes a user can make and fix, each with a message that teaches and an exit code.

Every message says what is wrong, where, and how to fix it. The command line prints it without a traceback
and leaves with `exit_code`; a Python caller gets an ordinary exception.
"""

from alexnet.text import printable


class AlexNetError(Exception):
    """Base of all errors that are meant for the user.

    Args:
        what: what is wrong and where (paths, field names, numbers).
        fix: what to do about it; printed on a line of its own.
        code: E and three digits, the first of which is the exit code; docs/errors.md explains each.
    """

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "", code: str = ""):
        said = f"{code} {what}" if code else what
        super().__init__(printable(f"{said}\n{fix}" if fix else said, keep="\n"))
        self.what = what
        self.fix = fix
        self.code = code


class UsageError(AlexNetError):
    """A wrong flag, field, value or combination of them."""

    exit_code = 2


class DataError(AlexNetError):
    """Pictures or folders that cannot be used as they are."""

    exit_code = 3


class DivergedError(AlexNetError):
    """Training produced numbers that are not finite."""

    exit_code = 4


class ResourceError(AlexNetError):
    """Too little disk, memory, or a file system that refuses."""

    exit_code = 5


class UntrustedFileError(AlexNetError):
    """A file that is damaged or could run code when opened."""

    exit_code = 6

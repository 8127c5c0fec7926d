"""Errors that a user can cause and fix, each with a clear message, a code and an exit code.

Every message says what is wrong, where, and how to fix it. The command line prints it without a traceback and exits
with `exit_code`; a Python caller gets an ordinary exception.
"""

from alexnet.text import printable


class AssumedSettings(UserWarning):
    """A file of weights does not say all that its network needs, and the rest was assumed: a warning, no error.

    `warnings.simplefilter("ignore", AssumedSettings)` silences it; the command line shows it as a note.
    """


class AlexNetError(Exception):
    """Base of all errors that are meant for the user.

    Args:
        what: what is wrong and where (paths, field names, numbers).
        fix: what to do about it; printed on a separate line.
        code: E and three digits, or four; the first digit is the exit code. docs/errors.md explains each code.

    >>> import alexnet
    >>> try:
    ...     alexnet.load("nowhere")
    ... except alexnet.AlexNetError as error:
    ...     print(error.code, error.what)
    E230 nowhere does not exist
    """

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "", code: str = ""):
        message = f"{code} {what}" if code else what
        super().__init__(printable(f"{message}\n{fix}" if fix else message, keep="\n"))
        self.what = what
        self.fix = fix
        self.code = code


class UsageError(AlexNetError):
    """A wrong flag, field, value or combination of them.

    >>> import alexnet
    >>> try:
    ...     alexnet.recipe("photos", dropout=7)
    ... except alexnet.UsageError as error:
    ...     print(error.code)
    E214
    """

    exit_code = 2


class DataError(AlexNetError):
    """Images or folders that cannot be used as they are.

    >>> import alexnet
    >>> try:
    ...     alexnet.load_data("nowhere")
    ... except alexnet.DataError as error:
    ...     print(error.code)
    E310
    """

    exit_code = 3


class DivergedError(AlexNetError):
    """Numbers that are not finite, a network that would not train, or a result that is not what it should be.

    >>> import alexnet
    >>> alexnet.DivergedError("the loss became nan at step 7").exit_code
    4
    """

    exit_code = 4


class ResourceError(AlexNetError):
    """Too little disk space or memory, or an error of the file system, the network or a process.

    >>> import alexnet
    >>> alexnet.ResourceError("disk full").exit_code
    5
    """

    exit_code = 5


class UntrustedFileError(AlexNetError):
    """A file that is damaged or could run code when opened.

    >>> import alexnet
    >>> alexnet.UntrustedFileError("damaged").exit_code
    6
    """

    exit_code = 6

"""The command line: the verbs put together, and how each mistake ends."""

import io
import sys

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from alexnet.cli import data, experiments, export, interpret, networks, runs, serve, train
from alexnet.errors import AlexNetError, ResourceError, UsageError
from alexnet.kernels.allocator import keep_memory

app = App(
    name="alexnet",
    help="AlexNet as the system it was: prepare, train, evaluate and use it on your own pictures.\n\n"
    "For example:\n  alexnet demo\n  alexnet train photos/\n  alexnet predict runs/2026-11-24-1530-photos cat.jpg",
    help_format="plaintext",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)

for verb in (
    runs.demo,
    data.prepare,
    train.train,
    train.resume,
    train.verify,
    runs.evaluate,
    runs.predict,
    runs.report,
    data.doctor,
    networks.summary,
    networks.recipes,
    networks.diff,
    networks.check,
    networks.bench,
    networks.identify,
    experiments.ablate,
    experiments.compare,
    experiments.ensemble,
    interpret.filters,
    interpret.features,
    interpret.similar,
    interpret.why,
    export.export,
    export.parity,
    serve.serve,
    serve.explore,
):
    app.command(verb)
app.command(networks.import_weights, name="import")


def main() -> None:
    """Runs the command line; leaves with 0, or with the code of the mistake and one message, never a traceback."""
    keep_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal has no letters for is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(_usage_error(error)), UsageError.exit_code)
    except AlexNetError as error:
        _fail(str(error), error.exit_code)
    except (MemoryError, RuntimeError) as error:
        # PyTorch says so only in the words of a RuntimeError.
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        short = ResourceError(
            "not enough memory", fix="Use a smaller batch_size, model.width or crop_size.", code="E542"
        )
        _fail(str(short), ResourceError.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _usage_error(error: CycloptsError) -> UsageError:
    """A command line that does not fit the verbs, in the form of all other mistakes."""
    verb = " ".join(("alexnet", *(error.command_chain or ())))
    lookup = f"{verb} --help shows what it takes."
    said = " ".join(str(error).split()).partition(" Available commands: ")[0]
    said = said[:1].lower() + said[1:].rstrip(".")
    if isinstance(error, UnknownCommandError):
        return UsageError(said, fix="alexnet --help lists the commands.", code="E200")
    if isinstance(error, UnknownOptionError):
        return UsageError(said, fix=lookup, code="E201")
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        if error.keyword is not None:
            return UsageError(f"{error.keyword} needs a value", fix=lookup, code="E202")
        return UsageError(f"{verb} needs {error.argument.name.lstrip('-').upper()}", fix=lookup, code="E202")
    if isinstance(error, CoercionError):
        return UsageError(said, fix=lookup, code="E203")
    if isinstance(error, UnusedCliTokensError):
        return UsageError(f"{verb} has no use for {' '.join(error.unused_tokens or ())}", fix=lookup, code="E204")
    return UsageError(said, fix=lookup, code="E205")


def _fail(message: str, code: int) -> None:
    print(f"alexnet: {message}", file=sys.stderr)
    sys.exit(code)

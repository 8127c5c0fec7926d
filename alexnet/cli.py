"""The command line: the verbs put together, and how each mistake ends."""

import sys

from cyclopts import App, CycloptsError

from alexnet import cli_lab, cli_networks, cli_runs
from alexnet.allocator import keep_memory
from alexnet.errors import AlexNetError, ResourceError, UsageError

app = App(
    name="alexnet",
    help="AlexNet as the system it was: prepare, train, evaluate and use it on your own pictures.\n\n"
    "For example:\n  alexnet demo\n  alexnet train photos/\n  alexnet predict runs/2026-11-24-1530-photos cat.jpg",
    help_format="plaintext",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)

for verb in (
    cli_runs.demo,
    cli_runs.prepare,
    cli_runs.train,
    cli_runs.resume,
    cli_runs.evaluate,
    cli_runs.predict,
    cli_runs.report,
    cli_networks.summary,
    cli_networks.recipes,
    cli_networks.diff,
    cli_networks.check,
    cli_networks.bench,
    cli_networks.identify,
    cli_lab.ablate,
    cli_lab.compare,
    cli_lab.ensemble,
):
    app.command(verb)
app.command(cli_networks.import_weights, name="import")


def main() -> None:
    """Runs the command line; leaves with 0, or with the code of the mistake and one message, never a traceback."""
    keep_memory()
    try:
        app(exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(UsageError.exit_code)
    except AlexNetError as error:
        _fail(str(error), error.exit_code)
    except (MemoryError, RuntimeError) as error:
        # PyTorch says so only in the words of a RuntimeError.
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _fail("not enough memory\nUse a smaller batch_size, model.width or crop_size.", ResourceError.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _fail(message: str, code: int) -> None:
    print(f"alexnet: {message}", file=sys.stderr)
    sys.exit(code)

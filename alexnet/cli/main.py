"""The command line: the verbs in their groups, and how each mistake ends."""

import atexit
import contextlib
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
)

import alexnet
from alexnet.api.warning import as_notes
from alexnet.cli import data, demo, experiments, export, interpret, learn, networks, runs, serve, train
from alexnet.cli.help import SpokenHelp
from alexnet.cli.options import with_max_pixels
from alexnet.errors import AlexNetError, UsageError
from alexnet.kernels.device import failure_of, keep_memory, wait_politely
from alexnet.language.choose import choose_language
from alexnet.language.speak import said, speaking, tell
from alexnet.text import columns

OVERVIEW = """\
alexnet: AlexNet as the system it was, for your own images.

  alexnet demo                        LeNet and AlexNet on digits, two minutes
  alexnet learn                       lessons by running it
  alexnet train photos/               a network for your images
  alexnet predict runs/last cat.jpg   what is on an image
"""
RARELY = 50_000  # new objects between two searches for garbage; at Python's own 700 to 2,000 importing waits for them
MORE = "alexnet VERB --help explains a verb; alexnet --help lists them. --lang zh: 中文"

VERBS: dict[str, tuple[Callable[..., Any], ...]] = {
    "Start here": (demo.demo, learn.learn, train.train, runs.predict),
    "Train": (train.resume, networks.check, networks.bench, train.verify),
    "Judge": (runs.evaluate, runs.report, experiments.compare, experiments.ensemble),
    "Look inside": (
        networks.summary,
        interpret.filters,
        interpret.features,
        interpret.similar,
        interpret.why,
        serve.explore,
    ),
    "Use elsewhere": (serve.serve, export.export, export.parity),
    "Data and weights": (data.prepare, data.doctor, networks.identify, networks.import_weights),
    "Research": (networks.recipes, networks.diff, experiments.ablate),
}

READ_IMAGES = (
    *(train.train, runs.predict, networks.check, networks.bench, runs.evaluate, experiments.ablate),
    *(interpret.features, interpret.similar, interpret.why, serve.explore, serve.serve, export.export, export.parity),
    *(data.prepare, data.doctor, networks.import_weights),
)

app = App(
    name="alexnet",
    help="AlexNet as the system it was: prepare, train, evaluate and use it on your own images.",
    help_format="plaintext",
    help_formatter=SpokenHelp(),
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)
NAMES: dict[Any, str] = {networks.import_weights: "import"}
for number, (title, verbs) in enumerate(VERBS.items()):
    group = Group(title, sort_key=number)
    for verb in verbs:
        command = with_max_pixels(verb) if verb in READ_IMAGES else verb
        app.command(command, name=NAMES.get(verb, verb.__name__), group=group)


@app.default
def overview() -> None:
    """The verbs by what they are for."""
    titles = {title: said(title) for title in VERBS}
    width = max(map(columns, titles.values()))
    groups = "".join(
        f"{titles[title]}{' ' * (width - columns(titles[title]))}   "
        f"{'  '.join(NAMES.get(verb, verb.__name__) for verb in verbs)}\n"
        for title, verbs in VERBS.items()
    )
    print(f"{said(OVERVIEW)}\n{groups}\n{said(MORE)}")


def main() -> None:
    """Runs the command line; leaves with 0, or with the code of the mistake and one message, never a traceback."""
    _names_in_utf8()
    _open_streams()
    if hasattr(signal, "SIGUSR1"):
        # Schedulers send it before they stop a job, also one that starts or reports; only training acts on it.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    keep_memory()
    wait_politely()
    gc.set_threshold(RARELY)
    atexit.register(gc.freeze)  # else Python looks through all of PyTorch for garbage before it ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal has no letters for is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    if os.name == "posix" and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as in arguments: a name need not be UTF-8
    try:
        language, tokens = _language(sys.argv[1:])
        with speaking(language), as_notes(_note):
            _run(tokens)
    except UsageError as error:  # of the language
        _fail(str(error), error.exit_code)


def _language(tokens: list[str]) -> tuple[str, list[str]]:
    """The language that --lang names, wherever it stands, or that of the system; and the other words."""
    for index, token in enumerate(tokens):
        name, equals, value = token.partition("=")
        if name == "--lang":
            if not equals and index + 1 == len(tokens):
                raise UsageError("--lang needs a value", fix="Choose --lang en or --lang zh.", code="E202")
            rest = tokens[index + 1 :] if equals else tokens[index + 2 :]
            return choose_language(value if equals else tokens[index + 1]), tokens[:index] + rest
    return choose_language(), tokens


def _run(tokens: list[str]) -> None:
    try:
        try:
            app(tokens, exit_on_error=False, print_error=False)
        finally:
            sys.stdout.flush()  # here, where a full disk can still be told
    except CycloptsError as error:
        _fail(str(_usage_error(error)), UsageError.exit_code)
    except AlexNetError as error:
        _fail(str(error), error.exit_code)
    except (MemoryError, RuntimeError) as error:
        failure = failure_of(error)
        if failure is None:
            raise
        _fail(str(failure), failure.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except alexnet.Interrupted as stopped:  # in steps that are taken to measure or to prove something
        _fail("stopped", 128 + stopped.signal_number)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        from alexnet.storage.files import file_error

        failure_told = file_error(error)
        _drop_output()
        _fail(str(failure_told), failure_told.exit_code)


def _open_streams() -> None:
    """Opens what the shell has closed (`>&-`), for nobody: else a file would get its number, and what is printed."""
    if os.name != "posix":
        return
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _names_in_utf8() -> None:
    """Begins again in Python's UTF-8 mode where the locale (C, POSIX, Latin-1) gives names of files another encoding.

    Such a Python would take the name of a class for bytes without a meaning, or for other letters, though it is in
    order. Processes that this one starts inherit the mode.
    """
    if os.name == "posix" and sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        sys.stdout.flush()
        environment = os.environ | {"PYTHONUTF8": "1"}
        os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


def _usage_error(error: CycloptsError) -> UsageError:
    """A command line that does not fit the verbs, in the form of all other mistakes."""
    verb = " ".join(("alexnet", *(error.command_chain or ())))
    lookup = f"{verb} --help shows what it takes."
    problem = " ".join(str(error).split()).partition(" Available commands: ")[0]
    problem = re.sub(r'"(--?[\w-]+)"', r"\1", problem[:1].lower() + problem[1:].rstrip("."))  # Cyclopts 4 puts them so
    if isinstance(error, UnknownOptionError):
        return UsageError(problem, fix=lookup, code="E201")
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        if (keyword := _typed_keyword(error)) is not None:
            return UsageError(f"{keyword} needs a value", fix=lookup, code="E202")
        return UsageError(f"{verb} needs {error.argument.name.lstrip('-').upper()}", fix=lookup, code="E202")
    if isinstance(error, CoercionError):
        return UsageError(_with_choices(problem), fix=lookup, code="E203")
    if isinstance(error, UnusedCliTokensError) and not error.command_chain:
        unknown = (error.unused_tokens or ("",))[0]
        close = get_close_matches(unknown, [name for name in app if not name.startswith("-")], 1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        return UsageError(f"unknown command {unknown!r}{hint}", fix="alexnet --help lists the commands.", code="E200")
    if isinstance(error, UnusedCliTokensError):
        return UsageError(f"{verb} has no use for {' '.join(error.unused_tokens or ())}", fix=lookup, code="E204")
    return UsageError(problem, fix=lookup, code="E205")


def _with_choices(problem: str) -> str:
    """What Cyclopts 4 says of a value that is none of a few, as Cyclopts 5 says it; anything else as it is."""
    said = re.fullmatch(r'invalid value for (\S+): (?:unable to convert) "(.*)" into one of \{(.*)\}', problem)
    if said is None:
        return problem
    name, value, choices = said[1], said[2], said[3].replace("'", '"')
    close = get_close_matches(value, re.findall('"(.+?)"', choices), 1)
    if close:
        quoted = f'"{close[0]}"'
        choices += f". Did you mean {quoted}?"
    return f'invalid value "{value}" for {name}. Choose from: {choices}'


def _typed_keyword(error: MissingArgumentError) -> str | None:
    """The name before a value that is missing, as it was typed; None for a missing positional argument."""
    if hasattr(error, "keyword"):
        return error.keyword
    names = () if error.argument is None else error.argument.names  # an older Cyclopts does not say which was typed
    return next((word for word in sys.argv[1:] if word in names), None)


def _note(text: str) -> None:
    from alexnet.cli.terminal import note

    note(text)


def _drop_output() -> None:
    """Lets what could not be printed go: Python would try again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fail(message: str, code: int) -> None:
    with contextlib.suppress(OSError):  # nobody can be told
        tell(f"alexnet: {message}", stderr=True)
    sys.exit(code)

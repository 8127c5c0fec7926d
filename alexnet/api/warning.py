"""The one place that warns: of what had to be assumed about a file of weights. The command line shows it as a note."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import AssumedSettings
from alexnet.text import printable

if TYPE_CHECKING:
    from alexnet.models.network import Network
    from alexnet.runs.run import RunFolder


def warn_of_assumed(file: str | Path, assumed: Mapping[str, str]) -> None:
    """Warns, on standard error, if something was assumed: topic and value each."""
    from alexnet.weights.settings import assumed_words

    if assumed:
        warnings.warn(printable(assumed_words(file, assumed)), AssumedSettings, stacklevel=4)


def opened(source: str | Path, checkpoint: str = "best") -> "tuple[RunFolder, Network]":
    """Opens a trained network as `open_network` does, and warns of what was assumed."""
    from alexnet.runs.pretrained import assumed_of, open_network

    record, network = open_network(str(source), checkpoint)
    warn_of_assumed(source, assumed_of(record))
    return record, network


@contextmanager
def as_notes(note: Callable[[str], None]) -> Iterator[None]:
    """Gives these warnings to a function, whatever the filters of Python are; others stay as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AssumedSettings)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, AssumedSettings):
                note(str(message))
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield

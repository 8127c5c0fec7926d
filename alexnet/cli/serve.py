"""The verbs that listen: serve answers other programs over HTTP, explore opens a page in the browser."""

import os
import sys
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from alexnet.cli.options import Checkpoint, Device
from alexnet.errors import UsageError
from alexnet.language.speak import tell

TOKEN = "ALEXNET_TOKEN"
Host = Annotated[str, Parameter(help="The address to listen to; 0.0.0.0 for all of this machine.")]
Port = Annotated[int, Parameter(help="The port; 0 for any that is free.")]
AllowHost = Annotated[
    tuple[str, ...],
    Parameter(name="--allow-host", help="A further name under which a browser may call the server, as behind a proxy."),
]
RootPath = Annotated[
    str,
    Parameter(
        help="The prefix under which a proxy passes requests on, such as /user/ann/proxy/8000; not needed where the "
        "proxy takes it off."
    ),
]
Runs = Annotated[Path, Parameter(help="Run folders; runs/last is the newest.")]


def serve(
    *runs: Runs,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    index: Path | None = None,
    token: str | None = None,
    allow_host: AllowHost = (),
    cors_origin: Annotated[tuple[str, ...], Parameter(name="--cors-origin")] = (),
    root_path: RootPath = "",
    max_batch: int = 32,
    queue: int = 64,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Answer requests over HTTP: what is on an image, images like it, why, and the activations of each layer.

    Listens to this machine only; with --host it listens to others, and every client needs a token. Ctrl-C or SIGTERM
    stops it after it has answered what it has received. SIGHUP, or POST /v1/reload, loads the weights anew.

    For example:
      alexnet serve runs/last
      alexnet serve runs/photos runs/flowers --index photos/ --port 8080
      alexnet serve runs/photos --cors-origin https://app.example --cors-origin http://localhost:3000

    Parameters
    ----------
    runs
        The run folders; the first one answers where a request names none.
    index
        A folder of images for /v1/similar.
    token
        What every client must send; by default $ALEXNET_TOKEN, else beyond this machine a new one, which is printed.
    cors_origin
        A site whose pages may call the server, as browsers name it: https://app.example. '*' for all, without a token.
    max_batch
        The most images computed at once.
    queue
        The most images that wait; more are answered 503.
    """
    from alexnet.cli.terminal import note_left_out
    from alexnet.serving.settings import Settings
    from alexnet.serving.start import serve_runs, with_token

    _need_runs("serve", runs)
    note_left_out(*filter(None, [index]))
    given = token or os.environ.get(TOKEN) or None
    settings = with_token(
        Settings(
            host=host,
            port=port,
            hosts=allow_host,
            origins=cors_origin,
            root_path=root_path,
            token=given,
            max_batch=max_batch,
            queue=max(queue, max_batch),
        )
    )
    serve_runs(runs, settings, tell=_print_lines, index=index, checkpoint=checkpoint, device=device)


def explore(
    *runs: Runs,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    index: Path | None = None,
    lessons: Path | None = None,
    lecture: bool = False,
    no_browser: bool = False,
    allow_host: AllowHost = (),
    root_path: RootPath = "",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Open a page in the browser: the ideas of AlexNet to touch, the lessons, what each layer sees, why, training.

    Listens to this machine only; with --host it listens to others, and the address that is printed holds the token
    they need. The page loads nothing from elsewhere, and works below the prefix of a proxy (JupyterHub, code-server).
    Ctrl-C stops the server. Always there too is the gallery, a small network trained on photos that ships with alexnet.

    For example:
      alexnet explore
      alexnet explore runs/last
      alexnet explore --lecture
      alexnet explore runs/with-lrn runs/without --index photos/ --no-browser

    Parameters
    ----------
    runs
        The run folders, each with a checkpoint; one may still be training. Without one, the gallery alone.
    index
        A folder of images to search similar ones in; by default those the run was trained on.
    lessons
        The folder into which the lessons have run; by default build/lessons, where make lessons puts them.
    lecture
        For a projector: large type, one idea on each screen, arrow keys.
    no_browser
        Print the address only.
    """
    from alexnet.cli.terminal import note_left_out
    from alexnet.explorer.images import GALLERY
    from alexnet.serving.settings import Settings
    from alexnet.serving.start import address, check_installed, serve_runs, with_token

    note_left_out(*filter(None, [index]))
    check_installed()
    settings = with_token(Settings(host=host, port=port, hosts=allow_host, root_path=root_path))

    def add_page(app: Any, service: Any) -> None:
        from alexnet.explorer.routes import add_explorer

        add_explorer(app, service, index, lessons)

    def ready(port: int) -> None:
        url = f"{address(settings, port)}/" + (f"?token={settings.token}" if settings.token else "")
        url += "#learn?lecture=1" if lecture else ""
        _print_lines([f"open {url}", "Ctrl-C stops"])
        if not no_browser:
            # Some browsers return only when they are closed.
            threading.Thread(target=_open_browser, args=(url,), daemon=True).start()

    shown = [*(run for run in runs if run.resolve() != GALLERY), GALLERY]
    serve_runs(shown, settings, tell=_print_lines, checkpoint=checkpoint, device=device, extend=add_page, ready=ready)


def _open_browser(url: str) -> None:
    with suppress(OSError, webbrowser.Error):  # the address stands in the terminal
        webbrowser.open(url)


def _need_runs(verb: str, runs: Sequence[Path]) -> None:
    if not runs:
        raise UsageError(f"alexnet {verb} needs RUNS", fix=f"alexnet {verb} --help shows what it takes.", code="E202")


def _print_lines(lines: Sequence[str]) -> None:
    """Prints at once, also into a file."""
    for line in lines:
        tell(line)
    sys.stdout.flush()

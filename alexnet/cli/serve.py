"""The verbs that listen: serve answers other programs over HTTP, explore opens a page in the browser."""

import os
import secrets
import socket
import sys
import threading
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from alexnet.errors import AlexNetError, ResourceError, UsageError
from alexnet.serving.settings import Settings

if TYPE_CHECKING:
    from alexnet.serving.service import Service

TOKEN = "ALEXNET_TOKEN"


def serve(
    *runs: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    index: Path | None = None,
    token: str | None = None,
    allow_host: Annotated[tuple[str, ...], Parameter(name="--allow-host")] = (),
    max_batch: int = 32,
    queue: int = 64,
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
) -> None:
    """Answer requests over HTTP: what is on a picture, pictures like it, why, and what each layer says.

    Listens to this machine only; with --host it listens to others, and whoever asks needs a token. Ctrl-C or SIGTERM
    answers what has been asked and stops. SIGHUP, or POST /v1/reload, loads the weights anew.

    For example:
      alexnet serve runs/photos
      alexnet serve runs/photos runs/flowers --index photos/ --port 8080

    Parameters
    ----------
    runs
        The run folders; the first one answers where a request names none.
    host
        The address to listen to; 0.0.0.0 for all of this machine.
    port
        The port; 0 for any that is free.
    index
        A folder of pictures for /v1/similar.
    token
        What whoever asks must know; by default $ALEXNET_TOKEN, else beyond this machine a new one, which is printed.
    allow_host
        A further name under which the server may be asked for.
    max_batch
        The most pictures computed at once.
    queue
        The most pictures that wait; more are answered 503.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    if not runs:
        raise UsageError("alexnet serve needs RUN", fix="alexnet serve --help shows what it takes.", code="E202")
    check_installed()
    given = token or os.environ.get(TOKEN) or None
    settings = with_token(
        Settings(host=host, port=port, hosts=allow_host, token=given, max_batch=max_batch, queue=max(queue, max_batch))
    )
    listener = listen(settings)
    try:
        run_service(runs, settings, listener, index=index, checkpoint=checkpoint, device=device)
    finally:
        listener.close()


def with_token(settings: Settings) -> Settings:
    """The settings, with a new token if others can reach the service and none was given."""
    if settings.loopback or settings.token is not None:
        return settings
    return replace(settings, token=secrets.token_urlsafe(24))


def check_installed() -> None:
    """Refuses where the web server is missing.

    Raises:
        UsageError: E240.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"serving needs the package {error.name}, which is not installed",
            fix="Install it: pip install 'alexnet[serve]'",
            code="E240",
        ) from None


def listen(settings: Settings) -> socket.socket:
    """A socket bound to the address, which nobody can connect to until the server runs.

    Raises:
        ResourceError: E524, the address is in use or not ours.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends small answers at once only if the socket says that it is TCP; else they wait 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listener.close()
        said = (getattr(error, "strerror", "") or str(error)).lower()
        raise ResourceError(
            f"cannot listen on {settings.host} port {settings.port}: {said}",
            fix=f"Choose another port: --port {settings.port % 65535 + 1}, or --port 0 for any that is free.",
            code="E524",
        ) from None
    return listener


def run_service(
    runs: tuple[Path, ...],
    settings: Settings,
    listener: socket.socket,
    *,
    index: Path | None,
    checkpoint: str,
    device: str,
) -> None:
    """Loads the runs and answers until a signal asks to stop."""
    from alexnet.kernels.allocator import stay_small
    from alexnet.kernels.device import choose_device
    from alexnet.serving.app import create_app
    from alexnet.serving.models import ServedModels
    from alexnet.serving.server import server
    from alexnet.serving.service import Service

    stay_small()
    service = Service(ServedModels(runs, checkpoint=checkpoint, device=choose_device(device)), settings, index)
    port = listener.getsockname()[1]
    lines = service_lines(settings, port, [each.name for each in service.models], index is not None)
    server(create_app(service), settings, lambda: say(lines), lambda: reload_beside(service)).run(sockets=[listener])
    say(["stopped"])


def reload_beside(service: "Service") -> None:
    """Loads the weights anew and says what came of it, on a thread: a signal is handled in the middle of anything.

    The process ends after the thread: one that is cut off while PyTorch has the interpreter's lock aborts all of it
    (pytorch/pytorch#38228).
    """

    def reload() -> None:
        try:
            changed = service.reload()
        except AlexNetError as error:
            say([f"the weights stay as they are: {error}"])
        else:
            say([f"new weights: {', '.join(changed) or 'none have changed'}"])

    threading.Thread(target=reload, name="reload").start()


def service_lines(settings: Settings, port: int, names: list[str], similar: bool) -> list[str]:
    """What is said when the server listens: where, whom it answers from, what to type, how to stop."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{shown}:{port}"
    secret = f" -H 'Authorization: Bearer {settings.token}'" if settings.token else ""
    lines = [
        f"serving {', '.join(names)} at {url}",
        f"try:  curl{secret} --data-binary @cat.jpg {url}/v1/predict",
        f"all routes: {url}/openapi.json" + ("" if similar else "  (/v1/similar needs --index PHOTOS)"),
    ]
    if settings.token and not settings.loopback:
        lines.append("whoever asks needs the token; traffic is not encrypted: put a proxy with TLS before it")
    return [*lines, "Ctrl-C stops; what has been asked is answered first"]


def say(lines: list[str]) -> None:
    """Lines for people, at once, also into a file."""
    for line in lines:
        print(line, flush=True)
    sys.stdout.flush()


def explore(
    *runs: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    index: Path | None = None,
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
    browser: bool = True,
) -> None:
    """Open a page in the browser: what each layer sees, filters, why, similar pictures, training, comparisons.

    Listens to this machine only; with --host it listens to others, and the address that is printed holds the token
    they need. The page loads nothing from elsewhere. Ctrl-C stops the server.

    For example:
      alexnet explore runs/photos
      alexnet explore runs/with-lrn runs/without --index photos/ --no-browser

    Parameters
    ----------
    runs
        The run folders, each with a checkpoint; one may still be training.
    host
        The address to listen to; 0.0.0.0 for all of this machine.
    port
        The port; 0 for any that is free.
    index
        A folder of pictures to search similar ones in; by default those the run was trained on.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    browser
        Open the page when the server listens.
    """
    if not runs:
        raise UsageError("alexnet explore needs RUN", fix="alexnet explore --help shows what it takes.", code="E202")
    check_installed()
    settings = Settings(host=host, port=port)
    if not settings.loopback:
        settings = Settings(host=host, port=port, token=secrets.token_urlsafe(24))
    listener = listen(settings)
    try:
        from alexnet.explorer.routes import add_explorer
        from alexnet.explorer.state import Explorer
        from alexnet.kernels.device import choose_device
        from alexnet.runs.start import images_of_run
        from alexnet.serving.app import create_app
        from alexnet.serving.models import ServedModels
        from alexnet.serving.server import server
        from alexnet.serving.service import Service

        service = Service(ServedModels(runs, checkpoint=checkpoint, device=choose_device(device)), settings)
        explorer = Explorer(service.models, images_of_run, index)
        app = create_app(service)
        add_explorer(app, explorer)
        url = address(settings, listener.getsockname()[1])

        def ready() -> None:
            say([f"open {url}", "Ctrl-C stops"])
            if browser:
                # Some browsers return only when they are closed.
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        server(app, settings, ready, lambda: reload_beside(service)).run(sockets=[listener])
        say(["stopped"])
    finally:
        listener.close()


def address(settings: Settings, port: int) -> str:
    """What to type into a browser; with the token where there is one."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{shown}:{port}/" + (f"?token={settings.token}" if settings.token else "")

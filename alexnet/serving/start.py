"""Starts a service: its address, its token, and what it tells when it listens, reloads and stops."""

import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import AlexNetError, UsageError
from alexnet.serving.problems import not_available
from alexnet.serving.settings import Settings

if TYPE_CHECKING:
    from alexnet.serving.service import Service

Tell = Callable[[Sequence[str]], None]  # is given lines for people


def check_installed() -> None:
    """Refuses to start where the web server is missing.

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


def with_token(settings: Settings) -> Settings:
    """Returns the settings, with a new token if others can reach the service and none was given."""
    if settings.loopback or settings.token is not None:
        return settings
    return replace(settings, token=secrets.token_urlsafe(24))


def listen(settings: Settings) -> socket.socket:
    """Binds a socket to the address; nobody can connect to it until the server runs.

    Raises:
        ResourceError: E524, the address is in use, or this machine does not have it.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends small answers at once only if the socket says that it is TCP; else they wait 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise not_available(settings.host, settings.port, error) from None
    return listener


def serve_runs(
    runs: Sequence[Path],
    settings: Settings,
    *,
    tell: Tell,
    index: Path | None = None,
    checkpoint: str = "best",
    device: str = "auto",
    extend: Callable[[Any, "Service"], None] = lambda app, service: None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Loads the runs and answers requests until a signal asks to stop.

    Args:
        tell: is given the lines for people.
        index: a folder of images for /v1/similar.
        extend: adds further routes to the application.
        ready: is called with the port when the server listens; by default the lines of `service_lines` are told.

    Raises:
        UsageError: a package is missing, or a run cannot be opened.
        ResourceError: the address is not free, or the index cannot be stored.
    """
    check_installed()
    listener = listen(settings)
    try:
        # Only now: these modules need the packages that were just looked for.
        from alexnet.kernels.device import stay_small
        from alexnet.serving.app import create_app
        from alexnet.serving.models import ServedModels
        from alexnet.serving.server import server
        from alexnet.serving.service import Service

        stay_small()
        service = Service(ServedModels(runs, checkpoint=checkpoint, device=device), settings, index)
        try:
            app, port = create_app(service), listener.getsockname()[1]
            extend(app, service)
        except BaseException:
            service.stop()
            raise

        def listening() -> None:
            if ready is not None:
                ready(port)
            else:
                tell(service_lines(settings, port, [each.name for each in service.models], index is not None))

        running = server(
            app,
            settings,
            listening,
            lambda: reload_beside(service, tell),
            prepare=service.warm_up,
            finish=service.stop,
        )
        running.run(sockets=[listener])
        tell(["stopped"])
    finally:
        listener.close()


def reload_beside(service: "Service", tell: Tell) -> None:
    """Loads the weights again on a thread and tells the result: a signal may arrive in the middle of anything.

    The process ends after the thread: one that is cut off while PyTorch has the interpreter's lock aborts all of it
    (pytorch/pytorch#38228).
    """

    def reload() -> None:
        try:
            changed = service.reload()
        except (AlexNetError, OSError, MemoryError) as error:
            tell([f"the weights stay as they are: {str(error) or 'not enough memory'}"])
        else:
            tell([f"new weights: {', '.join(changed) or 'none have changed'}"])

    threading.Thread(target=reload, name="reload").start()


def service_lines(settings: Settings, port: int, names: Sequence[str], similar: bool) -> list[str]:
    """Returns what to tell when the server listens: its address, its runs, a first request, and how to stop it."""
    url = address(settings, port)
    secret = f" -H 'Authorization: Bearer {settings.token}'" if settings.token else ""
    lines = [
        f"serving {', '.join(names)} at {url}",
        f"try:  curl{secret} --data-binary @cat.jpg {url}/v1/predict",
        f"all routes: {url}/openapi.json" + ("" if similar else "  (/v1/similar needs --index PHOTOS)"),
    ]
    if settings.token and not settings.loopback:
        lines.append("every client needs the token; traffic is not encrypted: put a proxy with TLS in front of it")
    return [*lines, "Ctrl-C stops the server after it has answered the requests that it has received"]


def address(settings: Settings, port: int) -> str:
    """Returns the URL of the service, without a path."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{shown}:{port}"

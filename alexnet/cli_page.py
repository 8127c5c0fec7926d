"""The verb that opens the page on which one looks into networks."""

import secrets
import threading
import webbrowser
from pathlib import Path
from typing import Literal

from alexnet.cli_serve import check_installed, listen, reload_beside, say
from alexnet.errors import UsageError
from alexnet.limits import Settings


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
        from alexnet.deadlines import server
        from alexnet.explorer_routes import add_explorer
        from alexnet.explorer_state import Explorer
        from alexnet.served import Models
        from alexnet.service import create_app
        from alexnet.serving import Service
        from alexnet.train import choose_device
        from alexnet.workflow import prepared_of

        service = Service(Models(runs, checkpoint=checkpoint, device=choose_device(device)), settings)
        explorer = Explorer(service.models, lambda run: prepared_of(run, lambda report: None), index)
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

"""A proxy that puts a prefix before the paths of a service, as JupyterHub, code-server and nginx do."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def prefixed(port: int, prefix: str, *, strips: bool = True, keeps_host: bool = False) -> Iterator[str]:
    """Runs the proxy during the block; yields the address of the service behind it, with the slash at its end.

    Args:
        port: that of the service.
        strips: take the prefix off the path, as JupyterHub and code-server do.
        keeps_host: pass on the Host of the browser, as code-server does, instead of that of the service.
    """

    class Proxy(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(prefix):
                self.send_error(404)
                return
            path = (self.path.removeprefix(prefix) or "/") if strips else self.path
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if not keeps_host:
                headers["Host"] = f"127.0.0.1:{port}"
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            with closing(http.client.HTTPConnection("127.0.0.1", port)) as service:
                service.request(self.command, path, body or None, headers)
                answer = service.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "server", "date", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_OPTIONS = pass_on

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the browser has closed the connection

    with Server(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{prefix}/"
        finally:
            server.shutdown()
            thread.join()

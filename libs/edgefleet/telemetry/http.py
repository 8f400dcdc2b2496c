"""`/health` and `/metrics` of one process, from a thread of its own. Knows nothing of the service's loop.

A thread, not a task: a loop that hangs must still be seen to hang, so the server may not hang with it.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import CollectorRegistry, make_wsgi_app

from edgefleet.errors import Misuse, OutOfReach
from edgefleet.telemetry.health import Health

_StartResponse = Callable[..., Any]
_App = Callable[[dict[str, Any], _StartResponse], Iterable[bytes]]


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # A service that was killed is started again at once, while its last connections still wait out their time.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # WSGIServer asks the resolver for the host's full name here, which can take seconds without a network.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no event."""


class TelemetryServer:
    """A running server; `close` frees the port."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.host, self.port = str(server.server_address[0]), int(server.server_port)
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> TelemetryServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def serve_telemetry(health: Health, registry: CollectorRegistry, *, host: str, port: int) -> TelemetryServer:
    """Return a server of `/health` (200, or 503 where a check fails) and `/metrics`; port 0 takes a free one.

    Raises
    ------
    Misuse
        If the port is in use, or this user may not open it.
    OutOfReach
        If `host` is no address of this machine.
    """
    try:
        server = make_server(host, port, application(health, registry), _ThreadedServer, _SilentHandler)
    except OSError as error:
        raise _told(error, host, port) from error
    return TelemetryServer(server)


def application(health: Health, registry: CollectorRegistry) -> _App:
    """Return the WSGI application behind `serve_telemetry`."""
    metrics: _App = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/health":
            report = health.now()
            return _json(start_response, "200 OK" if report.ok else "503 Service Unavailable", report)
        return _json(start_response, "404 Not Found", {"error": f"{path} is not here; ask /health or /metrics"})

    return answer


def _json(start_response: _StartResponse, status: str, body: object) -> Iterable[bytes]:
    data = msgspec.json.encode(body)
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


def _told(error: OSError, host: str, port: int) -> Misuse | OutOfReach:
    if error.errno == errno.EADDRINUSE:
        return Misuse(f"port {port} on {host} is in use; stop what holds it or choose another with --port")
    if error.errno == errno.EACCES:
        return Misuse(f"port {port} on {host} may not be opened by this user; choose one above 1023 with --port")
    return OutOfReach(f"cannot listen on {host}:{port}: {error.strerror or error}")

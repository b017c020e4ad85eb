"""uvicorn around the application: the socket is bound first, so that the port is known and a taken one is an error."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from cloud_hub.api.tls import ServerTls
from cloud_hub.errors import SettingsError
from cloud_hub.live.feed import Feed

_GRACE_S = 5
_BACKLOG = 128


class ApiServer:
    """The HTTP server; HTTPS with `tls` (certificate, key). `run` blocks the main thread until `stop` or a signal."""

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        *,
        trusted_proxies: Sequence[str] = (),
        tls: tuple[Path, Path | None] | None = None,
    ) -> None:
        """Args:   trusted_proxies: addresses whose X-Forwarded-For and X-Forwarded-Proto are believed.
                tls: certificate with its chain, and its key unless that is in the same file.
        Raises: SettingsError: nobody can listen on this address, or the certificate cannot be used.
        """
        context = ServerTls(*tls).context if tls is not None else None
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            timeout_graceful_shutdown=_GRACE_S,
            ssl_context_factory=(lambda _config, _default: context) if context is not None else None,
        )
        self._server = _Server(config)
        live: Feed | None = getattr(app.state, "live", None)
        if live is not None:
            self._server.end_streams = live.close

    @property
    def started(self) -> bool:
        """Whether requests are answered."""
        return self._server.started

    def run(self) -> None:
        """Serve. SIGINT and SIGTERM end it; they are then handed to the handlers that were there before."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._server.end_streams()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn, which waits for requests that are under way: streams never end, unless somebody ends them first."""

    end_streams: Callable[[], None] = staticmethod(lambda: None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT or SIGTERM."""
        self.end_streams()
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY where a socket says that it is TCP, which it does only when told so. Without that a short
    # answer waits 40 ms for the acknowledgement that the caller's system delays.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise SettingsError(f"api_host and api_port: cannot listen on {host}:{port}: {error.strerror}") from error
    sock.set_inheritable(True)
    return sock

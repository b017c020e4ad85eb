"""TLS of the API's listener: TLS 1.2 or later, and a renewed certificate is used from the next connection on."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from cloud_hub.errors import SettingsError

_log = logging.getLogger(__name__)


class ServerTls:
    """`context` is the listener's; it looks at its files again at each handshake, so that nobody need restart a hub
    because a certificate was renewed. Files that do not belong together (one of two was replaced) change nothing.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        """Args: certificate: PEM, the server's own first, then what leads to its root. key: None: in the same file.

        Raises: SettingsError: they cannot be used.
        """
        self._certificate, self._key = certificate, key
        self._seen = self._stamp()
        try:
            self.context = self._load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, too
            raise SettingsError(f"{self._where}: cannot be used for HTTPS: {error}") from error
        self.context.sni_callback = self._look  # called at each handshake, whether the client names a host or not

    @property
    def _where(self) -> str:
        return f"{self._certificate}" + (f" and {self._key}" if self._key is not None else "")

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A key with a passphrase would be asked for on a terminal that a service does not have.
        context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        return context

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        stats = [path.stat() for path in (self._certificate, self._key) if path is not None and path.exists()]
        return tuple((one.st_mtime_ns, one.st_ino) for one in stats)

    def _look(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                fresh = self._load()
                fresh.sni_callback = self._look
                self.context = fresh
                _log.info("%s: the renewed certificate is in use", self._where)
        except (OSError, ValueError) as error:
            _log.error("%s: cannot be used, the certificate before it stays: %s", self._where, error)
        connection.context = self.context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; expected one without")

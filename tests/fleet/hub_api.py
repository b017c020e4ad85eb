"""The hub's API as somebody on the plant's network sees it: its proxy's port, its certificate, a token."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from tests.fleet.floor import Floor, FloorError

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME


class _Connection(http.client.HTTPSConnection):
    """Through the floor's network, under the name that is in the certificate."""

    def __init__(self, floor: Floor, host: str, context: ssl.SSLContext) -> None:
        super().__init__(host, 443, context=context)
        self._floor, self._tls = floor, context

    def connect(self) -> None:
        plain = self._floor.network.connect(self._floor.machines[self.host].address, self.port)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


class HubApi:
    """Reads with a token that was made on the hub's host, as an operator would make it."""

    def __init__(self, floor: Floor, host: str = "hub") -> None:
        self._floor, self._host = floor, host
        root = floor.ssh(host, "sudo cat /var/lib/millwright/hub/identity/root.crt")
        # A token lives for 90 days unless one says more, and here more days than that pass.
        made = floor.ssh(host, "sudo cloud-hub token create --name fleet --scopes all --expires 366d")
        words = [word for word in (made or "").split() if word.startswith("mw_")]
        if len(words) != 1 or root is None:
            raise FloorError(f"{host}: expected one token, got {made!r}")
        self._token = words[0]
        self._tls = ssl.create_default_context(cadata=root)

    def trust_at_any_time(self) -> None:
        """The plant's clocks are ahead of this machine's from now on: who signed is verified, since when is not."""
        self._tls.verify_flags |= _NO_CHECK_TIME

    def get(self, path: str, *, expect: int = 200) -> Any:
        """The answer's content. Raises: FloorError: another status than expected. OSError: nobody there."""
        connection = _Connection(self._floor, self._host, self._tls)
        try:
            connection.request("GET", f"/api/v1/{path}", headers={"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != expect:
            raise FloorError(f"GET {path}: expected {expect}, got {answer.status}: {body[:500]!r}")
        return json.loads(body)

    def gateway(self, name: str) -> dict[str, Any]:
        """One gateway with its slots and points."""
        found: dict[str, Any] = self.get(f"gateways/{name}")
        return found

    def online(self, name: str) -> bool:
        return bool(self.gateway(name)["gateway"]["online"])

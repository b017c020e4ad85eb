"""Letting gateways in and shutting them out, from the running hub: enrolment tokens, certificates, revocation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloud_hub.accounts.permissions import Principal
from cloud_hub.errors import DataError, HubError, LinkError
from cloud_hub.identity.authority import fingerprint, load_certificate
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.records import CertificateRecord, TokenRecord
from cloud_hub.identity.registrar import new_token
from cloud_hub.identity.revocation import deploy_crl, refresh_crl
from cloud_hub.settings import Settings
from cloud_hub.store.database import Database
from cloud_hub.store.identities import SqlIdentities
from cloud_hub.transport import Link
from models.errors import TopicError

_log = logging.getLogger(__name__)
MAX_HOURS = 8760.0
_BROKER_TURN_S = 1.0  # it reads its files at its own next turn; kicked before, the gateway would be back


@dataclass(frozen=True, slots=True)
class NewToken:
    """A single-use token. `text` is the secret: it is here, and then nowhere but in the hands of whoever asked."""

    gateway: str
    text: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did. `broker`: for people. `session_ended`: the gateway's connection was cut."""

    gateway: str
    serials: tuple[str, ...]
    broker: str
    session_ended: bool


class GatewayDesk:
    """What people ask of the hub's certificate authority."""

    def __init__(
        self,
        settings: Settings,
        folder: IdentityFolder,
        database: Database,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._database = database
        self._pause = pause

    def create_token(self, principal: Principal, gateway: str, hours: float, now_s: float) -> NewToken:
        """Issue a token; one of this gateway that was not used is void from now on.

        Raises: DataError: not an id, or too long a life. ConflictError: a name that is the hub's own.
        """
        if not 0 < hours <= MAX_HOURS:
            raise DataError(
                f"enrolment token: expected a life of more than 0 and at most {MAX_HOURS:g} h, got {hours:g}"
            )
        self._folder.issuing_authority()  # without one a token would be of no use
        root = bytes.fromhex(fingerprint(load_certificate(self._folder.root)))
        try:
            token = new_token(SqlIdentities(self._database, principal), root, gateway, now_s, hours * 3600)
        except TopicError as error:
            raise DataError(str(error)) from error
        return NewToken(gateway, token.to_text(), now_s + hours * 3600)

    def revoke(self, principal: Principal, gateway: str, why: str, now_s: float) -> Revoked:
        """Revoke all certificates and tokens of a gateway, tell the broker, end the session there.

        Raises: LinkError: it is revoked, but the broker could not be told.
        """
        store = SqlIdentities(self._database, principal)
        rows = store.revoke(gateway, now_s, why)
        refresh_crl(self._folder, store, self._settings.crl_days)
        done = deploy_crl(self._folder, self._settings)
        kicked = False
        if self._settings.broker_crl_file is not None and self._settings.broker_pid_file is not None:
            self._pause(_BROKER_TURN_S)
            try:
                with Link(self._settings, gateway):  # the session of this name is ended by ours
                    kicked = True
            except HubError as error:
                raise LinkError(f"gateway {gateway} is revoked, but its session could not be ended: {error}") from error
        _log.info("gateway %s: %d certificates revoked by %s", gateway, len(rows), principal.name)
        return Revoked(gateway, tuple(row.serial for row in rows), done, kicked)

    def certificates(self, gateway: str) -> list[CertificateRecord]:
        """All that were issued to a gateway, newest first."""
        return SqlIdentities(self._database).certificates(gateway)

    def open_tokens(self, gateway: str, now_s: float) -> list[TokenRecord]:
        """Tokens of a gateway that can still be used, without their secrets."""
        tokens = SqlIdentities(self._database).tokens()
        return [one for one in tokens if one.gateway == gateway and one.used_s is None and one.expires_s > now_s]

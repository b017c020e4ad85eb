"""The revocation list: signed anew when something was revoked or half of its life is over, and brought to the broker.

A broker whose list is over its date refuses every gateway (OpenSSL's rule), so the running hub renews it long before.
Mosquitto reads the file again on SIGHUP. OpenSSL takes the newest of the lists that it was ever given, told apart by
their second of issue; a list that is made within the same second as the one before waits for the next.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from cloud_hub.errors import HubError, KeysError
from cloud_hub.identity.authority import Authority, Revoked, fingerprint, load_certificate
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.records import IdentityStore
from cloud_hub.identity.root_crl import revoked_serials, root_crl_pem
from cloud_hub.settings import Settings
from cloud_hub.trust.files import locked, write_atomic

_log = logging.getLogger(__name__)
_END = b"-----END X509 CRL-----\n"


def crl_ends_s(path: Path) -> float:
    """When the first list in a file is over its date, UTC seconds; 0.0 when it has none. Raises: KeysError."""
    try:
        until = x509.load_pem_x509_crl(path.read_bytes()).next_update_utc
    except (OSError, ValueError) as error:
        raise KeysError(f"{path}: expected a revocation list in PEM: {error}") from error
    return until.timestamp() if until is not None else 0.0


def refresh_crl(
    folder: IdentityFolder, store: IdentityStore, days: float, now_s: Callable[[], float] = time.time
) -> bool:
    """Make `crl.pem` say what the store says. Returns: whether it had to be written.

    Raises: KeysError: the authority's files cannot be used.
    """
    authorities = folder.issuing_authorities()
    with locked(folder.path):
        # Brokers that look at a leaf's list only refuse whoever is by an authority without one: so a revoked authority
        # has none. Those that look at the whole chain find it in the root's.
        revoked, above = revoked_serials(folder), root_crl_pem(folder)
        authorities = [one for one in authorities if one.certificate.serial_number not in revoked]
        kept = folder.crl.read_bytes() if folder.crl.exists() else b""
        old = [crl for crl in _lists(kept) if crl.issuer != load_certificate(folder.root).subject]
        wanted = [(a, store.revoked(fingerprint(a.certificate), now_s())) for a in authorities]
        current = (
            len(old) == len(wanted)
            and kept.endswith(above)
            and all(
                _still_good(crl, authority, {int(r.serial, 16) for r in rows}, now_s())
                for crl, (authority, rows) in zip(old, wanted, strict=False)
            )
        )
        if current:
            return False
        newest = max((crl.last_update_utc.timestamp() for crl in old), default=0.0)
        while int(now_s()) <= newest <= now_s() + 1:
            time.sleep(0.05)
        number = 1 + max((_number(crl) for crl in old), default=0)
        at_s = now_s()
        made = [
            authority.crl([Revoked(int(r.serial, 16), r.revoked_s or at_s) for r in rows], number, at_s, days)
            for authority, rows in wanted
        ]
        write_atomic(folder.crl, b"".join(made) + above)
    return True


def deploy_crl(folder: IdentityFolder, settings: Settings) -> str:
    """Bring the list to the broker as `broker_crl_file` and `broker_pid_file` say. Returns: what was done, for people.

    Raises: HubError: a file cannot be written, or the process is not there.
    """
    if settings.broker_crl_file is None:
        return f"broker_crl_file is not set: copy {folder.crl} to the broker, and have it read its files again"
    data = folder.crl.read_bytes()
    try:
        if not settings.broker_crl_file.exists() or settings.broker_crl_file.read_bytes() != data:
            write_atomic(settings.broker_crl_file, data)
    except OSError as error:
        raise HubError(f"{settings.broker_crl_file}: cannot be written: {error.strerror}") from error
    if settings.broker_pid_file is None:
        return f"{settings.broker_crl_file} written; broker_pid_file is not set: have the broker read its files again"
    _hang_up(settings.broker_pid_file)
    return f"{settings.broker_crl_file} written, the broker was told to read it"


def _hang_up(pid_file: Path) -> None:
    try:
        pid = int(pid_file.read_text().strip())
        if Path(f"/proc/{pid}/comm").read_text().strip() != "mosquitto":  # never signal a stranger that has its number
            raise HubError(f"{pid_file}: process {pid} is not Mosquitto; is it running?")
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError) as error:
        raise HubError(f"{pid_file}: the broker cannot be told to read its files again: {error}") from error


def _lists(data: bytes) -> list[x509.CertificateRevocationList]:
    parts = [part + _END for part in data.split(_END) if part.strip()]
    return [x509.load_pem_x509_crl(part) for part in parts]


def _still_good(crl: x509.CertificateRevocationList, authority: Authority, serials: set[int], now_s: float) -> bool:
    end = crl.next_update_utc
    assert end is not None  # noqa: S101 - ours always say
    half = crl.last_update_utc + (end - crl.last_update_utc) / 2
    return (
        crl.issuer == authority.certificate.subject
        and {entry.serial_number for entry in crl} >= serials
        and datetime.fromtimestamp(now_s, UTC) < half
    )


def _number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

"""Who this gateway is towards the broker: a folder with one key and one certificate. Needs no cryptography itself.

    ca.pem         the root certificate, which vouches for the broker
    gateway.pem    a line about what is in it, key, certificate, authority: one file, so that no power cut parts them
    pending.json   a request that was sent and not answered yet, with its key: asked again, it is the same one
    revoked.json   authorities below the root that the root has revoked

All are of mode 0600 and written by fsync and rename. The key is made here and never leaves this folder.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_agent.errors import EnrolmentError, StorageError, TransportError

_HEAD = "# "
RENEW_AFTER = 2 / 3


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the first line of gateway.pem says. `sha256`: of the certificate. Times are UTC seconds."""

    gateway: str
    fleet: str
    sha256: str
    not_before_s: float
    not_after_s: float

    def due_s(self, late: float = 0.0) -> float:
        """When it is to be renewed: after two thirds of its life; `late` in [0, 1) puts that off by up to a tenth."""
        return self.not_before_s + (RENEW_AFTER + 0.1 * late) * (self.not_after_s - self.not_before_s)


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is under way. `keyid`: of what signed it. `key`: PEM."""

    keyid: str
    request: bytes
    key: str


class RevokedAuthorities(msgspec.Struct, frozen=True, kw_only=True):
    """What the root's newest list says. `number`: of the list. `serials`: of certificates, hexadecimal. `names`: their
    common names, which stand as issuer in what such an authority has issued; no two of a root's have the same.
    """

    number: int = 0
    serials: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Identity:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.pem = folder / "gateway.pem"
        self.pending = folder / "pending.json"
        self.revoked_file = folder / "revoked.json"

    def must_exist(self) -> None:
        """Raises: TransportError: this gateway was never enrolled; says what to do."""
        if not self.pem.exists():
            raise TransportError(
                f"{self.pem}: this gateway has no certificate yet: get a token (`cloud-hub identity token GATEWAY`), "
                "then run `edge-agent enrol --token-file FILE --mqtt HOST:PORT`"
            )

    def revoked(self) -> RevokedAuthorities:
        """Authorities that are not to be believed any more. Raises: StorageError."""
        try:
            return msgspec.json.decode(self.revoked_file.read_bytes(), type=RevokedAuthorities)
        except FileNotFoundError:
            return RevokedAuthorities()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StorageError(f"{self.revoked_file}: cannot be read: {error}") from error

    def stamp(self) -> tuple[int, int]:
        """Changes when the certificate does. Raises: OSError."""
        found = self.pem.stat()
        return found.st_mtime_ns, found.st_ino

    def facts(self) -> Facts | None:
        """What certificate there is, None when there is none. Raises: StorageError."""
        try:
            with self.pem.open(encoding="ascii") as file:
                line = file.readline(4096)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{self.pem}: cannot be read: {error}") from error
        try:
            return msgspec.json.decode(line.removeprefix(_HEAD), type=Facts)
        except msgspec.DecodeError as error:
            raise StorageError(f"{self.pem}: expected a line about the certificate first: {error}") from error


def head_of(facts: Facts) -> str:
    """The first line of gateway.pem."""
    return _HEAD + msgspec.json.encode(facts).decode() + "\n"


def check_valid(facts: Facts, now_s: float) -> None:
    """Raises: EnrolmentError: certificate_expired, clock; says what to do."""
    if now_s >= facts.not_after_s:
        days = (now_s - facts.not_after_s) / 86_400
        raise EnrolmentError(
            "certificate_expired",
            f"the certificate of {facts.gateway} expired {days:.1f} days ago: get a new token "
            f"(`cloud-hub identity token {facts.gateway}`) and run `edge-agent enrol`; "
            "a running agent takes the new certificate by itself",
        )
    if now_s < facts.not_before_s:
        raise EnrolmentError(
            "clock", f"the certificate of {facts.gateway} is not valid yet: is this gateway's clock right?"
        )
